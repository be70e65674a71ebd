"""``python -m genreclf evaluate RUN [overrides]``: test the best checkpoint of a run again, on any data and devices."""

import argparse
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from genreclf.cli.trusting import add_trust
from genreclf.errors import UserError

HELP = """usage: python -m genreclf evaluate RUN [KEY=VALUE ...]

Test the best checkpoint of a run again, by default as it was tested, and write metrics and predictions into a new
folder, RUN/evaluations/TIME or run_dir=DIR. Settings choose other data, another split or other devices, such as
split=artist_folds split.fold=3 trainer.devices=2. Test tracks that the run, or one that it started from, trained or
validated on make the result LEAKY; split.unseen=true leaves them out."""


def main(arguments: list[str]) -> None:
    """Write metrics and predictions into `run_dir`, by default a new folder beside the run's checkpoints."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(HELP)
        return
    from genreclf.cli.compose import checked_again, refuse_without_effect
    from genreclf.run_directory import RunDirectory

    if not arguments or "=" in (asked := _parser().parse_intermixed_args(arguments)).run:
        raise UserError("evaluate wants a run directory first: python -m genreclf evaluate RUN [KEY=VALUE ...]")
    refuse_without_effect(asked.overrides)
    run = RunDirectory(asked.run)
    run_dir = run.path / "evaluations" / datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    config = checked_again(run, asked.overrides, trust=asked.trust, run_dir=str(run_dir), init_from=asked.run)
    if Path(config.run_dir).resolve() == run.path.resolve():
        raise UserError(f"run_dir={config.run_dir} is the run itself; choose another for its evaluation.")
    from genreclf.experiment.run import carry_out

    carry_out("evaluate", config)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"evaluate: {message}; python -m genreclf evaluate RUN [KEY=VALUE ...]")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m genreclf evaluate",
        description="Test the best checkpoint of a run again, on any data and devices; RUN/evaluations gets a folder "
        "of it, unless run_dir says otherwise.",
    )
    parser.add_argument("run", metavar="RUN", help="run directory")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as data.root=DIR, split=track")
    add_trust(parser)
    return parser
