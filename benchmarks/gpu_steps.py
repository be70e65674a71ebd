"""Measure the training steps on one GPU, and where their time goes.

    python -m benchmarks.gpu_steps

Prints JSON: milliseconds of a training step under Lightning, one operation at a time (eager), recorded as one CUDA
graph, and compiled, for three models and three batch sizes; whether eager and recorded steps give the same losses;
which models, optimizers and augmentations can be recorded; the share of the time that the GPU is busy; which code waits
for the GPU; max pooling and a GRU alone, in three ways each; and the time to save a checkpoint. The music is noise. If
a part fails, the others still run, and none starts after ``--seconds``.
``--quick --accelerator cpu`` shows that everything runs.
"""

import argparse
import contextlib
import json
import logging
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything
from torch import nn

from benchmarks import gpu_operations
from benchmarks.gpu import attempt
from benchmarks.gpu_trainings import MODELS, Trainings
from benchmarks.measuring import machine, models_that_train
from genreclf.cli.compose import checked
from genreclf.config.keys import CONFIG_DIR
from genreclf.experiment.build import build_model
from genreclf.models import GenreClassifier
from genreclf.training.augment import Augment, FilterAugment, Mixup

WAYS = ("eager", "graph")


class Bench(Trainings):
    """Measurements on one machine, one method for each part.

    Args:
        seconds: Time limit in seconds, after which no part starts.
        models: Names from `MODELS` of the models to measure.
        batches: Batch sizes to measure.
        **trainings: Arguments passed on to `Trainings`.
    """

    def __init__(self, *, seconds: float, models: Sequence[str], batches: Sequence[int], **trainings: Any) -> None:
        super().__init__(**trainings)
        self.models, self.batches = models, batches
        self.ends_s = time.perf_counter() + seconds

    def steps(self, ways: Sequence[str] = WAYS) -> dict[str, Any]:
        """Return the milliseconds of a training step, under Lightning and of the replayed graph alone."""
        figures: dict[str, Any] = {}
        for name in self.models:
            for batch in self.batches:
                for way in ways:
                    figures[f"{name} {batch} {way}"] = attempt(partial(self._step, name, batch, way))
        return figures

    def _step(self, name: str, batch: int, way: str) -> dict[str, Any]:
        if self.accelerator == "gpu":
            torch.cuda.reset_peak_memory_stats()
        watch = self.fit(self.model(name), batch=batch, way=way, steps=4 if self.quick else 100 if batch < 512 else 40)
        figures: dict[str, Any] = {"step_ms": round(watch.step_ms, 3)}
        if "graph" in way:
            figures |= {"alone_ms": round(watch.alone_ms, 3), "recorded": watch.recorded}
        if self.accelerator == "gpu":
            figures["memory_mib"] = torch.cuda.max_memory_allocated() >> 20
        return figures

    def compiled(self) -> dict[str, Any]:
        """Return the milliseconds of training steps with a compiled network; compilation takes a minute in total."""
        figures: dict[str, Any] = {}
        for name in () if self.quick else self.models:
            for way in ("compiled", "compiled graph"):
                if not self.is_late:
                    figures[f"{name} {self.batches[0]} {way}"] = attempt(
                        partial(self._step, name, self.batches[0], way)
                    )
        return figures

    @property
    def is_late(self) -> bool:
        """Whether the time limit has passed."""
        return time.perf_counter() > self.ends_s

    def same(self) -> dict[str, Any]:
        """Return how much the losses of recorded steps differ from those of eager steps, over two augmented epochs."""
        losses = {}
        for way in WAYS:
            augment = Augment(FilterAugment(), Mixup())
            steps = 6 if self.quick else 90
            watch = self.fit(self.model("crnn", augment=augment), batch=self.batches[0], way=way, steps=steps, epochs=2)
            losses[way] = torch.stack(watch.losses).cpu()
        apart = (losses["graph"] - losses["eager"]).abs() / losses["eager"]
        return {
            "largest difference of the first 20 losses": float(apart[:20].max()),
            "of all": float(apart.max()),
            "last losses": {way: float(values[-10:].mean()) for way, values in losses.items()},
        }

    def recorded(self) -> dict[str, Any]:
        """Return which models, optimizers and augmentations can be recorded, and why the others cannot."""
        optimizers = sorted(path.stem for path in Path(CONFIG_DIR, "optimizer").glob("[!_]*.yaml"))
        augmentations = sorted(path.stem for path in Path(CONFIG_DIR, "augmentation").glob("[!_]*.yaml"))
        choices = [f"model={name}" for name in models_that_train()]
        choices += [f"model=cnn optimizer={name}" for name in optimizers]
        choices += [f"model=cnn augmentation={name}" for name in augmentations if name != "none"]
        choices += ["model=cnn regularization=strong", "model=cnn scheduler=onecycle"]
        if self.quick:
            choices = choices[-1:]
        waiting = self.model("crnn")
        waiting.network = nn.Sequential(_Waits(), waiting.network)
        figures = {"a network that waits for the GPU": attempt(partial(self._recorded, lambda: waiting))}
        for choice in choices:
            if not self.is_late:
                figures[choice] = attempt(partial(self._recorded, partial(self._configured, choice.split())))
        return figures

    def _configured(self, overrides: list[str]) -> GenreClassifier:
        config = checked(["data=synthetic", *overrides], run_dir="-")
        seed_everything(0, verbose=False)
        return build_model(config, self.spec, self.data(4, 1))[0]

    def _recorded(self, make: Callable[[], GenreClassifier]) -> dict[str, Any]:
        model = make()
        said = _Said()
        with contextlib.redirect_stderr(said):
            watch = self.fit(model, batch=4, way="graph", steps=2)
        notes = [line for line in said.lines if "trainer.step" in line]
        finite = bool(torch.isfinite(torch.stack(watch.losses)).all())
        return {"recorded": watch.recorded, "finite": finite, "notes": notes}

    def busy(self) -> dict[str, Any]:
        """Return the share of the time that the GPU is busy, and the number of kernels per step, over 20 steps."""
        figures: dict[str, Any] = {}
        for way in WAYS:
            kinds = [torch.profiler.ProfilerActivity.CPU]
            if self.accelerator == "gpu":
                kinds = [torch.profiler.ProfilerActivity.CUDA]
            profiler = torch.profiler.profile(activities=kinds)
            steps = 4 if self.quick else 20
            watch = self.fit(
                self.model("crnn"), batch=self.batches[0], way=way, steps=steps, around=partial(_entered, profiler)
            )
            kernels = [event for event in _events(profiler) if event.device_type.name == "CUDA"]
            spent_us = sum(event.device_time_total for event in kernels)
            longest = Counter[str]()
            for event in kernels:
                longest[event.name[:100]] += event.device_time_total / 1e3 / steps
            figures[way] = {
                "busy": round(spent_us / (watch.step_ms * 1e3 * steps), 3),
                "kernels_per_step": round(len(kernels) / steps, 1),
                "longest_ms": {name: round(ms, 4) for name, ms in longest.most_common(30)},
            }
        return figures

    def waits(self) -> dict[str, Any]:
        """Return the lines of code that wait for the GPU, and how often they do so in 50 training steps."""
        if self.accelerator != "gpu":
            return {}
        known = Counter[str]()
        with _counted_waits(known):
            torch.ones(1, device="cuda").item()
        figures: dict[str, Any] = {"a known one": dict(known)}
        for way in WAYS:
            places = Counter[str]()
            self.fit(
                self.model("statistics_crnn", augment=Augment(FilterAugment(), Mixup())),
                batch=self.batches[0],
                way=way,
                steps=50,
                around=partial(_counted_waits, places),
            )
            figures[way] = dict(places.most_common())
        return figures

    def gru(self) -> dict[str, Any]:
        """Return the results of `benchmarks.gpu_operations.gru`."""
        return gpu_operations.gru(self._device, self.batches, quick=self.quick)

    def pooling(self) -> dict[str, Any]:
        """Return the results of `benchmarks.gpu_operations.pooling` in the precision of the trainings."""
        dtype = torch.bfloat16 if self.precision == "bf16-mixed" else torch.float32
        size = (self.spec.n_mels, self.spec.clip_frames)
        return gpu_operations.pooling(self._device, dtype, self.batches[0], size, quick=self.quick)

    def checkpoint(self) -> dict[str, Any]:
        """Return the results of `benchmarks.gpu_operations.checkpoint` for ``crnn``."""
        return gpu_operations.checkpoint(self.model("crnn").network.to(self._device), quick=self.quick)

    @property
    def _device(self) -> torch.device:
        return torch.device("cuda" if self.accelerator == "gpu" else "cpu")


class _Waits(nn.Module):
    """Layer that waits for the GPU, and so cannot be recorded."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(x.abs().mean() > 0)


class _Said:
    """Output stream that keeps the written lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, text: str) -> int:
        self.lines += text.splitlines()
        return len(text)

    def flush(self) -> None:
        """Do nothing, since nothing is buffered."""


def _events(profiler: Any) -> list[Any]:
    return [event for event in profiler.events() or () if not getattr(event, "is_user_annotation", False)]


@contextlib.contextmanager
def _entered(profiler: torch.profiler.profile) -> Iterator[None]:
    with profiler:
        yield


@contextlib.contextmanager
def _counted_waits(places: Counter[str]) -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
    places.update(
        f"{Path(warning.filename).parent.name}/{Path(warning.filename).name}:{warning.lineno}"
        for warning in caught
        if "synchroniz" in str(warning.message)
    )


PARTS = ("steps", "same", "busy", "pooling", "waits", "gru", "checkpoint", "recorded", "compiled")


def main() -> None:
    """Measure the parts one after the other, then print the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerator", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of %(default)s")
    parser.add_argument("--models", default=",".join(MODELS), help="some of %(default)s")
    parser.add_argument("--batches", default="32,128,512", help="clips of a step (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=90.0, help="start no part later (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="file for the JSON, written after each part")
    arguments = parser.parse_args()
    chosen, models = arguments.parts.split(","), arguments.models.split(",")
    for option, given, known in (("parts", chosen, PARTS), ("models", models, MODELS)):
        if unknown := set(given) - set(known):
            parser.error(f"--{option}: {', '.join(sorted(unknown))} is none of {', '.join(known)}")
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    results: dict[str, Any] = {**machine(arguments.accelerator), "quick": arguments.quick}
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            accelerator=arguments.accelerator,
            quick=arguments.quick,
            seconds=arguments.seconds,
            models=models,
            batches=(4,) if arguments.quick else [int(batch) for batch in arguments.batches.split(",")],
            folder=Path(folder),
        )
        for name in chosen:
            if bench.is_late:
                results[name] = {"failed": "no time was left"}
                continue
            started_s = time.perf_counter()
            results[name] = attempt(getattr(bench, name))
            print(f"{name}: {time.perf_counter() - started_s:.0f} s", file=sys.stderr)
            if arguments.out:
                arguments.out.write_text(json.dumps(results, indent=2), encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
