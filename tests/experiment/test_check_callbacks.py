"""Callbacks that a run refuses before any data are prepared."""

from pathlib import Path

import pytest
from helpers import Cli

LIGHTNING = "lightning.pytorch.callbacks"

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
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_callback_is_refused_before_any_data(name: str, cli: Cli) -> None:
    settings, sentence = REFUSED[name]
    outcome = cli("trainer=cpu", *settings, "data.root=nowhere", "run_dir=run")
    assert (outcome.code, sentence in outcome.err, outcome.err.count("\n")) == (2, True, 1), outcome
    assert not Path("run").exists()
