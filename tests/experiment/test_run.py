import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from helpers import Cli, fork_ranks, forked, python_m, run_main, wait_until

from genreclf.checkpoint import load_checkpoint
from genreclf.config.config import Config
from genreclf.evaluation.predictions import read_track_csv
from genreclf.experiment.corpus import Corpus
from genreclf.experiment.setup import Prepared
from genreclf.models import GenreClassifier
from genreclf.run_directory import RunBusy, RunDirectory


def history_without_times(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open(newline="") as lines:
        return [{key: row[key] for key in row if not key.endswith("_s")} for row in csv.DictReader(lines)]


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


def test_a_run_directory_is_one_process_s(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genreclf.run_directory.HANDOVER_S", 0.1)
    run = RunDirectory(tmp_path / "run")
    run.make()
    with run.held():
        outcome = cli(*tiny, "run_dir=run")
        assert outcome.code == RunBusy.exit_code
        assert outcome.err.strip().endswith(
            "Another process works in run; let it end, or end it, then run the same command again."
        )
        assert not run.config.exists()
        assert run.status is None
    with run.held():  # It was let go.
        pass


def test_a_run_that_another_process_finished_meanwhile_is_left_alone(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genreclf.experiment.run import TASKS, run

    real, ends = TASKS["train"], []

    def prepare_slowly(config: Config, load: Callable[[Config], Corpus]) -> Prepared:
        if not ends:
            ends.append(0)
            ends.append(run(config).run.metrics.stat().st_mtime_ns)  # The same command, which is faster.
        return real.prepare(config, load)

    monkeypatch.setitem(TASKS, "train", real._replace(prepare=prepare_slowly))
    outcome = cli(*tiny, "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert "run is finished and left as it is." in outcome.out
    assert (tmp_path / "run/metrics.json").stat().st_mtime_ns == ends[1]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_told_to_end_in_its_test_goes_on(
    sent: signal.Signals, code: int, cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(GenreClassifier, "on_test_start", lambda self: os.kill(os.getpid(), sent))
        outcome = cli(*tiny, "run_dir=run")
    assert outcome.code == code
    word = {143: "Terminated", 130: "Interrupted"}[code]
    assert outcome.err.splitlines()[-1] == f"{word}. Run the same command with run_dir=run to go on."
    run = RunDirectory(tmp_path / "run")
    assert run.status == "interrupted"
    trained = run.last.stat().st_mtime_ns
    assert cli(*tiny, "run_dir=run").code == 0
    assert run.status == "finished"
    assert run.last.stat().st_mtime_ns == trained


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


WATCHED = """
import os
import torch
from genreclf.models import CRNN

class Watched(CRNN):
    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        self.broadcast, self.broadcasts = torch.distributed.broadcast, 0
        torch.distributed.broadcast = self.counted

    def counted(self, *arguments, **settings):
        self.broadcasts += 1
        return self.broadcast(*arguments, **settings)

    def on_validation_epoch_start(self):
        fits = self.trainer.state.fn == "fit"
        if fits:
            torch.distributed.broadcast = self.broadcast
        super().on_validation_epoch_start()
        if fits:
            state = {**self.state_dict(), **dict(self.named_buffers()), "broadcasts": torch.tensor(self.broadcasts)}
            torch.save(state, f"rank{os.environ.get('RANK')}.pt")

class Turned(Watched):
    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        self.register_buffer("turned", torch.full((2, 3), float(os.environ.get("RANK", 0))).T, persistent=False)
"""
"""A model that keeps what each rank validates, and how often the ranks were asked for something in an epoch's steps."""


@pytest.mark.long
def test_two_devices_train_as_one_experiment(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ranks, one of which has a clip more in each batch, end where one device does, but for rounding."""
    fork_ranks(monkeypatch)
    (tmp_path / "watched.py").write_text(WATCHED)
    settings = [*tiny, "model._target_=watched.Turned", "model.dropout=0", "trainer.max_epochs=2", "data.batch_size=5"]
    interrupts = signal.getsignal(signal.SIGINT)
    for words in (["trainer.devices=2", "run_dir=run"], ["run_dir=alone"]):
        outcome = cli(*settings, *words)
        assert outcome.code == 0, outcome.err
    assert signal.getsignal(signal.SIGINT) == interrupts
    run = RunDirectory(tmp_path / "run")
    ranks = run.read_json(run.environment)["ranks"]
    assert [rank["rank"] for rank in ranks] == [0, 1]
    assert len({rank["config_hash"] for rank in ranks}) == 1
    assert len(history_without_times(run.path)) == 2
    assert len(list(tmp_path.glob("*/config.yaml"))) == 2
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["broadcasts"] == 0
    for name, values in first.items():
        assert torch.equal(values, second[name]), name
    states = [load_checkpoint(RunDirectory(tmp_path / name).last)["state_dict"] for name in ("run", "alone")]
    for name, values in states[0].items():
        torch.testing.assert_close(values, states[1][name], atol=2e-5, rtol=2e-5)


@pytest.mark.slow
def test_ranks_validate_one_model_where_batch_normalization_is_their_own(tiny: list[str], tmp_path: Path) -> None:
    (tmp_path / "watched.py").write_text(WATCHED)
    settings = ["trainer.sync_batchnorm=false", "regularization=ema", "callbacks.ema.decay=0.9"]
    process = python_m(*tiny, *settings, "model._target_=watched.Watched", "trainer.devices=2", "run_dir=run")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    for name, values in first.items():
        assert torch.equal(values, second[name]), name


@pytest.mark.slow
def test_a_clip_a_device_is_enough_for_batch_normalization(cli: Cli, tiny: list[str]) -> None:
    """Where the devices share it; one clip alone is not."""
    model = ["model=statistics_crnn", "model.channels=[4,4,4,4]", "trainer.limit_train_batches=2"]
    tiny = [word for word in tiny if not word.startswith("model")]
    process = python_m(*tiny, *model, "data.batch_size=2", "trainer.devices=2", "run_dir=two")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    outcome = cli(*tiny, *model, "data.batch_size=1", "run_dir=one")
    assert outcome.code == 2
    assert "Batch normalization needs two clips of a step or more" in outcome.err


def kill_after_epochs(arguments: list[str], run: RunDirectory, epochs: int) -> None:
    process = forked(run_main, arguments)
    wait_until(lambda: len(run.read_history()) >= epochs or not process.is_alive())
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_killed_run_goes_on_to_the_same_end(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    settings = [*tiny, "regularization=strong", "trainer.max_epochs=6", "model.dropout=0.5", "data.crops_per_track=4"]
    kill_after_epochs([*settings, "run_dir=killed"], RunDirectory(tmp_path / "killed"), 2)
    assert len(history_without_times(tmp_path / "killed")) < 6
    assert json.loads((tmp_path / "killed/metrics.json").read_text())["status"] == "running"
    for name in ("killed", "unbroken"):
        outcome = cli(*settings, f"run_dir={name}")
        assert outcome.code == 0, outcome.err
    assert history_without_times(tmp_path / "killed") == history_without_times(tmp_path / "unbroken")
    metrics: list[dict[str, Any]] = [RunDirectory(tmp_path / name).read_metrics() for name in ("killed", "unbroken")]
    assert metrics[0]["test"] == metrics[1]["test"]
    assert (tmp_path / "killed/predictions.csv").read_text() == (tmp_path / "unbroken/predictions.csv").read_text()


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
