"""Choose settings by cross-validation inside the training and validation tracks, without the test tracks."""

import math
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genreclf.comparison.experiments import Experiment, group_runs
from genreclf.comparison.naming import settings_of
from genreclf.comparison.runs import FinishedRun
from genreclf.comparison.significance import PairedTest, paired_test
from genreclf.comparison.tables import interval
from genreclf.config.options import options_parser
from genreclf.config.overrides import search_path
from genreclf.evaluation.metrics import get_metric
from genreclf.experiment.lineage import track_key
from genreclf.reports.tables import Column, Table, of_interval, of_value, percent, span
from genreclf.sweep.job import read_object
from genreclf.sweep.rows import FINISHED, Row, read_rows, without_replaced

INNER = ("split.inner_fold", "split.inner_folds")
"""Configuration keys of the inner folds."""

FOLDS_ALONE = "sweep=artist_cv"
"""Choice of a sweep that sets nothing but the inner folds."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Candidate:
    """A setting that was tried on the inner folds of one split."""

    experiment: Experiment
    """Runs with the setting, each tested on the inner fold that was held out from its training."""
    behind: PairedTest | None
    """Test of the chosen setting against this one on the same tracks; None for the chosen setting."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Choice:
    """Setting chosen by the inner folds of one split, and the settings it was chosen from."""

    outer: int | None
    """Outer fold; None if the split has no outer folds."""
    candidates: tuple[Candidate, ...]
    """Chosen setting, followed by the others in order of decreasing accuracy."""
    jobs: tuple[tuple[str, ...], ...]
    """Overrides of the jobs that train the chosen setting on the whole split, one job for each seed."""
    left_out: tuple[str, ...]
    """Names of settings without a fold or seed that other settings have; if there are none, of unfinished jobs."""

    @property
    def chosen(self) -> Experiment:
        """Setting with the highest accuracy over all inner folds, each predicted by runs that did not train on it."""
        return self.candidates[0].experiment

    @property
    def sentence(self) -> str:
        """Description of the choice in words: the setting, its accuracy and its lead over the next one."""
        name, of = self.chosen.name, f" in outer fold {self.outer}" if self.outer is not None else ""
        words = f"Chosen{of}: {name}, {accuracy_words(self.chosen)}."
        if len(self.candidates) > 1 and (test := self.candidates[1].behind) is not None:
            by = f"The next, {self.candidates[1].experiment.name}, is {100 * test.difference:.1f} points behind"
            over = test.ci95_artists
            words += f" {by}{f' (95 % interval over artists {span(*over)})' if over else ''}."
        if self.left_out:
            words += f" Not compared, as runs are missing: {', '.join(self.left_out)}."
        return words


def accuracy_words(experiment: Experiment) -> str:
    """Return the accuracy of an experiment in words, with 95 % intervals over tracks and, if known, over artists."""
    scores = experiment.scores
    over = f", over artists {span(*scores.artist_interval)}" if scores.artist_interval else ""
    return (
        f"{percent(scores.accuracy)} % of {len(scores.track_ids)} tracks (95 % interval {interval(experiment)}{over})"
    )


def choose(rows: Sequence[Row]) -> list[Choice]:
    """Choose a setting for each outer fold from the finished jobs of a sweep; empty if no job has inner folds.

    A setting is judged by its accuracy on the held-out tracks of all inner folds together, where each track counts
    once. These tracks were not used to choose the best epoch of a run.

    Raises:
        UserError: A file of a run is missing or damaged.
    """
    row_of = {row.path: row for row in rows if row.status == FINISHED}
    by_outer: dict[Any, list[FinishedRun]] = defaultdict(list)
    for path in row_of:
        run = FinishedRun.read(path)
        if get_metric(run.config, "split.inner_fold") is not None:
            by_outer[get_metric(run.config, "split.fold")].append(run)
    return [
        _choice(outer, by_outer[outer], row_of, list(_unfinished(rows, outer)))
        for outer in sorted(by_outer, key=lambda fold: (fold is None, fold))
    ]


def _unfinished(rows: Sequence[Row], outer: int | None) -> Iterator[str]:
    for row in rows:
        if row.status == FINISHED or not row.in_last_call:
            continue
        given = dict(word.lstrip("+").split("=", 1) for word in row.overrides if "=" in word)
        if INNER[0] in given and given.get("split.fold", str(outer)) == str(outer):
            yield " ".join(map("=".join, row.varies.items()))


def _choice(
    outer: int | None, runs: Sequence[FinishedRun], row_of: dict[Path, Row], unfinished: Sequence[str]
) -> Choice:
    known = {track_key(run.dataset, id): names for run in runs for id, names in run.artists.items()}
    experiments, _ = group_runs(runs, known)
    cells = {
        experiment: {(run.config.get("seed"), run.split_hash) for run in experiment.runs} for experiment in experiments
    }
    every = max(cells.values(), key=len)
    complete = sorted((each for each in experiments if cells[each] == every), key=lambda each: -each.scores.accuracy)
    chosen = complete[0]
    first_of_seed = {str(run.config.get("seed")): row_of[run.path] for run in reversed(chosen.runs)}
    return Choice(
        outer=outer,
        candidates=tuple(
            Candidate(experiment=each, behind=None if each is chosen else paired_test(chosen.scores, each.scores))
            for each in complete
        ),
        jobs=tuple(
            tuple(word for word in row.overrides if word.lstrip("+").partition("=")[0] not in INNER)
            for _, row in sorted(first_of_seed.items())
        ),
        # If every setting lacks the same fold, all look complete, so the jobs that are not finished are named.
        left_out=tuple(each.name for each in experiments if each not in complete) or tuple(unfinished),
    )


def chosen_jobs(sweep_dir: Path) -> list[list[str]]:
    """Return the overrides of the jobs that train the chosen settings of a sweep, for each outer fold and seed.

    Outer folds in which a run of any setting is missing are left out. Once that run is finished, the same command
    chooses again.
    """
    choices = choose(without_replaced(read_rows(sweep_dir)))
    return [list(job) for choice in choices if not choice.left_out for job in choice.jobs]


def command_of(choice: Choice, sweep_dir: Path) -> str:
    """Return the command that trains and tests the chosen setting with each seed."""
    command = read_object(sweep_dir / "sweep.json").get("command", [])[3:]
    options, _ = options_parser().parse_known_args(command)
    named = {name: getattr(options, name) for name in ("config_path", "config_name", "config_dir")}
    given = [word for name, value in named.items() if value for word in (f"--{name.replace('_', '-')}", value)]
    given += search_path(command)
    given += [word for word in command if word.lstrip("+").startswith("hydra.job.env_set")]
    words = [word for word in choice.jobs[0] if word != FOLDS_ALONE and not word.startswith("seed=")]
    if seeds := [word.removeprefix("seed=") for job in choice.jobs for word in job if word.startswith("seed=")]:
        words.append(f"seed={','.join(seeds)}")
    if keeps_sweep := any(word.startswith("sweep=") for word in words):
        words.append(f"{INNER[0]}=null")
    several = ["-m"] * (keeps_sweep or len(seeds) > 1)
    return shlex.join(["python", "-m", "genreclf", *several, *given, *words])


def tested(choices: Sequence[Choice], rows: Sequence[Row]) -> Experiment | None:
    """Return the runs of the chosen settings on their outer folds, as one experiment; None if there are no runs."""
    wanted = {choice.outer: _setting(choice.chosen.runs[0]) for choice in choices if choice.outer is not None}
    runs = [
        run
        for run in (FinishedRun.read(row.path) for row in rows if row.status == FINISHED)
        if get_metric(run.config, "split.inner_fold") is None
        and wanted.get(get_metric(run.config, "split.fold")) == _setting(run)
    ]
    if not runs:
        return None
    known = {track_key(run.dataset, id): names for run in runs for id, names in run.artists.items()}
    return Experiment(
        name="chosen", split=runs[0].metrics["split"]["name"], title="", settings={}, runs=tuple(runs), artists=known
    )


def outer_folds(experiment: Experiment) -> str:
    """Return the outer folds on which runs were tested, in words that say so if others are missing."""
    tested_folds = sorted({get_metric(run.config, "split.fold") for run in experiment.runs})
    folds = get_metric(experiment.runs[0].config, "split.folds")
    if folds in (None, len(tested_folds)):
        return "the outer folds"
    return f"{len(tested_folds)} of {folds} outer folds ({', '.join(map(str, tested_folds))})"


def _setting(run: FinishedRun) -> dict[str, Any]:
    return {key: value for key, value in settings_of(run.config).items() if key not in INNER}


def choice_table(choice: Choice) -> Table:
    """Return a table of the candidates of a choice, for reports."""

    def test(name: str) -> Any:
        return lambda each: None if each.behind is None else getattr(each.behind, name)

    def points(value: float | None) -> str:
        return "" if value is None else f"{-100 * value:+.1f}"

    def p(value: float | None) -> str:
        return "" if value is None else f"{value:.3g}"

    columns: list[Column[Candidate]] = [
        Column("", lambda each: each, "setting", lambda each: each.experiment.name, words=True),
        Column("", lambda each: each, "runs", lambda each: each.experiment.repeats, words=True),
        of_value("", "held-out accuracy, tracks (%)", lambda each: each.experiment.scores.accuracy, percent),
        *of_interval("", "95 % interval", lambda each: (each.experiment.interval.low, each.experiment.interval.high)),
        *of_interval("", "95 % interval, artists", lambda each: each.experiment.scores.artist_interval),
        of_value("", "against the first (points)", test("difference"), points),
        *of_interval("", "95 % interval, artists", lambda each: _turned(each.behind), missing=""),
        of_value("", "p, tracks", test("p"), p),
        of_value("", "p, artists", test("p_artists"), p),
    ]
    return Table.of(columns, choice.candidates)


def _turned(test: PairedTest | None) -> tuple[float, float] | None:
    ends = test.ci95_artists if test else None
    return None if ends is None or math.isnan(ends[0]) else (-ends[1], -ends[0])
