"""The dashboard shows what runs really log, and W&B's own models take it."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from fake_runs import FIRST, write_run
from helpers import Cli, Trained
from matplotlib.figure import Figure
from PIL import Image
from wandb_records import records
from wandb_workspaces.reports.v2.internal import ReportViewspec
from wandb_workspaces.workspaces.internal import View

from genreclf.comparison import panels as shown_panels
from genreclf.comparison.dashboard import Dashboard
from genreclf.comparison.runs import FinishedRun
from genreclf.plots import dashboard as plots_dashboard
from genreclf.plots.dashboard import Bars, Words
from genreclf.run_directory import RunDirectory


def flat(key: str, value: Any) -> Iterator[str]:
    yield key
    for name, inner in value.items() if isinstance(value, dict) else ():
        yield from flat(f"{key}.{name}", inner)


def logged(record: Path) -> dict[str, set[str]]:
    """Return the keys of an offline run by where they stand."""
    keys: dict[str, set[str]] = {"config": set(), "summary": set(), "history": set()}
    for one in records(record):
        if one.HasField("run"):
            for item in one.run.config.update:
                keys["config"] |= set(flat(item.key, json.loads(item.value_json)))
        for part, items in (("summary", one.summary.update), ("history", one.history.item)):
            keys[part] |= {item.key or item.nested_key[0] for item in items}
    return keys


def panels_of(specification: dict[str, Any]) -> list[dict[str, Any]]:
    sections = specification["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
    return [panel for section in sections for panel in section["panels"]]


def shown(specification: dict[str, Any]) -> dict[str, set[str]]:
    """Return the keys that the panels ask for by where they must stand."""
    keys: dict[str, set[str]] = {"config": set(), "summary": set(), "history": set()}
    for panel in panels_of(specification):
        settings = panel["config"]
        if panel["viewType"] == "Run History Line Plot":
            keys["history"] |= {*settings["metrics"], settings["xAxis"]}
        elif panel["viewType"] == "Bar Chart":
            keys["summary"] |= set(settings["metrics"])
        elif panel["viewType"] == "Parallel Coordinates Plot":
            for column in settings["columns"]:
                place, _, key = column["accessor"].partition(":")
                keys[place].add(key.replace(".value", "", 1))
        elif panel["viewType"] == "Parameter Importance":
            keys["summary"].add(settings["targetKey"])
        else:
            text = json.dumps(settings)
            keys["summary"] |= set(re.findall(r'"(test/[a-z_]+)"', text))
        if "groupBy" in settings:
            keys["config"].add(settings["groupBy"].replace(".value", "", 1))
    return keys


def test_the_specification_is_what_w_and_b_takes() -> None:
    dashboard = Dashboard(
        name="two", project="genreclf", entity="someone", runs=("a", "b"), varied=("optimizer.lr",), genres=("blues",)
    )
    specification = dashboard.specification()
    View.model_validate(specification["workspace"])
    ReportViewspec.model_validate(specification["report"])
    wanted = shown(specification)
    assert wanted["config"] == {"optimizer.lr", "model._target_"}
    assert {"epoch", "trainer/global_step", "val/track_accuracy", "lr", "epoch_s"} <= wanted["history"]
    assert {"objective", "test/per_genre/blues/f1", "test/confusion_table", "test/spectrograms"} <= wanted["summary"]
    assert '["a", "b"]' in json.dumps(specification["workspace"])


@pytest.mark.slow
def test_panels_show_what_runs_log(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    for seed, lr in enumerate((0.001, 0.002)):
        outcome = cli(*tiny, "logger=wandb", f"seed={seed}", f"optimizer.lr={lr}", f"run_dir=sweep/run{seed}")
        assert outcome.code == 0, outcome.err
    # Its service writes the end of the records when it ends.
    wandb.teardown()
    outcome = cli("dashboard", "sweep")
    assert outcome.code == 0, outcome.err
    assert "sweep/dashboard.json" in outcome.err
    specification = json.loads((tmp_path / "sweep/dashboard.json").read_text())
    View.model_validate(specification["workspace"])
    ReportViewspec.model_validate(specification["report"])
    kinds = {panel["viewType"] for panel in panels_of(specification)}
    assert len(kinds) >= 6, kinds
    wanted = shown(specification)
    assert {"optimizer.lr", "seed", "model._target_"} <= wanted["config"]
    assert '"run0"' in json.dumps(specification["workspace"])
    for seed in (0, 1):
        (record,) = (tmp_path / f"sweep/run{seed}/wandb").glob("offline-run-*/*.wandb")
        there = logged(record)
        assert wanted["config"] <= there["config"]
        assert wanted["history"] - {"gpu_memory_gb"} <= there["history"]
        assert wanted["summary"] <= there["summary"] | there["history"]
    kept = [one.artifact for one in records(record) if one.HasField("artifact")]
    (artifact,) = (artifact for artifact in kept if "spectrograms" in artifact.name)
    paths = {content.path: Path(content.local_path) for content in artifact.manifest.contents}
    table = json.loads(paths["test/spectrograms.table.json"].read_text())
    for picture, genre, predicted, _, track_id in table["data"]:
        assert picture["path"] in paths
        assert (picture["_type"], picture["width"] <= 256, picture["height"]) == ("image-file", True, 128)
        assert track_id.startswith(genre)
        assert predicted
    assert len({row[1] for row in table["data"]}) == 10


def test_bars_of_equal_values_are_drawn() -> None:
    axes = Figure().add_subplot()
    Bars("objective", {"CRNN": [0.1, 0.1, 0.1]}).draw(axes)  # Their mean is 0.10000000000000002.
    assert axes.get_xlim() == (0, 1)


def test_runs_without_objective_are_left_out_of_what_shows_objectives(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / str(k), FIRST, val=k / 10, settings={"optimizer.lr": k}) for k in (1, 2, 3)]
    refit = write_run(tmp_path / "refit", FIRST, settings={"optimizer.lr": 4})
    metrics = RunDirectory(refit).read_metrics() | {"objective": None}
    (refit / "metrics.json").write_text(json.dumps(metrics))
    dashboard = Dashboard.of("all", [*paths, refit], needs_record=False)
    for chosen in ([*paths, refit], [refit]):
        found = shown_panels.panels_of(dashboard, [FinishedRun.read(path) for path in chosen])
        panels = {panel.title: panel for section in found.values() for panel in section}
        if chosen == [refit]:
            assert isinstance(panels["Settings and scores"], Words)
        else:
            assert panels["Settings and scores"].objectives == [0.1, 0.2, 0.3]
            assert panels["Settings and scores"].axes["optimizer.lr"] == ["1", "2", "3"]
            assert panels["Rank correlation with objective"].values == {"optimizer.lr": [1.0]}


def test_scores_of_genres_with_dots_and_slashes_are_shown(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", FIRST)
    metrics = RunDirectory(path).read_metrics()
    metrics["test"]["per_genre"] = {"Dr. Funk": {"f1": 0.25}, "Old-Time / Historic": {"f1": 0.75}}
    (path / "metrics.json").write_text(json.dumps(metrics))
    dashboard = Dashboard.of("one", [path], needs_record=False)
    genres = shown_panels.panels_of(dashboard, [FinishedRun.read(path)])["Genres"]
    assert [panel.values for panel in genres if isinstance(panel, Bars)] == [{"CNN": [0.25]}, {"CNN": [0.75]}]


def test_values_without_effect_are_shown_like_others(tmp_path: Path) -> None:
    values = [{"split.train_fraction": 0.5, "model.center_bands": True}, {"model.center_bands": False}]
    runs = [
        FinishedRun.read(write_run(tmp_path / str(k), FIRST, val=k / 2, settings=settings))
        for k, settings in enumerate(values)
    ]
    dashboard = Dashboard.of("two", [run.path for run in runs], needs_record=False)
    assert set(dashboard.varied) == {"model.center_bands", "split.train_fraction"}
    panels = {panel.title: panel for section in shown_panels.panels_of(dashboard, runs).values() for panel in section}
    assert panels["Settings and scores"].axes["split.train_fraction"] == ["0.5", "1"]
    assert panels["Settings and scores"].axes["model.center_bands"] == ["True", "False"]
    assert panels["Rank correlation with objective"].values == {"split.train_fraction": [pytest.approx(1.0)]}


def test_runs_in_folders_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    runs = [FinishedRun.read(write_run(tmp_path / folder, FIRST)) for folder in ("a/run", "b/run", "other")]
    dashboard = Dashboard.of("all", [run.path for run in runs], needs_record=False)
    for chosen, last in ((runs, "other"), (runs[:2], "b/run")):
        found = shown_panels.panels_of(dashboard, chosen)
        panels = {panel.title: panel for section in found.values() for panel in section}
        assert list(panels["95 % interval"].values) == ["a/run", "b/run", "other"][: len(chosen)]
        assert f"Test tracks, {last}" in panels


@pytest.mark.parametrize(("epochs", "said"), [(0, "These runs have no epochs."), (1, "In the record of W&B alone.")])
def test_a_panel_says_why_it_is_empty(epochs: int, said: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", FIRST, epochs=epochs)
    found = shown_panels.panels_of(Dashboard.of("one", [run], needs_record=False), [FinishedRun.read(run)])
    panels = {panel.title: panel for section in found.values() for panel in section}
    assert panels["lr"].lines == [said]
    assert isinstance(panels["val/track_loss"], Words) == (epochs == 0)


def test_the_title_of_a_picture_marks_its_runs(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    monkeypatch.setattr(plots_dashboard, "draw_dashboard", lambda path, title, sections: titles.append(title))
    run = write_run(tmp_path / "run", FIRST, leaky=True)
    metrics = RunDirectory(run).read_metrics() | {"refit": {"epochs": 4}}
    (run / "metrics.json").write_text(json.dumps(metrics))
    assert cli("dashboard", "run", "--name", "mine", "--picture", "panels.png").code == 0
    assert titles == ["LEAKY SPLIT, REFIT: mine"]


@pytest.mark.pictures
def test_a_picture_shows_what_the_panels_do(cli: Cli, finished: RunDirectory, tmp_path: Path) -> None:
    shutil.copytree(finished.path, "other")
    config = RunDirectory("other").read_config()
    RunDirectory("other").write_config({**config, "optimizer": {**config["optimizer"], "lr": 0.5}})
    outcome = cli("dashboard", "run", "other", "--picture", "pictures/panels.png")
    assert (outcome.code, outcome.out) == (0, "Picture: pictures/panels.png\n"), outcome.err
    with Image.open("pictures/panels.png") as picture:
        assert picture.width > 2000
    runs = [FinishedRun.read(path) for path in (finished.path, Path("other"))]
    dashboard = Dashboard.of("two", [run.path for run in runs], needs_record=False)
    panels = {panel.title: panel for section in shown_panels.panels_of(dashboard, runs).values() for panel in section}
    row = runs[0].history[0]
    for key in ("val/track_accuracy", "train/loss", "lr", "epoch_s"):
        assert panels[key].groups == {"CRNN": [{0.0: row[key]}] * 2}
    assert panels["objective"].values == {"CRNN": [runs[0].metrics["objective"]] * 2}
    assert panels["95 % interval"].values["run"] == runs[0].metrics["test"]["track"]["accuracy_ci95"]
    assert panels["Settings and scores"].axes["optimizer.lr"] == ["0.001", "0.5"]
    assert panels["Test tracks, other"].counts.sum() == runs[0].metrics["test"]["track"]["n"]
    assert "blues" in "".join(panels["test/tracks"].lines)


def test_a_picture_is_a_png(cli: Cli) -> None:
    outcome = cli("dashboard", "run", "--picture", "panels.jpg")
    assert outcome.code == 2
    assert "panels.jpg does not end in .png" in outcome.err


def test_dashboard_says_what_it_lacks(cli: Cli, trained: Trained) -> None:
    assert "There is no finished run" in cli("dashboard", ".").err
    assert "is not a folder" in cli("dashboard").err
    outcome = cli("dashboard", str(trained.run.path))
    assert outcome.code == 2
    assert "train with logger=wandb" in outcome.err
