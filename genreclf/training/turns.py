"""Trainings in several threads of a process, on streams of their own, that take turns where they share something."""

import threading
from contextlib import ExitStack
from typing import Any, Self

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from genreclf.errors import Terminated
from genreclf.training.module import GenreClassifier
from genreclf.training.recorder import GENERATOR_LOCK


class Turns(Callback):
    """Lets a training start and end while no other does, and step beside the others.

    Lightning empties the memory cache of the device at the start and the end of a training, which the recording of a
    CUDA graph in another thread does not survive. A training whose steps are not recorded draws from the generators of
    the process, so it keeps its turn until it ends.

    As a context manager it gives the thread a CUDA stream of its own.

    Args:
        device: Of the training.
        told_to_end: Set when all trainings are to end.
        shows_progress: Whether this training draws the progress bar, of which a terminal has room for one.
    """

    def __init__(self, device: torch.device, told_to_end: threading.Event, *, shows_progress: bool) -> None:
        """Wait for nothing yet."""
        self.device, self.told_to_end, self.shows_progress = device, told_to_end, shows_progress
        self._has_turn = False
        self._stream = ExitStack()

    def __enter__(self) -> Self:
        """Wait for a turn."""
        self._take()
        if self.device.type == "cuda":
            stream = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
            self._stream.enter_context(torch.cuda.stream(stream))
            self._stream.callback(stream.synchronize)  # Another thread reads what was computed.
        return self

    def __exit__(self, *_: object) -> None:
        """Give the turn back."""
        try:
            self._stream.close()
        finally:
            self._give()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a training that is to end before its first step."""
        self._end_if_told()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Let others start once this training steps on its own.

        Raises:
            Terminated: All trainings are to end.
        """
        self._end_if_told()
        step = pl_module.whole_step if isinstance(pl_module, GenreClassifier) else None
        if step is not None and step.recorder is not None:
            self._give()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for a turn to end in."""
        self._take()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Wait for a turn to end in."""
        self._take()

    def _end_if_told(self) -> None:
        if self.told_to_end.is_set():
            raise Terminated

    def _take(self) -> None:
        if not self._has_turn:
            GENERATOR_LOCK.acquire()
            self._has_turn = True

    def _give(self) -> None:
        if self._has_turn:
            self._has_turn = False
            GENERATOR_LOCK.release()
