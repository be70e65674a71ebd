"""Errors that a user can correct, and exit codes of the commands."""

import errno
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

BROKEN_PIPE = 141
"""Exit code when the reader of the output has closed the pipe: that of a program ended by SIGPIPE."""

TERMINATED = 143
"""Exit code after SIGTERM."""

DIVERGED = 3
"""Exit code of a rank whose training diverged, read by the process that started it; the command itself ends with 1."""

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Values of ``errno`` of an `OSError` that mean a full disk."""

NOT_UTF8 = "a name that is not UTF-8 text: rename it"
"""Description, for error messages, of a file or folder whose path is not valid UTF-8."""


class UserError(Exception):
    """An error that the user can correct in the command, the configuration or the data.

    The message is shown without a traceback; it names the key or the file, and says what to do. The command then ends
    with `exit_code`.
    """

    exit_code = 2


def with_notes(error: Exception, sentence: str) -> str:
    """Return the notes that were added to an error, followed by a sentence about it, one per line."""
    return "\n".join([*getattr(error, "__notes__", ()), sentence]) if sentence else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message without the period; the name of its class if it has no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")


class TrainingDiverged(UserError):
    """The loss or a weight became NaN or infinite in training."""

    exit_code = 1


class Terminated(BaseException):
    """The process was asked to end (SIGTERM), for example by a batch system; the message says how to continue."""


@contextmanager
def terminated_by_sigterm() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM, unless a handler is already installed or this is not the main thread.

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
    """A track cannot be read; the store collects these errors and reports all of them at the end."""


def missing_packages(what: str, extra: str, *packages: str) -> UserError:
    """Return the error for a feature whose packages are not installed.

    Args:
        what: Feature that needs the packages, such as ``logger=tensorboard``.
        extra: Extra of genreclf that installs the packages.
        *packages: Names of the missing packages.
    """
    return UserError(f'{what} needs {", ".join(packages)}: python -m pip install -e ".[{extra}]"')


def require(what: str, extra: str, *modules: str) -> None:
    """Raise a `UserError` if the modules of an extra are not installed; the modules are not imported."""
    if missing := [module for module in modules if find_spec(module) is None]:
        raise missing_packages(what, extra, *missing)
