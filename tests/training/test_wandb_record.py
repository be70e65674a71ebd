"""What a run leaves in W&B, read back from its offline record."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from helpers import Cli
from wandb.proto.wandb_internal_pb2 import Record
from wandb_records import record_of, records

from genreclf.run_directory import RunDirectory

KEEPS = [
    "logger.wandb.log_model=both",
    "logger.wandb.model_days=30",
    "logger.wandb.notes=As it was.",
    "logger.wandb.tags=[mine]",
]


def items(entries: Any) -> dict[str, Any]:
    return {entry.key or "/".join(entry.nested_key): json.loads(entry.value_json) for entry in entries}


def of_kind(found: list[Record], kind: str) -> Iterator[Any]:
    return (getattr(record, kind) for record in found if record.HasField(kind))  # type: ignore[arg-type]


def test_the_offline_record_has_steps_epochs_artifacts_and_one_name_for_each(
    cli: Cli, tiny: list[str], tmp_path: Path
) -> None:
    every = ["callbacks.record.every_n_steps=1", "trainer.max_epochs=2", "init_from=first"]
    assert cli(*tiny, "run_dir=first").code == 0
    begun_with = RunDirectory("first")
    begun_with.write_json(begun_with.metrics, begun_with.read_metrics() | {"pretrained": {"overlap": "known (2)"}})
    outcome = cli(*tiny, *every, "logger=wandb", *KEEPS, "run_dir=run")
    assert outcome.code == 0, outcome.err
    wandb.teardown()
    (path,) = (tmp_path / "run/wandb").glob("offline-run-*/*.wandb")
    found, run = list(records(path)), RunDirectory("run")
    rows = [items(history.item) for history in of_kind(found, "history")]
    steps = [row for row in rows if "train/loss_step" in row]
    assert [(row["trainer/global_step"], row["epoch"]) for row in steps] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert [row["lr"] for row in steps] == sorted((row["lr"] for row in steps), reverse=True)
    history = run.read_history()
    assert [row["epoch_s"] for row in rows if "epoch_s" in row] == [row["epoch_s"] for row in history]
    accuracies = [row["val/track_accuracy"] for row in rows if "val/track_accuracy" in row]
    assert len(accuracies) == 2
    summary: dict[str, Any] = {}
    for update in of_kind(found, "summary"):
        summary |= items(update.update)
    metrics = run.read_metrics()
    assert summary["val/track_accuracy"] == metrics["objective"]
    assert summary["test/track/accuracy"] == metrics["test"]["track"]["accuracy"]
    names = {key for row in [*rows, summary] for key in row}
    assert not {"val/track/accuracy", "lr-AdamW", "train/loss_epoch"} & names
    (begun,) = {begun.run_id for begun in of_kind(found, "run")}
    first = next(of_kind(found, "run"))
    assert (first.notes, first.job_type) == ("As it was.", "train")
    assert {"mine", "CRNN", "artist_folds", "PRETRAINED"} <= set(first.tags)
    assert summary["PRETRAINED"]["overlap"] == "known (2)"
    settings = items(first.config.update)
    assert settings["model"]["hidden"] == 4
    later = [items(update.update) for update in of_kind(found, "config")]
    assert not any(key in update for update in later for key in ("hidden", "spec", "spec/n_mels", "genres"))
    artifacts = {artifact.type: artifact for artifact in of_kind(found, "artifact")}
    assert [artifacts[kind].use_after_commit for kind in ("dataset", "split", "model")] == [True, True, False]
    split = run.read_json(run.split)
    assert json.loads(artifacts["split"].metadata)["hash"] == split["hash"]
    assert set(artifacts["split"].aliases) == {"latest", split["hash"]}
    assert json.loads(artifacts["dataset"].metadata)["tracks"] == 50
    model = artifacts["model"]
    assert (model.name, set(model.aliases)) == (f"model-{begun}", {"latest", "best", "last"})
    assert model.ttl_duration_seconds == 30 * 24 * 3600
    files = {entry.path: entry.local_path for entry in model.manifest.contents}
    assert {
        "config.yaml",
        "metrics.json",
        "split.json",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    } <= files.keys()
    assert json.loads(Path(files["metrics.json"]).read_text()) == metrics
    assert files["checkpoints/best.ckpt"] == str(run.best.resolve())


def test_an_evaluation_names_the_data_it_was_tested_on(cli: Cli, finished: RunDirectory, tmp_path: Path) -> None:
    outcome = cli("evaluate", str(finished.path), "run_dir=again", "logger=wandb")
    assert outcome.code == 0, outcome.err
    wandb.teardown()
    (path,) = (tmp_path / "again/wandb").glob("offline-run-*/*.wandb")
    found = list(records(path))
    assert next(of_kind(found, "run")).job_type == "evaluate"
    artifacts = {artifact.type: artifact for artifact in of_kind(found, "artifact")}
    assert [artifacts[kind].use_after_commit for kind in ("dataset", "split")] == [True, True]
    split = RunDirectory("again").read_json(RunDirectory("again").split)
    assert json.loads(artifacts["split"].metadata)["hash"] == split["hash"]


def test_two_records_of_a_run_are_both_complete(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    second = ["+logger.second._target_=genreclf.training.loggers.PatientWandbLogger", "+logger.second.project=other"]
    outcome = cli(*tiny, "logger=wandb", *second, "run_dir=run")
    assert outcome.code == 0, outcome.err
    wandb.teardown()
    logged = {}
    for path in (tmp_path / "run/wandb").glob("offline-run-*/*.wandb"):
        found = list(records(path))
        rows = [items(history.item) for history in of_kind(found, "history")]
        logged[next(of_kind(found, "run")).project] = [row["epoch"] for row in rows if "val/track_accuracy" in row]
    assert logged == {"genreclf": [0], "other": [0]}


def test_a_record_in_another_folder_has_the_name_of_the_run(cli: Cli, finished: RunDirectory, tmp_path: Path) -> None:
    outcome = cli("evaluate", str(finished.path), "run_dir=again", "logger=wandb", "+logger.wandb.save_dir=elsewhere")
    assert outcome.code == 0, outcome.err
    wandb.teardown()
    assert record_of(tmp_path / "elsewhere").display_name == "again"


def test_nothing_is_lost_where_wandb_is_disabled(cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    wandb.setup()  # It reads the variable once, before this run.
    monkeypatch.setenv("WANDB_MODE", "disabled")
    outcome = cli(*tiny, "logger=wandb", "run_dir=run")
    wandb.teardown()
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.count("W&B: disabled") == 2
