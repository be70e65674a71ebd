"""What a training step costs on one GPU, and where its time goes.

    python -m benchmarks.gpu_steps

Prints JSON: milliseconds of a step under Lightning, one operation at a time (eager), recorded as one CUDA graph, and
compiled, of three models and three sizes of batch; whether both ways give the same losses; which models, optimizers and
augmentations can be recorded; for how much of the time the GPU is busy; what waits for it; and max pooling and a GRU
alone, in three ways each. The music is noise. A part that fails costs itself only, and none starts after ``--seconds``.
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

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from torch import nn

from benchmarks.gpu import attempt
from benchmarks.measuring import machine, models_that_train
from genreclf.audio.log_mel import FeatureSpec
from genreclf.cli.compose import checked
from genreclf.config.keys import CONFIG_DIR
from genreclf.data.datamodule import ClipDataModule
from genreclf.data.store import Recipe, open_or_build
from genreclf.datasets.base import Track
from genreclf.experiment.build import build_model
from genreclf.models import GenreClassifier
from genreclf.models.cnn import CNN
from genreclf.models.crnn import CRNN
from genreclf.models.pooling import MaxPool2d
from genreclf.models.statistics_crnn import StatisticsCRNN
from genreclf.splits.base import Segment, Split
from genreclf.training.augment import Augment, FilterAugment, Mixup
from genreclf.training.callbacks import EpochSeed, LogEpoch
from genreclf.training.schedulers import cosine

MODELS: dict[str, Callable[..., GenreClassifier]] = {"crnn": CRNN, "cnn": CNN, "statistics_crnn": StatisticsCRNN}
WAYS = ("eager", "graph")
LEAD_STEPS = 10
"""Steps before the clock starts: the first three run eagerly, and cuDNN loads its kernels."""


class Watch(Callback):
    """Times the steps of a fit after the first ones, without waiting for the device in between.

    Args:
        steps: How many are timed.
        around: What is to be open meanwhile, such as a profiler.
    """

    def __init__(self, steps: int, around: Callable[[], contextlib.AbstractContextManager[Any]]) -> None:
        self.steps, self.around = steps, around
        self.losses: list[torch.Tensor] = []
        self.step_ms = self.alone_ms = 0.0
        self.recorded = False
        self._open = contextlib.ExitStack()
        self._started_s = 0.0

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Start and stop the clock."""
        self.losses.append(outputs["loss"].detach().clone())
        if trainer.global_step == LEAD_STEPS:
            wait()
            self._open.enter_context(self.around())
            self._started_s = time.perf_counter()
        elif trainer.global_step == LEAD_STEPS + self.steps:
            wait()
            self.step_ms = (time.perf_counter() - self._started_s) / self.steps * 1e3
            self._open.close()
            if (step := pl_module.whole_step) is not None:
                self.recorded = step.is_recorded
                self.alone_ms = milliseconds(partial(step, batch), self.steps)


class Bench:
    """The figures of one machine.

    Args:
        accelerator: ``gpu``, or ``cpu`` for a dry run.
        quick: Sizes that only show that everything runs.
        seconds: No part starts later than this after the first.
        models: Which of `MODELS` take steps.
        batches: Clips of a step, one size after the other.
        folder: Where the noise lies meanwhile.
    """

    def __init__(
        self,
        *,
        accelerator: str,
        quick: bool,
        seconds: float,
        models: Sequence[str],
        batches: Sequence[int],
        folder: Path,
    ) -> None:
        self.accelerator, self.quick, self.models, self.batches = accelerator, quick, models, batches
        self.ends_s = time.perf_counter() + seconds
        self.precision = "bf16-mixed" if accelerator == "gpu" else "32-true"
        seconds_of_clip = 0.75 if quick else 10.0
        self.spec = FeatureSpec.of_audio(
            sample_rate=22050, n_fft=2048, hop_length=512, n_mels=128, clip_seconds=seconds_of_clip
        )
        genres = [f"genre{number}" for number in range(10)]
        tracks = [
            Track(f"{genre}/{n}", genre, folder / f"{genre}-{n}") for genre in genres for n in range(2 if quick else 20)
        ]
        frames = 3 * self.spec.clip_frames
        draws = np.random.default_rng(0)

        def noise(track: Track) -> np.ndarray[Any, Any]:
            return draws.integers(-20_000, 0, (frames, self.spec.n_mels), dtype=np.int16)

        self.store = open_or_build(
            directory=folder, recipe=Recipe("noise", "int16", 128, {}), tracks=tracks, encode=noise, workers=1
        )
        whole = tuple(Segment(track.id, 0, frames) for track in tracks)
        self.split = Split("noise", False, tuple(genres), whole, (), ())
        self.genre_of = {track.id: track.genre for track in tracks}

    def data(self, batch: int, steps: int) -> ClipDataModule:
        """Return batches for so many steps an epoch."""
        return ClipDataModule(
            store=self.store,
            split=self.split,
            genre_of=self.genre_of,
            spec=self.spec,
            batch_size=batch,
            crops_per_track=-(-batch * steps // len(self.split.train)),
        )

    def model(self, name: str, **training: Any) -> GenreClassifier:
        """Return one of `MODELS` as a run with the default optimizer has it."""
        seed_everything(0, verbose=False)
        sizes: dict[str, Any] = {"channels": [4] * 4} | ({} if name == "cnn" else {"hidden": 4})
        small = sizes if self.quick else {}
        optimizer = partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.01, fused=True)
        defaults = {"spec": self.spec, "genres": self.split.genres, "optimizer": optimizer, "scheduler": cosine}
        return MODELS[name](**small, **{**defaults, **training})

    def fit(
        self,
        model: GenreClassifier,
        *,
        batch: int,
        way: str,
        steps: int,
        epochs: int = 1,
        around: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> Watch:
        """Train for some steps as a run does, without validation."""
        watch = Watch(steps, around)
        total = LEAD_STEPS + steps
        trainer = Trainer(
            accelerator=self.accelerator,
            devices=1,
            precision=self.precision,  # type: ignore[arg-type]
            max_epochs=epochs,
            gradient_clip_val=1.0,
            callbacks=[LogEpoch(), EpochSeed(0), watch],
            logger=False,
            limit_val_batches=0,
            use_distributed_sampler=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        if "compiled" in way:
            model.compile_training("default")
        model.records_steps = "graph" in way
        trainer.fit(model, datamodule=self.data(batch, -(-total // epochs)))
        return watch

    def steps(self, ways: Sequence[str] = WAYS) -> dict[str, Any]:
        """Return milliseconds of a step: under Lightning, and of the replayed graph alone."""
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
        """Return milliseconds of steps whose network is compiled, which takes a minute for all."""
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
        """Whether the time is up."""
        return time.perf_counter() > self.ends_s

    def same(self) -> dict[str, Any]:
        """Return how far the losses of recorded steps are from those of eager ones, over two epochs of random draws."""
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
        """Return which models, optimizers and augmentations are recorded, and why the others are not."""
        optimizers = sorted(path.stem for path in Path(CONFIG_DIR, "optimizer").glob("[!_]*.yaml"))
        regularizations = ("mixup", "spec_augment", "filter_augment", "strong")
        choices = [f"model={name}" for name in models_that_train()]
        choices += [f"model=cnn optimizer={name}" for name in optimizers]
        choices += [f"model=cnn regularization={name}" for name in regularizations]
        choices += ["model=cnn scheduler=onecycle"]
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
        """Return for what share of the time the GPU works, and how many kernels a step starts, over 20 steps."""
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
        """Return where a step waits for the GPU, and how often in 50 steps."""
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
        """Return milliseconds of the GRU of `crnn`, forward and backward, in three precisions."""
        device = torch.device("cuda" if self.accelerator == "gpu" else "cpu")
        figures: dict[str, Any] = {}
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
            for batch in self.batches:

                def measure(dtype: torch.dtype = dtype, batch: int = batch) -> dict[str, Any]:
                    gru = nn.GRU(128, 64, batch_first=True, bidirectional=True).to(device, dtype)
                    x = torch.randn(batch, 10 if self.quick else 53, 128, device=device, dtype=dtype)

                    def work() -> None:
                        gru(x)[0].sum().backward()

                    return {"ms": round(milliseconds(work, 2 if self.quick else 30), 3)}

                figures[f"{name} {batch}"] = attempt(measure)
        return figures

    def pooling(self) -> dict[str, Any]:
        """Return microseconds of the max pooling of `crnn`, forward and backward, each layer's and in three ways."""
        device = torch.device("cuda" if self.accelerator == "gpu" else "cpu")
        dtype = torch.bfloat16 if self.precision == "bf16-mixed" else torch.float32
        figures: dict[str, Any] = {}
        height, width = self.spec.n_mels, self.spec.clip_frames
        for channels, window in zip((32, 64, 96, 128), ((2, 2), (4, 2), (4, 2), (4, 1)), strict=True):
            x = torch.randn(self.batches[0], channels, height, width, dtype=dtype, device=device)
            x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
            ways: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
                "PyTorch": nn.MaxPool2d(window),
                "ours": MaxPool2d(window),
                "amax": partial(_largest, window=window),
            }
            for way, pool in ways.items():

                def work(pool: Any = pool, x: torch.Tensor = x) -> torch.Tensor:
                    maxima = pool(x)
                    (gradient,) = torch.autograd.grad(maxima, x, torch.ones_like(maxima))
                    return gradient

                took = attempt(lambda work=work: {"us": round(replayed_ms(work, 3 if self.quick else 100) * 1e3, 1)})  # type: ignore[misc]
                figures[f"{tuple(x.shape)} {window} {way}"] = took
            height, width = height // window[0], width // window[1]
        return figures


def _largest(x: torch.Tensor, window: tuple[int, int]) -> torch.Tensor:
    """Return the maxima of windows, the gradient of which PyTorch divides among equal ones."""
    rows, columns = x.shape[2] // window[0], x.shape[3] // window[1]
    inside = x[:, :, : rows * window[0], : columns * window[1]]
    return inside.reshape(*inside.shape[:2], rows, window[0], columns, window[1]).amax((3, 5))


class _Waits(nn.Module):
    """Cannot be recorded."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(x.abs().mean() > 0)


class _Said:
    """A stream that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, text: str) -> int:
        self.lines += text.splitlines()
        return len(text)

    def flush(self) -> None:
        """Keep nothing back."""


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


def wait() -> None:
    """Wait for the GPU if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def milliseconds(work: Callable[[], Any], times: int) -> float:
    """Return what `work` takes, called so many times one after the other."""
    for _ in range(3):
        work()
    wait()
    started_s = time.perf_counter()
    for _ in range(times):
        work()
    wait()
    return (time.perf_counter() - started_s) / times * 1e3


def replayed_ms(work: Callable[[], Any], times: int) -> float:
    """Return what the kernels of `work` take, without the time to start them where there is a GPU."""
    if not torch.cuda.is_available():
        return milliseconds(work, times)
    side, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    wait()
    with torch.cuda.graph(graph, stream=side):
        work()
    return milliseconds(graph.replay, times)


PARTS = ("steps", "same", "busy", "pooling", "waits", "gru", "recorded", "compiled")


def main() -> None:
    """Measure part after part, and print JSON after the last."""
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
