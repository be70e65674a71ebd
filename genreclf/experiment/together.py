"""Compute several runs in one process and on one device, each with the same results as when computed alone."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from genreclf.config.config import Config
from genreclf.config.identity import digest
from genreclf.devices import first_device
from genreclf.errors import Terminated, terminated_by_sigterm
from genreclf.experiment.corpus import Check, Corpus, load_corpus
from genreclf.experiment.run import RunSteps, choose_device, steps
from genreclf.experiment.sharing import Sharing
from genreclf.hardware import cores
from genreclf.plots.processes import drawing_processes
from genreclf.plots.run import draw_all
from genreclf.training.recorder import RECORDERS
from genreclf.training.shared_device import SharedDevice


@dataclass
class RunInProgress:
    """Run that is computed together with other runs in one process."""

    number: int
    """Index of the run among the runs of the process."""
    steps: RunSteps
    """Remaining steps of the run."""
    next: str = ""
    """Name of the next step of the run."""
    ended: bool = False
    """Whether the run has finished or failed."""
    error: Exception | None = None
    """Error with which the run failed; None if it has not failed."""
    wall_s: float = 0.0
    """Duration of the steps of the run in seconds; steps taken at the same time as other runs count in full."""

    def advance(self) -> None:
        """Take the next step; an error ends this run only."""
        started_s = time.perf_counter()
        try:
            self.next = next(self.steps)
        except StopIteration:
            self.ended = True
        except Exception as error:
            self.error, self.ended = error, True
        self.wall_s += time.perf_counter() - started_s


def run_together(configs: Sequence[Config], *, at_once: int = 1) -> Iterator[RunInProgress]:
    """Compute runs of one dataset and one device in this process, each with the same results as when computed alone.

    The runs are set up and tested one after another. At most `at_once` of them train at the same time, each in a
    thread, if the device can record their training steps (see `genreclf.training.recorder`); otherwise whole runs take
    turns.

    Yields:
        Each run when it begins, and again when it has ended.

    Raises:
        Terminated: The process was told to end.
    """
    at_once = min(at_once, len(configs))
    if at_once > 1 and not all(map(_records_steps, configs)):
        print("Note: these runs take turns; on an NVIDIA GPU, trainer.step=graph lets them train at once.")
        at_once = 1
    load = _Loaded()
    with terminated_by_sigterm(), ExitStack() as ends:
        if at_once > 1:
            choose_device(configs[0])
            drawers = ends.enter_context(drawing_processes(min(at_once, cores())))
            yield from _at_once(configs, at_once, load, drawers, ends)
            return
        for number, config in enumerate(configs):
            run = RunInProgress(number, steps(config, sharing=Sharing(load)))
            yield run
            while not run.ended:
                run.advance()
            yield run


def _records_steps(config: Config) -> bool:
    return config.trainer.step == "graph" and first_device(config.trainer.accelerator).type in RECORDERS


def _at_once(
    configs: Sequence[Config], at_once: int, load: "_Loaded", drawers: ProcessPoolExecutor, ends: ExitStack
) -> Iterator[RunInProgress]:
    """Compute `at_once` runs at a time: train them simultaneously, and report them when all are tested."""

    def draw(*arguments: Any) -> Callable[[], object]:
        return drawers.submit(draw_all, *arguments).result

    for first in range(0, len(configs), at_once):
        stop = threading.Event()
        runs: list[RunInProgress] = []
        devices: list[SharedDevice] = []
        for number, config in list(enumerate(configs))[first : first + at_once]:
            device = first_device(config.trainer.accelerator)
            devices.append(SharedDevice(device, stop, shows_progress=number == first))
            runs.append(RunInProgress(number, steps(config, sharing=Sharing(load, draw, devices[-1]))))
            ends.callback(runs[-1].steps.close)
            yield runs[-1]
            runs[-1].advance()
        _fit(runs, devices, stop)
        for run in runs:
            if not run.ended:
                run.advance()
        for run in runs:
            while not run.ended:
                run.advance()
            yield run


def _fit(runs: Sequence[RunInProgress], devices: Sequence[SharedDevice], stop: threading.Event) -> None:
    """Train all runs whose next step is to fit, each in a thread."""

    def fit(run: RunInProgress, device: SharedDevice) -> None:
        with suppress(Terminated), device:
            run.advance()

    pairs = [pair for pair in zip(runs, devices, strict=True) if pair[0].next == "fit" and not pair[0].ended]
    with ThreadPoolExecutor(len(runs), "fit") as threads:
        ends = [threads.submit(fit, *pair) for pair in pairs]
        try:
            wait(ends)
        except BaseException:  # Ctrl-C or SIGTERM, which reach the main thread alone.
            stop.set()
            wait(ends)
            raise
        for end in ends:
            end.result()


class _Loaded:
    """Loader that loads each dataset once and shares it among runs with the same data, features and encoder."""

    def __init__(self) -> None:
        self._corpora: dict[str, Corpus] = {}

    def __call__(self, config: Config, *, check: Check | None = None) -> Corpus:
        key = digest({name: config.plain.get(name) for name in ("data", "features", "encoder")} | {"of": config.takes})
        if key not in self._corpora:
            self._corpora[key] = load_corpus(config, check=check)
        return self._corpora[key]
