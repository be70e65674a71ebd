"""The fixtures that all tests share, and what a test process does before it runs any."""

import logging
import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blank_pictures import draw_blank
from early_server import start_early
from filelock import FileLock
from helpers import ROOT, SMALL, Cli, Outcome, Trained, train, write_music
from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from quick_hydra import compose_quickly

from genreclf.__main__ import main
from genreclf.run_directory import RunDirectory

# A job in the background of a shell ignores it, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

_places = (str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH"))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, _places))
_preload = multiprocessing.set_forkserver_preload
multiprocessing.set_forkserver_preload = lambda names: _preload([*names, "in_forked_processes"])
compose_quickly()
os.fsync = lambda descriptor: None  # Nothing that a test writes must outlast a crash of the machine.


@pytest.fixture(scope="session", autouse=True)
def _early_server() -> None:
    if multiprocessing.parent_process() is None:
        start_early()


@pytest.fixture(autouse=True)
def _away_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where nothing of the user's is: another working directory, another cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _blank_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save each plot as a blank picture, but in tests that are marked ``pictures``."""
    if request.node.get_closest_marker("pictures") is None:
        draw_blank(monkeypatch.setattr)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Call the command line as ``python -m genreclf`` does, in this process.

    Two things that take long are left out: the process that the jobs of sweeps are forked from lives on from one test
    to the next, and Hydra does not compose everything once more to read ``hydra.mode``, which is null in ``conf/``
    unless the command or options of one's own set it.
    """
    monkeypatch.setattr("genreclf.cli.train.cool_down", lambda: None)
    get_mode = Hydra.get_mode

    def mode_if_set(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        is_set = "--config-dir" in sys.argv or any(word.startswith("hydra.mode=") for word in overrides)
        return get_mode(self, config_name, overrides) if is_set else None

    monkeypatch.setattr(Hydra, "get_mode", mode_if_set)
    stored = ConfigStore.instance().repo["hydra"]
    monkeypatch.setitem(stored, "config.yaml", stored["config.yaml"])  # A command with --config-name replaces it.

    def call(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["genreclf", *arguments])
        monkeypatch.setattr(sys, "path", sys.path.copy())  # A command adds the working directory.
        GlobalHydra.instance().clear()
        handlers = logging.getLogger().handlers.copy()
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            logging.getLogger().handlers = handlers  # Hydra's own would write to the streams of this test in the next.
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all test processes share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if hasattr(request.config, "workerinput") else own


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """Let the first test process that needs a folder make what lies in it."""
    with FileLock(f"{folder}.lock"):
        if not (folder / "made").exists():
            folder.mkdir()
            make(folder)
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="session")
def stores(shared: Path) -> Path:
    """Where stores lie, so that each is built once."""
    (shared / "stores").mkdir(exist_ok=True)
    return shared / "stores"


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def _trained_tiny(tiny: list[str], shared: Path) -> Path:
    return made_once(shared / "tiny", lambda folder: train(*tiny, f"run_dir={folder / 'run'}")) / "run"


@pytest.fixture
def finished(_trained_tiny: Path, tmp_path: Path) -> RunDirectory:
    """A run of `tiny`, in ``run``."""
    return RunDirectory(shutil.copytree(_trained_tiny, tmp_path / "run"))


@pytest.fixture
def no_val(tmp_path: Path) -> list[str]:
    """Overrides of a split of `tiny` without validation tracks."""
    for subset, numbers in (("train", (0, 1)), ("val", ()), ("test", (2,))):
        (tmp_path / f"{subset}.txt").write_text(
            "".join(f"{genre}/0000{n}\n" for genre in ("blues", "rock") for n in numbers)
        )
    lists = (f"split.{subset}={tmp_path / subset}.txt" for subset in ("train", "val", "test"))
    return ["split=list", *lists, "split.allow_missing=true", "data.batch_size=4"]


@pytest.fixture(scope="session")
def trained(shared: Path) -> Trained:
    """A run trained on audio files, through the real command."""
    root = made_once(shared / "trained", train_on_music)
    return Trained(RunDirectory(root / "run"), root / "music")


def train_on_music(root: Path) -> None:
    write_music(root / "music")
    train(
        *SMALL,
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
