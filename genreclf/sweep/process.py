"""A job in a process of its own, forked from a server that has imported all it needs and has done nothing else."""

import atexit
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from genreclf.errors import INTERRUPTED, TERMINATED, Terminated, UserError
from genreclf.escaping import say

PATIENCE_S = 15.0
"""How long a job may take to end in order before it is killed."""

SERVER_DIED = 255
"""Exit code of a job when the server has died, as multiprocessing has it."""


def warm_up() -> None:
    """Start the server, if it does not run; importing PyTorch takes it some seconds, once."""
    multiprocessing.set_forkserver_preload(["genreclf.experiment.run"])
    forkserver.ensure_running()


def cool_down() -> None:
    """End the server, which otherwise would first import all that no job needs any more."""
    server = forkserver._forkserver
    if (pid := server._forkserver_pid) is not None:  # type: ignore[attr-defined]
        os.kill(pid, signal.SIGKILL)
        server._stop()  # type: ignore[attr-defined]


def compute_apart(plain: Mapping[str, Any], log: Path | None) -> int:
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
    warm_up()
    sys.stdout.flush()
    arguments = (dict(plain), dict(os.environ), os.getcwd(), log)
    process = multiprocessing.get_context("forkserver").Process(target=_compute, args=arguments, name="genreclf job")
    # A new process is told this one's method, and joblib's own is unknown to it.
    method = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("forkserver", force=True)
    process.start()
    multiprocessing.set_start_method(method, force=True)
    try:
        process.join()
    except BaseException:
        # Ctrl-C in a terminal reaches the job as well: it may end by itself.
        process.join(PATIENCE_S / 3)
        process.terminate()
        process.join(PATIENCE_S)
        process.kill()
        process.join()
        raise
    code = process.exitcode or 0
    process.close()
    if code == SERVER_DIED:
        time.sleep(1)  # What ended it may be on its way here.
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code


def _compute(plain: dict[str, Any], environment: dict[str, str], folder: str, log: Path | None) -> None:
    """Be the process of a job."""
    multiprocessing.set_start_method(None, force=True)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    if log is not None:
        with log.open("a") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    threading.Thread(target=_end_with_the_sweep, daemon=True).start()
    from genreclf.config.config import Config
    from genreclf.experiment.run import run
    from genreclf.run_directory import RunBusy, RunDirectory

    _set_threads(environment.get("OMP_NUM_THREADS", ""))
    try:
        run(Config.from_plain(plain))
    except RunBusy as error:
        sys.exit(error.exit_code)
    except UserError as error:
        say(error)
        RunDirectory(plain["run_dir"]).record_failure(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Terminated:
        sys.exit(TERMINATED)
    except Exception as error:
        RunDirectory(plain["run_dir"]).record_failure(error)
        raise
    finally:
        # Before Python 3.13 a forked process leaves these out; the loggers count on them.
        atexit._run_exitfuncs()


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
