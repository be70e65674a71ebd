"""A training with the real W&B client against servers that are down, hang, or answer with errors."""

import contextlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import python_m

from genreclf.rundir import RunDirectory
from genreclf.tracking import FINISH_TIMEOUT_S, INIT_TIMEOUT_S


@contextlib.contextmanager
def server(kind: str) -> Iterator[str]:
    """Yield the address of a server that refuses connections, never answers, or answers with status 500."""
    if kind == "errors":

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.send_error(500)

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as answering:
            threading.Thread(target=answering.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{answering.server_port}"
            answering.shutdown()
        return
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        if kind == "hangs":
            yield address
            return
    yield address


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["refuses", "hangs", "errors"])
def test_a_training_finishes_without_its_server(
    kind: str, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with server(kind) as address:
        monkeypatch.setenv("WANDB_BASE_URL", address)
        started_s = time.monotonic()
        process = python_m(*tiny, "logger=wandb", "run_dir=run")
        output, _ = process.communicate(timeout=420)
        took_s = time.monotonic() - started_s
    print(f"{kind}: {took_s:.0f} s", output)
    assert process.returncode == 0, output
    run = RunDirectory(tmp_path / "run")
    assert run.read_metrics()["status"] == "finished"
    assert run.report.exists()
    assert "its record stays in" in output
    assert list(run.path.glob("wandb/offline-run-*/*.wandb"))
    unhindered_s = 120.0
    assert took_s < unhindered_s + INIT_TIMEOUT_S + FINISH_TIMEOUT_S
