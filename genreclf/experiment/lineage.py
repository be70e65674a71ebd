"""The tracks that a run, and the runs it started from, trained and validated on, as ``split.json`` keeps them."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.datasets.base import Track
from genreclf.datasets.identity import credited, gtzan_id
from genreclf.errors import UserError
from genreclf.run_directory import RunDirectory
from genreclf.splits.base import Split

Key = tuple[str, str]
"""A dataset and the id of a track; the dataset is empty for GTZAN, whose ids are the same whatever reads it."""

MOST_RUNS = 100
"""So many runs are followed from one to the one that it started from."""


@dataclass(frozen=True)
class RunTracks:
    """The tracks that one run trained and validated on."""

    run: str
    """Name of its directory."""
    dataset: str
    """See `genreclf.datasets.base.Dataset.dataset`."""
    train: tuple[str, ...]
    """Ids of the tracks it trained on, whole or in segments, sorted."""
    val: tuple[str, ...]
    """Ids of those it chose its epoch by."""
    artists: Mapping[str, tuple[str, ...]]
    """Artists by id as `genreclf.datasets.identity.credited` returns them, where any are known."""

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "run": self.run,
            "dataset": self.dataset,
            "train": list(self.train),
            "val": list(self.val),
            "artists": {id: list(names) for id, names in self.artists.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read back what `to_json` returned; `AttributeError`, `KeyError` or `TypeError` if it is something else."""
        return cls(
            run=str(data["run"]),
            dataset=str(data["dataset"]),
            train=tuple(map(str, data["train"])),
            val=tuple(map(str, data["val"])),
            artists=_artists(data),
        )

    def keys(self, ids: Collection[str]) -> set[Key]:
        """Return keys that identify these tracks among those of all datasets."""
        return {track_key(self.dataset, id) for id in ids}


@dataclass(frozen=True)
class Lineage:
    """A run, the run whose weights it started from, and so on; empty if the weights were initialized at random."""

    path: str = ""
    """Directory of the first, as the user gave it."""
    runs: tuple[RunTracks, ...] = ()
    """What each of them saw."""
    held_out: frozenset[Key] = frozenset()
    """Test tracks of the first, if its own split keeps them apart from what it trained on."""
    unknown: str | None = None
    """A run further back that cannot be read."""

    @property
    def name(self) -> str:
        """How to name the runs in a sentence."""
        return self.path + (" or a run it started from" if len(self.runs) > 1 else "")


def both(first: Lineage, second: Lineage) -> Lineage:
    """Return what two runs and those that they started from have seen."""
    if not first.runs:
        return second
    return Lineage(
        f"{first.path} or {second.path}",
        first.runs + second.runs,
        first.held_out & second.held_out,
        first.unknown or second.unknown,
    )


def read_lineage(run: RunDirectory, config: Config) -> Lineage:
    """Return what a run has seen, with the runs it started from.

    An earlier run whose ``split.json`` does not name its dataset read that of the configuration at hand if class and
    seed of the two are the same.

    Raises:
        UserError: The run's ``split.json`` cannot be read.
    """
    try:
        split, first, held_out = _read(run, config)
    except UserError as error:
        raise UserError(f"It is not known which tracks {run.path} has seen: {error}") from None
    lineage = Lineage(str(run.path), (first,), held_out)
    while "started_from" not in split and len(lineage.runs) < MOST_RUNS:
        before = run.read_config().get("init_from") if run.config.exists() else None
        if not before:
            return lineage
        run = RunDirectory(str(before))
        try:
            split, tracks, _ = _read(run, config)
        except UserError:
            return replace(lineage, unknown=str(before))
        lineage = replace(lineage, runs=(*lineage.runs, tracks))
    return replace(lineage, runs=(*lineage.runs, *earlier_runs(split)))


def earlier_runs(split: Mapping[str, Any]) -> list[RunTracks]:
    """Return what the runs saw that a run started from, by its ``split.json``; raise `UserError` if it is damaged."""
    with _complete():
        return [RunTracks.from_json(entry) for entry in split.get("started_from", ())]


def artists_of(split: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the known artists of tracks by id, by a run's ``split.json``; raise `UserError` if it is damaged."""
    with _complete():
        return _artists({"artists": split.get("artists") or {}})


def is_computed_only(run: RunDirectory, config: Mapping[str, Any]) -> bool:
    """Return whether all that a run, and the runs it started from as far as known, learned from is synthetic music."""
    if str((config.get("data") or {}).get("_target_")).rpartition(".")[2] != "Synthetic":
        return False
    try:
        earlier = earlier_runs(run.read_json(run.split)) if config.get("init_from") or config.get("ckpt_path") else []
    except UserError:
        return True
    return all(tracks.dataset.startswith("synthetic") for tracks in earlier)


def split_json(split: Split, dataset: str, tracks: Mapping[str, Track], lineage: Lineage) -> dict[str, Any]:
    """Return what ``split.json`` holds: the split, the dataset, known artists, and what earlier runs saw."""
    held = sorted({segment.track_id for segments in split.subsets.values() for segment in segments})
    artists = {id: list(names) for id in held if (names := credited(tracks[id].artist))}
    started_from = [run.to_json() for run in lineage.runs]
    return {**split.to_json(), "dataset": dataset, "artists": artists, "started_from": started_from}


def _read(run: RunDirectory, config: Config) -> tuple[dict[str, Any], RunTracks, frozenset[Key]]:
    """Return ``split.json`` of a run, its own tracks, and its test tracks if no other subset holds any of them."""
    split = run.read_json(run.split)
    subsets = Split.from_json(split).subsets
    ids = {subset: sorted({segment.track_id for segment in segments}) for subset, segments in subsets.items()}
    if (dataset := split.get("dataset")) is None:
        theirs, ours = run.read_config().get("data") or {}, config.data
        same = all(theirs.get(key) == ours.get(key) for key in ("_target_", "seed"))
        dataset = instantiate.make("data", ours).dataset if same else theirs.get("_target_")
    with _complete():
        own = {"artists": split.get("artists", {}), "dataset": dataset, "run": run.path.resolve().name}
        tracks = RunTracks.from_json({**own, "train": ids["train"], "val": ids["val"]})
    test, others = tracks.keys(ids["test"]), tracks.keys((*tracks.train, *tracks.val))
    return split, tracks, frozenset() if test & others else frozenset(test)


def _artists(data: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    return {str(id): tuple(map(str, names)) for id, names in data["artists"].items()}


@contextmanager
def _complete() -> Iterator[None]:
    try:
        yield
    except (AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"split.json is not complete ({type(error).__name__}: {error}): take the one that the run wrote"
        ) from None


def track_key(dataset: str, id: str) -> Key:
    """Return what tells a track apart from those of all datasets."""
    return ("", id) if gtzan_id(id) == id else (dataset, id)
