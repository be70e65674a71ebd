"""Experiments, which are groups of runs that differ only in their seed or fold."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genreclf.comparison.naming import START_KEYS, recipe_names, recipe_of, settings_of, split_names, unread_starts
from genreclf.comparison.runs import FinishedRun
from genreclf.comparison.significance import Interval, TrackScores, accuracy_interval
from genreclf.config.identity import digest
from genreclf.datasets.identity import artist_groups
from genreclf.evaluation.intervals import artist_accuracy, artist_index, effective_tracks
from genreclf.evaluation.metrics import confusion, get_metric
from genreclf.evaluation.predictions import TrackPredictions
from genreclf.evaluation.provenance import marks_of, pretrained_name
from genreclf.experiment.lineage import Key, track_key
from genreclf.splits.base import some


@dataclass(frozen=True, eq=False, kw_only=True)
class Experiment:
    """Runs with the same settings apart from seed and fold."""

    name: str
    """Name of the recipe: the model and the settings that tell it apart from the other recipes."""
    split: str
    """Name of the split, with the settings that tell it apart from other splits of the same name."""
    title: str
    """Name with the split, if there are several, the marks of `genreclf.evaluation.provenance.marks_of`, and LEAKY if
    the split leaks."""
    settings: Mapping[str, Any]
    """Dotted keys and values of the configuration, see `genreclf.comparison.naming.settings_of`."""
    runs: tuple[FinishedRun, ...]
    """Runs of the experiment, at least one."""
    artists: Mapping[Key, Sequence[str]]
    """Known artists of the tracks, keyed by `genreclf.experiment.lineage.track_key`."""

    @property
    def leaky(self) -> bool:
        """Whether the split leaks."""
        return any(get_metric(run.metrics, "split.leaky") for run in self.runs)

    @property
    def pretrained(self) -> str | None:
        """Name of the pretrained encoder; None if the networks were trained from scratch."""
        return next(filter(None, (pretrained_name(run.metrics) for run in self.runs)), None)

    @property
    def marks(self) -> list[str]:
        """Marks such as PRETRAINED that follow the name, see `genreclf.evaluation.provenance.marks_of`."""
        return list(dict.fromkeys(mark for run in self.runs for mark in marks_of(run.metrics)))

    @cached_property
    def scores(self) -> TrackScores:
        """How often each distinct test track was classified correctly."""
        return self._scores([run.tracks for run in self.runs])

    @cached_property
    def validation(self) -> TrackScores | None:
        """How often each distinct validation track was classified correctly; None if a run lacks their predictions."""
        tables = [table for run in self.runs if (table := run.validation) is not None and table.track_ids]
        return self._scores(tables) if len(tables) == len(self.runs) else None

    def _scores(self, tables: Sequence[TrackPredictions]) -> TrackScores:
        """Return how often each track was classified correctly, given one table of predictions per run."""
        ids = tuple(sorted({track_id for table in tables for track_id in table.track_ids}))
        row_of = {seed: row for row, seed in enumerate(sorted({str(run.config.get("seed")) for run in self.runs}))}
        right, times = np.zeros((2, len(row_of), len(ids)), dtype=np.int64)
        keys: dict[str, Key] = {}
        for run, table in zip(self.runs, tables, strict=True):
            cells = row_of[str(run.config.get("seed"))], np.searchsorted(ids, table.track_ids)
            right[cells] += table.predicted == table.targets
            times[cells] += 1
            keys |= {track_id: track_key(run.dataset, track_id) for track_id in table.track_ids}
        groups = artist_groups(ids, {track_id: self.artists.get(key, ()) for track_id, key in keys.items()})
        return TrackScores(
            track_ids=ids,
            right=right.sum(axis=0),
            times=times.sum(axis=0),
            by_seed=right / times if times.all() else None,
            artist=artist_index(ids, groups),
        )

    @cached_property
    def interval(self) -> Interval:
        """95 % interval of the test accuracy over tracks."""
        return accuracy_interval(self.scores)

    @cached_property
    def genre_of(self) -> dict[str, str]:
        """True genre of each test track."""
        return {
            track_id: run.tracks.genres[target]
            for run in self.runs
            for track_id, target in zip(run.tracks.track_ids, run.tracks.targets, strict=True)
        }

    @property
    def deviation(self) -> float | None:
        """Standard deviation (n - 1) of the test accuracy over the runs; None for a single run."""
        return stdev(run.accuracy for run in self.runs) if len(self.runs) > 1 else None

    def mean(self, dotted: str) -> float | None:
        """Return the mean over the runs of a metric by its dotted key in ``metrics.json``; None if a run lacks it."""
        values = [get_metric(run.metrics, dotted) for run in self.runs]
        return None if None in values else fmean(values)

    @property
    def split_hashes(self) -> tuple[str, ...]:
        """Distinct hashes of the splits of the runs, sorted."""
        return tuple(sorted({run.split_hash for run in self.runs}))

    @property
    def seeds(self) -> int:
        """Number of distinct seeds."""
        return len({run.config.get("seed") for run in self.runs})

    @property
    def repeats(self) -> str:
        """Number of runs and how they differ, such as ``1``, ``3 seeds`` or ``15 (3 seeds x 5 folds)``."""
        runs, seeds, splits = len(self.runs), self.seeds, len(self.split_hashes)
        fold_of = ((get_metric(run.config, f"split.{key}") for key in ("fold", "inner_fold")) for run in self.runs)
        folds = len({tuple(folds) for folds in fold_of}) > 1
        parts = [f"{n} {word}" for n, word in ((seeds, "seeds"), (splits, "folds" if folds else "splits")) if n > 1]
        if not parts:
            return str(runs)
        if len(parts) == 1 and runs == seeds * splits:
            return parts[0]
        return f"{runs} ({' x '.join(parts)})" if runs == seeds * splits else f"{runs} ({' and '.join(parts)})"

    def of_genre(self, genre: str) -> TrackScores | None:
        """Return the scores of the test tracks of one genre; None if there are none."""
        chosen = [row for row, track_id in enumerate(self.scores.track_ids) if self.genre_of[track_id] == genre]
        if not chosen:
            return None
        ids = tuple(self.scores.track_ids[row] for row in chosen)
        return TrackScores(track_ids=ids, right=self.scores.right[chosen], times=self.scores.times[chosen])

    @cached_property
    def effective_n(self) -> float | None:
        """Result of `genreclf.evaluation.intervals.effective_tracks` on the test; None if no artists are known."""
        artist = self.scores.artist
        return None if artist is None else effective_tracks(self.scores.shares, artist)

    @property
    def artist_accuracy(self) -> float | None:
        """Test accuracy with each artist counting once; None if no artists are known."""
        artist = self.scores.artist
        return None if artist is None else artist_accuracy(self.scores.shares, artist)

    @cached_property
    def genres(self) -> tuple[str, ...]:
        """All classes of the runs, sorted."""
        return tuple(sorted({genre for run in self.runs for genre in run.tracks.genres}))

    def confusion(self) -> NDArray[np.int64]:
        """Return the confusion matrix summed over all runs, true genre by predicted genre, in the order of `genres`."""
        counts = np.zeros((len(self.genres),) * 2, dtype=np.int64)
        for run in self.runs:
            index = [self.genres.index(genre) for genre in run.tracks.genres]
            counts[np.ix_(index, index)] += confusion(run.tracks)
        return counts


def group_runs(
    runs: Sequence[FinishedRun], artists: Mapping[Key, Sequence[str]] | None = None
) -> tuple[list[Experiment], list[str]]:
    """Group runs into experiments over seeds and folds.

    Args:
        runs: Runs to group.
        artists: Known artists of the tracks, keyed by `genreclf.experiment.lineage.track_key`.

    Returns:
        The experiments, and warnings for the reader. Experiments are sorted by split, with leaky splits last, and on
        the same split by decreasing validation accuracy, so that the order does not depend on the test.
    """
    members: dict[str, dict[tuple[Any, ...], FinishedRun]] = defaultdict(dict)
    left_out: list[FinishedRun] = []
    for run in runs:
        cell = (run.config.get("seed"), run.split_hash)
        group = members[digest(settings_of(run.config))]
        if cell in group:
            left_out.append(run)
        else:
            group[cell] = run
    groups = [tuple(cells.values()) for cells in members.values()]
    experiments = sorted(_named(groups, artists or {}), key=_order)
    warnings = []
    if left_out:
        named = ", ".join(str(run.path) for run in left_out)
        warnings.append(
            f"Left out because they repeat the seed and split of another run with the same settings: {named}."
        )
    if len({len(experiment.runs) for experiment in experiments}) > 1:
        warnings.append("The experiments have different numbers of runs: means over fewer are less reliable.")
    return experiments, warnings + _possibly_the_same(experiments)


def _possibly_the_same(experiments: Sequence[Experiment]) -> list[str]:
    """Return a warning about experiments that may be one, as runs that they start from cannot be read; else nothing."""
    alike: dict[str, list[Experiment]] = defaultdict(list)
    for experiment in experiments:
        settings = {key: "" if key in START_KEYS else value for key, value in experiment.settings.items()}
        alike[digest(settings)].append(experiment)
    unread: dict[str, Path] = {}
    names: list[str] = []
    for members in alike.values():
        started = [{path: run.path for run in each.runs for path in unread_starts(run.config)} for each in members]
        if len({frozenset(paths) for paths in started}) > 1:
            unread |= {path: run for paths in started for path, run in paths.items()}
            names += [experiment.name for experiment in members]
    if not unread:
        return []
    path = min(unread)
    more = f", nor can {len(unread) - 1} more" if len(unread) > 1 else ""
    return [
        f"{path}, from which {unread[path]} started, cannot be read here{more}, so {some(names, 4)} are separate "
        "experiments even if they differ only in their seeds: compare them where those runs can be read."
    ]


def _named(groups: Sequence[tuple[FinishedRun, ...]], artists: Mapping[Key, Sequence[str]]) -> list[Experiment]:
    settings = [settings_of(runs[0].config) for runs in groups]
    recipes = {digest(recipe_of(each)): recipe_of(each) for each in settings}
    name_of = dict(zip(recipes, recipe_names(list(recipes.values())), strict=True))
    names = [name_of[digest(recipe_of(each))] for each in settings]
    splits = split_names(
        [
            (
                str(get_metric(runs[0].metrics, "split.name")),
                {key: each[key] for key in each if key.startswith("split.")},
            )
            for runs, each in zip(groups, settings, strict=True)
        ]
    )
    several = len(set(splits)) > 1
    experiments = []
    for runs, each, name, split in zip(groups, settings, names, splits, strict=True):
        leaky = any(get_metric(run.metrics, "split.leaky") for run in runs)
        title = f"{name}, {split}" if several else name
        for mark in dict.fromkeys(mark for run in runs for mark in marks_of(run.metrics)):
            title += f" ({mark})"
        experiments.append(
            Experiment(
                name=name,
                split=split,
                title=f"{title} (LEAKY)" if leaky else title,
                settings=each,
                runs=runs,
                artists=artists,
            )
        )
    return experiments


def _order(experiment: Experiment) -> tuple[bool, str, float, tuple[str, ...], str]:
    validation = experiment.mean("val.track.accuracy")
    return experiment.leaky, experiment.split, -(validation or 0.0), experiment.split_hashes, experiment.name
