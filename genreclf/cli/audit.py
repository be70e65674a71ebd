"""``python -m genreclf audit [overrides]``: look for repeats, shared artists, odd sound and doubtful labels."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from genreclf.cli.parser import Parser
from genreclf.cli.printing import note, print_table, writing
from genreclf.errors import UserError
from genreclf.escaping import say


def main(arguments: list[str]) -> None:
    """Examine a dataset, write the findings to files, and print how many there are of each kind."""
    asked = parser().parse(arguments)
    from rich.console import Console
    from rich.progress import track

    from genreclf.audit.findings import examine
    from genreclf.audit.report import summary, write_audit
    from genreclf.cli.compose import checked

    config = checked(asked.overrides, run_dir="-", config_dir=asked.config_dir)
    if config.takes != "log_mel":
        raise UserError("audit compares spectrograms, which this model does not use: omit model and encoder.")

    def progress(steps: Sequence[int], what: str) -> Iterable[int]:
        return track(steps, what, console=Console(stderr=True), disable=not sys.stderr.isatty())

    findings = examine(config, asked.runs, progress)
    directory = asked.out or Path("outputs/audit") / findings.name
    with writing("--out", directory):
        paths = write_audit(directory, findings)
    note(*findings.warnings)
    print_table(("finding", "number"), summary(findings))
    for path in paths:
        say(path, sys.stdout)


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser(
        "audit",
        "Look for what is wrong with a dataset: exact and near repeats, artists in several subsets of the split, joint "
        "credits, clipping, silence, channels, bandwidth, odd lengths, unreadable files, and doubtful labels.",
    )
    command.add_overrides("as for a training, such as data=folder data.root=my/music")
    command.add_argument(
        "--runs",
        nargs="+",
        default=[],
        metavar="RUN",
        help="finished runs, such as the folds of split=artist_folds, whose test predictions show doubtful labels",
    )
    command.add_argument("--out", type=Path, metavar="DIR", help="output folder; default: outputs/audit/DATASET")
    return command
