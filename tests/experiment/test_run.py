import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from helpers import Cli

from genreclf.evaluation.predictions import read_track_csv
from genreclf.run_directory import RunDirectory


@pytest.mark.pictures
def test_leaves_all_files_of_a_run(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    outcome = cli(*tiny, "run_dir=run", "regularization=strong")
    assert outcome.code == 0, outcome.err
    assert outcome.out.rstrip().endswith("run/report.md")
    run = RunDirectory(tmp_path / "run")
    metrics = run.read_metrics()
    assert metrics["status"] == "finished"
    assert metrics["objective"] == metrics["val"]["track"]["accuracy"]
    low, high = metrics["test"]["track"]["accuracy_ci95"]
    assert 0 <= low <= metrics["test"]["track"]["accuracy"] <= high <= 1
    assert metrics["test"]["track"]["n"] == 10
    assert metrics["test"]["clip"]["n"] == 30
    val = read_track_csv(run.val_predictions)
    assert list(val.track_ids) == run.read_json(run.split)["val"]
    assert round(float((val.predicted == val.targets).mean()), 6) == metrics["objective"]
    assert metrics["split"] == {"name": "artist_folds", "hash": run.read_json(run.split)["hash"], "leaky": False}
    assert set(metrics["timing"]) == {"prepare_s", "fit_s", "test_s", "clips_per_s"}
    environment = run.read_json(run.environment)
    assert environment["precision"] == "32-true"
    assert [rank["rank"] for rank in environment["ranks"]] == [0]
    with run.predictions.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    genres = run.read_json(run.split)["genres"]
    assert list(rows[0]) == ["track_id", "genre", "predicted", *genres]
    assert [row["track_id"] for row in rows] == run.read_json(run.split)["test"]
    assert sum(float(rows[0][genre]) for genre in genres) == pytest.approx(1, abs=1e-6)
    for name in ("curves", "confusion", "confusion_normalized", "genre_scores"):
        assert (run.figures / f"{name}.png").stat().st_size > 10_000
    for checkpoint in (run.best, run.last):
        assert torch.load(checkpoint, weights_only=True)["hyper_parameters"]["genres"] == genres
    assert "95 %" in run.report.read_text()


def test_a_finished_run_is_left_alone(cli: Cli, tiny: list[str], finished: RunDirectory) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.path.rglob("*") if path.is_file()}
    again = cli(*tiny, "run_dir=run")
    assert again.code == 0
    assert "finished and left as it is" in again.out
    assert before == {path: path.stat().st_mtime_ns for path in finished.path.rglob("*") if path.is_file()}
    other = cli(*tiny, "run_dir=run", "optimizer.lr=0.5")
    assert other.code == 2
    assert "optimizer.lr=0.001 there, 0.5 here" in other.err


def test_a_run_of_an_earlier_version_lacks_keys_that_are_null(
    cli: Cli, tiny: list[str], finished: RunDirectory
) -> None:
    config = finished.read_config()
    assert config.pop("refit") is None
    finished.write_config(config)
    outcome = cli(*tiny, "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert "finished and left as it is" in outcome.out


def test_the_saved_config_composes_to_the_same_run(cli: Cli, finished: RunDirectory, tmp_path: Path) -> None:
    finished.path.rename("first")
    assert cli("--config-dir", str(tmp_path / "first"), "--config-name", "config", "run_dir=second").code == 0
    assert {path.name for path in tmp_path.glob("second/*")} == {path.name for path in tmp_path.glob("first/*")}
    assert not (tmp_path / "outputs").exists()
    sweep = cli("-m", "--config-dir", str(tmp_path / "first"), "--config-name", "config", "seed=0,1")
    assert "2 jobs: 2 finished." in sweep.out, sweep.err
    (repeated,) = tmp_path.glob("outputs/sweeps/seed_*/seed-0_*/predictions.csv")
    assert repeated.read_text() == (tmp_path / "first/predictions.csv").read_text()
    first, second = (yaml.safe_load((tmp_path / name / "config.yaml").read_text()) for name in ("first", "second"))
    assert {**first, "run_dir": "second"} == second
    for name in ("predictions.csv", "clip_predictions.csv"):
        assert (tmp_path / "first" / name).read_text() == (tmp_path / "second" / name).read_text()


def test_another_seed_is_another_run_on_the_same_split(cli: Cli, tiny: list[str], finished: RunDirectory) -> None:
    assert cli(*tiny, "run_dir=other", "seed=1").code == 0
    runs = [finished, RunDirectory("other")]
    assert runs[0].read_metrics()["split"] == runs[1].read_metrics()["split"]
    assert runs[0].predictions.read_text() != runs[1].predictions.read_text()


def test_early_stopping_ends_the_training(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    settings = ["trainer.max_epochs=50", "callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=1"]
    settings += ["callbacks.checkpoint.monitor=val/track_accuracy"]
    assert cli(*tiny, *settings, "optimizer.lr=1e-9", "run_dir=run").code == 0
    assert RunDirectory(tmp_path / "run").read_metrics()["epochs"] < 50


@pytest.mark.parametrize(("ties", "epoch"), [("first", 0), ("last", 2)])
def test_of_equally_good_epochs_keeps_the_one_asked_for(
    ties: str, epoch: int, cli: Cli, tiny: list[str], tmp_path: Path
) -> None:
    settings = ["trainer.max_epochs=3", "callbacks.checkpoint.monitor=val/track_accuracy"]
    settings += [f"callbacks.checkpoint.ties={ties}"]
    outcome = cli(*tiny, *settings, "optimizer.lr=1e-9", "optimizer.weight_decay=0", "run_dir=run")
    assert outcome.code == 0, outcome.err
    run = RunDirectory(tmp_path / "run")
    assert len({row["val/track_accuracy"] for row in run.read_history()}) == 1
    assert run.read_metrics()["best_epoch"] == epoch
    assert torch.load(run.best, weights_only=True)["epoch"] == epoch


def test_epochs_without_validation_do_not_count_for_what_watches_it(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    settings = ["trainer.max_epochs=6", "trainer.check_val_every_n_epoch=3", "optimizer.lr=0.5"]
    plateau = ["scheduler=plateau", "scheduler.patience=1", "scheduler.factor=0.1", "scheduler.monitor=val/track_loss"]
    outcome = cli(*tiny, *settings, *plateau, "callbacks.checkpoint.monitor=train/loss", "run_dir=run")
    assert outcome.code == 0, outcome.err
    run = RunDirectory(tmp_path / "run")
    rows = run.read_history()
    assert {row["lr"] for row in rows} == {0.5}
    assert run.read_metrics()["best_epoch"] == min(rows, key=lambda row: row["train/loss"])["epoch"]


def test_early_stopping_by_the_training_loss_looks_at_every_epoch(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    settings = ["trainer.max_epochs=6", "trainer.check_val_every_n_epoch=3", "callbacks.checkpoint.monitor=train/loss"]
    patience = ["callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=10"]
    outcome = cli(*tiny, *settings, "callbacks=[default,early_stopping]", *patience, "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert len(RunDirectory(tmp_path / "run").read_history()) == 2


def test_the_speed_of_a_shortened_epoch_is_that_of_its_clips(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    outcome = cli(*tiny, "data.batch_size=4", "trainer.limit_train_batches=2", "run_dir=run")
    assert outcome.code == 0, outcome.err
    (row,) = RunDirectory(tmp_path / "run").read_history()
    assert row["clips_per_s"] * row["epoch_s"] == pytest.approx(8, rel=0.05)


def test_without_a_monitor_the_last_epoch_is_tested(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    outcome = cli(*tiny, "trainer.max_epochs=2", "callbacks.checkpoint.monitor=null", "optimizer.lr=1", "run_dir=run")
    assert outcome.code == 0, outcome.err
    run = RunDirectory(tmp_path / "run")
    assert run.read_metrics()["best_epoch"] == 1
    weights = [torch.load(path, weights_only=True)["state_dict"] for path in (run.best, run.last)]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert "On the validation tracks, the tested epoch was right for" in run.report.read_text()


def test_without_validation_tracks_the_last_epoch_is_tested(
    cli: Cli, tiny: list[str], no_val: list[str], tmp_path: Path
) -> None:
    outcome = cli(*tiny, *no_val, "trainer.max_epochs=2", "run_dir=run")
    assert outcome.code == 0, outcome.err
    said = "There are no validation tracks, so the last epoch is tested."
    run = RunDirectory(tmp_path / "run")
    assert f"Note: {said}" in outcome.out
    assert f"- {said}" in run.report.read_text()
    metrics = run.read_metrics()
    assert (metrics["status"], metrics["epochs"], metrics["best_epoch"]) == ("finished", 2, 1)
    assert (metrics["objective"], metrics["val"]) == (None, {"track": {"accuracy": None}})
    assert not any(key.startswith("val/") for row in run.read_history() for key in row)
    assert run.val_predictions.read_text() == "track_id,genre,predicted,blues,rock\n"
    assert cli("evaluate", "run", "run_dir=again").code == 0
    assert RunDirectory(tmp_path / "again").read_metrics()["test"] == metrics["test"]
    soundfile.write("song.wav", np.random.default_rng(0).normal(0, 0.1, 22050), 22050)
    assert cli("predict", "run", "song.wav", "--format", "csv").code == 0
    assert cli("compare", "run", "again", "--out", "paper").code == 0


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("callbacks=[default,early_stopping]", "callbacks.early_stopping"),
        ("scheduler=plateau", "scheduler.monitor=val/loss"),
    ],
)
def test_what_needs_validation_tracks_says_so_before_training(
    setting: str, key: str, cli: Cli, tiny: list[str], no_val: list[str], tmp_path: Path
) -> None:
    outcome = cli(*tiny, *no_val, setting, "run_dir=run")
    assert outcome.code == 2
    assert outcome.err.startswith(f"{key} needs validation tracks, and split=list has none: add some, or set ")
    assert not (tmp_path / "run").exists()


def test_fine_tunes_from_another_run_with_other_genres(
    cli: Cli, tiny: list[str], finished: RunDirectory, tmp_path: Path
) -> None:
    finished.path.rename("first")
    for subset, number in (("train", 0), ("val", 1), ("test", 2)):
        (tmp_path / f"{subset}.txt").write_text(f"blues/{number:05d}\nrock/{number:05d}\n")
    lists = ["split=list", "split.train=train.txt", "split.val=val.txt", "split.test=test.txt"]
    outcome = cli(*tiny, *lists, "init_from=first", "run_dir=second", "optimizer.lr=1e-12", "data.batch_size=2")
    assert outcome.code == 0, outcome.err
    report = (tmp_path / "second/report.md").read_text()
    assert "Weights start from first, but for network.classifier.bias, network.classifier.weight." in report
    weights = [torch.load(tmp_path / run / "checkpoints/best.ckpt", weights_only=True) for run in ("first", "second")]
    name = "network.convolutions.0.0.weight"
    torch.testing.assert_close(weights[0]["state_dict"][name], weights[1]["state_dict"][name])


def test_a_diverged_training_fails_with_a_sentence(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    arguments = [*tiny, "run_dir=run", "optimizer=sgd", "optimizer.lr=1e30", "scheduler=constant"]
    for _ in range(2):  # The same command does not take it for finished.
        outcome = cli(*arguments, "trainer.max_epochs=3")
        assert outcome.code == 1
        assert "Traceback" not in outcome.err
        (sentence,) = outcome.err.strip().splitlines()[-1:]
        assert sentence.startswith("The training diverged: ")
        assert " in epoch 0 at a learning rate of 1e+30; set a smaller optimizer.lr" in sentence
        run = RunDirectory(tmp_path / "run")
        assert (run.status, run.reason) == ("failed", sentence)
        assert not run.best.exists()
        assert not run.last.exists()


def test_evaluate_gives_the_figures_of_the_run(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    assert cli(*tiny, "run_dir=run", "regularization=strong").code == 0
    outcome = cli("evaluate", "run", "run_dir=again")
    assert outcome.code == 0, outcome.err
    runs = [RunDirectory(tmp_path / name) for name in ("run", "again")]
    assert runs[0].read_metrics()["test"] == runs[1].read_metrics()["test"]
    assert runs[0].clip_predictions.read_text() == runs[1].clip_predictions.read_text()
    other = cli("evaluate", "run", "run_dir=other", "split=track", "split.train=0.2", "split.val=0.2", "split.test=0.6")
    assert other.code == 0, other.err
    assert RunDirectory(tmp_path / "other").read_metrics()["test"]["track"]["n"] == 30
    assert cli("evaluate", "run", "run_dir=again").code == 0
    for taken in ("other", "trained"):
        shutil.copytree("run" if taken == "trained" else "other", tmp_path / "trained", dirs_exist_ok=True)
        refused = cli("evaluate", "run", f"run_dir={taken}")
        assert refused.code == 2
        assert f"{taken} contains another run (" in refused.err


def test_clips_as_long_as_the_longest_track_keep_their_length(cli: Cli, tiny: list[str]) -> None:
    assert cli(*tiny, "data.clip_seconds=whole", "data.grid_overlap=0.25", "run_dir=run").code == 0
    outcome = cli("evaluate", "run", "data=synthetic", "data.duration_s=3", "split=test_all", "run_dir=longer")
    assert outcome.code == 0, outcome.err
    assert RunDirectory("longer").read_config()["data"]["grid_overlap"] == 0.25
    clips = RunDirectory("longer").read_metrics()["test"]
    assert clips["clip"]["n"] > clips["track"]["n"]
    assert cli(*tiny, "run_dir=short").code == 0
    outcome = cli("evaluate", "short", "data.clip_seconds=whole", "run_dir=whole")
    assert outcome.code == 2
    assert "leave features and data.clip_seconds as they were" in outcome.err


def test_the_leaky_split_says_so_everywhere(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    outcome = cli(*tiny, "split=chunk", "run_dir=run")
    assert outcome.code == 0, outcome.err
    run = RunDirectory(tmp_path / "run")
    assert "LEAKY" in outcome.out
    assert "LEAKY" in run.report.read_text()
    assert run.read_metrics()["split"]["leaky"] is True
    segments = run.read_json(run.split)
    tracks = [{segment["track_id"] for segment in segments[subset]} for subset in ("train", "test")]
    assert tracks[0] & tracks[1]
    assert all(segment["stop_frame"] > segment["start_frame"] for segment in segments["train"])


@pytest.mark.long
def test_a_sweep_gives_each_job_its_own_run(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    arguments = ["-m", *tiny[:-5], "model=ffnn,cnn", "model.dropout=0.1", *tiny[-4:]]
    arguments = [
        argument for argument in arguments if not argument.startswith(("model.channels", "model.hidden", "model=crnn"))
    ]
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.err
    assert "2 jobs: 2 finished." in outcome.out
    runs = [path.parent for path in tmp_path.glob("outputs/sweeps/*/*/metrics.json")]
    assert sorted(yaml.safe_load((run / "config.yaml").read_text())["model"]["_target_"] for run in runs) == [
        "genreclf.models.CNN",
        "genreclf.models.FFNN",
    ]
    assert all("=" not in str(run.relative_to(tmp_path)) for run in runs)
    (sweep,) = tmp_path.glob("outputs/sweeps/*")
    with (sweep / "sweep.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {row["model"]: row["status"] for row in rows} == {"cnn": "finished", "ffnn": "finished"}
    assert {run.name for run in runs} == {row["job"] for row in rows}
    for row in rows:
        metrics = RunDirectory(sweep / row["job"]).read_metrics()
        assert float(row["objective"]) == metrics["objective"]
        assert [float(row["ci95_low"]), float(row["ci95_high"])] == metrics["test"]["track"]["accuracy_ci95"]
    assert (sweep / "figures/axes.png").is_file()
    assert "[comparison](comparison/comparison.md)" in (sweep / "sweep.md").read_text()
    again = cli(*arguments)
    assert again.out.count("finished and left as it is") == 2
