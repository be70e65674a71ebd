"""Measure every claim about genreclf on a GPU with one command.

    python -m benchmarks.gpu --gtzan data/gtzan

The parts, in order: ``python -m benchmarks``; ``fit`` with 1,000 steps per epoch against the bare compiled loop, and
the fixed cost of an epoch, then both with CUDA graphs; a plain Lightning + DataLoader + librosa script on the same
task; all published systems with one seed; eight small jobs side by side and one by one. If a part fails, the others
still run, and ``--parts`` adds to the results of an earlier call on the same machine. ``--quick --accelerator cpu``
runs every part at a size that says nothing about speed, and without compilation.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring import OUTPUTS, ROOT, empty, machine, markdown, seconds, start, write_json, write_music

PARTS = ("benchmark", "fit", "fit_graphs", "peers", "published", "small_jobs")


def run_json(*command: str | Path) -> dict[str, Any]:
    """Run a Python command that prints only JSON and return the parsed output; exit if the command fails."""
    words = [sys.executable, *map(str, command)]
    process = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed with exit code {process.returncode}.")
    result: dict[str, Any] = json.loads(process.stdout)
    return result


class Measurement:
    """Measurements on one machine, one method for each part.

    Args:
        accelerator: ``gpu``, or ``cpu`` for a dry run.
        quick: Use sizes that only show that everything runs.
        gtzan: Folder of GTZAN for the published systems; None uses synthetic tracks.
        out: Folder for all files.
    """

    def __init__(self, *, accelerator: str, quick: bool, gtzan: Path | None, out: Path) -> None:
        self.accelerator = accelerator
        self.quick = quick
        self.gtzan = gtzan
        self.out = out

    def benchmark(self) -> dict[str, Any]:
        """Return the results of ``python -m benchmarks``."""
        return self._benchmark()

    def fit(self) -> dict[str, Any]:
        """Compare a fit of 1,000 steps per epoch with the bare compiled loop; measure the fixed cost of an epoch."""
        return self._fit("default")

    def fit_graphs(self) -> dict[str, Any]:
        """Measure the same as `fit`, with CUDA graphs in the fit and in the bare loop."""
        return self._fit("reduce-overhead")

    def _fit(self, mode: str) -> dict[str, Any]:
        # 40 crops of each of 800 tracks are 1,000 batches of 32.
        sizes = ["split.train=0.8", "split.val=0.1", "split.test=0.1"]
        size = [] if self.quick else ["--epochs", "3", "data.crops_per_track=40", "data.batch_size=32", *sizes]
        compiled = [f"trainer.compile={mode}"] if self.accelerator == "gpu" else []
        return dict(self._benchmark("--only", "fit", *size, *compiled)["fit"])

    def _benchmark(self, *arguments: str) -> dict[str, Any]:
        quick = ["--quick"] if self.quick else []
        return run_json("-m", "benchmarks", "--json", *quick, *arguments, f"trainer={self.accelerator}")

    def peers(self) -> dict[str, Any]:
        """Compare genreclf with the plain Lightning script."""
        size = ["--tracks", "30", "--epochs", "1"] if self.quick else ["--tracks", "200", "--epochs", "10"]
        return self._script("peers", "--systems", "genreclf,lightning", *size)

    def small_jobs(self) -> dict[str, Any]:
        """Compare small trainings side by side with the same trainings one by one."""
        size = ["--jobs", "2", "--tracks", "30", "--epochs", "1"] if self.quick else ["--jobs", "8"]
        return self._script("small_jobs", *size)

    def published(self) -> dict[str, Any]:
        """Train, test and compare all published systems with one seed; return the time and the accuracy of each."""
        names = sorted(path.stem for path in (ROOT / "conf/experiment/published").glob("[!_]*.yaml"))
        if self.quick:
            names = names[-1:]
        folder = empty(self.out / "published")
        log = self.out / "published.log"
        log.unlink(missing_ok=True)
        if self.gtzan is not None:
            data = ["data=gtzan", f"data.root='{self.gtzan.resolve()}'"]
        else:
            tracks, duration_s = (30, 10.0) if self.quick else (1000, 30.0)
            music = write_music(self.out / f"published-music-{tracks}", tracks=tracks, duration_s=duration_s)
            data = ["data=folder", f"data.root='{music.resolve()}'", "split=track"]
        overrides = [*data, f"data.store_dir='{self.out / 'published-stores'}'", f"trainer={self.accelerator}"]
        if self.quick:
            overrides += [*("trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1")]
        sweep = [
            *(
                sys.executable,
                "-m",
                "genreclf",
                "-m",
                f"hydra.sweep.dir={folder}",
                "hydra.sweep.subdir=${hydra:job.num}",
            ),
            f"experiment={','.join(f'published/{name}' for name in names)}",
            *(*overrides, "logger=csv", "seed=0"),
        ]
        started_s = time.perf_counter()
        # The exit code only says whether a system failed; the others are compared anyway.
        start(sweep, log).wait()
        sweep_s = time.perf_counter() - started_s
        runs = {}
        for number, name in enumerate(names):
            metrics = folder / str(number) / "metrics.json"
            run = json.loads(metrics.read_text(encoding="utf-8")) if metrics.exists() else {}
            if run.get("status") == "finished":
                accuracy = run["test"]["track"]["accuracy"]
                runs[name] = {"parameters": run["parameters"], "accuracy": accuracy, **run["timing"]}
        if not runs:
            raise SystemExit(f"No published system is finished; see {log}")
        compare_s = seconds([sys.executable, "-m", "genreclf", "compare", folder, "--out", folder / "table"], log)
        return {
            "minutes": (sweep_s + compare_s) / 60,
            "store_s": sum(run["prepare_s"] for run in runs.values()),
            "runs": runs,
            "unfinished": [name for name in names if name not in runs],
            "table": str(folder / "table"),
        }

    def _script(self, name: str, *arguments: str) -> dict[str, Any]:
        settings: list[str | Path] = ["--accelerator", self.accelerator, "--out", self.out / name, "--json"]
        return run_json("-m", f"benchmarks.{name}", *settings, *arguments)


def earlier_parts(path: Path, facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the results of an earlier call on the same machine, with the same code and sizes."""
    if not path.exists():
        return {}
    earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if any(earlier.get(key) != value for key, value in facts.items()):
        return {}
    return {name: earlier[name] for name in PARTS if name in earlier}


def attempt(part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the results of a part, or the reason why it ``failed``, so that later parts are still measured."""
    try:
        return part()
    except (Exception, SystemExit) as error:
        return {"failed": str(error) if isinstance(error, SystemExit) else repr(error)}


def summary(parts: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each claim: what was measured, the measured value and the target."""
    rows: list[dict[str, Any]] = []

    def add(part: str, what: str, wanted: str, value: Callable[[dict[str, Any]], Any]) -> None:
        if part in parts:
            measured = "failed" if "failed" in parts[part] else value(parts[part])
            rows.append({"what": what, "measured": measured, "wanted": wanted})

    add("fit", "fit / bare compiled loop, 1,000 steps per epoch", "at most 1.15", lambda r: r["vs_bare_loop"])
    add("fit", "fixed cost of an epoch, s", "stated", lambda r: r["fixed_cost_epoch_s"])
    add("fit_graphs", "the same with CUDA graphs", "stated", lambda r: r["vs_bare_loop"])
    add("peers", "times the plain Lightning script", "at least 20", lambda r: r["ratios"]["lightning"]["auto"])
    add("published", "all published systems, minutes", "stated", lambda r: r["minutes"])
    add("published", "of them not finished", "none", lambda r: ", ".join(r["unfinished"]) or "none")
    add("small_jobs", "small jobs together, times faster than one by one", "at least 3", lambda r: r["ratio"])
    return rows


def main() -> None:
    """Run the parts and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerator", choices=("cpu", "gpu"), default="gpu")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything runs")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of %(default)s")
    parser.add_argument("--gtzan", type=Path, help="folder of GTZAN for the published systems, else synthetic tracks")
    parser.add_argument("--out", type=Path, default=OUTPUTS / "gpu", help="folder for runs and gpu.json")
    arguments = parser.parse_args()
    chosen = arguments.parts.split(",")
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"--parts: {', '.join(sorted(unknown))} is none of {', '.join(PARTS)}")
    out = arguments.out.resolve()
    measurement = Measurement(accelerator=arguments.accelerator, quick=arguments.quick, gtzan=arguments.gtzan, out=out)
    facts = {**machine(arguments.accelerator), "quick": arguments.quick}
    parts = earlier_parts(out / "gpu.json", facts)
    for name in chosen:
        started_s = time.perf_counter()
        print(f"{name} ...", file=sys.stderr)
        parts[name] = attempt(getattr(measurement, name))
        spent_s = time.perf_counter() - started_s
        print(f"{name}: {parts[name].get('failed', 'done')}, {spent_s:.0f} s", file=sys.stderr)
        # Write after each part, so that an interruption loses only one part.
        write_json(out / "gpu.json", {**facts, **parts})
    print(facts["device"] + (" (quick: figures mean nothing)" if arguments.quick else ""))
    print(markdown(summary(parts), ("what", "measured", "wanted")))
    print(f"Written to {out / 'gpu.json'}")
    if failed := [name for name in chosen if "failed" in parts[name] or parts[name].get("unfinished")]:
        raise SystemExit(f"Failed, wholly or in part: {', '.join(failed)}")


if __name__ == "__main__":
    main()
