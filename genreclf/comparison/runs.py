"""Find and read finished runs."""

import csv
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genreclf.datasets.identity import GTZAN_GENRES, gtzan_id, track_id
from genreclf.errors import UserError
from genreclf.evaluation.metrics import evaluate_tracks, get_metric
from genreclf.evaluation.predictions import TrackPredictions, read_track_csv
from genreclf.experiment.lineage import artists_of
from genreclf.inference.listing import natural_order
from genreclf.limits import refuse_device
from genreclf.run_directory import RunDirectory

NEEDED = (
    "parameters",
    "split.name",
    "split.hash",
    "split.leaky",
    "test.clip.accuracy",
    "test.track.accuracy",
    "test.track.f1_macro",
    "test.track.n",
)
"""Dotted keys of the metrics that ``metrics.json`` must contain."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FinishedRun:
    """A finished run with the data that a comparison needs."""

    path: Path
    """Path of the run directory."""
    config: Mapping[str, Any]
    """Resolved configuration of the run."""
    metrics: Mapping[str, Any]
    """Content of ``metrics.json``."""
    history: tuple[Mapping[str, float], ...]
    """One row of logged metrics per epoch; empty for an evaluation."""
    tracks: TrackPredictions
    """Predictions for the test tracks."""
    device: str | None
    """Device that the run used; None if unknown."""
    dataset: str
    """Identifier of the dataset, see `genreclf.experiment.lineage.track_key`; empty if unknown."""
    artists: Mapping[str, Sequence[str]]
    """Known artists of the tracks by track id, from ``split.json``."""
    train: frozenset[str]
    """Ids of the training tracks, from ``split.json``."""

    @classmethod
    def read(cls, path: Path) -> "FinishedRun":
        """Read a run directory.

        Raises:
            UserError: A file is missing or damaged, or the predictions do not match ``metrics.json``.
        """
        run = RunDirectory(path)
        metrics = run.read_metrics()
        missing = [name for name in NEEDED if get_metric(metrics, name) is None]
        if missing:
            raise UserError(f"{run.metrics} has no {', '.join(missing)}: repeat the run in another run_dir.")
        tracks = read_track_csv(run.predictions)
        n, right = len(tracks.track_ids), int((tracks.predicted == tracks.targets).sum())
        if n != get_metric(metrics, "test.track.n") or round(get_metric(metrics, "test.track.accuracy") * n) != right:
            raise UserError(
                f"{run.predictions} does not match metrics.json next to it ({right} of {n} tracks are right here): "
                f"write both again with `python -m genreclf evaluate {path}`."
            )
        environment, split = (run.read_json(path) if path.exists() else {} for path in (run.environment, run.split))
        return cls(
            path=path,
            config=run.read_config(),
            metrics=metrics,
            history=tuple(run.read_history()),
            tracks=tracks,
            device=environment.get("device"),
            dataset=str(split.get("dataset", "")),
            artists=artists_of(split),
            train=frozenset(_track_id(entry) for entry in split.get("train", ())),
        )

    def without(self, ids: Collection[str]) -> "FinishedRun":
        """Return a copy of the run as if the tracks with the given ids had not been tested, without clip metrics.

        Raises:
            UserError: No track is left.
        """
        kept = [row for row, id in enumerate(self.tracks.track_ids) if id not in ids]
        if not kept:
            raise UserError(f"No test track of {self.path} is left: remove the run, or exclude fewer tracks.")
        tracks = replace(
            self.tracks,
            track_ids=tuple(self.tracks.track_ids[row] for row in kept),
            targets=self.tracks.targets[kept],
            probabilities=self.tracks.probabilities[kept],
        )
        scores = evaluate_tracks(tracks)
        return replace(self, tracks=tracks, metrics={**self.metrics, "test": scores})

    @property
    def accuracy(self) -> float:
        """Accuracy on the test tracks."""
        return float(self.right.mean())

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each test track was classified correctly, shape ``(track,)``."""
        recognized: NDArray[np.bool_] = self.tracks.predicted == self.tracks.targets
        return recognized

    @property
    def validation(self) -> TrackPredictions | None:
        """Predictions for the validation tracks; None if the run has none.

        Raises:
            UserError: The file of predictions is damaged.
        """
        path = RunDirectory(self.path).val_predictions
        return read_track_csv(path) if path.is_file() else None

    @property
    def split_hash(self) -> str:
        """Hash of the subsets of the split."""
        return str(get_metric(self.metrics, "split.hash"))


def read_track_list(path: Path, known: Collection[str]) -> frozenset[str]:
    """Read track ids from a text file with one id per line, or from a CSV file whose first column is ``track_id``.

    Tracks of GTZAN may be given as file names or paths. Blank lines and lines that start with ``#`` are skipped.

    Args:
        path: Path of the file.
        known: Ids of the tracks that may be listed.

    Returns:
        Those of the known ids that are listed.

    Raises:
        UserError: The file cannot be read.
    """
    try:
        refuse_device(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): choose a file of track ids.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a text file in UTF-8: choose a file of track ids.") from error
    is_table = bool(rows) and rows[0][0].strip() == "track_id"
    names = [row[0].strip() if is_table else ",".join(row).strip() for row in rows]
    listed = [name for name in names if name and not name.startswith("#")]
    return frozenset(known).intersection(name if name in known else _id_of_file(PurePath(name)) for name in listed)


def _id_of_file(path: PurePath) -> str | None:
    """Return the id of a file in the folder of a genre of GTZAN, or the GTZAN id of a file elsewhere, or None."""
    folder = path.parent.name
    return track_id(folder, path.name) if folder.lower() in GTZAN_GENRES else gtzan_id(path.name)


def _track_id(entry: Any) -> str:
    """Return the track id of an entry of ``split.json``, which is a track id or a segment of a track."""
    return str(entry["track_id"] if isinstance(entry, dict) else entry)


def find_runs(paths: Iterable[Path]) -> tuple[list[Path], list[Path], list[Path]]:
    """Find the runs in the given folders, which are run directories or contain some; links to folders are followed.

    Runs inside another run, such as its evaluations, are found only if their own path is given. Measurements of
    robustness are not runs.

    Returns:
        Directories of the finished runs, directories of the unfinished runs, and given folders without any run. Each
        run is listed once.

    Raises:
        UserError: A folder does not exist, or there is no finished run.
    """
    finished: dict[Path, Path] = {}
    unfinished: dict[Path, Path] = {}
    without: list[Path] = []
    named = list(paths)
    for path in named:
        if not path.is_dir():
            raise UserError(f"{path} is not a folder: give run directories, or folders of runs.")
        below = list(_below(path))
        if not below:
            without.append(path)
        for found in below:
            done = RunDirectory(found).status == "finished"
            (finished if done else unfinished).setdefault(found.resolve(), found)
    if not finished:
        where = ", ".join(map(str, named))
        begun = f" ({len(unfinished)} unfinished: repeat the command that started them)" if unfinished else ""
        raise UserError(f"There is no finished run in {where}{begun}.")
    return list(finished.values()), list(unfinished.values()), without


def _below(path: Path) -> Iterator[Path]:
    visited: set[str] = set()
    for folder, inner, files in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        if real in visited:  # Links may lead back to a folder that was visited already.
            inner.clear()
            continue
        visited.add(real)
        if "robustness.csv" in files and "metrics.json" not in files:  # A finished measurement of robustness.
            inner.clear()
        elif {"metrics.json", "config.yaml"} & set(files):
            inner.clear()
            yield Path(folder)
        inner.sort(key=lambda name: natural_order(Path(name)))
