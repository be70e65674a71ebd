"""``python -m genreclf show [overrides]``: draw the tracks of a source."""

import argparse
import dataclasses
from pathlib import Path
from typing import NoReturn

from genreclf.errors import UserError
from genreclf.escaping import say


def parser() -> argparse.ArgumentParser:
    """Return what reads the words after ``show``."""

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise UserError(f"show: {message}; python -m genreclf show [KEY=VALUE ...] [--genre G] [--out DIR]")

    words = Parser(prog="genreclf show", description="Draw waveform, spectrograms and genres of a source.")
    words.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="such as data=gtzan")
    words.add_argument("--genre", metavar="G", help="whose tracks are drawn; default: the first")
    words.add_argument("--out", type=Path, metavar="DIR", help="where to; default: outputs/show/<source>")
    words.add_argument("--wandb", action="store_true", help="add the pictures to W&B as well")
    return words


def main(arguments: list[str]) -> None:
    """Draw, say where the pictures lie, and add them to W&B if that was asked for."""
    asked = parser().parse_intermixed_args(arguments)
    from genreclf.cli.compose import checked

    config = checked(asked.overrides, run_dir="-")
    from genreclf.experiment.show import show

    warnings, paths = show(config, asked.out, asked.genre)
    for notice in warnings:
        say(f"Note: {notice}")
    if asked.wandb:
        from genreclf.config.schema import LOGGERS
        from genreclf.run_directory import RunDirectory
        from genreclf.training.loggers import Tracking

        settings = {key: value for key, value in dataclasses.asdict(config.logger).items() if key not in LOGGERS}
        with Tracking(kinds=["wandb"], run=RunDirectory(paths[0].parent), config=config.plain, **settings) as tracking:
            tracking.add_pictures(lambda: paths)
    for path in paths:
        print(path)
