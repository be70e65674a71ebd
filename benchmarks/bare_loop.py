"""Plain PyTorch training loop without a framework, as the baseline for genreclf."""

import copy
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
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
from genreclf.training.recorder import RECORDERS, Recorder


@dataclass(frozen=True)
class Ready:
    """Batches of one epoch, cut, scaled and on the device: ``(batch, mel, frame)`` with genres ``(batch,)``."""

    train: Sequence[tuple[Tensor, Tensor]]
    val: Sequence[tuple[Tensor, Tensor]]


class Replayed:
    """Tensor function that is recorded at its fourth call and replayed from then on into the same output tensor.

    Args:
        function: Function to record.
        recorder: Recorder of the device.
    """

    def __init__(self, function: Callable[..., Tensor], recorder: Recorder) -> None:
        self.function, self.recorder = function, recorder
        self._calls = 0
        self._replay: Callable[[], None] | None = None

    def __call__(self, *given: Tensor) -> Tensor:
        """Return the result of the function."""
        self._calls += 1
        if self._calls < 4:
            self.recorder.run(lambda: self._work(*given))
            return self._result
        if self._replay is None:
            self._places = [values.clone() for values in given]
            self._replay = self.recorder.record(lambda: self._work(*self._places))
        for place, values in zip(self._places, given, strict=True):
            place.copy_(values)
        self._replay()
        return self._result

    def _work(self, *given: Tensor) -> None:
        self._result = self.function(*given)


class BareLoop:
    """Training without a framework: forward, loss, backward, gradient clipping, optimizer step, validation, saving.

    Args:
        config: Configuration of the run; its precision, device, gradient clipping and compilation are used. With
            ``trainer.step=graph`` on a GPU, training steps and predictions are replayed as CUDA graphs here as well.
        prepared: Model, whose network is copied, and its optimizer.
        ready: Batches to train and validate on, the same in each epoch.
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
        self._train: Callable[..., Tensor] = self._update
        self._predict: Callable[..., Tensor] = self._logits
        if config.trainer.step == "graph" and self.device.type == "cuda":
            recorder = RECORDERS["cuda"](self.device)
            self._train, self._predict = Replayed(self._update, recorder), Replayed(self._logits, recorder)
            for group in self.optimizer.param_groups:
                group["capturable"] = True

    def epochs(self, count: int) -> float:
        """Return the duration of `count` epochs in seconds, each with validation and two checkpoints."""
        self.wait()
        started_s = time.perf_counter()
        for _ in range(count):
            for x, y in self.ready.train:
                self.step(x, y)
            self.network.eval()
            with torch.no_grad():
                torch.cat([self._predict(x).clone() for x, _ in self.ready.val]).cpu()
            self.network.train()
            with tempfile.TemporaryFile() as file:
                for _ in ("best", "last"):
                    torch.save([self.network.state_dict(), self.optimizer.state_dict()], file)
        self.wait()
        return time.perf_counter() - started_s

    def steps(self, count: int) -> float:
        """Return the duration of the fastest of `count` training steps in seconds, without the first one."""
        spent_s = []
        for x, y in itertools.islice(itertools.cycle(self.ready.train), count):
            started_s = time.perf_counter()
            self.step(x, y)
            self.wait()
            spent_s.append(time.perf_counter() - started_s)
        return min(spent_s[1:])

    def step(self, x: Tensor, y: Tensor) -> None:
        """Train on one batch."""
        self._train(x, y)

    def _update(self, x: Tensor, y: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        with self._autocast():
            loss = functional.cross_entropy(self.forward(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.largest_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.largest_norm)
        self.optimizer.step()
        return loss

    def _logits(self, x: Tensor) -> Tensor:
        with self._autocast():
            logits: Tensor = self.network(x)
        return logits.float()

    def _autocast(self) -> torch.autocast:
        dtype = torch.float16 if self.precision == "16-mixed" else torch.bfloat16
        return torch.autocast(self.device.type, dtype, enabled=self.precision != "32-true")

    def wait(self) -> None:
        """Wait until the device has finished its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def device_of(config: Config) -> tuple[torch.device, str]:
    """Return the device and the precision that a run of `config` uses."""
    accelerator = resolve_accelerator(config.trainer.accelerator, 1)
    precision = resolve_precision(config.trainer.precision, accelerator)
    return torch.device({"gpu": "cuda"}.get(accelerator, accelerator)), precision


def ready_batches(config: Config, prepared: Prepared, at_most: int | None = None) -> Ready:
    """Cut and scale the batches of one epoch, `at_most` of each subset if given, and move them to the device."""
    data, device = prepared.data, device_of(config)[0]

    def batches(subset: str) -> list[tuple[Tensor, Tensor]]:
        loader = data.train_dataloader() if subset == "train" else data.val_dataloader()
        cut = (clips_of(data, subset, batch) for batch in itertools.islice(loader, at_most))
        return [(prepared.model.scaling(clips.stored).to(device), clips.genre.to(device)) for clips in cut]

    return Ready(batches("train"), batches("val"))


def clips_of(data: ClipDataModule, subset: str, batch: Tensor | ClipBatch) -> ClipBatch:
    """Return the clips of a batch; cut them here if they were not read ahead."""
    return data.clips(subset, batch) if isinstance(batch, Tensor) else batch
