"""Compare a sweep with the same jobs run one by one in separate shells.

    python -m benchmarks.sweep_cost              # 24 jobs, some minutes on 2 cores
    python -m benchmarks.sweep_cost --jobs 3

Jobs train small networks on synthetic music, each with its own seed; the spectrograms are computed before the timing
starts. Each way starts with empty folders: one shell per job, then ``-m`` with jobs one after the other, then ``-m``
with jobs side by side (extra ``sweep``). The time of a sweep includes that of its summary.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean

SMALL = [
    *("data=synthetic", "data.tracks_per_genre=10", "data.duration_s=4.0", "data.clip_seconds=2.0"),
    *("model=cnn", "model.channels=[8,8,16,16]", "trainer=cpu", "trainer.precision=32-true", "logger=none"),
]

PARTS = ("prepare", "fit", "test")
"""Parts of a run that it times itself."""


def main() -> None:
    """Measure all ways and print a table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--jobs", type=int, default=24, help="how many")
    words.add_argument("--epochs", type=int, default=5, help="of each job")
    words.add_argument("--side-by-side", type=int, default=os.cpu_count(), help="jobs at a time on the joblib launcher")
    asked = words.parse_args()
    if find_spec("hydra_plugins.hydra_joblib_launcher") is None:
        raise SystemExit('It needs hydra-joblib-launcher: python -m pip install -e ".[sweep]"')
    with tempfile.TemporaryDirectory() as folder:
        print(*table(Path(folder), asked.jobs, asked.epochs, asked.side_by_side), sep="\n")


def table(folder: Path, jobs: int, epochs: int, side_by_side: int) -> list[str]:
    """Measure all ways and return the lines of the table."""
    job = [*SMALL, f"data.store_dir={folder / 'stores'}", f"trainer.max_epochs={epochs}"]
    seeds = [str(seed) for seed in range(jobs)]
    genreclf(folder, "prepare", *job)
    started_s = time.perf_counter()
    for seed in seeds:
        genreclf(folder, *job, f"seed={seed}", f"run_dir=shells/{seed}")
    shells_s = time.perf_counter() - started_s
    lines = [f"{jobs} jobs of {epochs} epochs, {os.cpu_count()} cores", row("", "total s", "of shells", "own s")]
    lines.append(row("separate shells", f"{shells_s:.1f}", "1.00", f"{own_s(folder / 'shells', shells_s, 1):.2f}"))
    ways = {"sweep, one after the other": [], f"sweep, {side_by_side} side by side": joblib(side_by_side)}
    for number, (name, launcher) in enumerate(ways.items()):
        place = f"sweep{number}"
        started_s = time.perf_counter()
        genreclf(folder, "-m", *job, f"seed={','.join(seeds)}", f"hydra.sweep.dir={place}", *launcher)
        total_s = time.perf_counter() - started_s
        check(folder / place, jobs)
        at_once = side_by_side if launcher else 1
        own = own_s(folder / place, total_s, at_once)
        lines.append(row(name, f"{total_s:.1f}", f"{total_s / shells_s:.2f}", f"{own:.2f}"))
    return [*lines, "own: total x jobs at a time / jobs, less what the runs say of prepare, fit and test"]


def joblib(jobs: int) -> list[str]:
    """Return the overrides for the joblib launcher with the given number of jobs at a time."""
    return ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}"]


def genreclf(folder: Path, *arguments: str) -> None:
    """Run ``python -m genreclf`` in `folder`; exit if it fails."""
    root = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))}
    command = [sys.executable, "-m", "genreclf", *arguments]
    # Use a file instead of a pipe, which the process that forks the jobs would hold open for a moment longer.
    with (folder / "output.txt").open("w+") as output:
        if subprocess.run(command, cwd=folder, env=environment, stdout=output, stderr=output, check=False).returncode:
            output.seek(0)
            raise SystemExit(output.read())


def own_s(runs: Path, total_s: float, at_once: int) -> float:
    """Return the seconds per job that were not spent on preparing, training and testing."""
    timings = [json.loads(path.read_text())["timing"] for path in runs.glob("*/metrics.json")]
    return total_s * at_once / len(timings) - fmean(sum(t[f"{part}_s"] for part in PARTS) for t in timings)


def check(sweep: Path, jobs: int) -> None:
    """Exit unless the sweep finished all jobs."""
    with (sweep / "sweep.csv").open(newline="") as lines:
        states = [line["status"] for line in csv.DictReader(lines)]
    if states != ["finished"] * jobs:
        raise SystemExit(f"{sweep}: {states}")


def row(*cells: str) -> str:
    """Return a line of the table."""
    return f"{cells[0]:<28}" + "".join(f"{cell:>14}" for cell in cells[1:])


if __name__ == "__main__":
    main()
