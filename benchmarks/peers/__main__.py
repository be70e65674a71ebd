"""Compare genreclf with alternatives: the same network, tracks, clips and epochs, from audio files to test results.

    python -m benchmarks.peers.install
    python -m benchmarks.peers --tracks 100 --epochs 10

Every system runs alone, in its own process, and starts from the WAV files: features, training, validation and a
checkpoint in each epoch, and the test of the best checkpoint. See ``benchmarks/README.md`` for what is the same and
what differs.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.measuring import OUTPUTS, empty, machine, markdown, seconds, write_json, write_music
from benchmarks.peers.install import ENVIRONMENTS, python_of
from benchmarks.peers.task import (
    BATCH_SIZE,
    CLIP_SECONDS,
    CLIPS_PER_TRACK,
    LEARNING_RATE,
    WEIGHT_DECAY,
    Task,
)

FAMILIES = ("genreclf", "autrainer", "hugging_face", "lightning")
NETWORK = "import genreclf.models.crnn"
IMPORTS = {
    "genreclf": ("import genreclf.experiment.run",),
    "autrainer": ("import autrainer.datasets, autrainer.transforms", f"import autrainer.training; {NETWORK}"),
    "hugging_face": (f"import benchmarks.peers.hugging_face; {NETWORK}",),
    "lightning": (f"import benchmarks.peers.lightning_librosa; {NETWORK}",),
}
"""Imports of each process of a system before it does anything, by system; timed as its startup."""
COLUMNS = (
    "system",
    "precision",
    "workers",
    "channels_last",
    "wall_s",
    "startup_s",
    "clips_per_s",
    "clips_per_s_without_startup",
    "fp32_ratio",
    "auto_ratio",
    "accuracy",
)


@dataclass(frozen=True)
class System:
    """System with one choice of settings.

    Attributes:
        family: One of `FAMILIES`.
        precision: ``fp32`` or ``bf16``.
        workers: Number of worker processes of its DataLoaders.
        channels_last: Whether the user puts the network into the channels-last memory format; genreclf always does.
    """

    family: str
    precision: str
    workers: int = 0
    channels_last: bool = False

    @property
    def name(self) -> str:
        """Name of the folder of the system."""
        return f"{self.family}-{self.precision}-{self.workers}{'-channels_last' if self.channels_last else ''}"


def systems(families: list[str], *, has_bf16: bool, cores: int) -> Iterator[System]:
    """Yield each system with settings that may be its fastest, such as no DataLoader workers or one per core."""
    precisions = ("fp32", "bf16") if has_bf16 else ("fp32",)
    best = precisions[-1]
    for family in families:
        if family == "genreclf":
            yield from (System(family, precision) for precision in precisions)
        elif family == "autrainer":
            yield from (System(family, "fp32", workers) for workers in (0, cores))
            yield System(family, "fp32", channels_last=True)
        elif family == "hugging_face":
            yield from (System(family, precision) for precision in precisions)
            yield System(family, best, cores)
        else:
            yield from (System(family, best, workers) for workers in (0, cores))


def subsets_of(music: Path) -> dict[str, list[str]]:
    """Split the tracks of each genre: three fifths for training, one fifth each for validation and test."""
    subsets: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for folder in sorted(path for path in music.iterdir() if path.is_dir()):
        tracks = [f"{folder.name}/{path.name}" for path in sorted(folder.glob("*.wav"))]
        if len(tracks) < 3:
            raise SystemExit(f"{folder} holds {len(tracks)} WAV files; three or more are needed.")
        part = max(1, len(tracks) // 5)
        subsets["val"] += tracks[:part]
        subsets["test"] += tracks[part : 2 * part]
        subsets["train"] += tracks[2 * part :]
    if not subsets["train"]:
        raise SystemExit(f"{music} holds no <genre>/<track>.wav.")
    return subsets


def genreclf_command(task: Task) -> list[str]:
    """Return the command of genreclf for a task."""
    folder = Path(task.folder)
    lists = []
    for subset, tracks in task.subsets.items():
        (folder / f"{subset}.txt").write_text("\n".join(tracks) + "\n", encoding="utf-8")
        lists.append(f"split.{subset}='{folder / f'{subset}.txt'}'")
    return [
        *(sys.executable, "-m", "genreclf", "data=folder", f"data.root='{task.music}'", "split=list", *lists),
        *(f"data.clip_seconds={CLIP_SECONDS}", f"data.crops_per_track={CLIPS_PER_TRACK}", "data.grid_overlap=0"),
        *(f"data.batch_size={BATCH_SIZE}", f"data.store_dir='{folder / 'stores'}'", "model=crnn"),
        *("optimizer=adamw", f"optimizer.lr={LEARNING_RATE}", f"optimizer.weight_decay={WEIGHT_DECAY}"),
        *("scheduler=constant", "regularization=none", f"trainer={task.accelerator}"),
        f"trainer.step={'graph' if task.accelerator == 'gpu' else 'eager'}",
        *(f"trainer.max_epochs={task.epochs}", "trainer.gradient_clip_val=null", "logger=csv"),
        f"trainer.precision={'bf16-mixed' if task.precision == 'bf16' else '32-true'}",
        f"run_dir={folder / 'run'}",
    ]


def measure(system: System, task: Task, environments: Path) -> dict[str, Any]:
    """Run a system in an empty folder; return its durations and results."""
    task = replace(
        task,
        folder=str(Path(task.folder, system.name)),
        precision=system.precision,
        workers=system.workers,
        channels_last=system.channels_last,
    )
    folder = empty(Path(task.folder))
    log = folder / "log.txt"
    own = system.family in ("genreclf", "lightning")
    python = Path(sys.executable) if own else python_of(system.family, environments)
    if not python.exists():
        raise SystemExit(f"{python} is not there; run python -m benchmarks.peers.install first.")
    # Warm up once, so that every system starts with its files in memory.
    startup_s = [sum(seconds([python, "-c", code], log) for code in IMPORTS[system.family]) for _ in range(2)][-1]
    script = {"autrainer": "autrainer_job", "lightning": "lightning_librosa"}.get(system.family, system.family)
    command: list[str | Path] = [python, "-m", f"benchmarks.peers.{script}", task.write()]
    if system.family == "genreclf":
        command = [*genreclf_command(task)]
    wall_s = seconds(command, log)
    clips = task.epochs * task.clips("train")
    return {
        "system": system.family,
        "precision": system.precision,
        "workers": system.workers,
        "channels_last": system.channels_last or system.family == "genreclf",
        "wall_s": wall_s,
        "startup_s": startup_s,
        "clips_per_s": clips / wall_s,
        "clips_per_s_without_startup": clips / (wall_s - startup_s),
        **found(system, folder),
    }


def found(system: System, folder: Path) -> dict[str, Any]:
    """Return what a run reported: number of parameters, accuracy on test clips, and versions or timing."""
    if system.family != "genreclf":
        result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        return result
    metrics = json.loads((folder / "run/metrics.json").read_text(encoding="utf-8"))
    return {
        "parameters": metrics["parameters"],
        "accuracy": metrics["test"]["clip"]["accuracy"],
        "timing": metrics["timing"],
    }


def compare(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Add the speedup of genreclf to each row; return the speedups over the fastest setting of each peer.

    Settings with a channels-last network are counted separately, as ``<peer>, channels_last``.
    """
    ours = [row for row in rows if row["system"] == "genreclf"]
    for row in rows if ours else ():
        row["fp32_ratio"] = ours[0]["clips_per_s"] / row["clips_per_s"]
        row["auto_ratio"] = ours[-1]["clips_per_s"] / row["clips_per_s"]
    peers: dict[str, list[dict[str, Any]]] = {}
    for row in rows if ours else ():
        if row["system"] != "genreclf":
            peers.setdefault(row["system"] + (", channels_last" if row["channels_last"] else ""), []).append(row)
    ratios = {}
    for name, settings in peers.items():
        best = max(settings, key=lambda row: float(row["clips_per_s"]))
        bare = best["clips_per_s_without_startup"]
        ratios[name] = {
            "fp32": best["fp32_ratio"],
            "auto": best["auto_ratio"],
            "fp32_without_startup": ours[0]["clips_per_s_without_startup"] / bare,
            "auto_without_startup": ours[-1]["clips_per_s_without_startup"] / bare,
        }
    return ratios


def main() -> None:
    """Run all chosen systems one after the other and print a table."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tracks", type=int, default=100, help="synthetic tracks of 30 s")
    parser.add_argument("--music", type=Path, help="a folder of <genre>/<track>.wav at 22,050 Hz instead")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--accelerator", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument(
        "--systems",
        default=",".join(FAMILIES),
        help="some of %(default)s, or of their settings, such as genreclf,autrainer-fp32-0-channels_last",
    )
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS, help="where install.py put them")
    parser.add_argument("--out", type=Path, default=OUTPUTS / "peers", help="folder for music, runs and peers.json")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    arguments = parser.parse_args()
    facts = machine(arguments.accelerator)
    has_bf16 = facts["best_precision"] == "bf16-mixed"
    known = list(systems(list(FAMILIES), has_bf16=has_bf16, cores=facts["cores"]))
    words = arguments.systems.split(",")
    if unknown := set(words) - {name for system in known for name in (system.family, system.name)}:
        parser.error(f"--systems: {', '.join(sorted(unknown))} is none of {', '.join(system.name for system in known)}")
    out = arguments.out.resolve()
    music = arguments.music or write_music(out / f"music-{arguments.tracks}", tracks=arguments.tracks)
    task = Task(
        music=str(music.resolve()),
        subsets=subsets_of(music),
        epochs=arguments.epochs,
        accelerator=arguments.accelerator,
        folder=str(out),
    )
    rows = []
    for system in (system for system in known if {system.family, system.name} & set(words)):
        print(f"{system.name} ...", file=sys.stderr)
        rows.append(measure(system, task, arguments.environments))
        # Write after each system, since a later one may fail.
        write_json(out / "peers.json", {**facts, "systems": rows})
    if len({row["parameters"] for row in rows}) > 1:
        raise SystemExit(f"The networks differ: {[(row['system'], row['parameters']) for row in rows]}")
    result = {
        **facts,
        "clips": {subset: task.clips(subset) for subset in task.subsets},
        "clip_s": CLIP_SECONDS,
        "epochs": task.epochs,
        "batch_size": BATCH_SIZE,
        "ratios": compare(rows),
        "systems": rows,
    }
    write_json(out / "peers.json", result)
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{facts['device']}, {facts['cores']} cores; {task.epochs} epochs of {task.clips('train')} training clips")
    print(markdown(rows, COLUMNS))
    print(f"Written to {out / 'peers.json'}")


if __name__ == "__main__":
    main()
