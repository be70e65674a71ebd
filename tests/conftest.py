import os

# Before torch is imported: several test processes share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"
os.environ.pop("WANDB_API_KEY", None)

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from genreclf.__main__ import main

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _away_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where nothing of the user's is: another working directory, another cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Call the door as ``python -m genreclf`` would, in this process."""

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["genreclf", *arguments])
        GlobalHydra.instance().clear()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stores of a test process lie, so that each is built once."""
    return tmp_path_factory.mktemp("stores")


@pytest.fixture
def tiny(stores: Path) -> list[str]:
    """Overrides of a run that takes a second or two."""
    return [
        "data=synthetic",
        "data.tracks_per_genre=5",
        "data.artists_per_genre=5",
        "data.duration_s=2.0",
        "data.clip_seconds=1.0",
        "data.crops_per_track=1",
        "data.batch_size=20",
        "data.grid_overlap=0",
        f"data.store_dir={stores}",
        "model=crnn",
        "model.channels=[4,4,4,4]",
        "model.hidden=4",
        "trainer=cpu",
        "trainer.max_epochs=1",
        "trainer.precision=32-true",
        "logger=none",
    ]


def python_m(*arguments: str, **options: object) -> "subprocess.Popen[str]":
    """Start ``python -m genreclf`` as a process of its own."""
    command = [sys.executable, "-m", "genreclf", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, **options
    )  # type: ignore[call-overload, no-any-return]
