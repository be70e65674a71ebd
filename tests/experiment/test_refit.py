"""What a run has chosen is trained once more, on its training and validation tracks together."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from helpers import Cli

from genreclf.models import GenreClassifier
from genreclf.run_directory import RunDirectory


def split_of(run: str) -> dict[str, list[str]]:
    content: dict[str, list[str]] = json.loads(Path(run, "split.json").read_text())
    return content


def change(run: RunDirectory, **metrics: object) -> None:
    run.write_json(run.metrics, run.read_metrics() | metrics)


def test_a_refit_is_the_training_on_both_subsets_for_the_epochs_that_were_chosen(
    cli: Cli, finished: RunDirectory, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(finished, best_epoch=1)  # Of a run of more epochs.
    outcome = cli("refit", "run", "seed=5", "run_dir=again")
    assert outcome.code == 0, outcome.err
    before, now = split_of("run"), split_of("again")
    assert now["train"] == sorted(before["train"] + before["val"])
    assert now["val"] == []
    assert now["test"] == before["test"]
    metrics = RunDirectory("again").read_metrics()
    assert (metrics["epochs"], metrics["best_epoch"], metrics["objective"]) == (2, 1, None)
    assert metrics["refit"] == {"run": "run", "epochs": 2, "differs": "seed=0 in run, 5 here"}
    report = Path("again/report.md").read_text()
    assert report.splitlines()[0].endswith("(REFIT)")
    assert "together, for the 2 epochs that the run run chose on validation tracks" in report
    # By hand it is the same, bit for bit.
    for subset in ("train", "val", "test"):
        Path(f"{subset}.txt").write_text("".join(f"{id}\n" for id in now[subset]))
    lists = ("split=list", "split.train=train.txt", "split.val=val.txt", "split.test=test.txt")
    by_hand = cli(*tiny, *lists, "split.allow_missing=true", "trainer.max_epochs=2", "seed=5", "run_dir=by hand")
    assert by_hand.code == 0, by_hand.err
    assert Path("again/predictions.csv").read_text() == Path("by hand/predictions.csv").read_text()
    # Validation tracks count as trained on.
    outcome = cli("evaluate", "again", "split=track", "split.seed=10", "run_dir=other")
    assert outcome.code == 0, outcome.err
    other = RunDirectory("other").read_metrics()
    assert other["split"]["seen"]["trained"] == len(set(split_of("other")["test"]) & set(now["train"])) > 0
    assert other["split"]["seen"]["validated"] == 0
    assert other["refit"] == metrics["refit"]
    monkeypatch.setattr("genreclf.comparison.report.draw_all", lambda *_: [])
    compared = cli("compare", "run", "again", "--out", "side by side", "--format", "csv")
    rows = {row["experiment"]: row["refit"] for row in csv.DictReader(compared.out.splitlines())}
    assert sorted(rows.values()) == ["False", "True"]
    assert "(REFIT)" in Path("side by side/comparison.md").read_text()


def test_the_key_of_a_training_does_the_same(cli: Cli, finished: RunDirectory, tiny: list[str]) -> None:
    outcome = cli(*tiny, "refit=run", "run_dir=again")
    assert outcome.code == 0, outcome.err
    assert split_of("again")["val"] == []
    assert RunDirectory("again").read_metrics()["refit"] == {"run": "run", "epochs": 1, "differs": ""}


def test_the_split_of_an_earlier_version_is_the_same(cli: Cli, finished: RunDirectory) -> None:
    config = finished.read_config()
    del config["split"]["unseen"]
    finished.write_config(config)
    outcome = cli("refit", "run", "run_dir=again")
    assert outcome.code == 0, outcome.err


def test_trainer_options_and_arguments_may_differ_and_are_named(cli: Cli, finished: RunDirectory) -> None:
    config = finished.read_config()
    config["trainer"] |= {"accelerator": "auto", "gradient_clip_val": 0.5}
    finished.write_config(config)
    outcome = cli("refit", "run", "trainer=cpu", "trainer.accumulate_grad_batches=4", "run_dir=again")
    assert outcome.code == 0, outcome.err
    again = RunDirectory("again")
    trainer = again.read_config()["trainer"]
    assert trainer == config["trainer"] | {"accelerator": "cpu", "accumulate_grad_batches": 4}
    assert again.read_metrics()["refit"]["differs"] == (
        "trainer.accelerator=auto in run, cpu here, "
        "no trainer.accumulate_grad_batches in run, trainer.accumulate_grad_batches=4 here"
    )


def test_only_the_number_of_epochs_ends_a_refit(cli: Cli, finished: RunDirectory) -> None:
    change(finished, best_epoch=1)
    config = finished.read_config()
    config["trainer"] |= {"max_epochs": 9, "min_epochs": 5, "max_steps": 1, "max_time": "00:00:01:00"}
    finished.write_config(config)
    outcome = cli("refit", "run", "run_dir=again")
    assert outcome.code == 0, outcome.err
    assert len(RunDirectory("again").read_history()) == 2


def test_callbacks_that_may_end_a_training_are_off(cli: Cli, finished: RunDirectory) -> None:
    timer = {"_target_": "lightning.pytorch.callbacks.Timer", "duration": "00:00:00:00"}
    stopping = {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": "train/loss", "patience": 0}
    config = finished.read_config()
    watch = {"_target_": "lightning.pytorch.callbacks.Timer", "interval": "epoch"}
    config["callbacks"] |= {"timer": timer, "stopping": stopping, "watch": watch}
    finished.write_config(config)
    change(finished, best_epoch=1)
    outcome = cli("refit", "run", "run_dir=again", "--trust", "lightning.pytorch.callbacks")
    assert outcome.code == 0, outcome.err
    assert "Note: callbacks.timer is off, since a refit ends only after the number of epochs" in outcome.out
    assert "Note: callbacks.stopping is off" in outcome.out
    assert "callbacks.watch" not in outcome.out
    assert len(RunDirectory("again").read_history()) == 2


@pytest.mark.parametrize(("epoch", "batch"), [(0, 1), (1, 0)])
def test_a_refit_that_something_ends_early_fails(
    epoch: int, batch: int, cli: Cli, finished: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(model: GenreClassifier, outputs: object, _: object, batch_idx: int) -> None:
        model.trainer.should_stop = (model.current_epoch, batch_idx) == (epoch, batch)

    monkeypatch.setattr(GenreClassifier, "on_train_batch_end", stop)
    change(finished, best_epoch=1)
    outcome = cli("refit", "run", "run_dir=again")
    assert outcome.code == 2
    assert "The refit ended before the 2 epochs that run chose, as by a callback that stops" in outcome.err
    assert RunDirectory("again").status == "failed"


def test_a_model_that_is_fitted_at_once_is_fitted_to_both_subsets(cli: Cli, tiny: list[str]) -> None:
    others = [word for word in tiny if not word.startswith("model")]
    for command in ([*others, "model=constant", "run_dir=run"], ["refit", "run", "run_dir=again"]):
        outcome = cli(*command)
        assert outcome.code == 0, outcome.err
    assert split_of("again")["train"] == sorted(split_of("run")["train"] + split_of("run")["val"])
    assert RunDirectory("again").read_metrics()["refit"] == {"run": "run", "epochs": None, "differs": ""}
    assert "(REFIT)" in Path("again/report.md").read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("metrics", "arguments", "sentence"),
    [
        ({"status": "running"}, ["refit", "run"], "run is not finished, so it has chosen no epoch"),
        ({"val": {}}, ["refit", "run"], "run had no validation tracks: there is nothing more to train on."),
        ({}, ["refit", "run", "split=track"], "split=track: a refit takes split from run; omit it."),
        ({}, ["refit", "run", "seed=0,1"], "seed=0,1 names several values; give one."),
        ({}, ["refit", "run", "~data.batch_size"], "set another value, or omit it."),
        ({}, ["refit", "run", "trainer.max_epochs=3"], "for the 1 epochs that this run chose"),
        ({}, ["refit", "run", "trainer.max_steps=3"], "trainer.max_steps=3 could end the refit before the 1 epochs"),
        ({}, ["refit=run", "trainer.max_time=00:00:01:00"], "could end the refit before the 1 epochs that run chose"),
        (
            {},
            ["refit=run", "callbacks=[default,early_stopping]"],
            "callbacks.early_stopping could end the refit",
        ),
        ({"best_epoch": 4}, ["refit=run"], "set trainer.max_epochs=5, or use the command refit."),
        ({}, ["refit=run", "split=track"], "refit=run chose its epochs on another split (split._target_="),
        ({}, ["refit=run", "ckpt_path=run/checkpoints/last.ckpt"], "omit one of them."),
        ({}, ["refit=run", "seed=1", "data.tracks_per_genre=6"], "refit=run was trained on other tracks"),
    ],
)
def test_a_mistake_is_one_sentence(
    cli: Cli, finished: RunDirectory, tiny: list[str], metrics: dict[str, object], arguments: list[str], sentence: str
) -> None:
    change(finished, **metrics)
    outcome = cli(*([] if arguments[0] == "refit" else tiny), *arguments, "run_dir=again")
    assert outcome.code == 2
    assert sentence in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not RunDirectory("again").metrics.exists()


def test_an_interrupted_refit_is_tested_as_one(
    cli: Cli, finished: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("genreclf.experiment.evaluate.evaluate", interrupted)
        assert cli("refit", "run", "run_dir=again").code == 130
    assert RunDirectory("again").status == "interrupted"
    assert cli("evaluate", "again", "run_dir=tested").code == 0
    assert "(REFIT)" in Path("tested/report.md").read_text().splitlines()[0]


def test_an_evaluation_or_continuation_is_no_run_and_code_of_others_is_not_imported(
    cli: Cli, finished: RunDirectory
) -> None:
    shutil.copytree("run", "evaluated")
    Path("evaluated/history.csv").unlink()
    assert "evaluated was not trained but evaluated" in cli("refit", "evaluated").err
    config = finished.read_config()
    finished.write_config(config | {"ckpt_path": "first/checkpoints/last.ckpt"})
    outcome = cli("refit", "run")
    assert outcome.code == 2
    assert outcome.err.startswith("run continued the training of first/checkpoints/last.ckpt, which a refit cannot")
    config["callbacks"]["mine"] = {"_target_": "this_module_is_not_there.Callback", "monitor": "val/loss"}
    finished.write_config(config)
    outcome = cli("refit", "run")
    assert outcome.code == 2
    assert "--trust this_module_is_not_there" in outcome.err


def test_a_callback_that_is_no_class_is_named(cli: Cli, finished: RunDirectory) -> None:
    finished.write_config(finished.read_config() | {"callbacks": {"checkpoint": "val/loss"}})
    outcome = cli("refit", "run")
    assert (outcome.code, outcome.err) == (
        2,
        "callbacks.checkpoint=val/loss is not a class; null turns it off, callbacks=NAME on.\n",
    )
