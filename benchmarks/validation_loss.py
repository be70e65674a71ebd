"""Print validation losses of finished runs, at one epoch and as a mean of five epochs, to judge parts of a network.

    python -m benchmarks.validation_loss outputs/ablation

The lowest loss of all epochs favors runs whose loss fluctuates from epoch to epoch: some fluctuation ends lower without
a better network. The lowest mean of five consecutive epochs does so much less. Both are in nats per validation track.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from genreclf.comparison.comparison import compare
from genreclf.comparison.experiments import Experiment
from genreclf.comparison.runs import FinishedRun
from genreclf.errors import UserError
from genreclf.reports.tables import MISSING, percent, span

EPOCHS = 5
"""Number of consecutive epochs whose mean loss is computed."""


def main() -> None:
    """Print a table with a row for each experiment, with the lowest loss first."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("paths", nargs="+", type=Path, metavar="RUN_OR_SWEEP", help="a run, or a folder of runs")
    try:
        print(*table(compare(words.parse_args().paths).experiments), sep="\n")
    except UserError as error:
        words.error(str(error))


def table(experiments: Sequence[Experiment]) -> list[str]:
    """Return the lines of the Markdown table."""
    ordered = sorted(experiments, key=lambda each: fmean(least_mean(losses_of(run)) for run in each.runs))
    figures = (
        "mean of five epochs",
        "by seed",
        "at one epoch",
        "accuracy there",
        "test",
        "95 %, tracks",
        "95 %, artists",
    )
    header = ("experiment", *figures)
    lines = [header, ("---",) * len(header), *map(cells, ordered)]
    return [f"| {' | '.join(line)} |" for line in lines]


def cells(experiment: Experiment) -> tuple[str, ...]:
    """Return the table row of an experiment."""
    runs = sorted(experiment.runs, key=lambda run: int(run.config["seed"]))
    means = [least_mean(losses_of(run)) for run in runs]
    return (
        experiment.title,
        f"{fmean(means):.3f}",
        " ".join(f"{mean:.3f}" for mean in means),
        f"{fmean(min(losses_of(run)) for run in runs):.3f}",
        percent(experiment.mean("val.track.accuracy")),
        percent(experiment.scores.accuracy),
        span(experiment.interval.low, experiment.interval.high),
        MISSING if (artists := experiment.scores.artist_interval) is None else span(*artists),
    )


def losses_of(run: FinishedRun) -> list[float]:
    """Return the validation loss per track of each epoch.

    Raises:
        UserError: The run has no validation losses, as it was not trained.
    """
    losses = [row["val/track_loss"] for row in run.history if "val/track_loss" in row]
    if not losses:
        raise UserError(f"{run.path} holds no validation losses: name runs that were trained, not evaluations.")
    return losses


def least_mean(losses: Sequence[float]) -> float:
    """Return the lowest mean of five consecutive epochs, or the mean of all epochs if there are fewer."""
    count = min(EPOCHS, len(losses))
    return min(fmean(losses[first : first + count]) for first in range(len(losses) - count + 1))


if __name__ == "__main__":
    main()
