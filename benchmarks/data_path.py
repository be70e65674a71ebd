"""Cost of cutting and scaling batches, without training on them."""

import mmap
import os
import time
from typing import Any

import numpy as np
import torch

from benchmarks.bare_loop import clips_of, device_of
from genreclf.config.config import Config
from genreclf.data.datamodule import ClipDataModule
from genreclf.data.store import Store
from genreclf.experiment.setup import prepare
from genreclf.models import GenreClassifier


def measure_data_path(config: Config) -> dict[str, Any]:
    """Cut and scale the batches of an epoch without training on them, from a cold disk and from memory.

    Returns:
        ``batches_per_s`` from the memory that a training would use (that of the GPU if the store fits),
        ``cold_batches_per_s`` from the disk, ``cold_read_ahead_batches_per_s`` from the disk with a thread that reads
        ahead, as for a store larger than the memory, ``batch_size`` and ``store_mb``.
    """
    prepared = prepare(config)
    device, _ = device_of(config)
    data, model = prepared.data, prepared.model.to(device)
    _pass_over(data, model)
    forget_pages(data.store)
    cold = _pass_over(data, model)
    forget_pages(data.store)
    data.read_ahead = True
    ahead = _pass_over(data, model)
    data.read_ahead = None
    data.settle(device)
    _pass_over(data, model)
    warm = _pass_over(data, model)
    return {
        "batches_per_s": round(warm, 1),
        "cold_batches_per_s": round(cold, 1),
        "cold_read_ahead_batches_per_s": round(ahead, 1),
        "batch_size": config.clips.batch_size,
        "store_mb": round(data.store.frames.nbytes / 1e6, 1),
    }


def _pass_over(data: ClipDataModule, model: GenreClassifier) -> float:
    """Return the number of batches per second in one epoch."""
    count, started_s = 0, time.perf_counter()
    for batch in data.train_dataloader():
        clips = clips_of(data, "train", batch)
        model.scaling(clips.stored.to(model.device))
        count += 1
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return count / (time.perf_counter() - started_s)


def forget_pages(store: Store) -> None:
    """Drop the store from the page cache, so that it is read from the disk again."""
    frames = store.frames
    assert isinstance(frames, np.memmap)
    memory: mmap.mmap = frames._mmap  # type: ignore[attr-defined]
    memory.madvise(mmap.MADV_DONTNEED)
    with (store.directory / "frames.bin").open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
