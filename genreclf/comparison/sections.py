"""Content of the report of a comparison: headings, tables, paragraphs and plots, to be rendered as Markdown or HTML."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genreclf.comparison.comparison import NAMED, Comparison
from genreclf.comparison.experiments import Experiment
from genreclf.comparison.naming import recipe_of, shown, varying_keys
from genreclf.comparison.tables import PAIR_COLUMNS, interval, split_cell, table_of
from genreclf.evaluation.intervals import RESAMPLES
from genreclf.evaluation.metrics import get_metric
from genreclf.reports.tables import MISSING, Table, percent, span

PAIRS_SHOWN = 100
"""With more pairs than this, the report shows only the pairs of the top experiments."""

EXPERIMENTS_DRAWN = 24
"""Largest number of experiments that are plotted, from the top of the table."""

LEAKY = (
    "Rows marked LEAKY: training and test share songs, so a model can recognize the recording instead of the genre. Do "
    "not compare their accuracies with those of other splits."
)

PRETRAINED = (
    "Rows marked PRETRAINED: their encoder was trained on other data. The notes below the table name these data, their "
    "license, and how many test songs they contain. Do not compare these rows with networks trained from scratch as "
    "equals."
)

REFIT = (
    "Rows marked REFIT: they were trained on the validation tracks as well, with the settings and the number of epochs "
    "that another run had chosen on these tracks. So they have no validation accuracy to rank them by."
)

HOW = (
    "A row is an experiment: the runs that differ only in their seed or fold. Its accuracy is the mean, over its test "
    "tracks, of the fraction of runs that classified the track correctly. This is the mean over seeds on the same "
    "tracks, and the pooled accuracy over folds, with each track counting once. SD over runs is the standard deviation "
    "(n - 1) of the runs' accuracies; it includes the randomness of training and, with folds, that of the tracks. Clip "
    "accuracy, macro F1, validation accuracy and time are means over the runs.",
    "Within a split, experiments are ordered by validation accuracy. Choose by it, because the best of many test "
    "accuracies is too high. Accuracies on different splits come from different tracks.",
)

LIMITS = (
    "The 95 % interval is over tracks. If each track was tested once (one run, or folds without repeats), it is "
    "Wilson's (1927), else the bias-corrected and accelerated bootstrap (Efron, 1987) of the mean over tracks, with "
    f"{RESAMPLES:,} samples that keep all runs of a track together. It says how far the accuracy of these trained "
    "models could be from this value if other tracks had been drawn. Training again, another split, and errors in "
    "labels change it as well. Folds share training tracks, which no interval can account for (Bengio and Grandvalet, "
    "2004).",
    "A model tends to be right or wrong about several tracks of an artist at once, so the interval over tracks is too "
    "narrow. The interval over artists is a bootstrap that draws artists with all their tracks (Field and Welsh, "
    f"2007) and, if there are several seeds, the seeds independently: {RESAMPLES:,} samples, percentiles; if all "
    "artists have the same accuracy, it is Wilson's for the number of artists. With few artists, this interval is too "
    "narrow as well: in a simulation, it contained the true accuracy in 84 % of the trials with 3 artists, 87 % with "
    "10 and 92 % with 20 (docs/evaluation.md). Artists of a joint credit, and known repeats of a recording, count as "
    "one artist; a track whose artist is unknown counts as an artist of its own. The number of effective tracks is the "
    "number of tracks by different artists that would be equally informative: n divided by the design effect (Kish, "
    "1965). Without artists (data.artists in training, or --artists here) these columns are n/a.",
    "The paired test asks whether two experiments, as trained, are equally good on tracks like these. It is the exact "
    "McNemar test if each track was tested once in both, else the exact permutation test of the mean difference, "
    "which swaps the two experiments track by track. p (Holm) is corrected for all pairs tested (Holm, 1979). The "
    "test over artists is the exact permutation test that swaps the two experiments artist by artist, corrected "
    "likewise: only if this p is small does the difference hold for other artists. The interval of a difference over "
    "tracks is Student's of a mean; over artists it is a bootstrap of artists, drawn for both experiments together, "
    "and of the seeds of each. If all tracks, or all artists, have the same difference, the interval is this "
    "difference plus and minus the upper end of Wilson's interval for 0 of as many tracks or artists. The intervals "
    "are not corrected, and no test includes the randomness of training: see the SD over runs.",
)

CAPTIONS = {
    "layers.png": "Accuracy of probes on validation tracks by the encoder layer that they use, mean over seeds, with "
    "its 95 % interval; all: a weighted sum of all layers. The large mark is the best layer on these tracks (at equal "
    "accuracy, the one with the lowest loss); test tracks played no part in it.",
    "curves.png": "Loss and accuracy by epoch, in training, in validation, and both. Thick: mean over the runs, up to "
    "the last epoch of the shortest; thin: each run. Training accuracy is measured on augmented clips.",
    "confusion.png": "Confusion in % of each true genre, over all runs of an experiment.",
    "genre_recall.png": "Recall of each genre on test tracks, with its 95 % interval.",
    "accuracy_parameters.png": "Test accuracy on tracks, with its 95 % interval, by number of parameters. Markers "
    "with the same number are shifted apart; hollow ones are LEAKY.",
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the report, with the same content in Markdown and in HTML."""

    title: str
    """Heading of the section."""
    warning: str = ""
    """Highlighted warning at the top of the section; empty for none."""
    table: Table | None = None
    """Table below the warning."""
    text: Sequence[str] = ()
    """Paragraphs of text."""
    points: Sequence[str] = ()
    """Items of a bulleted list."""
    pictures: Sequence[tuple[Path, str]] = ()
    """Paths and captions of the plots."""


def first_of_each_split(comparison: Comparison) -> list[str]:
    """Return a sentence per honest split with several experiments: the best on validation and its test accuracy."""
    honest = [experiment for experiment in comparison.experiments if not experiment.leaky]
    sentences = []
    for split, hashes in dict.fromkeys((experiment.split, experiment.split_hashes) for experiment in honest):
        members = [each for each in honest if (each.split, each.split_hashes) == (split, hashes)]
        if len(members) > 1 and (highest := members[0].mean("val.track.accuracy")) is not None:
            first = [each for each in members if math.isclose(each.mean("val.track.accuracy") or 0.0, highest)]
            start = f"Of {len(members)} experiments on split {split}, "
            if len(first) == 1:
                words = (
                    f"{first[0].name} has the highest validation accuracy; its test accuracy is {_tested(first[0])}."
                )
            else:
                names = [each.name for each in first[:NAMED]]
                names += [f"{more} more"] if (more := len(first) - NAMED) > 0 else []
                words = f"{', '.join(names[:-1])} and {names[-1]} have the highest validation accuracy, "
                words += f"{percent(highest)} % each; their test accuracies, in that order: "
                words += f"{'; '.join(map(_tested, first[:NAMED]))}."
            sentences.append(start + words)
    return sentences


def _tested(experiment: Experiment) -> str:
    scores = experiment.scores
    return f"{percent(scores.accuracy)} % of {len(scores.track_ids)} tracks (95 % interval {_intervals(experiment)})"


def sections_of(comparison: Comparison, pictures: Sequence[tuple[Path, str]]) -> list[Section]:
    """Return the sections of the report that have any content.

    Args:
        comparison: Comparison to report.
        pictures: Paths and captions of the plots.
    """
    leaky = any(experiment.leaky for experiment in comparison.experiments)
    marks = {mark for experiment in comparison.experiments for mark in experiment.marks}
    notes = {"PRETRAINED": PRETRAINED, "REFIT": REFIT}
    sections = [
        Section(
            title="Experiments",
            warning=" ".join([LEAKY] * leaky + [notes[mark] for mark in notes if mark in marks]),
            table=table_of(comparison),
            text=(*first_of_each_split(comparison), *HOW),
            points=comparison.warnings,
        ),
        _leaks(comparison),
        _pairs(comparison),
        _figures(comparison, pictures),
        Section(title="What the intervals and tests mean", text=LIMITS),
        _settings(comparison),
        _runs(comparison),
    ]
    return [section for section in sections if section.table or section.text or section.points or section.pictures]


def _intervals(experiment: Experiment) -> str:
    artists = experiment.scores.artist_interval
    return interval(experiment) + (f", over artists {span(*artists)}" if artists else "")


def _with_intervals(experiment: Experiment) -> str:
    return f"{percent(experiment.scores.accuracy)} ({_intervals(experiment)})"


def _leaks(comparison: Comparison) -> Section:
    rows = [
        [
            leak.leaky.name,
            split_cell(leak.leaky),
            split_cell(leak.honest),
            _with_intervals(leak.leaky),
            _with_intervals(leak.honest),
            f"{100 * (leak.leaky.scores.accuracy - leak.honest.scores.accuracy):+.1f}",
            percent(leak.leaky.mean("test.clip.accuracy")),
            percent(leak.honest.mean("test.clip.accuracy")),
        ]
        for leak in comparison.leaks
    ]
    header = (
        "experiment",
        "LEAKY split",
        "honest split",
        "LEAKY: tracks (%)",
        "honest: tracks (%)",
        "leak (points)",
        "LEAKY: clips (%)",
        "honest: clips (%)",
    )
    text = (
        "The same settings with and without a leak. The difference says nothing about the model. It is not tested, "
        "because the tracks differ.",
    )
    return Section(
        title="The leak", table=Table(header=header, cells=rows, words=3) if rows else None, text=text if rows else ()
    )


def _figures(comparison: Comparison, pictures: Sequence[tuple[Path, str]]) -> Section:
    more = len(comparison.experiments) - EXPERIMENTS_DRAWN
    text = (f"The first {EXPERIMENTS_DRAWN} experiments of the table; {more} more are not drawn.",) if more > 0 else ()
    return Section(title="Figures", text=text, pictures=pictures)


def _pairs(comparison: Comparison) -> Section:
    shown, text = comparison.pairs, []
    if len(shown) > PAIRS_SHOWN:
        later = {id(pair.second) for pair in shown}
        shown = tuple(pair for pair in shown if id(pair.first) not in later)
        text = [f"The top experiments against all others; pairs.csv has all {len(comparison.pairs)} pairs."]
    if not shown and len(comparison.experiments) > 1:
        text = ["No two experiments have the same test tracks."]
    return Section(
        title="Paired tests on the same tracks",
        table=Table.of(PAIR_COLUMNS, shown) if shown else None,
        text=text,
        points=comparison.refusals,
    )


def _settings(comparison: Comparison) -> Section:
    recipes = {experiment.name: recipe_of(experiment.settings) for experiment in comparison.experiments}
    keys = sorted(varying_keys(list(recipes.values())))
    rows = [
        (name, " ".join(f"{key}={shown(recipe, key)}" for key in keys if key in recipe))
        for name, recipe in recipes.items()
    ]
    return Section(
        title="Settings that differ",
        table=Table(header=("experiment", "settings"), cells=rows, words=2) if keys else None,
    )


def _runs(comparison: Comparison) -> Section:
    rows = [
        [
            experiment.title,
            str(run.path),
            str(run.config.get("seed", MISSING)),
            run.split_hash,
            percent(run.accuracy),
            percent(get_metric(run.metrics, "val.track.accuracy")),
            str(get_metric(run.metrics, "epochs") or MISSING),
            run.device or MISSING,
        ]
        for experiment in comparison.experiments
        for run in experiment.runs
    ]
    header = (
        "experiment",
        "run",
        "seed",
        "split hash",
        "test accuracy, tracks (%)",
        "validation (%)",
        "epochs",
        "device",
    )
    return Section(title="Runs", table=Table(header=header, cells=rows, words=2))
