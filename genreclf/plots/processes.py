"""Processes that draw the plots of runs while this one computes, since the plots of a run take seconds."""

import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module

from genreclf.distributed.exit_with_parent import exit_with_parent


def drawing_processes(number: int) -> ProcessPoolExecutor:
    """Return processes that take functions of `genreclf.plots`, and start them, which takes each a second or two."""
    processes = ProcessPoolExecutor(
        number, multiprocessing.get_context("spawn"), initializer=_prepare, initargs=(os.getpid(),)
    )
    for _ in range(number):
        processes.submit(int)  # A process is started with the first work for it.
    return processes


def _prepare(parent_pid: int) -> None:
    exit_with_parent(parent_pid)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches it as well.
    for name in ("genreclf.plots.run", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        import_module(name)
