"""``python -m genreclf compare RUN_OR_SWEEP...``: compare finished runs and write a report."""

import sys
from pathlib import Path

from genreclf.cli.parser import Parser
from genreclf.escaping import printable, say


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser(
        "compare", "Group finished runs over seeds and folds, test them on the same tracks, write a report."
    )
    command.add_argument("paths", nargs="+", type=Path, metavar="RUN_OR_SWEEP", help="a run, or a folder of runs")
    command.add_argument(
        "--artists", type=Path, metavar="FILE", help="file with the artists of the test tracks, as for data.artists"
    )
    command.add_argument(
        "--without-tracks",
        type=Path,
        metavar="FILE",
        help="test tracks to leave out, such as those that settings were chosen by: one id per line, or the "
        "val_predictions.csv of a run",
    )
    command.add_argument("--out", type=Path, metavar="DIR", help="folder for the report")
    command.add_argument(
        "--format",
        choices=("table", "markdown", "csv", "latex"),
        default="table",
        help="format of the printed table; the report has all of them",
    )
    return command


def main(arguments: list[str]) -> None:
    """Print the table, write the report and print its path; in formats for pipes, only the table goes to stdout."""
    asked = parser().parse(arguments)
    from genreclf.comparison.comparison import compare
    from genreclf.comparison.report import default_folder, write_comparison
    from genreclf.comparison.sections import first_of_each_split
    from genreclf.comparison.tables import FORMATS, terminal_table

    comparison = compare(asked.paths, asked.artists, asked.without_tracks)
    folder = asked.out or default_folder(asked.paths, comparison, without_tracks=asked.without_tracks is not None)
    page = write_comparison(folder, comparison)
    said = sys.stdout
    if asked.format == "table":
        from rich.console import Console

        Console().print(terminal_table(comparison))
    else:
        sys.stdout.write(printable(FORMATS[asked.format](comparison), keep="\n"))
        said = sys.stderr
    for sentence in (*first_of_each_split(comparison), *comparison.refusals, *comparison.warnings):
        say(sentence, said)
    say(f"Report: {page}", said)
