"""MLflow and TensorBoard keep what a run logs: figures of epochs and of the test, settings, plots and tables."""

import json
import posixpath
import re
import socket
from pathlib import Path

import pytest
from helpers import SMALL, Cli, write_music

from genreclf.run_directory import RunDirectory
from genreclf.training.media import mlflow_name

PLOTS = {"curves", "confusion", "confusion_normalized", "genre_scores"}


@pytest.mark.slow
def test_mlflow_keeps_the_record_in_one_run(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    store = f"sqlite:///{tmp_path}/mlflow.db"
    words = [*tiny, "logger=mlflow", f"logger.mlflow.tracking_uri={store}", "run_dir=run"]
    words += [f"+logger.mlflow.artifact_location={(tmp_path / 'artifacts').as_uri()}", "model.dropout=0.1"]
    words += ["logger.mlflow.log_model=true", "+logger.mlflow.tags.team=audio"]
    outcome = cli(*words)
    assert outcome.code == 0, outcome.err
    client = mlflow.MlflowClient(store)
    (experiment,) = client.search_experiments(filter_string="name = 'genreclf'")
    (kept,) = client.search_runs([experiment.experiment_id])
    run = RunDirectory("run")
    assert run.read_json(run.loggers) == {"mlflow": kept.info.run_id}
    assert (kept.info.run_name, kept.info.status) == ("run", "FINISHED")
    tags = {"team": "audio", "CRNN": "true", "artist_folds": "true"}
    assert tags.items() <= kept.data.tags.items()
    metrics = run.read_metrics()
    assert kept.data.metrics["test/track/accuracy"] == metrics["test"]["track"]["accuracy"]
    assert {"train/loss", "val/track_accuracy", "objective", "epoch"} <= kept.data.metrics.keys()
    assert (kept.data.params["model/dropout"], kept.data.params["seed"]) == ("0.1", "0")
    files = {each.path for folder in ("test", "data") for each in client.list_artifacts(kept.info.run_id, folder)}
    assert {f"test/{name}.png" for name in PLOTS} | {"data/genres.png", "test/tracks.json"} <= files
    table = json.loads(Path(client.download_artifacts(kept.info.run_id, "test/tracks.json")).read_text())
    assert len(table["data"]) == metrics["test"]["track"]["n"]
    assert table["columns"] == ["track_id", "genre", "predicted", "probability"]
    assert Path(client.download_artifacts(kept.info.run_id, "best/best.ckpt")).read_bytes() == run.best.read_bytes()
    (run.path / "metrics.json").unlink()  # As after a kill: the same run goes on.
    assert cli(*words, "trainer.max_epochs=1").code == 0
    assert [each.info.run_id for each in client.search_runs([experiment.experiment_id])] == [kept.info.run_id]


@pytest.mark.slow
def test_mlflow_keeps_the_scores_of_genres_in_any_script(cli: Cli, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    write_music(Path("music"))
    for folder, genre in (("blues", "Рок"), ("classical", "R&B"), ("metal", "RB")):
        Path("music", folder).rename(Path("music", genre))
    store = f"sqlite:///{tmp_path}/mlflow.db"
    words = ["data=folder", "data.root=music", "data.store_dir=stores", "data.clip_seconds=1", "split=track"]
    words += ["split.train=0.2", "split.val=0.2", "split.test=0.6", "run_dir=run", "logger=mlflow"]
    outcome = cli(*SMALL, *words, f"logger.mlflow.tracking_uri={store}")
    assert outcome.code == 0, outcome.err
    client = mlflow.MlflowClient(store)
    run = RunDirectory("run")
    kept = client.get_run(run.read_json(run.loggers)["mlflow"])
    scores = run.read_metrics()["test"]["per_genre"]
    assert kept.data.metrics["test/per_genre/_x420__x43e__x43a_/f1"] == scores["Рок"]["f1"]
    assert kept.data.metrics["test/per_genre/R_x26_B/f1"] == scores["R&B"]["f1"]
    assert kept.data.metrics["test/per_genre/RB/f1"] == scores["RB"]["f1"]


def test_names_for_mlflow_are_valid_and_unique() -> None:
    ordinary = ["drum_and-bass 2.0", "Hip-Hop", "hip_hop", "RB", "...", "26"]
    assert [mlflow_name(genre) for genre in ordinary] == ordinary
    odd = ["", ".", "..", "/", "R&B", "R/B", "R_x26_B", "Рок", "рок", "&b", "ɫ", "_x26&", "&x26_", "_x_"]
    odd += ["a" * 255, "a" * 254, "ж" * 120 + "к", "ж" * 121]
    names = [mlflow_name(genre) for genre in odd]
    assert len({*names, *ordinary}) == len(odd) + len(ordinary)
    for name in names:
        assert re.fullmatch("[a-zA-Z0-9_. -]{1,200}", name)
        assert posixpath.normpath(f"a/{name}/b") == f"a/{name}/b"


def test_tensorboard_keeps_plots_and_tables(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    outcome = cli(*tiny, "logger=tensorboard", "run_dir=run")
    assert outcome.code == 0, outcome.err
    events = accumulator.EventAccumulator(str(tmp_path / "run/tensorboard"), size_guidance={"tensors": 0}).Reload()
    tags = events.Tags()
    assert {f"test/{name}" for name in PLOTS} | {"data/genres"} <= set(tags["images"])
    assert {"train/loss", "val/track_accuracy", "test/track/accuracy"} <= set(tags["scalars"])
    (table,) = events.Tensors("test/tracks/text_summary")
    lines = table.tensor_proto.string_val[0].decode().splitlines()
    assert lines[0] == "| track_id | genre | predicted | probability |"
    assert len(lines) - 2 == RunDirectory("run").read_metrics()["test"]["track"]["n"]


def test_a_tracker_that_cannot_be_used_is_named(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    (tmp_path / "file").touch()
    outcome = cli(*tiny, "logger=mlflow", f"logger.mlflow.tracking_uri=sqlite:///{tmp_path}/file/mlflow.db")
    assert outcome.code == 2
    assert "logger.mlflow cannot be used" in outcome.err


@pytest.mark.parametrize("first", ["genreclf.training.loggers.Patient", "lightning.pytorch.loggers."])
def test_lightning_s_own_wandb_logger_is_refused_beside_another(first: str, cli: Cli, tiny: list[str]) -> None:
    second = "{_target_: lightning.pytorch.loggers.WandbLogger, offline: true, project: other}"
    loggers = [f"+logger.first._target_={first}WandbLogger", f"+logger.second={second}"]
    outcome = cli(*tiny, *loggers, "run_dir=run")
    name = "second" if "Patient" in first else "first"
    assert (outcome.code, outcome.err) == (
        2,
        f"logger.{name}: beside another W&B logger, WandbLogger writes into the W&B run of that one: set "
        f"logger.{name}._target_=genreclf.training.loggers.PatientWandbLogger.\n",
    )
    assert not Path("run").exists()


def test_a_server_that_does_not_answer_is_named_before_anything_is_computed(cli: Cli, tiny: list[str]) -> None:
    pytest.importorskip("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    outcome = cli(*tiny, "logger=mlflow", f"logger.mlflow.tracking_uri={address}", "run_dir=run")
    assert outcome.code == 2
    assert outcome.err == (
        f"No server answers at logger.mlflow.tracking_uri={address} (Connection refused): start it, or correct the "
        "address.\n"
    )
    assert not Path("run").exists()
