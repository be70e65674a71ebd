"""The mean of the probabilities of finished runs is a run of its own."""

import csv
import json
import shutil
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Cli, train

import genreclf
from genreclf.errors import UserError
from genreclf.evaluation.combining import mixture_weights
from genreclf.evaluation.predictions import TrackPredictions, read_track_csv
from genreclf.export.files import traced
from genreclf.run_directory import RunDirectory


@pytest.fixture(scope="session")
def _trained_second(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("second") / "run"
    others = [word for word in tiny if not word.startswith("model")]
    train(*others, "model=ffnn", "features.scale=unit", "seed=3", f"run_dir={run}")
    return run


@pytest.fixture
def second(finished: RunDirectory, _trained_second: Path) -> RunDirectory:
    """Another model beside ``run``, of the same split, in ``second``."""
    return RunDirectory(shutil.copytree(_trained_second, "second"))


def tables(run: str) -> tuple[TrackPredictions, TrackPredictions]:
    return read_track_csv(Path(run, "predictions.csv")), read_track_csv(Path(run, "val_predictions.csv"))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_the_ensemble_predicts_the_mean_and_is_a_run_as_others(
    cli: Cli, second: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = cli("ensemble", "run", "second", "run_dir=both")
    assert outcome.code == 0, outcome.err
    for mean, first, other in zip(tables("both"), tables("run"), tables("second"), strict=True):
        assert mean.track_ids == first.track_ids
        np.testing.assert_allclose(mean.probabilities, (first.probabilities + other.probabilities) / 2, atol=1e-6)
    metrics = RunDirectory("both").read_metrics()
    assert metrics["ensemble"] == {"runs": ["run", "second"], "weights": [0.5, 0.5]}
    assert metrics["parameters"] == sum(RunDirectory(run).read_metrics()["parameters"] for run in ("run", "second"))
    assert metrics["split"]["leaky"] is False
    assert "run (weight 0.500), second (weight 0.500)" in Path("both/report.md").read_text()
    song = 0.1 * np.sin(np.arange(66_150.0) / 9)
    each = [genreclf.load(run).predict(song, sample_rate=22_050).probabilities for run in ("both", "run", "second")]
    np.testing.assert_allclose(each[0], (each[1] + each[2]) / 2, atol=1e-6)
    outcome = cli("evaluate", "both", "run_dir=again")
    assert outcome.code == 0, outcome.err
    assert Path("again/predictions.csv").read_text() == Path("both/predictions.csv").read_text()
    monkeypatch.setattr("genreclf.comparison.report.draw_all", lambda *_: [])
    compared = cli("compare", "run", "both", "--format", "csv")
    names = [row["experiment"] for row in csv.DictReader(compared.out.splitlines())]
    assert len(names) == 2
    assert all(len(name) < 100 for name in names)
    # A member is trusted as a model is, and nothing more.
    config = RunDirectory("both").read_config()
    for name, value in (("_target_", "os.system"), ("_partial_", False), ("dropout", {"_target_": "os.system"})):
        hostile = [config["model"]["members"][0] | {name: value}]
        RunDirectory("both").write_config(config | {"model": config["model"] | {"members": hostile}})
        with pytest.raises(UserError, match="names "):
            genreclf.load("both")
    RunDirectory("both").write_config(config)
    # What is not a training is not taken for one.
    assert "both is an ensemble: refit its runs" in cli("refit", "both").err
    trained = cli("--config-dir", "both", "--config-name", "config", "run_dir=more")
    assert "An ensemble is made of finished runs by the command ensemble" in trained.err


@pytest.mark.slow
@pytest.mark.usefixtures("second")
def test_an_ensemble_is_exported(cli: Cli) -> None:
    assert cli("ensemble", "run", "second", "run_dir=both").code == 0
    predictor, song = genreclf.load("both"), 0.1 * np.sin(np.arange(66_150.0) / 9)
    exported = traced(predictor).module()(torch.from_numpy(song).float()[None])
    found = predictor.predict(song, sample_rate=22_050).probabilities
    np.testing.assert_allclose(exported[0].detach().numpy(), found, atol=1e-4)


def test_marks_are_those_of_the_runs(cli: Cli, finished: RunDirectory, second: RunDirectory) -> None:
    test = second.read_json(second.split)["test"]
    dataset = second.read_json(second.split)["dataset"]
    before = {"run": "old", "dataset": dataset, "train": test[:2], "val": [], "artists": {}}
    change(second.split, started_from=[before])
    change(second.metrics, pretrained={"name": "some_encoder", "overlap": "none"})
    pretrained = {"name": "other", "overlap": "known (2)", "non_commercial": True}
    change(finished.metrics, refit={"run": "chosen", "epochs": 3, "differs": ""}, pretrained=pretrained)
    outcome = cli("ensemble", "run", "second", "run_dir=both")
    assert outcome.code == 0, outcome.err
    metrics = RunDirectory("both").read_metrics()
    assert metrics["split"]["leaky"] is True
    assert metrics["split"]["seen"]["trained"] == 2
    both = {"name": "other and some_encoder", "overlap": "known (2) and none", "non_commercial": True}
    assert metrics["pretrained"] == both
    assert metrics["refit"] == {"run": "chosen", "epochs": None}
    assert Path("both/report.md").read_text().splitlines()[0].endswith("(LEAKY) (PRETRAINED) (REFIT)")


def test_an_interrupted_ensemble_goes_on(cli: Cli, second: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("genreclf.experiment.run.compute", interrupted)
        outcome = cli("ensemble", ".", "run_dir=both")
    assert outcome.code == 130
    assert "Run the same command with run_dir=both to continue." in outcome.err
    assert "already contains a run" in cli("ensemble", "run", "second", "--weights", "validation", "run_dir=both").err
    assert cli("ensemble", ".", "run_dir=both").code == 0
    assert RunDirectory("both").status == "finished"


@pytest.mark.parametrize(
    ("command", "waits"), [(("ensemble", "run", "same"), 1), (("ensemble", "run", "same"), 2), (("evaluate", "run"), 1)]
)
def test_what_another_process_finished_meanwhile_is_left_alone(
    command: tuple[str, ...], waits: int, cli: Cli, finished: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished.path, "same")
    first = cli(*command, "run_dir=twice")
    assert first.code == 0, first.err
    Path("twice").rename("theirs")
    held, calls = RunDirectory.held, []

    def held_by_another(run: RunDirectory) -> AbstractContextManager[None]:
        calls.append(run)
        if len(calls) == waits:
            shutil.rmtree(run.path)
            shutil.copytree("theirs", run.path)
        return held(run)

    monkeypatch.setattr(RunDirectory, "held", held_by_another)
    outcome = cli(*command, "run_dir=twice")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.rstrip().endswith("twice is finished and left as it is.")
    for path in Path("theirs").rglob("*.*"):
        assert Path("twice", path.relative_to("theirs")).stat().st_mtime_ns == path.stat().st_mtime_ns


@pytest.mark.usefixtures("finished")
def test_an_evaluation_has_no_network(cli: Cli) -> None:
    assert cli("evaluate", "run", "run_dir=runs/tested").code == 0
    sentence = "runs/tested is an evaluation of run and has no network of its own; give run.\n"
    for command in (["predict", "runs/tested", "song.wav"], ["ensemble", "run", "runs/tested"]):
        outcome = cli(*command)
        assert (outcome.code, outcome.err) == (2, sentence)
    left_out = "Note: runs/tested is an evaluation of run and left out.\n"
    assert cli("ensemble", "runs").err == f"{left_out}There are only evaluations; give the runs that they tested.\n"
    assert cli("ensemble", "run", "runs").err.startswith(f"{left_out}run is only one run; ")


def test_validation_weighs_the_runs(cli: Cli, second: RunDirectory) -> None:
    outcome = cli("ensemble", ".", "--weights", "validation", "run_dir=both")
    assert outcome.code == 0, outcome.err
    weights = RunDirectory("both").read_metrics()["ensemble"]["weights"]
    assert sum(weights) == pytest.approx(1, abs=1e-5)
    val = [tables(run)[1] for run in ("run", "second")]
    of_target = np.stack([table.probabilities[np.arange(len(table.targets)), table.targets] for table in val])
    losses = [-np.log(share * of_target[0] + (1 - share) * of_target[1]).mean() for share in np.linspace(0, 1, 101)]
    assert -np.log(np.array(weights) @ of_target).mean() == pytest.approx(min(losses), abs=1e-4)
    assert mixture_weights(np.array([[0.9, 0.9], [0.1, 0.2], [0.5, 0.5]])) == pytest.approx([1, 0, 0], abs=1e-6)
    similar = 0.5 + 0.01 * np.random.default_rng(0).normal(size=(2, 145))
    grid = np.linspace(0, 1, 100_001)
    losses = -np.log(np.outer(grid, similar[0]) + np.outer(1 - grid, similar[1])).mean(1)
    assert mixture_weights(similar)[0] == pytest.approx(grid[losses.argmin()], abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run"], "run is only one run; an ensemble needs two or more."),
        (["run", "other"], "run and other were trained and tested on different splits"),
        (["run", "known"], "knows blues,"),
        (["run", "wrapped"], "run has data.short=pad and wrapped wrap, so they were tested on different clips; give"),
        (["run", "overlapping"], "run has data.grid_overlap=0.0 and overlapping 0.5, so they were tested on different"),
        (["run", "refitted", "--weights", "validation"], "refitted has not predicted the validation tracks"),
        (["run", "begun"], "begun is not finished"),
        (["run", "same", "optimizer.lr=1"], "optimizer.lr=1 has no effect on a trained run"),
        (["run", "same", "split.folds=4", "run_dir=new"], "The tracks are others than those that run"),
        (["run", "same", "run_dir=run"], "run already contains a run; choose another run_dir."),
        (["run", "hostile"], "--trust this_module_is_not_there"),
    ],
)
def test_a_mistake_is_one_sentence(cli: Cli, finished: RunDirectory, arguments: list[str], sentence: str) -> None:
    runs = {name: RunDirectory(shutil.copytree("run", name)) for name in arguments if name.isalpha() and name != "run"}
    for name, run in runs.items():
        if name == "other":
            change(run.split, hash="0")
        elif name == "known":
            checkpoint = torch.load(run.best, weights_only=True)
            checkpoint["hyper_parameters"]["genres"].reverse()
            torch.save(checkpoint, run.best)
        elif name == "wrapped":
            run.write_config(run.read_config() | {"data": run.read_config()["data"] | {"short": "wrap"}})
        elif name == "overlapping":
            run.write_config(run.read_config() | {"data": run.read_config()["data"] | {"grid_overlap": 0.5}})
        elif name == "refitted":
            run.val_predictions.write_text(run.val_predictions.read_text().splitlines()[0])
        elif name == "begun":
            change(run.metrics, status="running")
        elif name == "hostile":
            run.write_config(run.read_config() | {"model": {"_target_": "this_module_is_not_there.Model"}})
    outcome = cli("ensemble", *arguments)
    assert outcome.code == 2
    assert sentence in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not Path("new").exists()
