"""What the fuzzers share: numbered cases, a command in a bounded process of its own, and what it may do at most."""

import contextlib
import errno
import io
import math
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from helpers import Trained
from hydra.core.global_hydra import GlobalHydra

import genreclf.experiment.run  # noqa: F401  So that a fork has it, and the bound on its memory is on what it does.
from genreclf.__main__ import main

SEEDS = os.environ.get("GENRECLF_FUZZ_SEEDS", "0").split(",")

CPU_S = 60
MEMORY_BYTES = 3 * 2**30
FILE_BYTES = 2**30
WALL_S = 600
GRACE_S = 60.0
LONGEST_ERROR = 4000

NUMBA_CACHE = os.environ.setdefault("NUMBA_CACHE_DIR", os.path.join(tempfile.gettempdir(), "genreclf-fuzz-numba"))
"""Where what librosa compiles is kept, or it would lie in librosa's own folder."""

BYTES_OF_ODD_NUMBERS = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]

NUMBERS: list[Any] = [0, -1, 1.5, True, math.nan, math.inf, -math.inf, 1e308, 10**9, 2**31, 2**63, 2**70, -(2**70)]
TEXTS = [
    *(
        "",
        " ",
        "x" * 300,
        "\0",
        "\x1b[2J",
        "\N{SNOWMAN}",
        "a\nb",
        "=1+1",
        "<b>x</b>",
        "$x_{$",
        "%s",
        "{}",
        "NaN",
        "1e999",
    ),
    *("..", "../../x", "/", "/dev/zero", "/dev/null/x", "~", "evil.Model", "os.system", "genreclf.__main__.main"),
    *("torch.hub.load", "torch.nn.Linear", "${oc.env:HOME}", "${seed}", "${nowhere}", "${", "null", "\ufeffx"),
]
OTHERS: list[Any] = [None, [], {}, [[]], [None], [0], [-1], ["x"], {"x": 1}, {"_target_": "evil.Model"}, [[[[]]]]]


def cases(count: int) -> pytest.MarkDecorator:
    """Parametrize a test with `count` cases a seed, each of which can be run alone, such as ``-k 0-17``."""
    return pytest.mark.parametrize("case", [f"{seed}-{number}" for seed in SEEDS for number in range(count)])


def odd_value(chance: random.Random) -> Any:
    return chance.choice(chance.choice([NUMBERS, TEXTS, OTHERS]))


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: Its exit code; negative if a signal ended it.
        outside: What it did beyond its folder: files written, addresses asked for, processes left.
    """

    arguments: tuple[str, ...]
    code: int
    out: str
    err: str
    outside: list[str]

    def check(self) -> None:
        """Check that it went well, or ended with a sentence, and did nothing else."""
        shown = f"{self.arguments}\n{self.out[-3000:]}\n{self.err[-6000:]}"
        assert self.code in (0, 1, 2), f"exit code {self.code}: {shown}"
        assert not self.outside, f"{self.outside}: {shown}"
        wants_tracebacks = "debug=true" in map(str.lower, self.arguments)
        assert wants_tracebacks or "Traceback" not in self.out + self.err, shown
        assert "\x1b" not in self.out + self.err, f"escape sequences: {shown}"
        assert wants_tracebacks or len(self.err) <= LONGEST_ERROR, f"{len(self.err)} letters: {shown}"
        if self.code:
            assert self.err.strip(), f"exit code {self.code} without a word: {shown}"
            ours = re.search(r"^\w*(Error|Exception)\b|object at 0x|<class '", self.err, re.MULTILINE)
            assert wants_tracebacks or not ours, shown


def write_place(place: Path, trained: Trained) -> Path:
    """Make a folder of a finished run with a library, its music and its store, which all name each other."""
    shutil.copytree(trained.run.path, place / "run")
    shutil.copytree(trained.music, place / "music")
    shutil.copytree(trained.run.path.parent / "stores", place / "stores")
    config = (place / "run/config.yaml").read_text()
    (place / "run/config.yaml").write_text(config.replace(f"{trained.music.parent}/", ""))
    indexed = run("index", "run", "music", place=place)
    assert indexed.code == 0, indexed.err
    return place


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())


def contents(place: Path) -> dict[str, bytes]:
    """Return what lies in a folder; a command's own temporary files and locks left out."""
    found = {str(path.relative_to(place)): path for path in files_of(place)}
    own = ("tmp/", "home/", "cache/")
    return {
        name: path.read_bytes()
        for name, path in found.items()
        if not name.startswith(own) and not name.endswith(".lock") and path.is_file()
    }


def run(*arguments: str, place: Path) -> Ended:
    """Run a command in a fork of this process, in which all is imported, with bounds on time, memory and files.

    Args:
        arguments: What stands behind ``python -m genreclf``.
        place: Its working directory, the only one below which it may write.
    """
    for name in ("tmp", "home"):
        (place / name).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("out", "err", "outside")]
        if (child := os.fork()) == 0:
            try:
                _be_the_command(arguments, place, files)
            finally:
                os._exit(99)
        code = _wait(child)
        out, err, outside = (file.read_text(encoding="utf-8", errors="replace") for file in files)
    done = [*outside.splitlines(), *(["a process is left"] if _is_left(child) else [])]
    return Ended(arguments, code, out, err, done)


def _be_the_command(arguments: tuple[str, ...], place: Path, files: list[Path]) -> None:
    os.setpgid(0, 0)
    os.chdir(place)
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number if number < 3 else 33)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdin, sys.stdout, sys.stderr = open(0), _text(1), _text(2)  # noqa: SIM115
    os.environ |= {"TMPDIR": str(place / "tmp"), "HOME": str(place / "home"), "XDG_CACHE_HOME": str(place / "cache")}
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(place / "tmp")
    tempfile.tempdir = None
    used_bytes = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for kind, most in (
        (resource.RLIMIT_AS, used_bytes + MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    sys.dont_write_bytecode = True
    sys.argv = ["genreclf", *arguments]
    GlobalHydra.instance().clear()
    sys.addaudithook(_watch(place))
    code: Any = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 98)


def _text(descriptor: int) -> io.TextIOWrapper:
    return open(descriptor, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def _watch(place: Path) -> Callable[[str, tuple[Any, ...]], None]:
    """Return a hook that notes and refuses what is written elsewhere, and refuses addresses of other machines."""
    root = os.path.realpath(place)
    sockets = "/tmp/pymp-"  # Of multiprocessing, where this place's path is too long for a socket.
    allowed = (sockets, "/dev/null/", "/dev/shm/", "/proc/self/", f"{os.path.realpath(NUMBA_CACHE)}/", f"{root}/")

    def note(what: str) -> None:
        os.write(33, f"{what}\n".encode(errors="backslashreplace"))

    def written(path: Any, folder: Any = -1) -> None:
        if isinstance(path, int) or path is None:
            return
        base = f"/proc/self/fd/{folder}" if isinstance(folder, int) and folder >= 0 else os.getcwd()
        full = os.path.realpath(os.path.join(base, os.fsdecode(path)))
        if not f"{full}/".startswith(allowed):
            note(f"wrote {full}")
            raise PermissionError(errno.EACCES, "refused to the fuzzed command", full)

    def hook(event: str, values: tuple[Any, ...]) -> None:
        if event == "open":
            if values[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
                written(values[0])
        elif event in ("os.remove", "os.rmdir"):
            written(*values[:2])
        elif event == "os.mkdir":
            written(values[0], values[2])
        elif event == "os.rename":
            written(values[0], values[2])
            written(values[1], values[3])
        elif event in ("os.symlink", "os.link"):
            written(values[1])
        elif event == "os.system":
            note(f"{event} {values}")
        elif event == "socket.connect" and isinstance(address := values[1], tuple) and address[0] != "127.0.0.1":
            raise OSError(f"no network for {address}")

    return hook


def _wait(child: int) -> int:
    end_s = time.monotonic() + WALL_S
    while time.monotonic() < end_s:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL


def _is_left(group: int) -> bool:
    """Tell whether processes that the command started go on after it, and end them."""
    end_s = time.monotonic() + GRACE_S
    while _is_alive(group):
        if time.monotonic() > end_s:
            os.killpg(group, signal.SIGKILL)
            return True
        time.sleep(0.05)
    return False


def _is_alive(group: int) -> bool:
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, process_group, *_ = file.read_text().rpartition(")")[2].split()
            if process_group == str(group) and state != "Z":
                return True
    return False
