"""Read the outcome of each job of a sweep, as a row of its summary."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genreclf.errors import UserError
from genreclf.evaluation.provenance import marks_of, pretrained_name
from genreclf.run_directory import RunBusy, RunDirectory
from genreclf.sweep.job import NO_WORD, read_object
from genreclf.sweep.process import CRASHED

FINISHED, FAILED, UNFINISHED = "finished", "failed", "unfinished"


@dataclass(frozen=True, kw_only=True)
class Row:
    """Settings and outcome of one job."""

    path: Path
    """Its run directory."""
    overrides: Sequence[str]
    """All that was set for it."""
    varies: dict[str, str]
    """Of these, what the sweep varies."""
    status: str
    """`FINISHED`, `FAILED` or `UNFINISHED`; the last, too, while another process works in its directory."""
    reason: str
    """Why it is not finished, if known."""
    exit_code: int | None
    """Of its process."""
    objective: float | None
    """What a sweeper maximizes, the accuracy on validation tracks."""
    accuracy: float | None
    """On test tracks."""
    ci95: tuple[float, float] | None
    """95 % interval of the accuracy, over tracks."""
    ci95_artists: tuple[float, float] | None
    """The same over artists, where these are known."""
    leaky: bool | None
    """Whether its split leaks, if known."""
    pretrained: str | None
    """Its pretrained encoder, if it has one."""
    marks: Sequence[str]
    """PRETRAINED and REFIT, where it is so."""
    wall_s: float | None
    """How long its last attempt took."""
    in_last_call: bool
    """Whether the last call of the sweep came to it."""

    @property
    def name(self) -> str:
        """What it varies, as typed."""
        return " ".join(f"{key}={value}" for key, value in self.varies.items()) or self.path.name


def read_rows(sweep_dir: Path) -> list[Row]:
    """Return the jobs of a sweep: finished ones first, honest before leaky, by falling objective."""
    call = read_object(sweep_dir / "sweep.json").get("call")
    rows = [_row(path.parent, call) for path in sorted(sweep_dir.glob("*/job.json"))]
    return sorted(rows, key=lambda row: (row.status != FINISHED, bool(row.leaky), -(row.objective or 0.0), row.name))


def axes_of(rows: Sequence[Row]) -> list[str]:
    """Return the keys that the jobs vary."""
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
