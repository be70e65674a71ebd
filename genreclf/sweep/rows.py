"""Read the outcome of each job of a sweep, as a row of the summary of the sweep."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genreclf.config.identity import OUTSIDE_IDENTITY, within
from genreclf.errors import UserError
from genreclf.evaluation.provenance import marks_of, pretrained_name
from genreclf.run_directory import RunBusy, RunDirectory
from genreclf.sweep.job import NO_WORD, job_folders, read_object
from genreclf.sweep.process import CRASHED

FINISHED, FAILED, UNFINISHED = "finished", "failed", "unfinished"
"""Values of the status of a job."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Settings and outcome of one job."""

    path: Path
    """Run directory of the job."""
    overrides: Sequence[str]
    """All overrides of the job."""
    varies: dict[str, str]
    """Values of the keys that the sweep varies, by key."""
    status: str
    """`FINISHED`, `FAILED` or `UNFINISHED`; a job is also unfinished while another process works on it."""
    reason: str
    """Reason why the job failed or was left to another process; empty otherwise."""
    exit_code: int | None
    """Exit code of the job; None if it is not known."""
    objective: float | None
    """Accuracy on validation tracks, which a sweeper maximizes; None if the job is not finished."""
    accuracy: float | None
    """Accuracy on test tracks; None if the job is not finished."""
    ci95: tuple[float, float] | None
    """95 % interval of the test accuracy, over tracks."""
    ci95_artists: tuple[float, float] | None
    """95 % interval of the test accuracy, over artists; None if the artists are not known."""
    leaky: bool | None
    """Whether the split of the run leaks; None if not known."""
    pretrained: str | None
    """Name of the pretrained encoder; None without one."""
    marks: Sequence[str]
    """Marks of the run, such as PRETRAINED and REFIT."""
    wall_s: float | None
    """Wall-clock time of the last attempt, in seconds."""
    in_last_call: bool
    """Whether the last call of the sweep command reached the job."""

    @property
    def name(self) -> str:
        """Settings that the job varies, as typed; the name of the run directory if there are none."""
        return " ".join(f"{key}={value}" for key, value in self.varies.items()) or self.path.name


def read_rows(sweep_dir: Path) -> list[Row]:
    """Return the jobs of a sweep: finished jobs first, jobs without leakage before LEAKY ones, by falling objective."""
    call = read_object(sweep_dir / "sweep.json").get("call")
    rows = [_row(folder, call) for folder in job_folders(sweep_dir)]
    return sorted(rows, key=lambda row: (row.status != FINISHED, bool(row.leaky), -(row.objective or 0.0), row.name))


def without_replaced(rows: Sequence[Row]) -> list[Row]:
    """Return the rows without jobs of earlier calls that the last call replaced by jobs with the same overrides.

    A job has another directory than an earlier job with the same overrides if a file of options has changed since.
    """
    now = {_words(row) for row in rows if row.in_last_call}
    return [row for row in rows if row.in_last_call or _words(row) not in now]


def _words(row: Row) -> frozenset[str]:
    """Return the overrides of a job except those that do not change the experiment."""
    keys = {word: word.lstrip("+~").partition("=")[0] for word in row.overrides}
    return frozenset(word for word, key in keys.items() if not within(key, OUTSIDE_IDENTITY))


def axes_of(rows: Sequence[Row]) -> list[str]:
    """Return the keys that have different values in different jobs."""
    keys = dict.fromkeys(key for row in rows for key in row.varies)
    return [key for key in keys if len({row.varies.get(key) for row in rows}) > 1]


def _row(path: Path, call: Any) -> Row:
    record = read_object(path / "job.json")
    run = RunDirectory(path)
    try:
        metrics = run.read_metrics()
    except UserError:
        metrics = {}
    code = record.get("exit_code")
    finished = metrics.get("status") == FINISHED
    in_last_call = call is not None and record.get("call") == call
    busy = code == RunBusy.exit_code
    failed = not busy and (bool(code) or metrics.get("status") == FAILED or (in_last_call and not finished))
    reason = record.get("reason") or metrics.get("reason") or NO_WORD
    track = metrics.get("test", {}).get("track", {}) if finished else {}
    return Row(
        path=path,
        overrides=list(record.get("overrides", [])),
        varies=dict(record.get("varies", {})),
        status=FAILED if failed else FINISHED if finished else UNFINISHED,
        reason=str(reason) if failed or (busy and not finished) else "",
        exit_code=code if code is not None or not failed else CRASHED,
        objective=metrics.get("objective") if finished else None,
        accuracy=track.get("accuracy"),
        ci95=tuple(track["accuracy_ci95"]) if "accuracy_ci95" in track else None,
        ci95_artists=tuple(track["accuracy_ci95_artists"]) if track.get("accuracy_ci95_artists") else None,
        leaky=metrics.get("split", {}).get("leaky"),
        pretrained=pretrained_name(metrics),
        marks=marks_of(metrics),
        wall_s=record.get("wall_s"),
        in_last_call=in_last_call,
    )
