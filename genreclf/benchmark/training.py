"""What training costs: the data path alone, steps of each model, and whole fits against a bare PyTorch loop."""

import copy
import itertools
import mmap
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional

from genreclf.callbacks import EpochSeed
from genreclf.config import Config
from genreclf.data.clips import ClipBatch
from genreclf.data.datamodule import ClipDataModule
from genreclf.fitting import fit, trainer_of
from genreclf.hardware import environment, resolve_accelerator, resolve_precision
from genreclf.models import GenreClassifier
from genreclf.models.base import MakeOptimizer
from genreclf.preparing import Prepared, prepare
from genreclf.rundir import RunDirectory
from genreclf.tracking import Tracking


@dataclass(frozen=True)
class Ready:
    """Batches of one epoch, cut, scaled and on the device: ``(batch, mel, frame)`` and genres ``(batch,)``."""

    train: Sequence[tuple[Tensor, Tensor]]
    val: Sequence[tuple[Tensor, Tensor]]


class BareLoop:
    """What remains of a training without a framework: forward, loss, backward, clip, step, validate, save.

    Args:
        config: Its precision, device, clipping and compilation are used.
        prepared: The network, which is copied, and its optimizer.
        ready: What it trains on, the same batches each epoch.
    """

    def __init__(self, config: Config, prepared: Prepared, ready: Ready) -> None:
        """Copy the network to the device."""
        self.device, self.precision = device_of(config)
        network = copy.deepcopy(prepared.model.network).to(self.device)
        self.network: nn.Module = network.to(memory_format=torch.channels_last)
        self.forward = torch.compile(network, mode=config.trainer.compile) if config.trainer.compile else network
        make: MakeOptimizer = prepared.model.make_optimizer
        self.optimizer = make(network.parameters())
        self.largest_norm = config.trainer.gradient_clip_val
        self.ready = ready

    def epochs(self, count: int) -> float:
        """Return the seconds of so many epochs, with validation and two checkpoints each."""
        self._wait()
        started_s = time.perf_counter()
        for _ in range(count):
            for x, y in self.ready.train:
                self.step(x, y)
            self.network.eval()
            with torch.inference_mode(), self._autocast():
                torch.cat([self.network(x).float() for x, _ in self.ready.val]).cpu()
            self.network.train()
            with tempfile.TemporaryFile() as file:
                for _ in ("best", "last"):
                    torch.save([self.network.state_dict(), self.optimizer.state_dict()], file)
        self._wait()
        return time.perf_counter() - started_s

    def steps(self, count: int) -> float:
        """Return the seconds a step takes, the fastest of all but the first."""
        spent_s = []
        for x, y in itertools.islice(itertools.cycle(self.ready.train), count):
            started_s = time.perf_counter()
            self.step(x, y)
            self._wait()
            spent_s.append(time.perf_counter() - started_s)
        return min(spent_s[1:])

    def step(self, x: Tensor, y: Tensor) -> None:
        """Train on one batch."""
        with self._autocast():
            loss = functional.cross_entropy(self.forward(x), y)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.largest_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.largest_norm)
        self.optimizer.step()

    def _autocast(self) -> torch.autocast:
        dtype = torch.float16 if self.precision == "16-mixed" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.precision != "32-true")

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def measure_fit(config: Config, *, epochs: int, rounds: int) -> dict[str, Any]:
    """Fit as a run does, with everything on, and train a `BareLoop` for as many epochs, in turns.

    Other work on the machine makes some epochs slower, so the fastest of each counts: a fit is its fastest epoch as
    often as there are epochs, and what it needs before and after them.

    Returns:
        Seconds of every epoch, ``fit_s`` and ``bare_s`` made of the fastest, their ratio ``vs_bare_loop``, what is
        counted, and ``fixed_cost_epoch_s``: what an epoch costs beside its batches.
    """
    config = replace(config, trainer=replace(config.trainer, max_epochs=epochs))
    prepared = prepare(config)
    ready = ready_batches(config, prepared)
    loop = BareLoop(config, prepared, ready)
    loop.steps(3)
    bare_s: list[float] = []
    fit_s: list[float] = []
    outside_s: list[float] = []
    for _ in range(rounds):
        bare_s += [loop.epochs(1) for _ in range(epochs)]
        history: list[dict[str, float]] = []
        whole_s = _fit_s(config, history)
        fit_s += [row["epoch_s"] for row in history]
        outside_s.append(whole_s - sum(row["epoch_s"] for row in history))
    fastest_s = epochs * min(fit_s) + min(outside_s)
    clips = sum(len(y) for _, y in ready.train)
    return {
        "model": config.model["_target_"].rpartition(".")[2],
        "precision": loop.precision,
        "epochs": epochs,
        "train_clips": clips,
        "val_clips": sum(len(y) for _, y in ready.val),
        "bare_epochs_s": [round(seconds, 3) for seconds in bare_s],
        "fit_epochs_s": [round(seconds, 3) for seconds in fit_s],
        "bare_s": round(epochs * min(bare_s), 3),
        "fit_s": round(fastest_s, 3),
        "clips_per_s": round(epochs * clips / fastest_s, 1),
        "vs_bare_loop": round(fastest_s / (epochs * min(bare_s)), 3),
        "fixed_cost_epoch_s": round(_fixed_cost_s(config, loop), 3),
    }


def measure_steps(config: Config, *, steps: int) -> dict[str, Any]:
    """Train one model for some steps under Lightning, without validation, and in a `BareLoop`.

    Returns:
        ``clips_per_s`` of ours and of the bare loop, and the time of ours divided by the bare loop's.
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


def measure_data_path(config: Config) -> dict[str, Any]:
    """Cut and scale the batches of an epoch and do nothing with them, from memory and from a cold disk.

    Returns:
        ``batches_per_s`` of each; from the disk also read ahead by a thread, as of a store larger than memory.
    """
    prepared = prepare(config)
    device, _ = device_of(config)
    data, model = prepared.data, prepared.model.to(device)
    _pass_over(data, model)
    warm = _pass_over(data, model)
    _forget_pages(prepared)
    cold = _pass_over(data, model)
    _forget_pages(prepared)
    with patch.object(ClipDataModule, "streams", True):
        ahead = _pass_over(data, model)
    return {
        "batches_per_s": round(warm, 1),
        "cold_batches_per_s": round(cold, 1),
        "cold_read_ahead_batches_per_s": round(ahead, 1),
        "batch_size": config.clips.batch_size,
        "store_mb": round(data.store.frames.nbytes / 1e6, 1),
    }


def epoch_s(config: Config) -> float:
    """Return the seconds of the second epoch of a fit, validation included."""
    history: list[dict[str, float]] = []
    _fit_s(replace(config, trainer=replace(config.trainer, max_epochs=2)), history)
    return history[1]["epoch_s"]


def device_of(config: Config) -> tuple[torch.device, str]:
    """Return the device and the precision that a run of `config` trains on."""
    accelerator = resolve_accelerator(config.trainer.accelerator, 1)
    precision = resolve_precision(config.trainer.precision, accelerator)
    return torch.device({"gpu": "cuda"}.get(accelerator, accelerator)), precision


def ready_batches(config: Config, prepared: Prepared, at_most: int | None = None) -> Ready:
    """Cut and scale the batches of one epoch, at most so many, and carry them to the device."""
    data, device = prepared.data, device_of(config)[0]

    def batches(side: str) -> list[tuple[Tensor, Tensor]]:
        loader = data.train_dataloader() if side == "train" else data.val_dataloader()
        cut = (_clips(data, side, batch) for batch in itertools.islice(loader, at_most))
        return [(prepared.model.scaling(clips.stored).to(device), clips.genre.to(device)) for clips in cut]

    return Ready(batches("train"), batches("val"))


def _fixed_cost_s(config: Config, loop: BareLoop) -> float:
    """Return what an epoch of one batch of each kind takes longer than those batches, the median of several."""
    small = replace(config.trainer, max_epochs=6, limit_train_batches=1, limit_val_batches=1)
    history: list[dict[str, float]] = []
    _fit_s(replace(config, trainer=small), history)
    loop.ready = Ready(loop.ready.train[:1], loop.ready.val[:1])
    return median(row["epoch_s"] for row in history[1:]) - loop.epochs(3) / 3


def _fit_s(config: Config, history: list[dict[str, float]] | None = None) -> float:
    """Return the seconds of a fit in a run directory of its own; put its history into `history`."""
    with tempfile.TemporaryDirectory() as directory:
        run = RunDirectory(directory)
        config = replace(config, run_dir=directory)
        device, precision = device_of(config)
        run.make()
        run.write_json(run.environment, environment(config.trainer.accelerator, 1, precision))
        run.write_json(run.metrics, {"status": "running"})
        prepared = prepare(config)
        with Tracking(kind=config.logger.name, run=run, config=config.plain) as tracking:
            started_s = time.perf_counter()
            fit(config, run, prepared, tracking)
            if device.type == "cuda":
                torch.cuda.synchronize()
            spent_s = time.perf_counter() - started_s
        if history is not None:
            history += run.read_history()
        return spent_s


class _StepClock(Callback):
    """Measures from the end of each step to the end of the next, and so whatever lies between."""

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
    """Return the operations of a training step, a clip: forward, and twice as many backward."""
    from torch.utils.flop_counter import FlopCounterMode

    model.cpu().eval()
    clip = torch.zeros(1, model.spec.n_mels, model.spec.clip_frames)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.network(clip)
    return 3.0 * float(counter.get_total_flops())


def _pass_over(data: ClipDataModule, model: GenreClassifier) -> float:
    """Return the batches a second of one epoch."""
    count, started_s = 0, time.perf_counter()
    for batch in data.train_dataloader():
        clips = _clips(data, "train", batch)
        model.scaling(clips.stored.to(model.device))
        count += 1
    return count / (time.perf_counter() - started_s)


def _clips(data: ClipDataModule, side: str, batch: Tensor | ClipBatch) -> ClipBatch:
    return data.clips(side, batch) if isinstance(batch, Tensor) else batch


def _forget_pages(prepared: Prepared) -> None:
    """Have the next reading of the store come from the disk."""
    frames = prepared.data.store.frames
    assert isinstance(frames, np.memmap)
    memory: mmap.mmap = frames._mmap  # type: ignore[attr-defined]
    memory.madvise(mmap.MADV_DONTNEED)
    with Path(prepared.data.store.directory / "frames.bin").open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
