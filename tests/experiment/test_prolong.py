"""A finished run goes on for more epochs in another directory."""

import csv
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from helpers import Cli, forked, run_main

from genreclf.run_directory import RunDirectory

FIRST = "ckpt_path=first/checkpoints/last.ckpt"


def end_of(run: str) -> tuple[list[dict[str, str]], str, object]:
    """Return all that does not depend on the time: the history, the test's clips and the best epoch."""
    directory = RunDirectory(run)
    with directory.history.open(newline="") as lines:
        history = [{key: row[key] for key in row if not key.endswith("_s")} for row in csv.DictReader(lines)]
    return history, directory.clip_predictions.read_text(), directory.read_metrics()["best_epoch"]


def train_and_be_killed(arguments: list[str]) -> None:
    """Train in this process, which is killed when it has written the first checkpoint of its own."""
    from lightning.pytorch import Trainer

    save = Trainer.save_checkpoint

    def saved(self: Trainer, path: str, *arguments: object) -> None:
        save(self, path, *arguments)  # type: ignore[arg-type]
        if Path(path).name == "last.ckpt":
            os.kill(os.getpid(), signal.SIGKILL)

    Trainer.save_checkpoint = saved  # type: ignore[assignment, method-assign]
    run_main(arguments)


AVERAGED = [
    *("callbacks=[default,ema]", "callbacks.ema.decay=0.9", "optimizer.lr=0.05"),
    *("scheduler=plateau", "scheduler.patience=0"),
]
"""A training whose weights are averaged and whose learning rate falls, and whose best epoch comes early."""


def test_ends_as_a_run_that_had_all_epochs_from_the_start(cli: Cli, tiny: list[str]) -> None:
    settings = [*tiny, *AVERAGED]
    for name, epochs, more in (("first", 5, ()), ("unbroken", 7, ()), ("longer", 7, (FIRST,))):
        outcome = cli(*settings, f"trainer.max_epochs={epochs}", *more, f"run_dir={name}")
        assert outcome.code == 0, outcome.err
    assert (
        "Training continues from first/checkpoints/last.ckpt, after 5 epochs." in Path("longer/report.md").read_text()
    )
    assert end_of("longer") == end_of("unbroken")
    assert int(str(end_of("longer")[2])) < 5
    states = [torch.load(f"{name}/checkpoints/last.ckpt", weights_only=True) for name in ("longer", "unbroken")]
    for name, values in states[0]["current_model_state"].items():
        assert torch.equal(values, states[1]["current_model_state"][name]), name
    # What the runs before have seen is known of the longer one as well.
    evaluated = cli("evaluate", "longer", "run_dir=again")
    assert evaluated.code == 0, evaluated.err
    assert RunDirectory("again").read_metrics()["split"]["leaky"] is False
    (earlier,) = RunDirectory("longer").read_json(RunDirectory("longer").split)["started_from"]
    assert earlier["run"] == "first"
    assert earlier["train"] == RunDirectory("first").read_json(RunDirectory("first").split)["train"]


def test_goes_on_from_a_checkpoint_in_a_subfolder(cli: Cli, finished: RunDirectory, tiny: list[str]) -> None:
    (finished.checkpoints / "kept").mkdir()
    shutil.copy(finished.last, finished.checkpoints / "kept/first.ckpt")
    longer = (*tiny, "trainer.max_epochs=2", "ckpt_path=run/checkpoints/kept/first.ckpt", "run_dir=longer")
    outcome = cli(*longer)
    assert outcome.code == 0, outcome.err
    assert len(RunDirectory("longer").read_history()) == 2


def test_a_checkpoint_that_cannot_be_read_is_no_reason_to_delete_the_run(
    cli: Cli, finished: RunDirectory, tiny: list[str]
) -> None:
    (finished.checkpoints / "kept").mkdir()
    (finished.checkpoints / "kept/bad.ckpt").write_bytes(b"bad")
    folder, longer = "run/checkpoints/kept", (*tiny, "trainer.max_epochs=2", "run_dir=longer")
    outcome = cli(*longer, f"ckpt_path={folder}/bad.ckpt")
    assert outcome.err.endswith("bad.ckpt is damaged; restore a copy, or choose run/checkpoints/last.ckpt.\n")
    outcome = cli(*longer, f"ckpt_path={folder}/none.ckpt")
    assert outcome.err == f"There is no {folder}/none.ckpt; choose run/checkpoints/last.ckpt.\n"


def test_a_limit_of_steps_changes_nothing_about_going_on(cli: Cli, tiny: list[str]) -> None:
    settings = [*tiny, "scheduler=constant"]
    limit = "trainer.max_steps=5"
    for name, epochs, more in (("first", 2, ()), ("unbroken", 4, (limit,)), ("longer", 4, (limit, FIRST))):
        outcome = cli(*settings, f"trainer.max_epochs={epochs}", *more, f"run_dir={name}")
        assert outcome.code == 0, outcome.err
    assert len(end_of("longer")[0]) == 3
    assert end_of("longer") == end_of("unbroken")


def test_a_best_epoch_that_was_saved_within_an_epoch_changes_nothing_about_going_on(cli: Cli, tiny: list[str]) -> None:
    settings = [*tiny, "data.batch_size=10", "trainer.val_check_interval=2", "scheduler=constant"]
    settings += ["callbacks.checkpoint.monitor=val/track_accuracy", "optimizer.lr=1e-9"]
    for name, epochs, more in (("first", 1, ()), ("unbroken", 2, ()), ("longer", 2, (FIRST,))):
        outcome = cli(*settings, f"trainer.max_epochs={epochs}", *more, f"run_dir={name}")
        assert outcome.code == 0, outcome.err
    assert end_of("longer") == end_of("unbroken")


@pytest.mark.parametrize(("limit", "noted"), [("max_steps=1", True), ("limit_train_batches=1", False)])
def test_an_epoch_that_was_cut_short_is_noted(limit: str, noted: bool, cli: Cli, tiny: list[str]) -> None:
    settings = [*tiny, "scheduler=constant"]
    assert cli(*settings, f"trainer.{limit}", "run_dir=first").code == 0
    outcome = cli(*settings, "trainer.max_epochs=2", FIRST, "run_dir=longer")
    assert outcome.code == 0, outcome.err
    assert ("first ended within an epoch, and the rest of this epoch is not trained" in outcome.out) is noted


def test_a_run_that_a_threshold_ended_is_not_continued(cli: Cli, tiny: list[str]) -> None:
    settings = [*tiny, "callbacks=[default,early_stopping]", "+callbacks.early_stopping.stopping_threshold=100"]
    assert cli(*settings, "trainer.max_epochs=3", "run_dir=first").code == 0
    outcome = cli(*settings, "trainer.max_epochs=3", FIRST, "run_dir=longer")
    assert outcome.code == 2
    assert "first was ended by its early stopping, which would also end its continuation at once" in outcome.err


TIMER = "+callbacks.timer={_target_: lightning.pytorch.callbacks.Timer, duration: {milliseconds: 1}}"


@pytest.mark.parametrize(
    ("limit", "sentence", "more"),
    [
        (
            "trainer.max_time={milliseconds: 1}",
            "trainer.max_time={'milliseconds': 1} leaves nothing to train, as first/checkpoints/last.ckpt has",
            ["trainer.max_time={hours: 1}"],
        ),
        (TIMER, "callbacks.timer.duration={'milliseconds': 1} leaves nothing to", [TIMER, "trainer.min_epochs=3"]),
    ],
    ids=["max_time", "Timer"],
)
def test_a_run_that_a_time_limit_ended_needs_a_longer_one(
    limit: str, sentence: str, more: list[str], cli: Cli, tiny: list[str]
) -> None:
    """The limit ends the first run after its first step."""
    assert cli(*tiny, limit, "run_dir=first").code == 0
    longer = [*tiny, FIRST, "trainer.max_epochs=3", "run_dir=longer"]
    same = cli(*longer, limit)
    assert (same.code, sentence in same.err) == (2, True), same
    outcome = cli(*longer, *more)
    assert outcome.code == 0, outcome.err
    assert len(RunDirectory("longer").read_history()) == 3


@pytest.mark.slow
def test_a_longer_run_that_is_killed_goes_on_to_the_same_end(cli: Cli, tiny: list[str]) -> None:
    assert cli(*tiny, *AVERAGED, "trainer.max_epochs=5", "run_dir=first").code == 0
    longer = [*tiny, *AVERAGED, "trainer.max_epochs=7", FIRST]
    assert cli(*longer, "run_dir=longer").code == 0
    process = forked(train_and_be_killed, [*longer, "run_dir=killed"])
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(RunDirectory("killed").read_history()) == 6
    assert cli(*longer, "run_dir=killed").code == 0
    assert end_of("killed") == end_of("longer")


def test_a_schedule_is_stretched_to_all_epochs(cli: Cli, tiny: list[str]) -> None:
    settings = [*tiny, "scheduler=onecycle", "trainer.max_epochs=3"]
    assert cli(*settings, "run_dir=first").code == 0
    outcome = cli(*settings, FIRST, "trainer.max_epochs=6", "run_dir=longer")
    assert outcome.code == 0, outcome.err
    assert (
        "the schedule with trainer.max_epochs=6 from here on and that with trainer.max_epochs=3 before" in outcome.out
    )
    rates = [row["lr"] for row in RunDirectory("longer").read_history()]
    assert len(rates) == 6
    assert rates[3] > rates[2]  # The longer schedule counts from its first step on.
    kept = cli(*settings, FIRST, "trainer.max_epochs=4", "scheduler=constant", "run_dir=constant")
    assert kept.code == 0, kept.err
    assert "scheduler=constant keeps the learning rate that the checkpoint ended with." in kept.out
    assert RunDirectory("constant").read_history()[-1]["lr"] < rates[3]


def test_other_changes_of_the_length_are_noted(cli: Cli, tiny: list[str]) -> None:
    settings = [*tiny, "trainer.max_epochs=4"]
    assert cli(*settings, "trainer.max_steps=2", "run_dir=first").code == 0
    outcome = cli(*settings, FIRST, "trainer.max_steps=6", "run_dir=longer")
    assert outcome.code == 0, outcome.err
    assert "the schedule with trainer.max_steps=6 from here on and that with trainer.max_steps=2 before" in outcome.out


def test_a_scheduler_that_restores_its_length_is_noted(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_steps.py").write_text(
        "from torch.optim.lr_scheduler import StepLR\n\n\ndef steps_down(optimizer, steps):\n"
        "    return {'scheduler': StepLR(optimizer, steps // 2), 'interval': 'step'}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    own = [*tiny, "scheduler=constant", "scheduler._target_=own_steps.steps_down", "+scheduler._partial_=true"]
    assert cli(*own, "trainer.max_epochs=2", "run_dir=first").code == 0
    outcome = cli(*own, FIRST, "trainer.max_epochs=4", "run_dir=longer")
    assert outcome.code == 0, outcome.err
    assert (
        "restores its own state, so the schedule with trainer.max_epochs=2 goes on; scheduler=constant" in outcome.out
    )
    rates = [row["lr"] for row in RunDirectory("longer").read_history()]
    assert rates == pytest.approx([1e-3, 1e-4, 1e-5, 1e-6])
    constant = cli(*tiny, FIRST, "scheduler=constant", "trainer.max_epochs=4", "run_dir=constant")
    assert constant.code == 0, constant.err
    assert RunDirectory("constant").read_history()[-1]["lr"] == pytest.approx(1e-5)


def test_a_run_that_stopped_early_goes_on_with_more_patience(cli: Cli, tiny: list[str]) -> None:
    settings = [*tiny, "optimizer.lr=1e-9", "optimizer.weight_decay=0", "callbacks=[default,early_stopping]"]
    settings += ["callbacks.checkpoint.monitor=val/track_accuracy"]
    assert cli(*settings, "trainer.max_epochs=9", "callbacks.early_stopping.patience=1", "run_dir=first").code == 0
    assert len(RunDirectory("first").read_history()) == 2
    same = cli(*settings, FIRST, "trainer.max_epochs=9", "callbacks.early_stopping.patience=1", "run_dir=longer")
    assert same.code == 2
    assert "callbacks.early_stopping.patience=1 stops the training at once, as first ended with 1 epochs" in same.err
    more = cli(*settings, FIRST, "trainer.max_epochs=9", "callbacks.early_stopping.patience=3", "run_dir=longer")
    assert more.code == 0, more.err
    assert len(RunDirectory("longer").read_history()) == 4


def test_callbacks_count_by_their_class_whatever_their_name(cli: Cli, tiny: list[str]) -> None:
    averages = "+callbacks.mine._target_=genreclf.training.ema.EMA"
    stops = "+callbacks.stops._target_=genreclf.training.best_epoch.LastingEarlyStopping"
    stopping = [*tiny, stops, "+callbacks.stops.patience=1", "+callbacks.stops.min_delta=10"]
    assert cli(*stopping, averages, "trainer.max_epochs=3", "run_dir=first").code == 0
    refused = [
        ([averages], "callbacks.stops.patience=1 stops the training at once, as first ended with 1 epochs"),
        ([averages, "+callbacks.mine.decay=0.5"], "no callbacks.mine.decay there, callbacks.mine.decay=0.5 here"),
        ([], "callbacks.mine._target_=genreclf.training.ema.EMA there, no callbacks.mine._target_ here"),
    ]
    for arguments, sentence in refused:
        outcome = cli(*stopping, *arguments, FIRST, "trainer.max_epochs=9", "run_dir=longer")
        assert outcome.code == 2
        assert sentence in outcome.err


def test_what_does_not_fit_is_told_before_anything_is_computed(
    cli: Cli, tiny: list[str], finished: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(finished.path.rename("first"))
    shutil.copytree("first", "damaged")
    Path("damaged/checkpoints/last.ckpt").write_bytes(run.last.read_bytes()[:-50])
    shutil.copytree("first", "weights")
    torch.save({"state_dict": torch.load(run.last, weights_only=True)["state_dict"]}, "weights/checkpoints/last.ckpt")
    shutil.copytree("first", "changed")
    changed = torch.load(run.last, weights_only=True)
    changed["hyper_parameters"]["spec"]["hop_length"] = 256
    torch.save(changed, "changed/checkpoints/last.ckpt")
    more = "trainer.max_epochs=2"
    refused = [
        ([FIRST], "trainer.max_epochs=1 leaves nothing to train, as first/checkpoints/last.ckpt has trained 1 epochs"),
        (
            [FIRST, more, "model.hidden=8"],
            "(model.hidden=4 there, 8 here); set it as it was, or fine-tune with init_fr",
        ),
        ([FIRST, more, "features.hop_length=256"], "(features.hop_length=512 there, 256 here)"),
        ([FIRST, more, "optimizer.lr=0.5"], "(optimizer.lr=0.001 there, 0.5 here)"),
        (
            [FIRST, more, "scheduler=plateau"],
            "(scheduler._target_=genreclf.training.schedulers.cosine there, genreclf.",
        ),
        ([FIRST, more, "data.tracks_per_genre=6"], "(data.tracks_per_genre=5 there, 6 here)"),
        (
            [FIRST, more, "callbacks.checkpoint.monitor=null"],
            "(callbacks.checkpoint.monitor=val/track_loss there, None",
        ),
        ([FIRST, more, "init_from=first"], "init_from and ckpt_path each say where training starts"),
        (["ckpt_path=first", more], "ckpt_path=first is a folder; name the checkpoint: first/checkpoints/last.ckpt."),
        (["ckpt_path=none/checkpoints/last.ckpt", more], "There is no none/checkpoints/last.ckpt"),
        (["ckpt_path=damaged/checkpoints/last.ckpt", more], "The checkpoint damaged/checkpoints/last.ckpt is damaged"),
        (["ckpt_path=weights/checkpoints/last.ckpt", more], "weights/checkpoints/last.ckpt is not of the model"),
        (["ckpt_path=changed/checkpoints/last.ckpt", more], "changed was trained on other spectrograms (hop_length)"),
    ]
    monkeypatch.setattr("genreclf.experiment.corpus.open_store", None)
    for arguments, sentence in refused:
        outcome = cli(*tiny, *arguments, "run_dir=longer")
        assert outcome.code == 2, (arguments, outcome)
        assert sentence in outcome.err
        assert "Traceback" not in outcome.err
    assert not Path("longer/config.yaml").exists()


def test_other_tracks_are_refused(cli: Cli, tiny: list[str], no_val: list[str]) -> None:
    assert cli(*tiny, *no_val, "run_dir=first").code == 0
    Path("train.txt").write_text("blues/00000\nrock/00000\n")
    outcome = cli(*tiny, *no_val, FIRST, "trainer.max_epochs=2", "run_dir=longer")
    assert outcome.code == 2
    assert "first was trained on another split, as the tracks of data have changed since" in outcome.err
