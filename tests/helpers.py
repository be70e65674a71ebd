"""What several test modules share. The fixtures are in shared_fixtures.py; conftest.py sets the environment first."""

import contextlib
import csv
import hashlib
import io
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import soundfile
import torch
from blank_pictures import draw_blank
from hydra.core.global_hydra import GlobalHydra

from genreclf import models
from genreclf.__main__ import main
from genreclf.datasets.synthetic import Synthetic
from genreclf.experiment import rank
from genreclf.run_directory import RunDirectory
from genreclf.splits.base import Split
from genreclf.sweep.process import warm_up

ROOT = Path(__file__).parent.parent

PAGES = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))}
"""The manual: the text of README.md and of each page of docs/ by its name."""

ARCHITECTURES = [name for name in models.__all__ if name not in ("GenreClassifier", "FineTune", "Probe")]
"""Classes of models of spectrograms, which are made without an encoder."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Cli = Callable[..., Outcome]
"""The fixture `cli`: call a command in this process."""

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
    """Train a small model through the real command."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setattr(sys, "argv", ["genreclf", *overrides])
        patch.setattr(sys, "path", sys.path.copy())
        draw_blank(patch.setattr)
        GlobalHydra.instance().clear()
        main()


def write_music(root: Path) -> None:
    """Write five songs per genre; among them stereo, other rates, other formats, and one shorter than a clip."""
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


def divide(run: RunDirectory, test: tuple[str, ...], val: tuple[str, ...]) -> None:
    """Change the test and validation tracks of a run."""
    record = run.read_json(run.split)
    split = Split.from_json(record)
    segments = {segment.track_id: segment for segment in (*split.train, *split.val, *split.test)}
    parts = {part: tuple(segments.pop(name) for name in names) for part, names in (("test", test), ("val", val))}
    split = replace(split, train=tuple(segments.values()), **parts)
    run.write_json(run.split, {**record, **split.to_json()})


def copy_under_odd_name(song: Path, folder: Path) -> Path:
    """Copy a song to a name that is not UTF-8; skip the test where the file system only takes UTF-8 names."""
    try:
        return Path(shutil.copy(song, folder / os.fsdecode(b"\xff.wav")))
    except OSError:
        pytest.skip("this file system only takes UTF-8 names")


def documented(language: str) -> list[str]:
    """Return the code blocks of the manual in one language."""
    return [block for page in PAGES.values() for block in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)]


def forked(function: Callable[..., None], *arguments: object) -> BaseProcess:
    """Start a function in a process that is forked where all is imported, in the working directory of this one."""
    warm_up()
    process = multiprocessing.get_context("forkserver").Process(target=_in, args=(Path.cwd(), function, arguments))
    process.start()
    return process


def fork_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the ranks that a run starts be forked where all is imported, which saves the import of PyTorch in each."""
    from torch.distributed.launcher import api

    launch = api.elastic_launch

    def forking(config: api.LaunchConfig, _: str) -> Callable[..., object]:
        return partial(launch(replace(config, start_method="forkserver"), _be_rank), dict(os.environ))

    monkeypatch.setattr(api, "elastic_launch", forking)


def _be_rank(environment: dict[str, str], *command: str) -> None:
    os.environ.update(environment)
    rank.exit_with_parent = lambda _: None  # Its parent is the server.
    sys.argv = [*command[1:]]
    rank.main()


def _in(folder: Path, function: Callable[..., None], arguments: tuple[object, ...]) -> None:
    os.chdir(folder)
    function(*arguments)


def run_main(arguments: Sequence[str]) -> None:
    """Call the command line in a process that has nothing else to do."""
    sys.argv = ["genreclf", *arguments]
    main()


def python_m(*arguments: str, **options: object) -> "subprocess.Popen[str]":
    """Start ``python -m genreclf`` as a process of its own."""
    command = [sys.executable, "-m", "genreclf", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, **options
    )  # type: ignore[call-overload, no-any-return]


def small_encoder(folder: Path) -> list[str]:
    """Make weights for timm's smallest network in a folder; return the overrides that choose them."""
    timm, safetensors = pytest.importorskip("timm"), pytest.importorskip("safetensors.torch")
    path = folder / "model.safetensors"
    torch.manual_seed(5)
    safetensors.save_file(timm.create_model("test_efficientnet").state_dict(), path)
    return [
        *("encoder=timm", "encoder.model=test_efficientnet", "encoder.pretrained_on=nothing", "encoder.license=MIT"),
        *(f"encoder.weights={path}", f"encoder.sha256={hashlib.sha256(path.read_bytes()).hexdigest()}"),
    ]


def wait_until(condition: Callable[[], Value], process: "subprocess.Popen[str] | None" = None) -> Value:
    """Wait until a condition holds, for at most 15 minutes and while the process that is to bring it about lives.

    Returns:
        What the condition returned.
    """
    deadline_s = time.monotonic() + 900
    while not (value := condition()):
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline_s, value
        time.sleep(0.05)
    return value


def history_without_times(run: Path) -> list[dict[str, str]]:
    """Return the rows of a run's history.csv without the columns that differ each time."""
    with (run / "history.csv").open(newline="") as lines:
        return [{key: row[key] for key in row if not key.endswith("_s")} for row in csv.DictReader(lines)]
