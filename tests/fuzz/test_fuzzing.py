"""What the fuzzers rely on: a command that misbehaves is found out."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fuzzing
import pytest


def end_with(code: int, word: str = "") -> None:
    print(word, file=sys.stderr)
    raise SystemExit(code)


def take_memory() -> None:
    bytearray(fuzzing.MEMORY_BYTES + 2**30)


def ask_elsewhere() -> None:
    socket.create_connection(("192.0.2.1", 80), timeout=1)


def leave_a_process() -> None:
    subprocess.Popen(["sleep", "60"])


BEHAVIOR: dict[str, tuple[Callable[[], object], str]] = {
    "a traceback": (lambda: 1 / 0, "ZeroDivisionError"),
    "another exit code": (lambda: end_with(3), "exit code 3"),
    "no word": (lambda: end_with(2), "without a word"),
    "an error without its sentence": (lambda: end_with(2, "KeyError: 'x'"), "KeyError: 'x'"),
    "a dump": (lambda: end_with(2, "x" * 10_000), "10001 letters"),
    "a signal": (lambda: os.kill(os.getpid(), 9), "exit code -9"),
    "much memory": (take_memory, "MemoryError"),
    "a file elsewhere": (lambda: Path("../elsewhere").write_text("x"), "elsewhere"),
    "a folder elsewhere": (lambda: Path("../other").mkdir(), "other"),
    "another machine": (ask_elsewhere, "no network"),
    "a process that stays": (leave_a_process, "a process is left"),
}


@pytest.mark.parametrize("name", BEHAVIOR)
def test_misbehavior_is_found_out(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behavior, found = BEHAVIOR[name]
    monkeypatch.setattr(fuzzing, "main", behavior)
    monkeypatch.setattr(fuzzing, "GRACE_S", 0.2)
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(AssertionError) as error:
        fuzzing.run("x", place=place).check()
    assert found in str(error.value)


def test_good_behavior_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "main", lambda: Path("here").write_text(os.environ["HOME"]))
    fuzzing.run("x", place=tmp_path).check()
    assert (tmp_path / "here").read_text() == str(tmp_path / "home")
    monkeypatch.setattr(fuzzing, "main", lambda: end_with(2, "There is no key x; did you mean y?"))
    fuzzing.run("x", place=tmp_path).check()
