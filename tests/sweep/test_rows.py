"""What a sweep says of its jobs, read from directories that a test writes."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import Cli
from PIL import Image

from genreclf.plots.sweep import JobLine, axis_positions, draw_axes
from genreclf.reports.tables import Table, csv_text
from genreclf.run_directory import RunBusy
from genreclf.sweep.rows import axes_of, read_rows
from genreclf.sweep.summary import job_columns, report


def write_job(sweep: Path, name: str, varies: dict[str, str], *, code: int | None = 0, call: str = "now") -> None:
    record = {"overrides": [f"{k}={v}" for k, v in varies.items()], "varies": varies, "call": call, "wall_s": 1.5}
    path = sweep / name / "job.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**record, "exit_code": code}))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "sweep.json").write_text(json.dumps({"call": "now", "command": ["python", "-m", "genreclf", "-m"]}))
    for name, objective, accuracy in (("a", 0.4, 0.75), ("b", 0.6, 0.5)):
        write_job(tmp_path, name, {"model": name, "seed": "0"})
        test = {"track": {"accuracy": accuracy, "accuracy_ci95": [0.2, 0.9]}}
        metrics = {"status": "finished", "objective": objective, "split": {"leaky": False}, "test": test}
        (tmp_path / name / "metrics.json").write_text(json.dumps(metrics))
    return tmp_path


def fail(sweep: Path, name: str, code: int | None, reason: str = "", call: str = "now") -> None:
    write_job(sweep, name, {"model": name, "seed": "0"}, code=code, call=call)
    (sweep / name / "metrics.json").write_text(json.dumps({"status": "failed", "reason": reason}))


def test_rows_are_ordered_and_say_what_varies(sweep: Path) -> None:
    fail(sweep, "c", 1, "ValueError: no")
    rows = read_rows(sweep)
    assert [(row.path.name, row.status, row.accuracy) for row in rows] == [
        ("b", "finished", 0.5),
        ("a", "finished", 0.75),
        ("c", "failed", None),
    ]
    assert axes_of(rows) == ["model"]
    assert rows[2].reason == "ValueError: no"


def test_jobs_in_subfolders_are_found_but_not_those_of_another_sweep(sweep: Path) -> None:
    fail(sweep, "experiment=ablation/ema", 1)
    fail(sweep, "another/c", 1)
    (sweep / "another/sweep.json").write_text("{}")
    (sweep / "a/loop").symlink_to(sweep)
    assert [row.path.relative_to(sweep).as_posix() for row in read_rows(sweep)] == ["b", "a", "experiment=ablation/ema"]


def test_refits_and_pretrained_jobs_are_marked(sweep: Path) -> None:
    metrics = json.loads((sweep / "a/metrics.json").read_text())
    metrics |= {"refit": {"run": "b"}, "pretrained": {"encoder": "c"}}
    (sweep / "a/metrics.json").write_text(json.dumps(metrics))
    rows = read_rows(sweep)
    table = Table.of(job_columns(sweep, rows), rows)
    assert [row[table.header.index("status")] for row in table.cells] == ["finished", "finished, PRETRAINED, REFIT"]
    assert [line.split(",").count("True") for line in csv_text(job_columns(sweep, rows), rows).splitlines()] == [
        0,
        1,
        2,
    ]


@pytest.mark.parametrize(("codes", "end"), [([], 0), ([2], 2), ([2, 2], 2), ([2, 1], 1), ([-9], 1), ([None], 1)])
def test_the_end_of_the_command(
    codes: list[int | None], end: int, sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genreclf.sweep.summary._results", lambda *_: [])
    for number, code in enumerate(codes):
        fail(sweep, f"x{number}", code, f"Reason {number}." if code else "")
    fail(sweep, "stale", 1, "Of another call.", call="before")
    assert report(sweep) == end
    said = capsys.readouterr()
    assert "Of another call." not in said.err
    for number, code in enumerate(codes):
        reason = f"Reason {number}." if code else "it ended without a word"
        assert f"Failed: model=x{number} seed=0: {reason}" in said.err
    assert ("Run the same command again" in said.err) is (end == 1)
    assert ("Correct what is named above first" in said.err) is (end == 2)
    table = (sweep / "sweep.md").read_text()
    assert "Of another call." in table
    assert table.count("| finished |") == 2


def test_a_summary_that_cannot_be_written_is_no_success(sweep: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sweep / "sweep.csv").mkdir()
    assert report(sweep) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_job_that_another_process_does_is_left_alone(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genreclf.sweep.job.warm_up", lambda: None)
    monkeypatch.setattr("genreclf.sweep.job.compute_in_new_process", lambda *_: RunBusy.exit_code)
    outcome = cli("-m", *tiny, "seed=4", "hydra.sweep.dir=sweep")
    (job,) = tmp_path.glob("sweep/*/job.json")
    assert outcome.code == RunBusy.exit_code
    assert "Job 0 is skipped: Another process works in" in outcome.err
    assert f"Left to other processes: {job.parent.name}.\n" in outcome.err
    assert "ailed" not in outcome.err
    assert "1 job: 1 unfinished." in outcome.out
    assert json.loads(job.read_text())["exit_code"] == RunBusy.exit_code
    assert not (job.parent / "metrics.json").exists()
    (job.parent / "metrics.json").write_text(json.dumps({"status": "finished"}))  # By that process, since.
    assert [row.status for row in read_rows(tmp_path / "sweep")] == ["finished"]


@pytest.mark.pictures
def test_each_job_is_a_line_of_its_color(tmp_path: Path) -> None:
    jobs = [
        JobLine(varies={"lr": lr}, objective=objective, leaky=False, marks=["PRETRAINED"] * (lr == "1"))
        for lr, objective in (("1", 0.2), ("2", 0.9))
    ]
    assert draw_axes(tmp_path / "axes.png", ["lr"], jobs, "title")
    pixels = np.asarray(Image.open(tmp_path / "axes.png").convert("RGB")).reshape(-1, 3)
    for low_or_high in ((68, 1, 84), (253, 231, 37)):  # The ends of viridis.
        assert (pixels == low_or_high).all(1).sum() > 500
    assert not draw_axes(tmp_path / "one.png", ["lr"], jobs[:1], "title")
    assert not (tmp_path / "one.png").exists()


def test_numbers_lie_to_scale_and_words_evenly() -> None:
    at, ticks = axis_positions(["1e-4", "1e-2", "1e-3"])
    np.testing.assert_allclose(at, [0, 1, 0.5])
    assert ticks == pytest.approx({"1e-4": 0, "1e-2": 1, "1e-3": 0.5})
    np.testing.assert_allclose(axis_positions(["0", "10", "5"])[0], [0, 1, 0.5])
    np.testing.assert_allclose(axis_positions(["none", "dropout", "strong"])[0], [0.5, 0, 1])
