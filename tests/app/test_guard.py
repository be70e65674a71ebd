"""What a client gets that skips the page: other files, other addresses, too much, too slowly."""

import json
import os
import random
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from helpers import Trained
from served_page import FORM, Page, form, song

from genreclf import load
from genreclf.app.examples import Examples
from genreclf.app.facts import facts
from genreclf.app.media_registry import MediaRegistry
from genreclf.app.song_page import Limits, SongPage
from genreclf.run_directory import RunDirectory

pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason="needs the extra app")

NOT_MINE = (403, b"Not a song that was uploaded here.")
NOT_HERE = (404, b"Not an address of this page.")


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """A server on loopback: its address, and what it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"secret")

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()


@pytest.fixture(scope="module")
def page(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    from genreclf.app.server import application, http_server, listening_at

    async def public(_: str) -> str:
        return "127.0.0.1"

    folder = tmp_path_factory.mktemp("page")
    uploads = folder / "uploads"
    run = RunDirectory(shutil.copytree(trained.run.path, folder / "run"))
    (folder / "secret.png").write_text("secret")
    (run.figures / "secret.png").symlink_to(folder / "secret.png")
    predictor = load(run.path)
    media = MediaRegistry(copies=folder / "copies")
    limits = Limits(megabytes=1)
    song_page = SongPage(predictor=predictor, library=None, without_library="", media=media, limits=limits)
    with pytest.MonkeyPatch.context() as patch, listening_at("127.0.0.1", 0) as listening:
        # Gradio fetches from public addresses alone; here loopback is one.
        patch.setattr("safehttpx.async_validate_url", public)
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        examples = Examples.of_folder(trained.music)
        app = application(run, song_page, examples, facts(run, predictor), uploads=uploads)
        server = http_server(app)
        server.config.timeout_keep_alive = 1
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        served = Page(listening.getsockname()[1], uploads, "")
        status, answer = served.upload("mine.wav", (trained.music / "metal" / "0.wav").read_bytes())
        assert status == 200
        yield Page(served.port, uploads, json.loads(answer)[0])
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; x=multipart/form-data", 'APPLICATION/JSON; a="multipart/form-data"']
)
def test_only_uploads_are_analyzed(
    page: Page, trained: Trained, asked: tuple[str, list[str]], tmp_path: Path, kind: str
) -> None:
    address, fetched = asked
    elsewhere = shutil.copy(trained.music / "metal" / "0.wav", tmp_path / "elsewhere.wav")
    folder = Path(page.mine).parent
    (folder / "link.wav").symlink_to(elsewhere)
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    (folder / "out").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(folder / "pipe.wav")
    there = page.files()
    try:
        for path in [
            *(elsewhere, tmp_path / "nothing.wav", "/dev/zero", "/etc/passwd", "/proc/self/environ", "/"),
            *(f"{page.uploads}/../elsewhere.wav", f"{folder}/../../../elsewhere.wav", f"{page.uploads}-2/a.wav"),
            *(folder / name for name in ("link.wav", "loop.wav", "out/elsewhere.wav", "pipe.wav", "missing.wav")),
            *(page.uploads, folder, f"{address}/song.wav", f"file://{page.mine}", "song.wav", "", "\0", "a" * 5000),
        ]:
            for told in ("/gradio_api/call/analyze", "/gradio_api/queue/join"):
                assert page.tell({**song(str(path)), "session_hash": "x"}, told, kind) == NOT_MINE
        for odd in (None, 7, [page.mine], {"path": "/etc/passwd"}):
            assert page.tell(song(odd), kind=kind) == NOT_MINE
        twice = json.dumps(song(page.mine)).replace('"path"', f'"path": "{elsewhere}", "path"').encode()
        assert page.tell(twice, kind=kind)[0] == 200
        assert page.tell(json.dumps(song(str(elsewhere))).encode("utf-16"), kind=kind) == NOT_MINE
        assert page.tell({"data": [str(elsewhere)]}, kind=kind)[0] == 403
        assert page.tell({"data": [{"x": [song("/dev/zero")]}]}, kind=kind) == NOT_MINE
        assert page.tell({"data": [], "event_data": {"path": "/dev/zero"}}, kind=kind) == NOT_MINE
        assert not fetched
        assert page.files() == there
        assert "g-top-genre" in page.analyzed(page.mine)
    finally:
        for name in ("link.wav", "loop.wav", "out", "pipe.wav"):
            (folder / name).unlink()


def test_only_what_the_page_sends_is_taken(page: Page) -> None:
    mine = song(page.mine)
    for kind in (FORM, "multipart/form-data; x=application/json", "text/plain", "application/jsonp", ""):
        assert page.tell(mine, kind=kind)[0] == 415
    for kind in ("application/json; x=multipart/form-data", "application/octet-stream"):
        assert page.ask("POST", "/gradio_api/upload", form("a.wav", b"RIFF"), content_type=kind)[0] == 415
    closed = [
        "run/analyze",
        "api/analyze",
        "call/v2/analyze",
        "call/analyze/",
        "queue/join/",
        "component_server",
        "stream/x",
    ]
    for path in [*(f"/gradio_api/{name}" for name in [*closed, "process_recording", "vibe-edit"]), "/login", "/"]:
        for kind in ("application/json", FORM):
            assert page.tell(mine, path, kind) == NOT_HERE
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "X"):
        assert page.ask(method, "/gradio_api/queue/join")[0] == 404
    for odd in (b"{", b"", b"[]", b"7", b"\xff\xfe", b"[" * 60_000, b'{"data": 7}', b"9" * 5000):
        assert page.tell(odd)[0] == 403
    assert page.tell(b'{"data": [{"x": ' + b"[" * 100 + b"]" * 100 + b"}]}")[0] == 403


def test_only_what_the_page_reads_is_shown(
    page: Page, trained: Trained, asked: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, fetched = asked
    elsewhere = shutil.copy(trained.music / "metal" / "0.wav", tmp_path / "elsewhere.wav")
    names = ["openapi.json", "docs", "redoc", "gradio_api/openapi.json", "gradio_api/token", "gradio_api/runs"]
    names += ["monitoring", "gradio_api/deep_link?session_hash=x", f"gradio_api/file/{elsewhere}", "logout", "pwa_icon"]
    names += ["gradio_api/stream/a/b/1/playlist-file", "gradio_api/custom_component/1/client/component/x.js"]
    for name in names:
        assert page.ask("GET", f"/{name}") == NOT_HERE
    for start in ("/gradio_api/proxy=", "/gradio_api/file/"):
        assert page.ask("GET", f"{start}{address}/song.wav") == NOT_HERE
    for path in (elsewhere, "/dev/zero", f"{page.uploads}/../elsewhere.wav", f"{address}/song.wav", "%2Fetc%2Fpasswd"):
        assert page.ask("GET", f"/gradio_api/file={path}") == NOT_MINE
    for start in ("static", "assets", "svelte", "song", "figures"):
        for path in ("../" * 12 + "etc/passwd", "..%2f" * 12 + "etc/passwd", "/etc/passwd", "%2Fetc%2Fpasswd"):
            status, content = page.ask("GET", f"/{start}/{path}")
            assert status in (403, 404)
            assert b"root:" not in content
    assert page.ask("GET", "/figures/curves.png")[0] == 200
    assert page.ask("GET", "/figures/secret.png")[0] == 404
    assert not fetched
    for path in ("/", "/config", "/theme.css", "/report", "/gradio_api/info", f"/gradio_api/file={page.mine}"):
        assert page.ask("GET", path)[0] == 200


def test_what_is_too_large_is_not_read(page: Page) -> None:
    there = page.files()
    for path, kind in (("/gradio_api/upload", FORM), ("/gradio_api/call/analyze", "application/json")):
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nConnection: close\r\n"
        for length in ("2000000", "9" * 18):
            assert page.end_of(f"{head}Content-Length: {length}\r\n\r\n".encode()).startswith(b"HTTP/1.1 413")
        begun = form("large.wav", b"")[:-9] if kind == FORM else b'{"data": ["'
        # Without a length, thus in chunks.
        assert page.ask("POST", path, iter([begun, *[b"x" * 65536] * 17]), content_type=kind)[0] == 413
    many = b"".join(form(f"{number}.wav", b"x" * 300_000)[:-7] for number in range(4)) + b"--b--\r\n"
    assert page.ask("POST", "/gradio_api/upload", many, content_type=FORM)[0] == 413
    assert page.ask("GET", "/", b"x" * 9)[0] == 413
    assert page.files() == there


def test_half_a_request_is_not_waited_for(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    there = page.files()
    monkeypatch.setattr("genreclf.app.connections.HEAD_S", 0.2)
    monkeypatch.setattr("genreclf.app.guard.PAUSE_S", 0.2)
    for begun in (
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n",
        b"GET /report HTTP/1.1\r\nHost: x\r\n\r\nG",
    ):
        assert b"Not an address" not in page.end_of(begun)
    head = "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nContent-Length: 900\r\nConnection: close\r\n\r\n"
    json_half = page.end_of(head.format("/gradio_api/queue/join", "application/json").encode() + b'{"data": ')
    assert json_half.startswith(b"HTTP/1.1 408")
    begun = head.format("/gradio_api/upload", FORM).encode() + form("half.wav", b"RIFF")[:-9]
    assert b"did not arrive in time" in page.end_of(begun)
    with socket.create_connection(("127.0.0.1", page.port)) as client:
        client.sendall(begun)
    monkeypatch.setattr("genreclf.app.guard.PAUSE_S", 60)
    monkeypatch.setattr("genreclf.app.guard.JSON_S", 0.2)
    slow = head.format("/gradio_api/call/analyze", "application/json").encode()
    assert page.end_of(slow).startswith(b"HTTP/1.1 408")
    assert "g-top-genre" in page.analyzed(page.mine)
    assert page.files() == there


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_request_of_500_gets_another_file(
    page: Page, asked: tuple[str, list[str]], tmp_path: Path, seed: int
) -> None:
    address, fetched = asked
    canary = "the canary that nobody may hear"
    (tmp_path / "canary.wav").write_text(canary)
    chance = random.Random(seed)
    paths = [str(tmp_path / "canary.wav"), f"{page.uploads}/../{tmp_path.name}/canary.wav", f"{address}/song.wav"]
    paths += ["/dev/zero", "/etc/passwd", "canary.wav", f"file://{tmp_path}/canary.wav", page.mine, "", "\0", "%00"]
    ways = [
        "call/analyze",
        "queue/join",
        "upload",
        "run/analyze",
        "call/v2/analyze",
        "component_server",
        "cancel",
        "file=",
    ]
    ways += ["proxy=", "process_recording", "queue/data", "stream/x", "file/", "heartbeat/x", "reset", "openapi.json"]
    kinds = ["application/json", "application/json; x=multipart/form-data", FORM, "text/plain", "", "a/b; c", ";,\t/"]
    keys = ["data", "path", "url", "meta", "_type", "fn_index", "session_hash", "event_data", "is_stream", "fn_name"]

    def anything(depth: int) -> Any:
        kind = chance.randrange(8 if depth else 5)
        if kind < 3:
            return chance.choice(paths)
        if kind < 5:
            return chance.choice([None, True, -1, 0, 1e300, 2**70, "gradio.FileData", "\ud800", [], {}])
        if kind == 5:
            return [anything(depth - 1) for _ in range(chance.randrange(4))]
        if kind == 6:
            return song(chance.choice(paths))["data"][0] | {chance.choice(keys): anything(depth - 1)}
        return {chance.choice(keys): anything(depth - 1) for _ in range(chance.randrange(5))}

    for _ in range(500):
        way = f"/gradio_api/{chance.choice(ways)}"
        if way.endswith(("=", "/")):
            way += chance.choice(paths).replace("\0", "")
        value = anything(4)
        if chance.random() < 0.6:
            value = {"data": [value], "fn_index": 0, "session_hash": "x"}
        body = json.dumps(value).encode()
        if chance.random() < 0.3:
            body = form(chance.choice(paths).replace("\0", ""), body)
        if chance.random() < 0.2:
            body = body[: chance.randrange(len(body) + 1)]
        reading = "queue/data" in way or "heartbeat" in way
        method = "POST" if reading else chance.choice(["POST", "POST", "POST", "GET", "PUT"])
        kind = chance.choice(kinds)
        _, answer = page.ask(method, way, body if method == "POST" else None, content_type=kind)
        assert canary.encode() not in answer
        assert b"root:" not in answer
    assert not fetched
    assert "g-top-genre" in page.analyzed(page.mine)
