"""Run a job in a process of its own, forked from a server that has only imported what jobs need."""

import atexit
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from multiprocessing import forkserver, util
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from genreclf.errors import INTERRUPTED, TERMINATED, Terminated, UserError
from genreclf.escaping import say
from genreclf.run_directory import RunBusy, RunDirectory

PATIENCE_S = 15.0
"""How long a job may take to end in order before it is killed."""

CRASHED = 1
"""Exit code of a job that ended with an error of the program."""

SERVER_DIED = 255
"""Exit code of a job when the server has died, as multiprocessing has it."""

LONGEST_SOCKET_FOLDER = 70
"""Characters of a folder for temporary files under which a socket of multiprocessing still has a valid path."""

Tell = Callable[[int, int | None, float], None]
"""What `compute_together` calls."""


def warm_up() -> None:
    """Start the server, if it does not run; importing PyTorch takes it some seconds, once."""
    usual = tempfile.gettempdir()
    if len(usual) > LONGEST_SOCKET_FOLDER and os.access("/tmp", os.W_OK):
        tempfile.tempdir = "/tmp"
        util.get_temp_dir()  # Chosen once for the process.
        tempfile.tempdir = usual
    multiprocessing.set_forkserver_preload(["genreclf.experiment.run"])
    forkserver.ensure_running()


def cool_down() -> None:
    """End the server, which otherwise would first import all that no job needs any more."""
    server = forkserver._forkserver
    if (pid := server._forkserver_pid) is not None:  # type: ignore[attr-defined]
        os.kill(pid, signal.SIGKILL)
        server._stop()  # type: ignore[attr-defined]


def hide_gpus_from(configs: Iterable[Mapping[str, Any]]) -> None:
    """Hide the GPUs from this process if it computes these runs on the CPU alone.

    A step of an optimizer of PyTorch asks CUDA whether it is being recorded, which starts CUDA on the first GPU and
    takes memory there.
    """
    if all(config["trainer"]["accelerator"] == "cpu" for config in configs):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def compute_in_new_process(plain: Mapping[str, Any], log: Path | None) -> int:
    """Compute a run in a new process and wait for it; whatever happens, this process lives on.

    Args:
        plain: The resolved configuration.
        log: Where it writes what it would print; None: where this process prints.

    Returns:
        Its exit code: 0 finished, `UserError.exit_code` after a sentence, 1 after another error, -n killed by
            signal n, `TERMINATED` told to end.

    Raises:
        KeyboardInterrupt: This process, or that one, was interrupted.
    """
    codes: list[int | None] = []
    compute_together([plain], lambda number, code, wall_s: codes.append(code), log=log)
    return codes[-1] or 0


def compute_together(
    plains: Sequence[Mapping[str, Any]], tell: Tell, *, at_once: int = 1, log: Path | None = None
) -> None:
    """Compute runs in one new process, as `genreclf.experiment.together` does, and wait for it.

    If the process is killed, runs that it had not begun are not told of, unless it had begun none.

    Args:
        plains: The resolved configurations.
        tell: Called when a run begins and when it has ended, with its number among them, its exit code as of
            `compute_in_new_process`, None at the beginning, and how long it took in seconds.
        at_once: How many train at a time, on a device that can.
        log: Where the process writes what it would print; None: where this process prints.

    Raises:
        KeyboardInterrupt: This process, or that one, was interrupted.
    """
    warm_up()
    sys.stdout.flush()
    context = multiprocessing.get_context("forkserver")
    reader, writer = context.Pipe(duplex=False)
    arguments = ([dict(plain) for plain in plains], at_once, writer, dict(os.environ), os.getcwd(), log)
    process = context.Process(target=_compute, args=arguments, name="genreclf job")
    # A new process is told this one's method, and joblib's own is unknown to it.
    method = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("forkserver", force=True)
    process.start()
    multiprocessing.set_start_method(method, force=True)
    writer.close()
    began_s: dict[int, float] = {}
    left = set(range(len(plains)))
    try:
        while process.sentinel not in wait([reader, process.sentinel]) or reader.poll():
            number, code, wall_s = reader.recv()
            began_s.setdefault(number, time.perf_counter())
            if code is not None:
                left.remove(number)
            tell(number, code, wall_s)
    except EOFError:
        pass
    except BaseException as end:
        if isinstance(end, KeyboardInterrupt):  # Ctrl-C in a terminal reaches the job as well: it may end by itself.
            process.join(PATIENCE_S / 3)
        process.terminate()
        process.join(PATIENCE_S)
        process.kill()
        process.join()
        raise
    process.join()
    died = process.exitcode or CRASHED
    process.close()
    if died == SERVER_DIED:
        time.sleep(1)  # What ended it may be on its way here.
    if died == INTERRUPTED:
        raise KeyboardInterrupt
    for number in sorted(left.intersection(began_s) or (left if not began_s else ())):
        tell(number, died, time.perf_counter() - began_s.get(number, time.perf_counter()))


def _compute(
    plains: list[dict[str, Any]],
    at_once: int,
    tell: Connection,
    environment: dict[str, str],
    folder: str,
    log: Path | None,
) -> None:
    """Compute one job or several, as the whole work of a new process."""
    multiprocessing.set_start_method(None, force=True)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if log is not None:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    hide_gpus_from(plains)
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    from genreclf.config.config import Config
    from genreclf.experiment.together import run_together

    _set_threads(environment.get("OMP_NUM_THREADS", ""))
    try:
        for state in run_together([Config.from_plain(plain) for plain in plains], at_once=at_once):
            run_dir = plains[state.number]["run_dir"]
            tell.send((state.number, _code(state.error, run_dir) if state.ended else None, state.wall_s))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Terminated:
        sys.exit(TERMINATED)
    finally:
        # Before Python 3.13 a forked process leaves these out; the loggers count on them.
        atexit._run_exitfuncs()


def _code(error: Exception | None, run_dir: str) -> int:
    """Return the exit code of a run that has ended, and say and write down what went wrong."""
    if error is None or isinstance(error, RunBusy):
        return error.exit_code if error else 0
    RunDirectory(run_dir).record_failure(error)
    if isinstance(error, UserError):
        say(error)
        return error.exit_code
    traceback.print_exception(error)
    return CRASHED


def _set_threads(number: str) -> None:
    """Let PyTorch use so many threads: it read the variable when the server started."""
    import torch

    if number.isdecimal() and int(number) > 0:
        torch.set_num_threads(int(number))


def _end_with_the_sweep() -> None:
    """Wait for the death of the process that waits for this one, then end: a second sweep must find no writer here.

    The server's death too, for then the sweep takes this process for dead.
    """
    parent, server_pid = multiprocessing.parent_process(), os.getppid()
    if parent is None:
        return
    while parent.is_alive() and os.getppid() == server_pid:
        parent.join(timeout=1)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(PATIENCE_S)
    os.kill(os.getpid(), signal.SIGKILL)
