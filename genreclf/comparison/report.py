"""Write the files of a comparison: Markdown, CSV, LaTeX, plots, and a self-contained HTML page."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from genreclf.comparison.comparison import Comparison
from genreclf.comparison.experiments import Experiment
from genreclf.comparison.layers import layer_curves
from genreclf.comparison.sections import CAPTIONS, EXPERIMENTS_DRAWN, sections_of
from genreclf.comparison.significance import accuracy_interval
from genreclf.comparison.tables import PAIR_COLUMNS, columns_of, most_parameters, table_of
from genreclf.errors import UserError
from genreclf.plots.comparison import ExperimentPlot, Share, draw_all
from genreclf.plots.layers import draw_layers
from genreclf.reports.rendering import render
from genreclf.reports.tables import csv_text
from genreclf.run_directory import atomic_write_text


def default_folder(paths: Sequence[Path], comparison: Comparison, *, without_tracks: bool) -> Path:
    """Return the default folder of a comparison.

    A single folder of runs, such as a sweep, holds its comparison itself. Any other comparison is in ``outputs``, in a
    folder named by a hash of the paths of the runs. A comparison that leaves out test tracks has a separate folder.
    """
    end = "-without-tracks" if without_tracks else ""
    if len(paths) == 1 and paths[0].resolve() not in {run.path.resolve() for run in comparison.runs}:
        return paths[0] / f"comparison{end}"
    runs = sorted(str(run.path.resolve()) for run in comparison.runs)
    return Path("outputs") / f"comparison-{hashlib.sha256(chr(0).join(runs).encode()).hexdigest()[:10]}{end}"


def write_comparison(folder: Path, comparison: Comparison) -> Path:
    """Write all files of a comparison.

    Returns:
        Path of the HTML page, ``comparison.html``.

    Raises:
        UserError: The folder cannot be created or written to.
    """
    try:
        pictures = draw_all(folder / "figures", [plotted(each) for each in comparison.experiments[:EXPERIMENTS_DRAWN]])
        if curves := layer_curves(comparison.experiments):
            pictures.insert(0, folder / "figures/layers.png")
            draw_layers(pictures[0], curves)
        sections = sections_of(comparison, [(path, CAPTIONS[path.name]) for path in pictures])
        atomic_write_text(folder / "comparison.csv", csv_text(columns_of(comparison), comparison.experiments))
        atomic_write_text(folder / "pairs.csv", csv_text(PAIR_COLUMNS, comparison.pairs))
        atomic_write_text(folder / "comparison.tex", table_of(comparison).latex())
        atomic_write_text(folder / "comparison.md", render("comparison.md", sections=sections, folder=folder))
        page = folder / "comparison.html"
        atomic_write_text(page, render("comparison.html", sections=sections))
    except OSError as error:
        raise UserError(f"{folder} cannot be written to ({error.strerror}); choose another with --out.") from error
    return page


def plotted(experiment: Experiment) -> ExperimentPlot:
    """Return the data of an experiment that the plots show."""
    of_genre = {genre: experiment.of_genre(genre) for genre in experiment.genres}
    return ExperimentPlot(
        title=experiment.title,
        leaky=experiment.leaky,
        accuracy=Share(experiment.scores.accuracy, experiment.interval.low, experiment.interval.high),
        recalls={
            genre: Share(scores.accuracy, (interval := accuracy_interval(scores)).low, interval.high)
            for genre, scores in of_genre.items()
            if scores is not None
        },
        parameters=most_parameters(experiment),
        genres=experiment.genres,
        confusion=experiment.confusion(),
        histories=[run.history for run in experiment.runs],
    )
