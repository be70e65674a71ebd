"""Cost of a store that is larger than the memory: batches from the store compared with batches from memory."""

import json
import os
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.bare_loop import BareLoop, Ready, clips_of
from benchmarks.data_path import forget_pages
from genreclf.config.config import Config
from genreclf.data.datamodule import ClipDataModule
from genreclf.data.store import Store
from genreclf.experiment.setup import Prepared, prepare
from genreclf.hardware import memory_bytes
from genreclf.splits.base import Segment, Split

CUT, TRAINED = 300, 40
"""Batches per measurement that are only cut, and that are trained on; at most those of one epoch."""

IN_MEMORY = 2000
"""Number of tracks in the part of the store that is kept in memory."""


def measure_streaming(config: Config, folder: Path, tracks: int) -> dict[str, Any]:
    """Cut batches out of a large store that is not cached in memory, and out of a small part that is.

    Args:
        config: Configuration of the run; its few tracks are repeated to fill the store, and its network is trained.
        folder: Folder to write the store to.
        tracks: Number of tracks in the store.

    Returns:
        ``tracks``, ``store_gb``, ``memory_gb`` that the process may use, ``batch_size``, and batches per second without
        and with a training step on each, by source: ``memory``, ``as_needed`` (cut on demand) and ``read_ahead`` (by a
        thread).
    """
    prepared = prepare(config)
    store = write_store(folder, prepared.data.store, tracks)
    loop = BareLoop(config, prepared, Ready((), ()))

    def train(stored: Tensor, genre: Tensor) -> None:
        loop.step(prepared.model.scaling(stored.to(loop.device)), genre.to(loop.device))

    def alone(stored: Tensor, genre: Tensor) -> None:
        prepared.model.scaling(stored.to(loop.device))

    ways = {"memory": (IN_MEMORY, False), "as_needed": (tracks, False), "read_ahead": (tracks, True)}
    results: dict[str, Any] = {
        "tracks": tracks,
        "store_gb": round(store.frames.nbytes / 1e9, 1),
        "memory_gb": round(memory_bytes() / 1e9, 1),
        "batch_size": config.clips.batch_size,
        "batches_per_s": {},
        "training_batches_per_s": {},
    }
    uses = {"batches_per_s": (alone, CUT), "training_batches_per_s": (train, TRAINED)}
    for name, (count, ahead) in ways.items():
        data = _data(prepared, store, count, read_ahead=ahead)
        for key, (use, batches) in uses.items():
            if name == "memory":
                _rate(data, alone, batches)
            else:
                forget_pages(store)
            results[key][name] = round(_rate(data, use, batches), 1)
    return results


def write_store(folder: Path, few: Store, tracks: int) -> Store:
    """Write a store of `tracks` tracks to disk by repeating the tracks of the store `few`."""
    folder.mkdir(parents=True)
    index: dict[str, Any] = json.loads((few.directory / "index.json").read_text())
    del index["checksum"]
    known = list(index["tracks"].values())
    index["frames"], index["tracks"] = 0, {}
    with (folder / "frames.bin").open("wb") as file:
        for number in range(tracks):
            offset, length, checksum = known[number % len(known)]
            few.frames[offset : offset + length].tofile(file)
            index["tracks"][f"{number:06d}"] = (index["frames"], length, checksum)
            index["frames"] += length
        os.fsync(file.fileno())
    (folder / "index.json").write_text(json.dumps(index))
    return Store(folder)


def _data(prepared: Prepared, store: Store, tracks: int, *, read_ahead: bool) -> ClipDataModule:
    """Return a data module that trains on the first tracks of a store, with the genres assigned in turn."""
    segments = tuple(Segment(name, 0, length) for name, length in islice(store.lengths_frames.items(), tracks))
    genres = prepared.data.genres
    return ClipDataModule(
        store=store,
        split=Split("all", False, genres, train=segments, val=segments[:1], test=segments[:1]),
        genre_of={segment.track_id: genres[index % len(genres)] for index, segment in enumerate(segments)},
        spec=prepared.data.spec,
        batch_size=prepared.data.batch_size,
        read_ahead=read_ahead,
    )


def _rate(data: ClipDataModule, use: Callable[[Tensor, Tensor], None], batches: int) -> float:
    """Return the number of batches per second."""
    count, started_s = 0, time.perf_counter()
    for batch in islice(data.train_dataloader(), batches):
        clips = clips_of(data, "train", batch)
        use(clips.stored, clips.genre)
        count += 1
    return count / (time.perf_counter() - started_s)
