"""The LightningDataModule that cuts batches of clips out of a store."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Never
from weakref import WeakKeyDictionary

import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import RunningStage
from torch import Tensor

from genreclf.audio.log_mel import FeatureSpec
from genreclf.data.checks import check_settings
from genreclf.data.clips import ClipBatch, ClipLoader, SegmentTable, Short, cut, grid_clips, random_clips, to_device
from genreclf.data.encoding import CPU, store_of
from genreclf.data.store import Store
from genreclf.datasets.base import Dataset, Track
from genreclf.datasets.checks import checked_tracks
from genreclf.errors import UserError
from genreclf.hardware import free_bytes, memory_bytes
from genreclf.splits.base import SUBSETS, Segment, Split, Splitter
from genreclf.splits.rules import group_names

RESIDENT_SHARE = 0.5
"""Largest fraction of a GPU's free memory, or of the machine's memory, that the store may occupy."""

_SUBSETS: dict[RunningStage | None, str] = {
    RunningStage.VALIDATING: "val",
    RunningStage.SANITY_CHECKING: "val",
    RunningStage.TESTING: "test",
}
"""Subset used in each of Lightning's stages; all other stages use ``train``."""

_copies: WeakKeyDictionary[Store, dict[torch.device, Tensor]] = WeakKeyDictionary()
"""Copies of the frames of stores, by device, which are shared by all runs in this process."""


class ClipDataModule(LightningDataModule):
    """LightningDataModule with random clips for training, and a fixed grid of clips for validation and test.

    Given a dataset and a splitter, `prepare_data` builds the store and `setup` splits the tracks, as usual in
    Lightning. Given an existing store and split, the datamodule is ready at once.

    Batches are passed on as row numbers, and the clips are cut where the store is: in GPU memory if it fits, otherwise
    in the memory-mapped file. If the store is larger than half of the machine's memory, or of the GPU's free memory, a
    thread cuts clips ahead and copies them to the GPU while the GPU computes.

    Args:
        spec: Parameters of the stored spectrograms, including the length of a clip.
        dataset: Dataset that provides the tracks.
        splitter: Splitter that divides the tracks into training, validation and test.
        store_dir: Folder that contains the stores; by default a folder in the user's cache.
        store: Existing store; with `split` and `genre_of`, it replaces `dataset` and `splitter`.
        split: Existing split of the tracks in `store`.
        genre_of: Genre of each track, by track id.
        group_of: Group of each track, by track id, see `genreclf.splits.rules.group_names`; a track that is not listed
            is a group of its own.
        genres: Classes in the order of the logits; by default those of the model, or those of the split if there is no
            model yet.
        batch_size: Number of clips per training step, over all devices.
        crops_per_track: Number of clips drawn from each training track per epoch.
        grid_overlap: Minimum overlap of neighboring validation and test clips, as a fraction of their length.
        short: How to fill tracks shorter than a clip: ``pad`` adds silence, ``wrap`` repeats the track.
        seed: Random seed of the training clips.
        read_ahead: Whether a thread reads clips from disk before they are needed; by default, only if the store is
            larger than half of the machine's memory.

    Attributes:
        tables: Segments of each subset, on the CPU, from which clips are planned.
        read_ahead: Value of the argument; it may be changed until a loader is created.
        subsets_as_rows: Subsets whose batches stay row numbers if the store is on the training device, so that `clips`
            is called within the recorded training or validation step.
    """

    def __init__(
        self,
        *,
        spec: FeatureSpec,
        dataset: Dataset | None = None,
        splitter: Splitter | None = None,
        store_dir: str | Path | None = None,
        store: Store | None = None,
        split: Split | None = None,
        genre_of: Mapping[str, str] | None = None,
        group_of: Mapping[str, str] | None = None,
        genres: Sequence[str] | None = None,
        batch_size: int = 32,
        crops_per_track: int = 2,
        grid_overlap: float = 0.5,
        short: Short = "pad",
        seed: int = 0,
        read_ahead: bool | None = None,
    ) -> None:
        super().__init__()
        check_settings(batch_size, crops_per_track, grid_overlap, short)
        self.dataset = dataset
        self.splitter = splitter
        self.store_dir = store_dir
        self.spec = spec
        self.batch_size = batch_size
        self.crops_per_track = crops_per_track
        self.grid_overlap = grid_overlap
        self.short = short
        self.seed = seed
        self.read_ahead = read_ahead
        self.subsets_as_rows: set[str] = set()
        self.genres = tuple(genres or ())
        self._is_set_up = False
        self._settled = self._has_no_room = False
        if store is not None and split is not None and genre_of is not None and not (dataset or splitter):
            self._set_up_from(store, split, genre_of, group_of or {})
        elif dataset is None or splitter is None or store or split or genre_of:
            raise TypeError("ClipDataModule takes either dataset and splitter, or store, split and genre_of.")

    __str__ = LightningDataModule.__repr__  # Lightning's `__str__` expects PyTorch loaders.

    def __getattr__(self, name: str) -> Never:
        hint = "" if self.__dict__.get("_is_set_up") else " before setup is called, as Lightning's Trainer does"
        raise AttributeError(f"{type(self).__name__} has no {name}{hint}")

    def prepare_data(self) -> None:
        """Build the store if it does not exist; Lightning calls this in one process per machine."""
        if not self._is_set_up:
            self._open()

    def setup(self, stage: str) -> None:
        """Open the store and split the tracks, on the first call; Lightning calls this in every process and stage.

        Raises:
            UserError: Tracks cannot be read or split, or the split has a genre that the model lacks.
        """
        if self._is_set_up:
            return
        store, tracks = self._open()
        assert self.splitter is not None
        split = self.splitter.split(tracks, store.lengths_frames, self.spec.clip_frames)
        genre_of = {track.id: track.genre for track in tracks}
        self._set_up_from(store, split, genre_of, group_names(tracks))

    def _open(self) -> tuple[Store, list[Track]]:
        """Return the store and all tracks; if the store does not exist, it is computed on the training device."""
        assert self.dataset is not None
        tracks = checked_tracks(self.dataset)
        device = self.trainer.strategy.root_device if self.trainer else CPU
        return store_of(self.dataset, tracks, self.spec, directory=self.store_dir, device=device), tracks

    def _set_up_from(
        self, store: Store, split: Split, genre_of: Mapping[str, str], group_of: Mapping[str, str]
    ) -> None:
        """Set the store, the split and the genres, and tabulate the position of each segment in the store."""
        self.store = store
        self.split = split
        self.genre_of = genre_of
        self.group_of = group_of
        self._is_set_up = True
        model = self.trainer.lightning_module if self.trainer else None
        self.genres = self.genres or tuple(getattr(model, "genres", split.genres))
        if unknown := sorted(set(split.genres) - set(self.genres)):
            raise UserError(f"The model knows {', '.join(self.genres)}, and the split holds {', '.join(unknown)} too.")
        self._frames = torch.from_numpy(store.frames)
        index_of = {track: self.genres.index(genre) for track, genre in genre_of.items() if genre in self.genres}
        genre = index_of.__getitem__
        self.tables = {subset: SegmentTable.of(self.segments(subset), genre, store) for subset in SUBSETS}
        self._stacked = {subset: table.stacked() for subset, table in self.tables.items()}
        # Left out for training clips, since Lightning would search the ids for the batch size.
        self._track_ids = {
            subset: tuple(segment.track_id for segment in self.segments(subset)) if subset != "train" else ()
            for subset in self.tables
        }
        self._with_short = {
            subset for subset, table in self.tables.items() if (table.length_frames < self.spec.clip_frames).any()
        }

    def segments(self, subset: str) -> tuple[Segment, ...]:
        """Return the segments of a subset, which is ``train``, ``val`` or ``test``."""
        return self.split.subsets[subset]

    def train_dataloader(self) -> ClipLoader:
        """Return the loader of random training clips, which depend only on the seed and the epoch."""
        table = self.tables["train"]

        def plan() -> Tensor:
            # With Lightning's `overfit_batches`, the clips of every epoch are the same.
            repeats = getattr(self.trainer, "overfit_batches", 0)
            epoch = 0 if self.trainer is None or repeats else self.trainer.current_epoch
            return random_clips(
                table,
                clip_frames=self.spec.clip_frames,
                crops=self.crops_per_track,
                short=self.short,
                generator=torch.Generator().manual_seed(self.seed * 1_000_003 + epoch),
            )

        return self._loader("train", plan, len(table) * self.crops_per_track, self.batch_size)

    def val_dataloader(self) -> ClipLoader:
        """Return the loader of the fixed grid of validation clips."""
        return self.loader("val")

    def test_dataloader(self) -> ClipLoader:
        """Return the loader of the fixed grid of test clips."""
        return self.loader("test")

    def loader(self, subset: str) -> ClipLoader:
        """Return the loader of a subset, which is ``train``, ``val`` or ``test``."""
        if subset == "train":
            return self.train_dataloader()
        rows = self.grid(subset)
        # The batch size is not divided among the ranks: logits must not depend on the size of the batch.
        return self._loader(subset, lambda: rows, len(rows), self.batch_size * self._ranks)

    def grid(self, subset: str) -> Tensor:
        """Return the fixed grid of clips of a subset, see `genreclf.data.clips.grid_clips`."""
        return grid_clips(self.tables[subset], clip_frames=self.spec.clip_frames, overlap=self.grid_overlap)

    def _loader(self, subset: str, plan: Callable[[], Tensor], clips: int, batch_size: int) -> ClipLoader:
        device = self.trainer.strategy.root_device if self.trainer else self._frames.device
        self.settle(device)
        return ClipLoader(
            plan,
            clips=clips,
            batch_size=batch_size,
            rank=self.trainer.global_rank if self.trainer else 0,
            ranks=self._ranks,
            device=self._frames.device,
            cut=partial(self._read_clips, subset) if self.streams or self._has_no_room else None,
            target=device,
        )

    @property
    def streams(self) -> bool:
        """Whether clips are read ahead; by default, only if the store is too large for the machine's memory."""
        if self.read_ahead is not None:
            return self.read_ahead
        return self.store.frames.nbytes > RESIDENT_SHARE * memory_bytes()

    @property
    def _ranks(self) -> int:
        return self.trainer.world_size if self.trainer else 1

    def transfer_batch_to_device(
        self, batch: Tensor | ClipBatch, device: torch.device, dataloader_idx: int
    ) -> Tensor | ClipBatch:
        """Move a batch to `device`; rows become clips, unless `subsets_as_rows` lists the current subset."""
        if not isinstance(batch, Tensor):
            return batch.to(device)
        assert self.trainer is not None
        subset = _SUBSETS.get(self.trainer.state.stage, "train")
        if subset in self.subsets_as_rows and self._frames.device == device:
            return to_device(batch, device)
        return self.clips(subset, batch).to(device)

    def clips(self, subset: str, rows: Tensor) -> ClipBatch:
        """Return the clips of `rows` of a subset; see `genreclf.data.clips.grid_clips` for the format of the rows."""
        rows = to_device(rows, self._frames.device)
        segment, _, start = rows.unbind(1)
        offset, length, first_frame, genre = self._stacked[subset].index_select(1, segment).unbind()
        stored = cut(
            self._frames,
            offset,
            length if subset in self._with_short else None,
            start,
            self.spec.clip_frames,
            self.spec.silence if self.short == "pad" else None,
        )
        return ClipBatch(stored, genre, segment, first_frame + start, self._track_ids[subset])

    def _read_clips(self, subset: str, rows: Tensor) -> ClipBatch:
        """Cut the clips of `rows` after asking the operating system to read all of them from disk."""
        table = self.tables[subset]
        for segment, _, start in rows.tolist():
            frames = min(self.spec.clip_frames, int(table.length_frames[segment]) - start)
            self.store.read_soon(int(table.offset_frames[segment]) + start, frames)
        return self.clips(subset, rows)

    def sample(self, subset: str, at_most: int = 1000) -> Tensor:
        """Return the stored values ``(clip, mel, frame)`` of up to `at_most` clips, spread evenly over a subset."""
        rows = self.grid(subset)
        chosen = torch.linspace(0, len(rows) - 1, min(at_most, len(rows))).long()
        return self.clips(subset, rows[chosen]).stored

    def settle(self, device: torch.device) -> None:
        """Copy the store to a GPU with its own memory if it fits; later calls have no effect."""
        if self._settled or device.type in ("cpu", "mps"):
            return
        self._settled = True
        copies = _copies.setdefault(self.store, {})
        if device not in copies:
            if self.streams or self._frames.nbytes > RESIDENT_SHARE * free_bytes(device):
                self._has_no_room = True
                return
            copies[device] = self._frames.to(device)
            if device.type == "cuda":  # Other streams may read the copy.
                torch.cuda.current_stream(device).synchronize()
        self._frames = copies[device]
        self._stacked = {subset: to_device(table, device) for subset, table in self._stacked.items()}
