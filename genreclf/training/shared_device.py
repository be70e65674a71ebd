"""Several trainings on one device, each in its own thread of one process and on its own CUDA stream."""

import threading
from contextlib import ExitStack
from typing import Any, Self

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from genreclf.errors import Terminated
from genreclf.training.gate import DEVICE_GATE
from genreclf.training.module import GenreClassifier


class SharedDevice(Callback):
    """Lets trainings share a device; none starts or ends while another one starts, ends or records a CUDA graph.

    Lightning empties the memory cache of the device at the start and the end of a training, which breaks the recording
    of a CUDA graph in another thread. A training whose steps are not recorded draws from the random number generators
    of the process, so it keeps other trainings from starting until it ends.

    As a context manager, it waits until the training may start, and gives the thread its own CUDA stream.

    Args:
        device: Device that the trainings share.
        stop: Event that is set when all trainings are to end.
        shows_progress: Whether this training shows its progress bar.
    """

    def __init__(self, device: torch.device, stop: threading.Event, *, shows_progress: bool) -> None:
        self.device, self.stop, self.shows_progress = device, stop, shows_progress
        self._is_alone = False
        self._stream = ExitStack()

    def __enter__(self) -> Self:
        self._take()
        if self.device.type == "cuda":
            stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            self._stream.enter_context(torch.cuda.stream(stream))
            self._stream.callback(stream.synchronize)  # Another thread reads the results.
        return self

    def __exit__(self, *_: object) -> None:
        """Let other trainings start, end and record."""
        try:
            self._stream.close()
        finally:
            self._is_alone = False
            DEVICE_GATE.leave()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise `Terminated` before the first training step if all trainings are to end."""
        self._end_if_stopped()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Let other trainings start if this one has its own recorder; raise `Terminated` if all are to end."""
        self._end_if_stopped()
        if not self._is_alone:
            DEVICE_GATE.pause()
            return
        step = pl_module.whole_step if isinstance(pl_module, GenreClassifier) else None
        if step is not None and step.recorder is not None:
            self._is_alone = False
            DEVICE_GATE.release(keeps_working=True)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Let trainings that are about to start, end or record go first."""
        DEVICE_GATE.pause()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait until this training may end."""
        self._take()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Wait until this training may end."""
        self._take()

    def _end_if_stopped(self) -> None:
        if self.stop.is_set():
            raise Terminated

    def _take(self) -> None:
        if not self._is_alone:
            DEVICE_GATE.take()
            self._is_alone = True
