"""``python -m genreclf app RUN``: serve a web page that predicts the genres of songs and recommends similar ones."""

import math
import shlex
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from genreclf.cli.parser import Parser, number
from genreclf.cli.printing import note
from genreclf.errors import UserError, require
from genreclf.limits import VISITORS_SONG_MB, VISITORS_SONG_MIN

if TYPE_CHECKING:
    from genreclf.recommend import Library

PORT = 7860


def main(arguments: list[str]) -> None:
    """Serve the page until Ctrl+C is pressed."""
    options = parser().parse(arguments)
    require("app", "app", "gradio")
    from genreclf.app.server import LOOPBACK, serve
    from genreclf.app.song_page import Limits

    library, without_library = _library(Path(options.run), options.library)

    def ready(address: str) -> None:
        # SIGTERM ends the server like Ctrl+C does, so that the songs sent by visitors are deleted.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if options.host not in LOOPBACK:
            note(f"anyone who can reach {options.host} can use the page; it has no password.")
        print(f"{address}  (press Ctrl+C to stop)", flush=True)

    with suppress(KeyboardInterrupt):
        serve(
            Path(options.run),
            device=options.device,
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
    """Return the library of the run and an empty text, or None and the sentence that the page shows without one."""
    from genreclf.recommend import Library

    if directory is None and not Library.exists(run):
        command = f"python -m genreclf index {shlex.quote(str(run))} FOLDER"
        note(f"the page recommends no songs because the run has no library; create one: {command}")
        return None, "This page has no other songs to compare it with."
    try:
        library = Library.of_run(run, directory=directory)
    except UserError as error:
        if directory is not None:
            raise
        note(str(error))
        return None, "The songs to compare it with cannot be read now."
    note(library.notice)
    return library, ""


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser("app", "Serve a page: drop or record a song, see its genres over time, and find songs like it.")
    command.add_run()
    command.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; default: 127.0.0.1 (this machine only)"
    )
    command.add_argument(
        "--port",
        type=number(int, 0, 65535, "port from 0 to 65535"),
        default=PORT,
        help=f"default: {PORT}; 0: a free port",
    )
    command.add_device()
    command.add_argument(
        "--songs",
        type=Path,
        metavar="DIR",
        help="folder of example songs; default: test songs of the run, or synthetic ones",
    )
    command.add_argument("--library", type=Path, metavar="DIR", help="library to recommend from; default: RUN/library")
    above_zero = number(float, math.ulp(0), 1e6, "number above 0")
    for name, default, unit in (("--max-mb", VISITORS_SONG_MB, "MB"), ("--max-minutes", VISITORS_SONG_MIN, "MIN")):
        command.add_argument(name, type=above_zero, default=default, metavar=unit, help=f"default: {default:g}")
    return command
