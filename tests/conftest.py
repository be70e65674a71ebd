import gc
import os

# Nothing that is imported or collected is freed: see `pytest_collection_finish`.
gc.disable()
# Before torch is imported: several test processes share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ.pop("WANDB_API_KEY", None)

import logging
import multiprocessing
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from blank_pictures import draw_blank
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that no process is left with one when the others have nothing more to do."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    """Leave all that is imported and collected out of garbage collection."""
    gc.freeze()
    gc.enable()


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
    to the next, and Hydra does not compose everything once more to read ``hydra.mode``, which is null in ``conf/``.
    """
    monkeypatch.setattr("genreclf.cli.train.cool_down", lambda: None)
    get_mode = Hydra.get_mode

    def mode_if_set(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        is_set = any(word.startswith("hydra.mode=") for word in overrides)
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
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the stores of a test process lie, so that each is built once."""
    return tmp_path_factory.mktemp("stores")


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
def _trained_tiny(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("tiny") / "run"
    train(*tiny, f"run_dir={run}")
    return run


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
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run trained on audio files, through the real command."""
    root = tmp_path_factory.mktemp("trained")
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
    return Trained(RunDirectory(root / "run"), root / "music")
