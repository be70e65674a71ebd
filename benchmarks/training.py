"""Cost of training: steps of each model and whole fits, compared with a bare PyTorch loop."""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from statistics import median
from typing import Any
from unittest import mock

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.bare_loop import BareLoop, Ready, device_of, ready_batches
from genreclf.config.config import Config
from genreclf.experiment import fit as fit_module
from genreclf.experiment.build import make_loggers
from genreclf.experiment.fit import fit
from genreclf.experiment.setup import prepare
from genreclf.experiment.trainer import trainer_of
from genreclf.hardware import environment
from genreclf.models import GenreClassifier
from genreclf.run_directory import RunDirectory
from genreclf.training.callbacks import EpochSeed
from genreclf.training.tracking import Tracking


def measure_fit(config: Config, *, epochs: int, rounds: int) -> dict[str, Any]:
    """Fit as a run does, with all callbacks, and train a bare loop for one epoch before each epoch of the fit.

    Other work on the machine makes some epochs slower, so the fastest ones count: the duration of a fit is that of its
    fastest epoch times the number of epochs, plus the least time that a fit needs before and after its epochs.

    Returns:
        Seconds of every epoch, ``fit_s`` and ``bare_s`` derived from the fastest epochs, their ratio ``vs_bare_loop``,
        ``median_epoch_vs_bare``, the median ratio of an epoch to the bare one before it, model, precision and number of
        epochs and clips, and ``fixed_cost_epoch_s``, the time of an epoch that is not spent on its batches.
    """
    config = replace(config, trainer=replace(config.trainer, max_epochs=epochs))
    prepared = prepare(config)
    ready = ready_batches(config, prepared)
    loop = BareLoop(config, prepared, ready)
    loop.steps(3)
    bare_s: list[float] = []
    fits_s: list[float] = []
    outside_s: list[float] = []
    for _ in range(rounds):
        clock = _EpochClock(loop)
        with clock.comes_first():
            whole_s = fit_s(config)
        bare_s += clock.bare_s
        fits_s += clock.epochs_s
        outside_s.append(whole_s - sum(clock.bare_s) - sum(clock.epochs_s))
    fastest_s = epochs * min(fits_s) + min(outside_s)
    clips = sum(len(y) for _, y in ready.train)
    return {
        "model": config.model["_target_"].rpartition(".")[2],
        "precision": loop.precision,
        "epochs": epochs,
        "train_clips": clips,
        "val_clips": sum(len(y) for _, y in ready.val),
        "bare_epochs_s": [round(seconds, 3) for seconds in bare_s],
        "fit_epochs_s": [round(seconds, 3) for seconds in fits_s],
        "bare_s": round(epochs * min(bare_s), 3),
        "fit_s": round(fastest_s, 3),
        "clips_per_s": round(epochs * clips / fastest_s, 1),
        "vs_bare_loop": round(fastest_s / (epochs * min(bare_s)), 3),
        "median_epoch_vs_bare": round(median(ours / bare for ours, bare in zip(fits_s, bare_s, strict=True)), 3),
        "fixed_cost_epoch_s": round(_fixed_cost_s(config, loop), 3),
    }


def measure_steps(config: Config, *, steps: int) -> dict[str, Any]:
    """Train one model for some steps under Lightning, without validation, and in a bare loop.

    Returns:
        ``clips_per_s`` under Lightning, ``bare_clips_per_s`` of the bare loop, ``vs_bare_step``, the ratio of the times
        of a step, and ``gflop_per_clip``.
    """
    prepared = prepare(config)
    bare_s = BareLoop(config, prepared, ready_batches(config, prepared, at_most=2)).steps(steps)
    clock = _StepClock()
    trainer = trainer_of(
        replace(config, trainer=replace(config.trainer, limit_val_batches=0)),
        precision=device_of(config)[1],
        max_epochs=1000,
        max_steps=steps,
        gradient_clip_val=config.trainer.gradient_clip_val,
        callbacks=[EpochSeed(config.seed), clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    if config.trainer.compile is not None:
        prepared.model.compile_training(config.trainer.compile)
    trainer.fit(prepared.model, datamodule=prepared.data)
    ours_s = min(clock.steps_s[1:])
    return {
        "clips_per_s": round(config.clips.batch_size / ours_s, 1),
        "bare_clips_per_s": round(config.clips.batch_size / bare_s, 1),
        "vs_bare_step": round(ours_s / bare_s, 3),
        "gflop_per_clip": round(_training_flop(prepared.model) / 1e9, 3),
    }


def epoch_s(config: Config) -> float:
    """Return the seconds of the second epoch of a fit, including validation."""
    history: list[dict[str, float]] = []
    fit_s(replace(config, trainer=replace(config.trainer, max_epochs=2)), history)
    return history[1]["epoch_s"]


def _fixed_cost_s(config: Config, loop: BareLoop) -> float:
    """Return the median seconds that an epoch of one training and one validation batch takes beyond a bare epoch."""
    small = replace(config.trainer, max_epochs=6, limit_train_batches=1, limit_val_batches=1)
    loop.ready = Ready(loop.ready.train[:1], loop.ready.val[:1])
    clock = _EpochClock(loop)
    with clock.comes_first():
        fit_s(replace(config, trainer=small))
    return median(clock.epochs_s[1:]) - median(clock.bare_s[1:])


def fit_s(config: Config, history: list[dict[str, float]] | None = None) -> float:
    """Return the seconds of a fit in a temporary run directory; append its history to `history`."""
    with tempfile.TemporaryDirectory() as directory:
        run = RunDirectory(directory)
        config = replace(config, run_dir=directory)
        device, precision = device_of(config)
        run.make()
        run.write_json(run.environment, environment(config.trainer.accelerator, 1, precision))
        run.write_json(run.metrics, {"status": "running"})
        prepared = prepare(config)
        with Tracking(make_loggers(config, {})) as tracking:
            started_s = time.perf_counter()
            fit(config, run, prepared, tracking)
            if device.type == "cuda":
                torch.cuda.synchronize()
            spent_s = time.perf_counter() - started_s
        if history is not None:
            history += run.read_history()
        return spent_s


class _EpochClock(Callback):
    """Callback that times the epochs of a fit, including checkpoints, and trains a bare loop before each epoch.

    In this way other work on the machine affects both alike. An epoch lasts until the next one starts or the training
    ends.
    """

    def __init__(self, loop: BareLoop) -> None:
        self.loop = loop
        self.bare_s: list[float] = []
        self.epochs_s: list[float] = []
        self._started_s: float | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()
        self.bare_s.append(self.loop.epochs(1))
        self._started_s = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._started_s is not None:
            self.loop.wait()
            self.epochs_s.append(time.perf_counter() - self._started_s)

    @contextlib.contextmanager
    def comes_first(self) -> Iterator[None]:
        """Put this callback first among the callbacks of a fit in this context."""

        def trainer_with_this(config: Config, *, callbacks: list[Callback], **settings: Any) -> Trainer:
            return trainer_of(config, callbacks=[self, *callbacks], **settings)

        with mock.patch.object(fit_module, "trainer_of", trainer_with_this):
            yield


class _StepClock(Callback):
    """Callback that times training steps, from the end of each step to the end of the next."""

    def __init__(self) -> None:
        self.steps_s: list[float] = []
        self._ended_s = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        now_s = time.perf_counter()
        self.steps_s.append(now_s - self._ended_s)
        self._ended_s = now_s


def _training_flop(model: GenreClassifier) -> float:
    """Return the floating-point operations per clip of a training step, counting backward as twice forward."""
    from torch.utils.flop_counter import FlopCounterMode

    model.cpu().eval()
    clip = torch.zeros(1, model.spec.n_mels, model.spec.clip_frames)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.network(clip)
    return 3.0 * float(counter.get_total_flops())
