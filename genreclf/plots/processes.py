"""Worker processes that draw the plots of runs, which takes seconds per run, while the main process computes."""

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module

from genreclf.distributed.exit_with_parent import exit_with_parent


def drawing_processes(number: int) -> ProcessPoolExecutor:
    """Start and return a pool of processes for functions of `genreclf.plots`; each takes a second or two to start."""
    processes = ProcessPoolExecutor(
        number, multiprocessing.get_context("spawn"), initializer=_prepare, initargs=(os.getpid(),)
    )
    for _ in range(number):
        processes.submit(int)  # The pool starts a process only when work is submitted.
    return processes


def _prepare(parent_pid: int) -> None:
    exit_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches the workers too.
    for name in ("genreclf.plots.run", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        import_module(name)
