"""Compare several small trainings on one device: plain processes side by side against one after the other.

    python -m benchmarks.small_jobs --jobs 8 --accelerator gpu

Every job is ``python -m genreclf`` with its own seed, timed from its start to its report; the store is built before.
Processes that run side by side divide the cores among their threads.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import OUTPUTS, empty, machine, seconds, start, wait_for, write_json


def job(folder: Path, seed: int, arguments: argparse.Namespace, *, task: str = "train") -> list[str]:
    """Return the command of one job, or the command that builds the store if `task` is ``prepare``."""
    per_genre = arguments.tracks // 10
    data = [
        "data=synthetic",
        f"data.tracks_per_genre={per_genre}",
        f"data.artists_per_genre={min(5, per_genre)}",
        f"data.store_dir='{folder.parent / 'stores'}'",
        "split=track",
    ]
    if task == "prepare":
        return [sys.executable, "-m", "genreclf", "prepare", *data]
    return [
        *(sys.executable, "-m", "genreclf", *data, "data.clip_seconds=5", "data.crops_per_track=4"),
        *(f"model={arguments.model}", f"trainer={arguments.accelerator}", f"trainer.max_epochs={arguments.epochs}"),
        *(f"seed={seed}", "logger=csv", f"run_dir={folder / f'run-{seed}'}"),
    ]


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds of all jobs one by one and side by side, and their ratio."""
    facts = machine(arguments.accelerator)
    out = empty(arguments.out.resolve())
    log = out / "log.txt"
    seconds(job(out / "-", 0, arguments, task="prepare"), log)
    cores = len(os.sched_getaffinity(0))
    seeds = range(arguments.jobs)
    one_by_one_s = [seconds(job(out / "one-by-one", seed, arguments), log) for seed in seeds]
    threads = str(max(1, cores // arguments.jobs))
    started_s = time.perf_counter()
    together = [start(job(out / "together", seed, arguments), log, OMP_NUM_THREADS=threads) for seed in seeds]
    try:
        for process in together:
            wait_for(process, log)
    finally:
        for process in together:
            process.terminate()
    together_s = time.perf_counter() - started_s
    return {
        **facts,
        "jobs": arguments.jobs,
        "model": arguments.model,
        "epochs": arguments.epochs,
        "one_by_one_s": sum(one_by_one_s),
        "together_s": together_s,
        "ratio": sum(one_by_one_s) / together_s,
    }


def main() -> None:
    """Measure and print the result as one line or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=8)
    parser.add_argument("--tracks", type=int, default=200, help="synthetic tracks of 15 s")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--accelerator", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--out", type=Path, default=OUTPUTS / "small_jobs", help="a folder of its own; emptied first")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the line")
    arguments = parser.parse_args()
    result = measure(arguments)
    write_json(arguments.out / "small_jobs.json", result)
    if arguments.json:
        print(json.dumps(result))
        return
    print(
        f"{result['device']}: {result['jobs']} jobs of {result['model']} one by one {result['one_by_one_s']:.1f} s, "
        f"together {result['together_s']:.1f} s: {result['ratio']:.2f} times faster"
    )


if __name__ == "__main__":
    main()
