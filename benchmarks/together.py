"""Compare ways to train five seeds of one model on one device: at once, one after the other, in separate processes.

    python -m benchmarks.together --accelerator gpu

Prints JSON for each model: the seconds in which trainings ran, and the seconds of all runs with their setup, test and
report; the speedup of runs at once over runs one after the other in one process, and over one process after the other,
as a sweep starts them, both with recorded steps and without; and whether the predictions of runs at once and in turn
are the same. The music is synthetic, and the store is built before the timing starts. If a part fails, the others still
run, and none starts after ``--seconds``. ``--quick --accelerator cpu`` shows that everything runs; on a CPU the runs
take turns.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.gpu import attempt
from benchmarks.measuring import machine
from genreclf.cli.compose import checked
from genreclf.config.config import Config
from genreclf.config.keys import CONFIG_DIR
from genreclf.evaluation.predictions import read_track_csv
from genreclf.experiment import tasks
from genreclf.experiment.together import run_together
from genreclf.sweep.process import compute_in_new_process, cool_down, warm_up

MODELS = ("crnn", "statistics_crnn")
PARTS = ("at_once", "in_turn", "eager_in_turn", "processes", "eager_processes")


class Bench:
    """Measurements on one machine, one method for each part.

    Args:
        accelerator: ``gpu``, or ``cpu`` for a dry run.
        quick: Use sizes that only show that everything runs.
        seeds: Number of runs, each with its own seed.
        epochs: Number of epochs of each run.
        folder: Folder for the store and the runs.
    """

    def __init__(self, *, accelerator: str, quick: bool, seeds: int, epochs: int, folder: Path) -> None:
        """Build the store and train once, since the first training loads the libraries of the device."""
        self.seeds, self.folder = (2 if quick else seeds), folder
        # As many steps per epoch as GTZAN's 443 training tracks make with two clips each: 28 of 32 clips.
        size = (5, 1.5, 1, 1, 8) if quick else (10, 12, 10, 15, 32)
        tracks, duration_s, clip_s, crops, batch = size
        self.words = [
            *("data=synthetic", f"data.tracks_per_genre={tracks}", "data.artists_per_genre=5"),
            *(f"data.duration_s={duration_s}", f"data.clip_seconds={clip_s}", f"data.crops_per_track={crops}"),
            *(f"data.batch_size={batch}", f"data.store_dir={folder / 'stores'}", "logger=none"),
            *(f"trainer={accelerator}", f"trainer.max_epochs={1 if quick else epochs}"),
        ]
        list(run_together([self._config("crnn", "first", 0, "graph", "trainer.max_epochs=1")]))

    def at_once(self, model: str) -> dict[str, Any]:
        """Measure all runs at once."""
        return self._in_one_process(model, "at_once", self.seeds)

    def in_turn(self, model: str) -> dict[str, Any]:
        """Measure all runs one after the other in this process."""
        return self._in_one_process(model, "in_turn", 1)

    def eager_in_turn(self, model: str) -> dict[str, Any]:
        """Measure the same as `in_turn`, with ``trainer.step=eager``."""
        return self._in_one_process(model, "eager_in_turn", 1, "eager")

    def processes(self, model: str, step: str = "graph", way: str = "processes") -> dict[str, Any]:
        """Measure all runs in one new process after the other, with all imports done before."""
        warm_up()
        started_s = time.perf_counter()
        configs = self._configs(model, way, step)
        codes = [compute_in_new_process(config.plain, self.folder / "log.txt") for config in configs]
        return {**self._after(started_s, configs), "codes": codes}

    def eager_processes(self, model: str) -> dict[str, Any]:
        """Measure the same as `processes`, with ``trainer.step=eager``."""
        return self.processes(model, "eager", "eager_processes")

    def _in_one_process(self, model: str, way: str, at_once: int, step: str = "graph") -> dict[str, Any]:
        configs = self._configs(model, way, step)
        spans: list[tuple[float, float]] = []
        started_s = time.perf_counter()
        with _timed(spans), contextlib.redirect_stdout(sys.stderr):
            errors = [str(run.error) for run in run_together(configs, at_once=at_once) if run.error]
        return {"fits_s": round(_covered_s(spans), 2), **self._after(started_s, configs), "errors": errors}

    def _after(self, started_s: float, configs: list[Config]) -> dict[str, Any]:
        runs_s = time.perf_counter() - started_s
        metrics = [json.loads(Path(config.run_dir, "metrics.json").read_text()) for config in configs]
        timings = [found["timing"] for found in metrics]
        each = {name: [round(timing.get(name, 0.0), 2) for timing in timings] for name in ("prepare_s", "fit_s")}
        return {"runs_s": round(runs_s, 2), **each}

    def same(self, model: str) -> dict[str, Any]:
        """Return how much the predicted probabilities of test tracks differ between runs at once and in turn."""
        far = []
        for seed in range(self.seeds):
            at_once, in_turn = (
                read_track_csv(self.folder / way / model / str(seed) / "predictions.csv").probabilities
                for way in ("at_once", "in_turn")
            )
            far.append(float(np.abs(at_once - in_turn).max()))
        return {"largest_difference": max(far), "identical": far.count(0.0), "of": len(far)}

    def _configs(self, model: str, way: str, step: str) -> list[Config]:
        return [self._config(model, way, seed, step) for seed in range(self.seeds)]

    def _config(self, model: str, way: str, seed: int, step: str, *more: str) -> Config:
        place = self.folder / way / model / str(seed)
        words = [*self.words, f"model={model}", f"trainer.step={step}", f"seed={seed}", f"run_dir={place}"]
        words += more
        return checked(words, run_dir="-", config_dir=Path(CONFIG_DIR))


@contextlib.contextmanager
def _timed(spans: list[tuple[float, float]]) -> Iterator[None]:
    """Append the start and end of each training in this context to `spans`."""
    fit: Callable[..., None] = vars(tasks)["fit"]

    def timed(*arguments: Any) -> None:
        started_s = time.perf_counter()
        try:
            fit(*arguments)
        finally:
            spans.append((started_s, time.perf_counter()))

    with mock.patch.object(tasks, "fit", timed):
        yield


def _covered_s(spans: list[tuple[float, float]]) -> float:
    """Return the seconds in which at least one training ran."""
    covered, until = 0.0, 0.0
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, until))
        until = max(until, end)
    return covered


def _ratios(figures: dict[str, Any]) -> dict[str, float]:
    """Return how many times faster the runs are at once than in each other way."""

    def ratio(way: str, key: str) -> dict[str, float]:
        ours, theirs = (figures.get(name, {}).get(key) for name in ("at_once", way))
        return {f"{way} {key}": round(theirs / ours, 2)} if ours and theirs else {}

    pairs = [("in_turn", "fits_s"), ("eager_in_turn", "fits_s"), *((way, "runs_s") for way in PARTS[1:])]
    return {key: value for way, name in pairs for key, value in ratio(way, name).items()}


def main() -> None:
    """Measure the parts one after the other, then print the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerator", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--models", default=",".join(MODELS), help="options of model (default: %(default)s)")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of %(default)s")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=80.0, help="start no part later (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="file for the JSON, written after each part")
    arguments = parser.parse_args()
    ends_s = time.perf_counter() + arguments.seconds
    results: dict[str, Any] = {**machine(arguments.accelerator), "quick": arguments.quick}

    def measure(place: dict[str, Any], name: str, work: Callable[[], Any]) -> None:
        started_s = time.perf_counter()
        place[name] = attempt(work) if started_s < ends_s else {"failed": "no time was left"}
        print(f"{name}: {time.perf_counter() - started_s:.0f} s", file=sys.stderr)
        if arguments.out:
            arguments.out.write_text(json.dumps(results, indent=2), encoding="utf-8")

    if unknown := set(parts := arguments.parts.split(",")) - set(PARTS):
        parser.error(f"--parts: {', '.join(sorted(unknown))} is none of {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        bench = Bench(
            accelerator=arguments.accelerator,
            quick=arguments.quick,
            seeds=arguments.seeds,
            epochs=arguments.epochs,
            folder=Path(folder),
        )
        results["seeds"] = bench.seeds
        # Start with the parts of a single process for all models, since the others take longer.
        for some in (("at_once", "in_turn", "same", "eager_in_turn"), ("processes", "eager_processes")):
            for model in arguments.models.split(","):
                figures = results.setdefault(model, {})
                for part in (part for part in some if part in (*parts, "same")):
                    measure(figures, part, partial(getattr(bench, part), model))
                figures["faster"] = _ratios(figures)
        cool_down()
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
