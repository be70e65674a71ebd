"""Training without a framework: the floor that `fit` is held against.

The same network, precision, optimizer, batch and number of steps; batches lie ready on the device; the network is
compiled on a GPU. No data path, no metrics, no checkpoint: what the device alone needs.
"""

import time
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from genreclf.features import FeatureSpec
from genreclf.models import CRNN

GENRES = 10


class BareLoop:
    """The ``crnn`` and its optimizer in a loop.

    Args:
        accelerator: ``cpu`` or ``gpu``.
        batch_size: Clips of a step.
        clip_seconds: Their length.
        bf16: Whether the forward pass runs under autocast.
    """

    def __init__(self, *, accelerator: str, batch_size: int, clip_seconds: float, bf16: bool) -> None:
        """Build the network and put one batch on the device."""
        self.device = torch.device("cuda" if accelerator == "gpu" else "cpu")
        self.bf16 = bf16
        spec = FeatureSpec.of_audio(
            sample_rate=22050, n_fft=2048, hop_length=512, n_mels=128, clip_seconds=clip_seconds
        )
        network = CRNN(spec=spec, genres=[str(genre) for genre in range(GENRES)]).network
        self.network = network.to(self.device).to(memory_format=torch.channels_last)
        # PyTorch keeps cuDNN's GRU outside the graph.
        self.call: Any = torch.compile(self.network) if accelerator == "gpu" else self.network
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
        self.clips = torch.randn(batch_size, spec.n_mels, spec.clip_frames, device=self.device)
        self.genres = torch.randint(GENRES, (batch_size,), device=self.device)

    def _precision(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def _loss(self) -> Tensor:
        with self._precision():
            return functional.cross_entropy(self.call(self.clips).float(), self.genres)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def epoch_s(self, *, train_steps: int, val_steps: int) -> float:
        """Return the seconds of so many steps of training and of validation."""
        self._wait()
        started_s = time.perf_counter()
        self.network.train()
        for _ in range(train_steps):
            self.optimizer.zero_grad(set_to_none=True)
            self._loss().backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        self.network.eval()
        with torch.no_grad():
            for _ in range(val_steps):
                self._loss()
        self._wait()
        return time.perf_counter() - started_s
