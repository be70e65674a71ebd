"""Run jobs in new processes, forked from a server process that has already imported the modules that jobs need."""

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
"""Time in seconds that a job has to exit cleanly before it is killed."""

CRASHED = 1
"""Exit code of a job that ended with an unexpected error, such as a bug."""

SERVER_DIED = 255
"""Exit code that multiprocessing reports for a job if the server has died."""

LONGEST_SOCKET_FOLDER = 70
"""Maximum length of the path of the temporary folder, in characters, with which the path of a socket is valid."""

Tell = Callable[[int, int | None, float], None]
"""Callback of `compute_together` with the index of a run, its exit code (None at the start) and its duration."""


def warm_up() -> None:
    """Start the server process if it is not running; it imports PyTorch once, which takes some seconds."""
    usual = tempfile.gettempdir()
    if len(usual) > LONGEST_SOCKET_FOLDER and os.access("/tmp", os.W_OK):
        tempfile.tempdir = "/tmp"
        util.get_temp_dir()  # multiprocessing keeps this folder for the whole process.
        tempfile.tempdir = usual
    multiprocessing.set_forkserver_preload(["genreclf.experiment.run"])
    forkserver.ensure_running()


def cool_down() -> None:
    """Stop the server process, which otherwise would finish its imports although no job needs them anymore."""
    server = forkserver._forkserver
    if (pid := server._forkserver_pid) is not None:  # type: ignore[attr-defined]
        os.kill(pid, signal.SIGKILL)
        server._stop()  # type: ignore[attr-defined]


def hide_gpus_from(configs: Iterable[Mapping[str, Any]]) -> None:
    """Hide the GPUs from this process if all of the given runs use only the CPU.

    A step of a PyTorch optimizer asks CUDA whether a graph is being captured, which initializes CUDA and takes memory
    on the first GPU.
    """
    if all(config["trainer"]["accelerator"] == "cpu" for config in configs):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def compute_in_new_process(plain: Mapping[str, Any], log: Path | None) -> int:
    """Compute a run in a new process and wait for it; this process survives a crash of the new one.

    Args:
        plain: Resolved configuration of the run.
        log: File for the output of the new process; None to print it where this process prints.

    Returns:
        Exit code of the run: 0 if it is finished, `UserError.exit_code` after an error that the user can correct, 1
            after another error, -n if it was killed by signal n, and `TERMINATED` if it was asked to terminate.

    Raises:
        KeyboardInterrupt: This process or the new one was interrupted.
    """
    codes: list[int | None] = []
    compute_together([plain], lambda number, code, wall_s: codes.append(code), log=log)
    return codes[-1] or 0


def compute_together(
    plains: Sequence[Mapping[str, Any]], tell: Tell, *, at_once: int = 1, log: Path | None = None
) -> None:
    """Compute runs in one new process with `genreclf.experiment.together`, and wait for the process.

    If the process is killed, `tell` is called only for the runs that had begun, or for all runs if none had begun.

    Args:
        plains: Resolved configurations of the runs.
        tell: Function called when a run begins and when it has ended, with the index of the run in `plains`, its exit
            code (as in `compute_in_new_process`; None when it begins) and its duration in seconds.
        at_once: Number of runs that train at the same time, on a device that supports it.
        log: File for the output of the new process; None to print it where this process prints.

    Raises:
        KeyboardInterrupt: This process or the new one was interrupted.
    """
    warm_up()
    sys.stdout.flush()
    context = multiprocessing.get_context("forkserver")
    reader, writer = context.Pipe(duplex=False)
    arguments = ([dict(plain) for plain in plains], at_once, writer, dict(os.environ), os.getcwd(), log)
    process = context.Process(target=_compute, args=arguments, name="genreclf job")
    # A new process receives the start method of this one, and would not know the method that joblib adds.
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
        if isinstance(end, KeyboardInterrupt):  # Ctrl-C in a terminal reaches the job as well, which may end by itself.
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
        time.sleep(1)  # The signal that ended the server may be about to reach this process.
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
    """Compute one or several runs; this is the main function of a new process."""
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
        # Before Python 3.13, a forked process does not call exit functions, which the loggers need.
        atexit._run_exitfuncs()


def _code(error: Exception | None, run_dir: str) -> int:
    """Return the exit code of a run that has ended, and print and record its error."""
    if error is None or isinstance(error, RunBusy):
        return error.exit_code if error else 0
    RunDirectory(run_dir).record_failure(error)
    if isinstance(error, UserError):
        say(error)
        return error.exit_code
    traceback.print_exception(error)
    return CRASHED


def _set_threads(number: str) -> None:
    """Set the number of threads in PyTorch, which read the environment variable when the server started."""
    import torch

    if number.isdecimal() and int(number) > 0:
        torch.set_num_threads(int(number))


def _end_with_the_sweep() -> None:
    """End this process when the sweep dies, so that a repeated sweep finds no process writing to the run directory.

    The process also ends when the server dies, since the sweep then regards this process as dead.
    """
    parent, server_pid = multiprocessing.parent_process(), os.getppid()
    if parent is None:
        return
    while parent.is_alive() and os.getppid() == server_pid:
        parent.join(timeout=1)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(PATIENCE_S)
    os.kill(os.getpid(), signal.SIGKILL)
