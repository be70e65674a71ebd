"""The comparison as files: Markdown, CSV, LaTeX, pictures, and one page that needs nothing else."""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from genreclf.comparison.comparison import Comparison
from genreclf.comparison.experiments import Experiment
from genreclf.comparison.runs import figure
from genreclf.comparison.sections import CAPTIONS, EXPERIMENTS_DRAWN, Section, sections_of
from genreclf.comparison.significance import accuracy_interval
from genreclf.comparison.tables import csv_text, latex, pairs_csv_text
from genreclf.errors import UserError
from genreclf.plots.comparison import ExperimentPlot, Share, draw_all
from genreclf.reports.run import markdown_table
from genreclf.run_directory import atomic_write_text


def default_folder(paths: Sequence[Path], comparison: Comparison) -> Path:
    """Return where a comparison goes: into the one sweep it is of, else a folder in ``outputs`` named by its runs."""
    if len(paths) == 1 and paths[0].resolve() not in {run.path.resolve() for run in comparison.runs}:
        return paths[0] / "comparison"
    runs = sorted(str(run.path.resolve()) for run in comparison.runs)
    return Path("outputs") / f"comparison-{hashlib.sha256(chr(0).join(runs).encode()).hexdigest()[:10]}"


def write_comparison(folder: Path, comparison: Comparison) -> Path:
    """Write all files of a comparison.

    Returns:
        The page, ``comparison.html``.

    Raises:
        UserError: The folder cannot be made or written to.
    """
    try:
        pictures = draw_all(folder / "figures", [plotted(each) for each in comparison.experiments[:EXPERIMENTS_DRAWN]])
        sections = sections_of(comparison, [(path, CAPTIONS[path.name]) for path in pictures])
        atomic_write_text(folder / "comparison.csv", csv_text(comparison))
        atomic_write_text(folder / "pairs.csv", pairs_csv_text(comparison))
        atomic_write_text(folder / "comparison.tex", latex(comparison))
        atomic_write_text(folder / "comparison.md", _markdown(sections, folder))
        page = folder / "comparison.html"
        atomic_write_text(page, _page(sections))
    except OSError as error:
        raise UserError(f"{folder} cannot be written to ({error.strerror}); choose another with --out.") from error
    return page


def plotted(experiment: Experiment) -> ExperimentPlot:
    """Return what the plots show of an experiment."""
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
        parameters=max(int(figure(run.metrics, "parameters")) for run in experiment.runs),
        genres=experiment.genres,
        confusion=experiment.confusion(),
        histories=[run.history for run in experiment.runs],
    )


def _markdown(sections: Iterable[Section], folder: Path) -> str:
    parts = ["# Comparison"]
    for section in sections:
        parts.append(f"## {section.title}")
        if section.warning:
            parts.append(f"> [!WARNING]\n> {_plain(section.warning)}")
        if section.table:
            parts.append(markdown_table(section.table.header, section.table.cells, words=section.table.words))
        parts += map(_plain, section.text)
        parts += ["\n".join(f"- {_plain(point)}" for point in section.points)] if section.points else []
        parts += [f"![{caption}]({path.relative_to(folder).as_posix()})" for path, caption in section.pictures]
    return "\n\n".join(parts) + "\n"


def _plain(words: str) -> str:
    return words.replace("<", "&lt;")


def _page(sections: Sequence[Section]) -> str:
    """Return a page that holds its style and its pictures, so that it opens without network."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("genreclf.comparison", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters["data_uri"] = _data_uri
    return templates.get_template("page.html.jinja").render(sections=sections)


def _data_uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
