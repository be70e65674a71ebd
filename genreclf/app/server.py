"""Serve the page, the songs that the page plays, and the run's report."""

import os
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genreclf.app.examples import Examples
from genreclf.app.facts import facts
from genreclf.app.media_registry import MediaRegistry
from genreclf.app.song_page import Limits, SongPage
from genreclf.errors import UserError
from genreclf.inference.predictor import GenrePredictor
from genreclf.run_directory import RunDirectory

if TYPE_CHECKING:
    from fastapi import FastAPI
    from uvicorn import Server

    from genreclf.recommend import Library

LOOPBACK = ("127.0.0.1", "localhost")

_REPORT = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Report</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
img { max-width: 100%; } table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { padding: 0.2rem 0.7rem; border-bottom: 1px solid #ddd; } </style></head><body>"""


def serve(
    run: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    songs: Path | None = None,
    library: "Library | None" = None,
    without_library: str = "",
    limits: Limits | None = None,
    device: str = "cpu",
    trust: Sequence[str] = (),
    ready: Callable[[str], None] = print,
) -> None:
    """Serve the page of a run until the process is interrupted.

    Args:
        run: Run directory.
        host: Address to listen on; the default can be reached only from the same machine.
        port: Port to listen on; 0 chooses a free port.
        songs: Folder of example songs; None takes them from the run's dataset, see
            `genreclf.app.examples.Examples.of_run`.
        library: Library from which similar songs are recommended; None recommends none.
        without_library: Text that is shown if there are no recommended songs.
        limits: Maximum size and length of a visitor's song; None uses the defaults.
        device: Device on which the network computes, see `genreclf.devices.find_device`.
        trust: Modules from which the run may load model classes.
        ready: Function that is called with the page's URL once the server listens.

    Raises:
        UserError: The run cannot be loaded, the folder holds no songs, or the port is taken.
    """
    directory = RunDirectory(run)
    predictor = GenrePredictor.of_run(run, device=device, trust=trust)
    found = facts(directory, predictor)
    limits = limits or Limits()
    listening = listening_at(host, port)
    with listening, tempfile.TemporaryDirectory(prefix="genreclf-app-") as temporary:
        # Gradio reads these variables when it is imported.
        uploads = Path(temporary, "uploads")
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_TEMP_DIR": str(uploads)}
        examples = (
            Examples.of_run(directory, Path(temporary, "examples")) if songs is None else Examples.of_folder(songs)
        )
        song_page = SongPage(
            predictor=predictor,
            library=library,
            without_library=without_library,
            media=MediaRegistry(copies=Path(temporary, "copies")),
            limits=limits,
        )
        hosts = LOOPBACK if host in LOOPBACK else None
        app = application(directory, song_page, examples, found, uploads=uploads, hosts=hosts)
        name = f"[{host}]" if ":" in host else host
        ready(f"http://{name}:{listening.getsockname()[1]}")
        http_server(app).run([listening])


def http_server(app: "FastAPI") -> "Server":
    """Return a server of the page for HTTP/1.1, which closes connections with incomplete requests."""
    from uvicorn import Config, Server

    from genreclf.app.connections import ImpatientProtocol

    return Server(Config(app, log_level="warning", timeout_graceful_shutdown=2, http=ImpatientProtocol, ws="none"))


def application(
    run: RunDirectory,
    song_page: SongPage,
    examples: Examples,
    facts: dict[str, Any],
    *,
    uploads: Path,
    hosts: tuple[str, ...] | None = None,
) -> "FastAPI":
    """Return the web application with the page, its songs and the report.

    Args:
        run: Run directory.
        song_page: Answers the requests of visitors.
        examples: Example songs of the page.
        facts: Values for the header of the page; see `genreclf.app.facts`.
        uploads: Folder in which gradio stores uploads, its ``GRADIO_TEMP_DIR``.
        hosts: Host names under which the page may be requested; None allows any.
    """
    import gradio
    from fastapi import FastAPI, HTTPException
    from fastapi.responses import FileResponse, HTMLResponse
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from genreclf.app.guard import Guard
    from genreclf.app.page import css, page, theme

    largest_song_bytes = round(song_page.limits.megabytes * 1e6)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, uploads=uploads, largest_song_bytes=largest_song_bytes)
    if hosts is not None:
        # Otherwise another website could point its own host name at this server (DNS rebinding).
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))

    @app.get("/song/{token}")
    def song(token: str) -> FileResponse:
        path = song_page.media.playable(token)
        if path is None:
            raise HTTPException(404)
        return FileResponse(path)

    @app.get("/report")
    def report() -> HTMLResponse:
        from markdown_it import MarkdownIt

        if not run.holds(run.report):
            raise HTTPException(404)
        words = MarkdownIt("commonmark", {"html": False}).enable("table").render(run.report.read_text("utf-8"))
        return HTMLResponse(f"{_REPORT}{words}</body></html>")

    @app.get("/figures/{name}")
    def figure(name: str) -> FileResponse:
        path = {path.name: path for path in run.figures.glob("*.png") if run.holds(path)}.get(name)
        if path is None:
            raise HTTPException(404)
        return FileResponse(path)

    mounted: FastAPI = gradio.mount_gradio_app(
        app,
        page(song_page=song_page, examples=examples, facts=facts),
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=largest_song_bytes,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        css=css(examples),
        head='<meta name="description" content="Recognizes the genre of a song over time, and finds similar songs.">',
    )
    return mounted


def listening_at(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        UserError: The socket cannot listen, for example because the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()
    except OSError as error:
        listening.close()
        raise UserError(
            f"The page cannot be served at {host}:{port} ({error.strerror}); choose another --host or --port."
        ) from error
    return listening
