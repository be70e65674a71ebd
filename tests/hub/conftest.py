"""A hub on the loopback, and a model that was pushed to it."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_hub import REPO, TOKEN, Hub
from helpers import Cli, Trained


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no_token"))
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def pushed(hub: Hub, cli: Cli, trained: Trained) -> dict[str, bytes]:
    outcome = cli("push", str(trained.run.path), "--repo", REPO, "--license", "cc-by-4.0")
    assert outcome.code == 0, outcome.err
    assert outcome.out == f"{hub.address}/{REPO}\n"
    return hub.files[REPO]
