"""Sweeps that choose a setting, and learning curves, through the real command."""

import csv
import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import Cli
from omegaconf import OmegaConf
from PIL import Image

from genreclf.run_directory import RunDirectory
from genreclf.sweep.choice import Choice, choose, command_of
from genreclf.sweep.rows import FAILED, read_rows
from genreclf.sweep.summary import report

TOGETHER = ["-m", "hydra/launcher=together", "hydra.sweep.dir=sweep"]


@pytest.fixture
def music(tiny: list[str]) -> list[str]:
    """`tiny` without its model."""
    return [word for word in tiny if not word.startswith("model")]


def runs_of(folder: Path) -> dict[str, RunDirectory]:
    paths = {path.parent: json.loads(path.read_text()) for path in sorted(folder.glob("*/job.json"))}
    return {" ".join(map("=".join, record["varies"].items())): RunDirectory(path) for path, record in paths.items()}


def held(run: RunDirectory, *subsets: str) -> set[str]:
    return {id for subset in subsets for id in run.read_json(run.split)[subset]}


@pytest.mark.long
def test_inner_folds_choose_a_setting_without_the_test_tracks(
    cli: Cli, music: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genreclf.comparison.report.draw_all", lambda *_: [])
    settings = [*music, "sweep=artist_cv", "model=constant,svm", "split.inner_folds=3"]
    outcome = cli(*TOGETHER, *settings)
    assert outcome.code == 0, outcome.err
    runs = runs_of(tmp_path / "sweep")
    assert len(runs) == 6
    command = next(line.strip() for line in outcome.out.splitlines() if line.startswith("  python -m genreclf"))
    assert "model=svm" in command
    assert "inner_fold" not in command
    assert "Chosen in outer fold 0: SVM, " in outcome.out
    page = (tmp_path / "sweep/sweep.md").read_text()
    assert command in page
    (best, other) = [line for line in page.splitlines() if line.startswith(("| SVM | 3", "| Constant | 3"))]
    assert best.startswith("| SVM | 3 folds |")
    for model, row in (("svm", best), ("constant", other)):
        tried = [run for name, run in runs.items() if model in name]
        right = sum(run.read_metrics()["test"]["track"]["accuracy"] * len(held(run, "test")) for run in tried)
        assert row.split(" | ")[2] == f"{100 * right / 40:.1f}"
    rows = read_rows(tmp_path / "sweep")
    (choice,) = choose(rows)
    assert choice.left_out == ()
    lacking = [replace(row, status=FAILED) if "split.inner_fold=1" in row.overrides else row for row in rows]
    (choice,) = choose(lacking)
    assert len(choice.left_out) == 2
    assert all("split.inner_fold=1" in job for job in choice.left_out)
    (choice,) = choose([replace(row, in_last_call=row.status != FAILED) for row in lacking])
    assert choice.left_out == ()  # Jobs of an earlier command, such as one with a mistake.
    assert cli(*shlex.split(command)[3:], "run_dir=chosen").code == 0
    chosen = RunDirectory(tmp_path / "chosen")
    for run in runs.values():
        assert held(run, "train", "val", "test") == held(chosen, "train", "val")
        assert run.read_metrics()["split"]["name"] == "inner folds of artist_folds"


@pytest.mark.parametrize("short", [True, False])
def test_the_command_for_what_was_chosen_composes_the_same_configuration(short: bool, tmp_path: Path) -> None:
    ways = ["-cn", "mine", "-cd=own", "-cp", "conf"] if short else ["--config-name=mine", "--config-dir", "own"]
    command = ["python", "-m", "genreclf", "-m", *ways, "sweep=artist_cv", "model=svm,cnn"]
    (tmp_path / "sweep.json").write_text(json.dumps({"command": command}))
    choice = Choice(outer=None, candidates=(), jobs=(("sweep=artist_cv", "model=svm"),), left_out=())
    kept = "--config-path conf " if short else ""
    whole = f"python -m genreclf {kept}--config-name mine --config-dir own model=svm"
    assert command_of(choice, tmp_path) == whole


def test_the_command_for_what_was_chosen_finds_the_options_of_the_search_path(tmp_path: Path) -> None:
    words = ["hydra.searchpath=['s p',pkg://mine]", "+hydra.job.env_set.A=1", "sweep=artist_cv", "model=svm,cnn"]
    (tmp_path / "sweep.json").write_text(json.dumps({"command": ["python", "-m", "genreclf", "-m", *words]}))
    choice = Choice(outer=None, candidates=(), jobs=(("model=svm",),), left_out=())
    found = f'hydra.searchpath=["{tmp_path}/s p","pkg://mine"]'
    assert shlex.split(command_of(choice, tmp_path))[3:] == [found, words[1], "model=svm"]


def test_the_command_for_what_was_chosen_keeps_what_further_sweeps_set(tmp_path: Path) -> None:
    words = ("sweep=[artist_cv,layers]", "encoder=musicnn_mtt", "model.layer=cnn1", "seed=3")
    choice = Choice(outer=None, candidates=(), jobs=(words,), left_out=())
    assert shlex.split(command_of(choice, tmp_path))[3:] == ["-m", *words, "split.inner_fold=null"]


@pytest.mark.slow
def test_nested_folds_are_tested_by_what_was_chosen_without_them(cli: Cli, music: list[str], tmp_path: Path) -> None:
    arguments = [
        *TOGETHER,
        *music,
        "sweep=nested",
        "model=constant,svm",
        "split.fold=0,3",
        "split.inner_folds=3",
        "split.inner_fold=0,1",
    ]
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.err
    assert "10 jobs: 10 finished." in outcome.out
    runs = runs_of(tmp_path / "sweep")
    outer = {name: run for name, run in runs.items() if "inner_fold" not in name}
    assert [name.split()[0] for name in outer] == ["split.fold=0", "split.fold=3"]
    assert all("model=svm" in name for name in outer)
    for name, run in outer.items():
        tested = held(run, "test")
        inner = [each for other, each in runs.items() if "inner_fold" in other and other.startswith(name.split()[0])]
        assert len(inner) == 4
        assert not any(tested & held(each, "train", "val", "test") for each in inner)
    accuracy = np.mean([run.read_metrics()["test"]["track"]["accuracy"] for run in outer.values()])
    assert f"Nested cross-validation over 2 of 5 outer folds (0, 3): {100 * accuracy:.1f} % of 20 tracks" in outcome.out
    again = cli(*arguments)
    assert again.code == 0
    assert "10 jobs: 10 finished." in again.out
    assert "starts in" not in again.out


@pytest.mark.pictures
@pytest.mark.long
def test_a_learning_curve_rises_with_what_is_trained_on(cli: Cli, music: list[str], tmp_path: Path) -> None:
    curve = ["sweep=learning_curve", "model=svm", "split.train_fraction=1", "split.artists_per_genre=1,3", "seed=0,1"]
    outcome = cli(*TOGETHER, *music, *curve)
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "sweep/sweep.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| SVM |") and " to " in line]
    few, many = [row for row in rows if row[1] in ("1", "3")]
    assert [row[:5] for row in (few, many)] == [["| SVM", "1", "10", "10", "2"], ["| SVM", "3", "30", "30", "2"]]
    assert float(few[5]) < float(many[5])
    with (tmp_path / "sweep/comparison/comparison.csv").open(newline="") as file:
        accuracy = {row["split"]: float(row["accuracy"]) for row in csv.DictReader(file)}
    assert f"{100 * accuracy['artist_folds artists_per_genre=3']:.1f}" == many[5]
    picture = np.asarray(Image.open(tmp_path / "sweep/figures/artists_per_genre.png").convert("RGB"))
    assert (picture == (0, 0x72, 0xB2)).all(-1).sum() > 500


def test_a_run_of_a_changed_file_of_options_does_not_take_part_in_the_choice(
    finished: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/sweep.json").write_text('{"call": "now", "command": ["python", "-m", "genreclf"]}')
    for hidden, model, call in ((128, "mine", "before"), (64, "wide", "before"), (2, "mine", "now")):
        run = RunDirectory(shutil.copytree(finished.path, tmp_path / f"sweep/{hidden}"))
        changed = {"model": {"hidden": hidden}, "split": {"inner_fold": 0}}
        OmegaConf.save(OmegaConf.merge(run.read_config(), changed), run.config)
        words = [f"debug={call == 'now'}", "split.inner_fold=0", f"model={model}"]
        run.write_json(run.path / "job.json", {"overrides": words, "varies": {}, "call": call, "exit_code": 0})
    assert report(tmp_path / "sweep") == 0
    assert "Left out of the choice, as the last command replaced them: 1 earlier job." in capsys.readouterr().out
    table = (tmp_path / "sweep/sweep.md").read_text().partition("## Choice by inner folds")[2].partition("## Jobs")[0]
    assert ["hidden=128" in table, "hidden=64" in table, "hidden=2" in table] == [False, True, True]


def test_missing_outer_folds_are_named(
    finished: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/sweep.json").write_text('{"call": "now", "command": ["python", "-m", "genreclf"]}')
    for name, inner_fold in (("inner", 0), ("outer", None)):
        run = RunDirectory(shutil.copytree(finished.path, tmp_path / f"sweep/{name}"))
        split = {"fold": 1, "folds": 3, "inner_fold": inner_fold}
        OmegaConf.save(OmegaConf.merge(run.read_config(), {"split": split}), run.config)
        words = [f"split.inner_fold={inner_fold}"]
        run.write_json(run.path / "job.json", {"overrides": words, "varies": {}, "call": "now", "exit_code": 0})
    assert report(tmp_path / "sweep") == 0
    assert "Nested cross-validation over 1 of 3 outer folds (1): " in capsys.readouterr().out
