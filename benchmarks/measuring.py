"""Functions shared by the benchmarks: music to train on, timed processes, the name of the device, tables."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
OUTPUTS = ROOT / "outputs/benchmarks"
SAMPLE_RATE = 22050
NOT_TRAINED_ALONE = ("constant", "svm", "finetune", "probe")
"""Models that are fitted without training steps, or that need a pretrained encoder."""


def models_that_train() -> list[str]:
    """Return the options of ``conf/model`` that are trained in steps and need no encoder."""
    names = {path.stem for path in (ROOT / "conf/model").glob("[!_]*.yaml")}
    return sorted(names.difference(NOT_TRAINED_ALONE))


def write_music(folder: Path, *, tracks: int, duration_s: float = 30.0) -> Path:
    """Write synthetic tracks of ten genres as ``<genre>/<track>.wav``, 16 bit mono; existing files are kept.

    Returns:
        `folder`.
    """
    from genreclf.datasets.synthetic import Synthetic

    per_genre = tracks // 10
    if per_genre < 3 or tracks % 10:
        raise SystemExit(f"{tracks} tracks cannot be divided among ten genres and three subsets; give 30, 40, 50...")
    dataset = Synthetic(tracks_per_genre=per_genre, artists_per_genre=min(10, per_genre), duration_s=duration_s)
    missing = [track.id for track in dataset.tracks() if not (folder / f"{track.id}.wav").exists()]
    if missing:
        print(f"Writing {len(missing)} tracks to {folder}", file=sys.stderr)
        with ProcessPoolExecutor() as pool:
            list(pool.map(_write_track, missing, [dataset] * len(missing), [folder] * len(missing), chunksize=4))
    return folder


def _write_track(track_id: str, dataset: Any, folder: Path) -> None:
    import soundfile

    track = next(track for track in dataset.tracks() if track.id == track_id)
    path = folder / f"{track_id}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    soundfile.write(partial, dataset.waveform(track, SAMPLE_RATE), SAMPLE_RATE, subtype="PCM_16", format="WAV")
    partial.rename(path)


def empty(folder: Path) -> Path:
    """Delete the contents of `folder`, or create it, and return it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def start(command: Sequence[str | Path], log: Path, **environment: str) -> "subprocess.Popen[bytes]":
    """Start a process in the root of the repository and append its output to `log`."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline", **environment}
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in command], cwd=ROOT, env=variables, stdout=output, stderr=subprocess.STDOUT
        )


def wait_for(process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until a process ends; exit with the last lines of its log if it failed."""
    if process.wait():
        last = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        raise SystemExit(f"{last}\n{process.args!r} failed with exit code {process.returncode}; see {log}")


def seconds(command: Sequence[str | Path], log: Path, **environment: str) -> float:
    """Run a command and return its duration in seconds."""
    started_s = time.perf_counter()
    wait_for(start(command, log, **environment), log)
    return time.perf_counter() - started_s


def machine(accelerator: str) -> dict[str, Any]:
    """Return the device, cores, precision and versions to report with results; exit if there is no GPU as requested."""
    import torch

    from genreclf.hardware import environment, resolve_precision

    if accelerator == "gpu" and not torch.cuda.is_available():
        raise SystemExit("This machine has no GPU that PyTorch can use; --accelerator cpu runs without.")
    facts = environment(accelerator, 1, resolve_precision("auto", accelerator))
    return {
        "device": facts["device"],
        "cores": len(os.sched_getaffinity(0)),
        "best_precision": facts["precision"],
        "versions": facts["versions"],
        "git": facts["git"],
    }


def markdown(rows: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> str:
    """Return rows as a Markdown table, with floats rounded to three significant digits or to integers."""
    names = list(columns)
    lines = [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    lines += [f"| {' | '.join(_cell(row.get(name)) for name in names)} |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return "" if value is None else str(value)


def write_json(path: Path, values: Any) -> None:
    """Write `values` as indented JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
