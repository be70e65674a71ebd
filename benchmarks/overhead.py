"""Measure the overhead of Python in a training: per training step, validation batch and epoch.

    python -m benchmarks.overhead

Recorded training steps and the forward passes of validation do nothing here when they are replayed, so that only the
loops, callbacks and loggers take time. Prints JSON: processor time of a single training, and wall-clock time of each of
several trainings at once in threads, which share one Python interpreter; in microseconds, and in milliseconds for an
epoch, which is measured without its checkpoints.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from benchmarks.noise import write_pictures
from benchmarks.training import fit_s
from genreclf.cli.compose import checked
from genreclf.config.config import Config
from genreclf.training import recorder
from genreclf.training.callbacks import StopWhenDiverged
from genreclf.training.recorder import Work

EPOCHS = 6


class Idle:
    """Recorder that runs the work once and does nothing when it is replayed."""

    def __init__(self, device: torch.device) -> None:
        """Ignore the device."""

    def seed(self, seed: int) -> None:
        """Ignore the seed."""

    def run(self, work: Work) -> None:
        """Run `work`."""
        work()

    def record(self, work: Work) -> Work:
        """Run `work` once for its results, and return a function that does nothing."""
        work()
        return lambda: None


class Clocks:
    """Substitute for the module `time` in the callbacks: processor time of the thread, or wall-clock time.

    Args:
        at_once: Number of trainings at once; processor time is used for a single one.
    """

    monotonic = staticmethod(time.monotonic)

    def __init__(self, *, at_once: int) -> None:
        self.perf_counter = time.thread_time if at_once == 1 else time.perf_counter


def measure(config: Config, *, steps: int, validated: int, at_once: int) -> float:
    """Return the duration of the fastest of several epochs in seconds.

    Args:
        config: Configuration of the training.
        steps: Training steps per epoch.
        validated: Validation batches per epoch.
        at_once: Number of trainings at once, each in its own thread.
    """
    settings = replace(
        config.trainer, max_epochs=EPOCHS, step="graph", limit_train_batches=steps, limit_val_batches=validated
    )
    if at_once > 1:  # A terminal has room for one bar.
        settings = replace(settings, others={**settings.others, "enable_progress_bar": False})
    config = replace(config, trainer=settings)
    histories: list[list[dict[str, float]]] = [[] for _ in range(at_once)]
    threads = [threading.Thread(target=fit_s, args=(config, history)) for history in histories]
    with (
        mock.patch.dict(recorder.RECORDERS, cpu=Idle),
        mock.patch.object(StopWhenDiverged, "on_train_epoch_end"),
        mock.patch("genreclf.training.callbacks.time", Clocks(at_once=at_once)),
        contextlib.redirect_stdout(sys.stderr),
    ):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return min(row["epoch_s"] for history in histories for row in history[2:])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one training alone and several at once, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=5, help="trainings in threads (default: %(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for a run: callbacks, logger ...")
    options = parser.parse_args(arguments)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(Path(folder, "pictures"), 100)
        words = [
            *("split=track", "data=spectrogram_images", f"data.root={folder}/pictures", f"data.store_dir={folder}"),
            *("data.crops_per_track=96", "logger=csv", "trainer=cpu", "data.batch_size=4", "data.grid_overlap=0.95"),
            *("model=crnn", "model.channels=[4,4,4,4]", "model.hidden=4", *options.overrides),
        ]
        config = checked(words, run_dir="-")
        for at_once in sorted({1, options.at_once}):
            few, steps, more = (
                measure(config, steps=steps, validated=validated, at_once=at_once)
                for steps, validated in ((100, 1), (1000, 1), (100, 201))
            )
            step_us, batch_us = (steps - few) / 900 * 1e6 / at_once, (more - few) / 200 * 1e6 / at_once
            results[f"{at_once} at once" if at_once > 1 else "alone"] = {
                "step_us": round(step_us, 1),
                "validation_batch_us": round(batch_us, 1),
                "epoch_ms": round((few - 100 * (steps - few) / 900) * 1e3 / at_once, 2),
            }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
