import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from genreclf.audio.log_mel import FeatureSpec
from genreclf.data import datamodule
from genreclf.data.clips import Arriving, ClipBatch, ClipLoader, SegmentTable, cut, grid_clips, random_clips
from genreclf.data.datamodule import ClipDataModule
from genreclf.data.store import Store
from genreclf.splits.base import Segment, Split

LENGTHS = [387, 129, 50, 1000]


def table() -> SegmentTable:
    lengths = torch.tensor(LENGTHS)
    return SegmentTable(
        offset_frames=lengths.cumsum(0) - lengths,
        length_frames=lengths,
        start_frame=torch.zeros(4, dtype=torch.long),
        genre=torch.tensor([0, 1, 2, 0]),
    )


def frames() -> torch.Tensor:
    """Every frame holds its own number in its track, and the track's."""
    parts = [torch.stack([torch.arange(n), torch.full((n,), i)], 1) for i, n in enumerate(LENGTHS)]
    return torch.cat(parts).to(torch.int16)


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.9])
def test_the_grid_covers_every_track(overlap: float) -> None:
    rows = grid_clips(table(), clip_frames=129, overlap=overlap)
    for segment, length in enumerate(LENGTHS):
        mine = rows[rows[:, 0] == segment]
        assert mine[:, 1].tolist() == list(range(len(mine)))
        starts = mine[:, 2]
        assert starts[0] == 0
        assert starts[-1] == max(0, length - 129)
        assert (starts.diff() <= 129 * (1 - overlap) + 1).all()
    assert (rows[:, 0] == 1).sum() == 1


def test_random_clips_lie_within_their_track_and_reach_its_ends() -> None:
    rows = random_clips(table(), clip_frames=129, crops=2000, short="pad", generator=torch.Generator().manual_seed(0))
    assert torch.bincount(rows[:, 0]).tolist() == [2000] * 4
    for segment, length in enumerate(LENGTHS):
        starts = rows[rows[:, 0] == segment][:, 2]
        assert starts.min() == 0
        assert starts.max() == max(0, length - 129)
    assert not torch.equal(rows[:, 0], rows[:, 0].sort().values)


def test_random_clips_depend_on_the_generator_alone() -> None:
    draws = [
        random_clips(table(), clip_frames=9, crops=3, short="pad", generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def clip_of(segment: int, start: int, silence: int | None) -> torch.Tensor:
    segments = table()
    index = torch.tensor([segment])
    offset, length = segments.offset_frames[index], segments.length_frames[index]
    return cut(frames(), offset, length, torch.tensor([start]), 129, silence)[0]


def test_cuts_what_was_asked_for() -> None:
    clip = clip_of(3, 200, -1)
    assert clip.shape == (2, 129)
    assert clip[0].tolist() == list(range(200, 329))
    assert clip[1].unique().tolist() == [3]


def test_short_tracks_are_padded_or_wrapped() -> None:
    assert clip_of(2, 0, -1)[0].tolist() == [*range(50), *[-1] * 79]
    assert clip_of(2, 0, None)[0].tolist() == [*range(50), *range(50), *range(29)]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_share_each_batch(ranks: int) -> None:
    rows = torch.arange(20).repeat(3, 1).T
    loaders = [ClipLoader(lambda: rows, clips=20, batch_size=6, rank=rank, ranks=ranks) for rank in range(ranks)]
    shares = [list(loader) for loader in loaders]
    assert {len(share) for share in shares} == {4} == {len(loader) for loader in loaders}
    for step in range(4):
        together = torch.cat([share[step] for share in shares])[:, 0].sort().values
        expected = (torch.arange(6) + 6 * step) % 20
        assert torch.equal(together, expected.sort().values)
        assert {len(share[step]) for share in shares} == {6 // ranks}


def test_clips_read_ahead_are_those_cut_on_the_device() -> None:
    rows = torch.arange(60).reshape(20, 3)

    def clips(share: torch.Tensor) -> ClipBatch:
        return ClipBatch(share, share[:, 0], share[:, 1], share[:, 2])

    plain = ClipLoader(lambda: rows, clips=20, batch_size=6)
    ahead = ClipLoader(lambda: rows, clips=20, batch_size=6, cut=clips)
    for share, batch in zip(plain, ahead, strict=True):
        assert isinstance(batch, ClipBatch)
        assert torch.equal(batch.stored, share)


def test_a_failing_read_ahead_is_raised_where_the_batch_is_wanted() -> None:
    def fail(share: torch.Tensor) -> ClipBatch:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        next(iter(ClipLoader(lambda: torch.zeros(4, 3), clips=4, batch_size=2, cut=fail)))


@pytest.fixture
def data(tmp_path: Path) -> ClipDataModule:
    """Batches of a store of tracks of several lengths."""
    ids = [str(number) for number in range(len(LENGTHS))]
    frames().numpy().tofile(tmp_path / "frames.bin")
    ends = torch.tensor(LENGTHS).cumsum(0).tolist()
    tracks = {name: (end - length, length, 0) for name, end, length in zip(ids, ends, LENGTHS, strict=True)}
    index = {"dtype": "int16", "n_mels": 2, "frames": ends[-1], "tracks": tracks, "unreadable": {}}
    (tmp_path / "index.json").write_text(json.dumps(index))
    segments = tuple(Segment(name, 0, length) for name, length in zip(ids, LENGTHS, strict=True))
    return ClipDataModule(
        store=Store(tmp_path),
        split=Split("all", False, ("blues",), train=segments, val=segments, test=segments),
        genre_of=dict.fromkeys(ids, "blues"),
        spec=FeatureSpec.of_audio(sample_rate=100, n_fft=2, hop_length=1, n_mels=2, clip_seconds=2),
        batch_size=3,
    )


def test_a_store_that_is_read_ahead_gives_the_same_batches(data: ClipDataModule) -> None:
    plain = [data.clips("train", rows) for rows in data.train_dataloader()]
    assert not data.streams
    data.read_ahead = True
    for batch, ahead in zip(plain, data.train_dataloader(), strict=True):
        assert all(torch.equal(values, same) for values, same in zip(batch[:4], ahead[:4], strict=True))


def test_a_store_that_a_gpu_has_no_room_for_is_cut_ahead(data: ClipDataModule, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = [data.clips("train", rows) for rows in data.train_dataloader()]
    assert data.train_dataloader().cut is None
    monkeypatch.setattr(datamodule, "free_bytes", lambda device: 2 * data.store.frames.nbytes - 1)
    data.settle(torch.device("cuda"))
    assert not data.streams
    for batch, ahead in zip(plain, data.train_dataloader(), strict=True):
        assert isinstance(ahead, ClipBatch)
        assert all(torch.equal(values, same) for values, same in zip(batch[:4], ahead[:4], strict=True))


class FakeStream:
    """Notes in which order a stream of CUDA is given what to do."""

    device = torch.device("cpu")

    def __init__(self, notes: list[str], name: str) -> None:
        self.notes, self.name = notes, name

    def record_event(self) -> str:
        self.notes.append(f"event of {self.name}")
        return f"event of {self.name}"

    def wait_event(self, event: str) -> None:
        self.notes.append(f"{self.name} waits for {event}")


def test_what_a_gpu_computes_waits_for_its_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    side, here = FakeStream(notes, "side"), FakeStream(notes, "here")

    @contextmanager
    def within(stream: FakeStream) -> Iterator[None]:
        notes.append(f"on {stream.name}")
        yield
        notes.append(f"off {stream.name}")

    empty = torch.empty

    def memory(*sizes: int, pin_memory: bool, **settings: Any) -> torch.Tensor:
        notes.append(f"pinned: {pin_memory}")
        return empty(*sizes, **settings)

    monkeypatch.setattr(torch.cuda, "stream", within)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: here)
    monkeypatch.setattr(torch, "empty", memory)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda values, stream: notes.append(f"kept for {stream.name}"))
    clips = ClipBatch(torch.arange(30, dtype=torch.int16).view(2, 3, 5), *torch.arange(6).view(3, 2).unbind(), ("a",))
    arriving = Arriving(lambda rows: clips, torch.empty_like(clips.genre), stream=side)  # type: ignore[arg-type]
    assert notes == ["on side", "pinned: True", "event of side", "off side"]
    notes.clear()
    batch = arriving.batch()
    assert notes == ["here waits for event of side", "kept for here"]
    assert all(torch.equal(values, same) for values, same in zip(batch[:4], clips[:4], strict=True))
    assert batch.track_ids == ("a",)
    assert {values.untyped_storage().data_ptr() for values in batch[:4]} == {batch.genre.data_ptr()}
