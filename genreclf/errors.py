"""Errors that a user can correct, and exit codes of the commands."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

BROKEN_PIPE = 141
"""Exit code where the reader of the output has closed it, as of a program that SIGPIPE ends."""

TERMINATED = 143
"""Exit code after SIGTERM."""

DIVERGED = 3
"""Exit code of a rank whose training diverged, for the process that started it; the command ends with 1."""

NOT_UTF8 = "a name that is not UTF-8 text: rename it"
"""What is said of a file or folder whose path cannot be written as text."""


class UserError(Exception):
    """An error that the user can correct, in the command, the configuration or the data.

    The message is what the user reads, without a traceback: it names the key or the file and the way out. The command
    then ends with `exit_code`.
    """

    exit_code = 2


def with_notes(error: Exception, sentence: str) -> str:
    """Return a sentence about an error after the notes that were added to the error, a line each."""
    return "\n".join([*getattr(error, "__notes__", ()), sentence]) if sentence else ""


def first_line(error: BaseException) -> str:
    """Return what an error says in its first line, without the full stop; its kind if it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


class TrainingDiverged(UserError):
    """The loss or a weight of a training is NaN or infinite."""

    exit_code = 1


class Terminated(BaseException):
    """The process was told to end (SIGTERM), as by a batch system; the message says how to go on."""


@contextmanager
def terminated_by_sigterm() -> Iterator[None]:
    """Raise `Terminated` at SIGTERM, unless a handler is installed already.

    Lightning's own handler would let the test run to its end.
    """

    def end(number: int, frame: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class UnreadableTrack(Exception):
    """One track that cannot be read; the store collects them and names all at the end."""


def missing_packages(what: str, extra: str, *packages: str) -> UserError:
    """Return the error for a feature whose packages, those of an extra, are not installed.

    Args:
        what: What needs them, such as ``logger=tensorboard``.
        extra: The extra of genreclf that installs them.
        *packages: Which are missing.
    """
    return UserError(f'{what} needs {", ".join(packages)}: python -m pip install -e ".[{extra}]"')


def require(what: str, extra: str, *modules: str) -> None:
    """Raise a `UserError` if the modules of an extra are not installed; none is imported."""
    if missing := [module for module in modules if find_spec(module) is None]:
        raise missing_packages(what, extra, *missing)
