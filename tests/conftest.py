import os

# Before torch is imported: several test processes share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ.pop("WANDB_API_KEY", None)

import contextlib
import io
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hydra.core.global_hydra import GlobalHydra

from genreclf.__main__ import main
from genreclf.datasets.synthetic.dataset import Synthetic
from genreclf.run_directory import RunDirectory

ROOT = Path(__file__).parent.parent

# A job in the background of a shell ignores it, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
        monkeypatch.setattr(sys, "path", sys.path.copy())  # The door adds the working directory.
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


@pytest.fixture
def no_val(tmp_path: Path) -> list[str]:
    """Overrides of a split of `tiny` without validation tracks."""
    for subset, numbers in (("train", (0, 1)), ("val", ()), ("test", (2,))):
        (tmp_path / f"{subset}.txt").write_text(
            "".join(f"{genre}/0000{n}\n" for genre in ("blues", "rock") for n in numbers)
        )
    lists = (f"split.{subset}={tmp_path / subset}.txt" for subset in ("train", "val", "test"))
    return ["split=list", *lists, "split.allow_missing=true", "data.batch_size=4"]


SMALL = [
    *("data.batch_size=4", "data.crops_per_track=4", "model=crnn", "model.channels=[4,4,4,8]", "model.hidden=4"),
    *("optimizer.lr=0.02", "trainer=cpu", "trainer.max_epochs=12", "trainer.precision=32-true", "logger=none"),
]


@dataclass(frozen=True)
class Trained:
    """A run and the music it was trained on."""

    run: RunDirectory
    music: Path


def train(*overrides: str) -> None:
    """Train a small model through the door."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(sys, "argv", ["genreclf", *SMALL, *overrides])
        patch.setattr(sys, "path", sys.path.copy())
        GlobalHydra.instance().clear()
        main()


def write_music(root: Path) -> None:
    """Write five songs a genre; among them stereo, other rates, other formats, and one shorter than a clip."""
    source = Synthetic(tracks_per_genre=5, duration_s=3.3)
    kinds = [(22050, "wav"), (44100, "flac"), (16000, "wav"), (22050, "ogg"), (22050, "wav")]
    for track in source.tracks():
        if track.genre not in ("blues", "classical", "metal"):
            continue
        number = int(track.id[-5:])
        rate, suffix = kinds[number]
        samples = source.waveform(track, rate)
        if number == 4:
            samples = samples[: rate // 2]
        if rate == 44100:
            samples = np.stack([samples, 0.5 * samples], axis=1)
        path = root / track.genre / f"{number}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run trained on audio files, through the real command."""
    root = tmp_path_factory.mktemp("trained")
    write_music(root / "music")
    train(
        "data=folder",
        f"data.root={root / 'music'}",
        f"data.store_dir={root / 'stores'}",
        "data.clip_seconds=1",
        "split=track",
        "split.train=0.2",
        "split.val=0.2",
        "split.test=0.6",
        f"run_dir={root / 'run'}",
    )
    return Trained(RunDirectory(root / "run"), root / "music")


def python_m(*arguments: str, **options: object) -> "subprocess.Popen[str]":
    """Start ``python -m genreclf`` as a process of its own."""
    command = [sys.executable, "-m", "genreclf", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, **options
    )  # type: ignore[call-overload, no-any-return]
