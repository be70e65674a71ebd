"""``python -m genreclf app RUN``: a page in the browser that hears songs."""

import argparse
import math
import shlex
import signal
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from genreclf.cli.trusting import add_trust
from genreclf.errors import UserError

if TYPE_CHECKING:
    from genreclf.recommend import Library

MEGABYTES, MINUTES, PORT = 50.0, 15.0, 7860


def main(arguments: list[str]) -> None:
    """Serve the page until Ctrl+C."""
    options = parser().parse_args(arguments)
    if find_spec("gradio") is None:
        raise UserError('app needs the extra of this name: python -m pip install -e ".[app]"')
    from genreclf.app.server import LOOPBACK, serve
    from genreclf.app.song_page import Limits

    library, without_library = _library(options.run, options.library)

    def ready(address: str) -> None:
        # Ends as with Ctrl+C, so that what visitors sent is deleted.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if options.host not in LOOPBACK:
            print(f"Note: whoever reaches {options.host} can use the page; it has no password.", file=sys.stderr)
        print(f"{address}  (Ctrl+C ends it)", flush=True)

    with suppress(KeyboardInterrupt):
        serve(
            options.run,
            trust=options.trust,
            host=options.host,
            port=options.port,
            songs=options.songs,
            library=library,
            without_library=without_library,
            limits=Limits(megabytes=options.max_mb, minutes=options.max_minutes),
            ready=ready,
        )


def _library(run: Path, directory: Path | None) -> tuple["Library | None", str]:
    """Return the run's library, and what the page says where there is none."""
    from genreclf.recommend import Library

    if directory is None and not Library.exists(run):
        command = f"python -m genreclf index {shlex.quote(str(run))} FOLDER"
        return None, f"The run has no library of songs yet; make one, then start the page again: {command}"
    try:
        library = Library.of_run(run, directory=directory)
    except UserError as error:
        if directory is not None:
            raise
        print(f"Note: {error}", file=sys.stderr)
        return None, "The run's library of songs cannot be used; the terminal where the page was started says why."
    if library.notice is not None:
        print(f"Note: {library.notice}", file=sys.stderr)
    return library, ""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"app: {message}; python -m genreclf app --help shows how.")


def parser() -> argparse.ArgumentParser:
    """Return what reads the words after ``app``."""
    words = _Parser(
        prog="python -m genreclf app",
        description="Serve a page: drop or record a song, see its genres move with the music, hear songs like it.",
    )
    words.add_argument("run", metavar="RUN", type=Path, help="run directory")
    words.add_argument(
        "--host", default="127.0.0.1", help="address to listen at; default: 127.0.0.1, this machine alone"
    )
    words.add_argument("--port", type=_port, default=PORT, help=f"default: {PORT}; 0 takes a free one")
    words.add_argument("--songs", type=Path, metavar="DIR", help="folder of example songs; default: computed music")
    words.add_argument("--library", type=Path, metavar="DIR", help="songs to recommend; default: the run's own library")
    words.add_argument("--max-mb", type=_above_zero, default=MEGABYTES, metavar="MB", help=f"default: {MEGABYTES:g}")
    words.add_argument("--max-minutes", type=_above_zero, default=MINUTES, metavar="MIN", help=f"default: {MINUTES:g}")
    add_trust(words)
    return words


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port from 0 to 65535")
    return int(text)


def _above_zero(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is no number above 0")
    return number
