"""Callbacks that a run refuses before any data are prepared."""

from pathlib import Path

import pytest
from helpers import Cli

from genreclf.cli.compose import checked
from genreclf.experiment.checks import check_training

LIGHTNING = "lightning.pytorch.callbacks"
ACCUMULATION = f"{LIGHTNING}.GradientAccumulationScheduler"
STOPPING = "genreclf.training.best_epoch.LastingEarlyStopping"

REFUSED: dict[str, tuple[list[str], str]] = {
    "averaging after the last checkpoint": (
        [f"+callbacks.own={{_target_: {LIGHTNING}.StochasticWeightAveraging, swa_lrs: 0.01}}"],
        "averages the weights after the last checkpoint, which is what is tested: use callbacks=[default,ema]",
    ),
    "pruning after the validation": (
        [f"+callbacks.own={{_target_: {LIGHTNING}.ModelPruning, pruning_fn: l1_unstructured, amount: 0.5}}"],
        "ModelPruning of callbacks prunes the weights after they are validated, so other weights than the validated "
        "ones would be tested: leave it out.",
    ),
    "two averages": (
        ["callbacks=[default,ema]", f"+callbacks.own={{_target_: {LIGHTNING}.EMAWeightAveraging, decay: 0.9}}"],
        "callbacks.ema and callbacks.own each exchange the weights for their average in a validation, which spoils the "
        "training where both do: keep one.",
    ),
    "an average that starts at a step": (
        [f"+callbacks.own={{_target_: {LIGHTNING}.EMAWeightAveraging, update_starting_at_step: 9}}"],
        "callbacks.own.update_starting_at_step=9: Lightning's EMAWeightAveraging validates and tests the initial "
        "weights until then; use callbacks=[default,ema] with +callbacks.ema.update_starting_at_step=9.",
    ),
    "an average that starts at an epoch": (
        [f"+callbacks.own={{_target_: {LIGHTNING}.EMAWeightAveraging, update_starting_at_epoch: 0}}"],
        "averages once more after the validation, so other weights than the validated ones would be tested; use call",
    ),
    "early stopping twice": (
        ["callbacks=[default,early_stopping]", f"+callbacks.own={{_target_: {STOPPING}, patience: 3}}"],
        "callbacks.early_stopping and callbacks.own would share one state in a checkpoint, that of "
        "LastingEarlyStopping{'monitor': 'val/track_loss', 'mode': 'min'}: leave callbacks.own out, or make these "
        "settings differ.",
    ),
    "checkpoints that differ only in the name": (
        [f"+callbacks.{name}={{_target_: {LIGHTNING}.ModelCheckpoint, filename: {name}}}" for name in ("one", "two")],
        "callbacks.one and callbacks.two would share one state in a checkpoint, that of ModelCheckpoint{'monitor'",
    ),
    "the last checkpoint twice": (
        ["+callbacks.own={_target_: genreclf.training.best_epoch.RunCheckpoint, filename: own}"],
        "last.ckpt of every run and callbacks.own would share one state in a checkpoint, that of RunCheckpoint{",
    ),
    "accumulation twice": (
        ["trainer.accumulate_grad_batches=2", f"+callbacks.own={{_target_: {ACCUMULATION}, scheduling: {{1: 4}}}}"],
        "trainer.accumulate_grad_batches=2 and callbacks.own both choose how many batches make a step: keep one.",
    ),
    "a checkpoint of an exception": (
        [f"+callbacks.own={{_target_: {LIGHTNING}.OnExceptionCheckpoint, dirpath: .}}"],
        "OnExceptionCheckpoint of callbacks would start a repeated run from what an earlier attempt left, and every "
        "run keeps its last complete epoch in last.ckpt: leave it out.",
    ),
    "time limited twice": (
        ["trainer.max_time=00:01:00:00", f"+callbacks.own={{_target_: {LIGHTNING}.Timer, duration: '00:02:00:00'}}"],
        "Lightning ignores trainer.max_time=00:01:00:00 beside callbacks.own, a Timer: set callbacks.own.duration "
        "instead.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_callback_is_refused_before_any_data(name: str, cli: Cli) -> None:
    settings, sentence = REFUSED[name]
    outcome = cli("trainer=cpu", *settings, "data.root=nowhere", "run_dir=run")
    assert (outcome.code, sentence in outcome.err, outcome.err.count("\n")) == (2, True, 1), outcome
    assert not Path("run").exists()


def test_a_callback_that_spoils_nothing_is_not_refused() -> None:
    callbacks = {"ema": "EMAWeightAveraging, decay: 0.9", "steps": "GradientAccumulationScheduler, scheduling: {1: 4}"}
    callbacks["ema"] += ", update_starting_at_step: 0"
    chosen = [f"+callbacks.{name}={{_target_: {LIGHTNING}.{node}}}" for name, node in callbacks.items()]
    check_training(checked(["data=synthetic", *chosen, f"+callbacks.time._target_={LIGHTNING}.Timer"], run_dir="-"))
