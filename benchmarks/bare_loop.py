"""Training without a framework, which the framework is held against."""

import copy
import itertools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from genreclf.config.config import Config
from genreclf.data.clips import ClipBatch
from genreclf.data.datamodule import ClipDataModule
from genreclf.experiment.setup import Prepared
from genreclf.hardware import resolve_accelerator, resolve_precision
from genreclf.training.compilation import compiled
from genreclf.training.module import MakeOptimizer


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
        self.forward = compiled(network, config.trainer.compile) if config.trainer.compile else network
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


def device_of(config: Config) -> tuple[torch.device, str]:
    """Return the device and the precision that a run of `config` trains on."""
    accelerator = resolve_accelerator(config.trainer.accelerator, 1)
    precision = resolve_precision(config.trainer.precision, accelerator)
    return torch.device({"gpu": "cuda"}.get(accelerator, accelerator)), precision


def ready_batches(config: Config, prepared: Prepared, at_most: int | None = None) -> Ready:
    """Cut and scale the batches of one epoch, at most so many, and carry them to the device."""
    data, device = prepared.data, device_of(config)[0]

    def batches(subset: str) -> list[tuple[Tensor, Tensor]]:
        loader = data.train_dataloader() if subset == "train" else data.val_dataloader()
        cut = (clips_of(data, subset, batch) for batch in itertools.islice(loader, at_most))
        return [(prepared.model.scaling(clips.stored).to(device), clips.genre.to(device)) for clips in cut]

    return Ready(batches("train"), batches("val"))


def clips_of(data: ClipDataModule, subset: str, batch: Tensor | ClipBatch) -> ClipBatch:
    """Return a batch as clips, cut here if they were not read ahead."""
    return data.clips(subset, batch) if isinstance(batch, Tensor) else batch
