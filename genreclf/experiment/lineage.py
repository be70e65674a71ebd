"""Tracks that a run, and the runs it started from, trained and validated on, as recorded in ``split.json``."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.config.identity import digest
from genreclf.datasets.base import Track
from genreclf.datasets.identity import credited, gtzan_id
from genreclf.errors import UserError
from genreclf.run_directory import RunDirectory
from genreclf.splits.base import Split

Key = tuple[str, str]
"""Dataset and id of a track; the dataset is empty for GTZAN tracks, which have the same ids in all datasets."""

MOST_RUNS = 100
"""Maximum number of runs that are followed back from each run to the run that it started from."""


@dataclass(frozen=True)
class RunTracks:
    """The tracks that one run trained and validated on."""

    run: str
    """Name of the run directory."""
    dataset: str
    """Identifier of the dataset, see `genreclf.datasets.base.Dataset.dataset`."""
    train: tuple[str, ...]
    """Sorted ids of the tracks that the run trained on, as a whole or in part."""
    val: tuple[str, ...]
    """Sorted ids of the validation tracks, by which the run chose its best epoch."""
    artists: Mapping[str, tuple[str, ...]]
    """Artists of each track by its id, as returned by `genreclf.datasets.identity.credited`; only where known."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-serializable dictionary, which `from_json` reads."""
        return {
            "run": self.run,
            "dataset": self.dataset,
            "train": list(self.train),
            "val": list(self.val),
            "artists": {id: list(names) for id, names in self.artists.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the tracks from a dictionary that `to_json` returned.

        Raises:
            AttributeError, KeyError, TypeError: The dictionary does not have the expected form.
        """
        return cls(
            run=str(data["run"]),
            dataset=str(data["dataset"]),
            train=tuple(map(str, data["train"])),
            val=tuple(map(str, data["val"])),
            artists=_artists(data),
        )

    def keys(self, ids: Collection[str]) -> set[Key]:
        """Return keys that identify tracks of this dataset, given by their ids, among the tracks of all datasets."""
        return {track_key(self.dataset, id) for id in ids}


@dataclass(frozen=True)
class Lineage:
    """A run, the run whose weights it started from, and so on back to the first training.

    It is empty if the weights were initialized at random.
    """

    path: str = ""
    """Path of the run directory of the latest run, as the user gave it."""
    runs: tuple[RunTracks, ...] = ()
    """Tracks that each run has seen, from the latest run back to the earliest."""
    held_out: frozenset[Key] = frozenset()
    """Test tracks of the latest run; empty if any of them was also used for training or validation."""
    unknown: str | None = None
    """Path of an earlier run that cannot be read; None if all can be read."""

    @property
    def name(self) -> str:
        """Phrase that names the runs in a sentence."""
        return self.path + (" or a run it started from" if len(self.runs) > 1 else "")


def both(first: Lineage, second: Lineage) -> Lineage:
    """Return the joint lineage of two runs: tracks that either of them has seen, and test tracks of both of them."""
    if not first.runs:
        return second
    return Lineage(
        f"{first.path} or {second.path}",
        first.runs + second.runs,
        first.held_out & second.held_out,
        first.unknown or second.unknown,
    )


def read_lineage(run: RunDirectory, config: Config) -> Lineage:
    """Return the tracks that a run, and the runs that it started from, have seen.

    If ``split.json`` of a run does not name the dataset, it is taken to be the dataset of `config`, provided that
    both have the same class and seed.

    Args:
        run: Latest run.
        config: Configuration of the run that is based on this run.

    Raises:
        UserError: ``split.json`` of the latest run cannot be read.
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
    """Return the tracks that the runs which a run started from have seen.

    Args:
        split: Content of ``split.json`` of the run.

    Raises:
        UserError: The content is not complete.
    """
    with _complete():
        return [RunTracks.from_json(entry) for entry in split.get("started_from", ())]


def artists_of(split: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the known artists of each track by its id.

    Args:
        split: Content of ``split.json`` of a run.

    Raises:
        UserError: The content is not complete.
    """
    with _complete():
        return _artists({"artists": split.get("artists") or {}})


def is_computed_only(run: RunDirectory, config: Mapping[str, Any]) -> bool:
    """Return whether a run, and all known runs that it started from, were trained on synthetic music only."""
    if str((config.get("data") or {}).get("_target_")).rpartition(".")[2] != "Synthetic":
        return False
    try:
        earlier = earlier_runs(run.read_json(run.split))
    except UserError:
        return True
    return all(tracks.dataset.startswith("synthetic") for tracks in earlier)


def split_json(split: Split, dataset: str, tracks: Mapping[str, Track], lineage: Lineage) -> dict[str, Any]:
    """Return the content of ``split.json``: split, dataset, hash of genres, artists, and the tracks of earlier runs."""
    held = sorted({segment.track_id for segments in split.subsets.values() for segment in segments})
    return {
        **split.to_json(),
        "dataset": dataset,
        "genre_hash": digest({id: tracks[id].genre for id in held})[:16],
        "artists": {id: list(names) for id in held if (names := credited(tracks[id].artist))},
        "started_from": [run.to_json() for run in lineage.runs],
    }


def check_resumed(run: RunDirectory, record: Mapping[str, Any]) -> None:
    """Check that a run that has already trained is resumed with the tracks and genres it was begun with.

    With others, it would be tested on tracks that it was trained on. Genres of tracks are not compared if an earlier
    version began the run, as it did not record them.

    Args:
        run: Run directory.
        record: Content of ``split.json`` for the tracks as they are now, see `split_json`.

    Raises:
        UserError: Tracks or genres differ, or ``split.json`` of the run cannot be read.
    """
    has_trained = run.last.exists() or (run.status is not None and run.read_metrics().get("fitted"))
    if not has_trained or not run.split.is_file():
        return
    before = run.read_json(run.split)
    if any(before.get(key, record[key]) != record[key] for key in ("hash", "genres", "genre_hash")):
        raise UserError(
            f"{run.path} was begun with other tracks, as the data or the split have changed since: restore them, or "
            "set another run_dir."
        )


def _read(run: RunDirectory, config: Config) -> tuple[dict[str, Any], RunTracks, frozenset[Key]]:
    """Return ``split.json`` of a run, its own tracks, and its test tracks, none if another subset shares any."""
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
    """Return a key that identifies a track among the tracks of all datasets."""
    return ("", id) if gtzan_id(id) == id else (dataset, id)
