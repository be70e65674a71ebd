"""What a client gets that skips the page and names a file of its own choosing."""

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import Trained

from genreclf import load
from genreclf.app.answering import Answerer, Limits
from genreclf.app.examples import Examples
from genreclf.app.facts import facts
from genreclf.app.shelf import Shelf

pytest.importorskip("gradio", reason="needs the extra app")


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


@pytest.fixture
def client(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from fastapi.testclient import TestClient

    from genreclf.app.server import application

    async def public(_: str) -> str:
        return "127.0.0.1"

    # Gradio fetches from public addresses alone; here loopback is one.
    monkeypatch.setattr("safehttpx.async_validate_url", public)
    uploads = tmp_path / "uploads"
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(uploads))
    predictor = load(trained.run.path)
    shelf = Shelf(copies=tmp_path / "copies")
    answerer = Answerer(predictor=predictor, library=None, without_library="", shelf=shelf, limits=Limits())
    examples = Examples.of_folder(trained.music)
    app = application(trained.run, answerer, examples, facts(trained.run, predictor), uploads=uploads)
    with TestClient(app) as client:
        yield client


def hear(client: Any, path: str, words: str = "hear") -> Any:
    song = {"path": path, "meta": {"_type": "gradio.FileData"}}
    return client.post(f"/gradio_api/run/{words}", json={"data": [song]})


def test_an_upload_is_heard_and_nothing_else(
    client: Any, trained: Trained, asked: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, paths = asked
    song = trained.music / "metal" / "0.wav"
    sent = client.post("/gradio_api/upload", files={"files": ("mine.wav", song.read_bytes())}).json()
    assert "g-top-genre" in hear(client, sent[0]).json()["data"][0]
    there = set((tmp_path / "uploads").rglob("*"))
    elsewhere = tmp_path / "elsewhere.wav"
    shutil.copy(song, elsewhere)
    for path in (str(elsewhere), f"{tmp_path}/uploads/../elsewhere.wav", f"{address}/song.wav", "song.wav", "\0"):
        assert hear(client, path).status_code == 403
    for form in ("{", "[" * 100_000):
        assert client.post("/gradio_api/run/hear", content=form).status_code == 403
    assert client.post("/gradio_api/run/hear", content=b" " * 2_000_000).status_code == 413
    for start in ("/gradio_api/file=", "/gradio_api/proxy=", "/gradio_api/file/"):
        assert client.get(f"{start}{address}/song.wav").status_code == 403
    assert client.get(f"/gradio_api/file={elsewhere}").status_code == 403
    assert not paths
    assert set((tmp_path / "uploads").rglob("*")) == there
    assert "g-top-genre" in hear(client, sent[0]).json()["data"][0]
