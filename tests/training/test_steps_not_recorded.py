"""Where a training step cannot be recorded, the training says so and goes on one operation at a time."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from fake_recorder import Repeater
from helpers import Cli
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import GradientAccumulationScheduler, LambdaCallback
from tiny_training import ADAMW, GENRES, SPEC, VALIDATED, Make, assert_same, crnn, data_of, fit
from torch import Tensor

from genreclf.data.store import Store
from genreclf.models import GenreClassifier
from genreclf.models.crnn import CRNN
from genreclf.training import recorder
from genreclf.training.recorder import Work
from genreclf.training.schedulers import onecycle

pytestmark = pytest.mark.usefixtures("repeaters")


def notes(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the sentences that say why nothing is recorded."""
    return [line for line in capsys.readouterr().err.splitlines() if "trainer.step=graph" in line]


class Watcher(Callback):
    """Looks at gradients."""

    def on_after_backward(self, trainer: Trainer, pl_module: Any) -> None:
        """Look at them."""
        assert any(parameter.grad is not None for parameter in pl_module.parameters())


class OwnStep(CRNN):
    """Has a step of its own."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Double the loss."""
        return 2 * super().training_step(batch, batch_idx)


class Changing(Callback):
    """Accumulates gradients in the second epoch."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Change the Trainer."""
        trainer.accumulate_grad_batches = 1 + trainer.current_epoch


def test_ends_the_recording_when_a_callback_changes_the_step(
    store: Store, repeaters: list[Repeater], capsys: pytest.CaptureFixture[str]
) -> None:
    assert_same(*(fit(crnn(), data_of(store), step=step, callbacks=[Changing()]) for step in ("eager", "graph")))
    assert repeaters[0].recorded == 1
    (note,) = notes(capsys)
    assert "gradients are accumulated" in note


def crnn_with(name: str, replacement: Callable[..., Any]) -> GenreClassifier:
    """Return a model with a method of its own, which its class does not have."""
    model = crnn()
    setattr(model, name, replacement)
    return model


OBSTACLES: dict[str, tuple[Make, dict[str, Any]]] = {
    "gradients are accumulated": (crnn, {"accumulate_grad_batches": 2}),
    "accumulated over several batches": (crnn, {"callbacks": [GradientAccumulationScheduler({0: 2})]}),
    "the callback Watcher works within the step": (crnn, {"callbacks": [Watcher()]}),
    "the callback LambdaCallback works within the step": (
        crnn,
        {"callbacks": [LambdaCallback(on_after_backward=Watcher().on_after_backward)]},
    ),
    "CRNN has a on_after_backward of its own": (partial(crnn_with, "on_after_backward", lambda: None), {}),
    "CRNN has a backward of its own": (partial(crnn_with, "backward", lambda loss: loss.backward()), {}),
    "SGD takes its learning rate from the CPU unless optimizer.fused=true": (
        partial(crnn, optimizer=partial(torch.optim.SGD, lr=0.1)),
        {},
    ),
    "OwnStep has a training_step of its own": (
        lambda: OwnStep(channels=[4] * 4, hidden=4, spec=SPEC, genres=GENRES),
        {},
    ),
}


@pytest.mark.parametrize("reason", OBSTACLES)
def test_says_before_the_training_why_it_records_nothing(
    reason: str, store: Store, repeaters: list[Repeater], capsys: pytest.CaptureFixture[str]
) -> None:
    make, settings = OBSTACLES[reason]
    results = []
    for step in ("eager", "graph"):
        seed_everything(0, verbose=False)
        results.append(fit(make(), data_of(store), step=step, **settings))
    assert_same(*results)
    assert not any(repeater.recorded for repeater in repeaters)
    (note,) = notes(capsys)
    assert reason in note


def test_a_cpu_trains_eagerly_and_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(recorder.RECORDERS, "cpu")
    assert_same(*(fit(crnn(), data_of(store), step=step) for step in ("eager", "graph")))
    (note,) = notes(capsys)
    assert note.startswith("Note: trainer.step=graph cannot record the training step, as the device is cpu, not an")


def test_a_momentum_that_changes_is_noticed(
    store: Store, repeaters: list[Repeater], capsys: pytest.CaptureFixture[str]
) -> None:
    make = partial(crnn, optimizer=ADAMW, scheduler=onecycle)
    assert_same(*(fit(make(), data_of(store), step=step) for step in ("eager", "graph")))
    assert repeaters[0].recorded == 0
    (note,) = notes(capsys)
    assert "as betas of AdamW change during the training" in note


def test_a_recording_that_fails_leaves_the_training_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(Repeater):
        """Fails as CUDA does, at the end and for a reason that lies further back."""

        def record(self, work: Work) -> Work:
            try:
                raise RuntimeError("operation not permitted when stream is capturing\nand more")
            except RuntimeError:
                raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904

    monkeypatch.setitem(recorder.RECORDERS, "cpu", Failing)
    assert_same(*(fit(crnn(), data_of(store), step=step) for step in ("eager", "graph")))
    for what, note in zip(("the training step", "the validation"), notes(capsys), strict=True):
        assert f"cannot record {what}, as recording it failed (operation not permitted when stream" in note


class Breaking(Callback):
    """Breaks off the training after its first epoch."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Break off the second."""
        if trainer.current_epoch == 1:
            raise ValueError("broken off")


def test_nothing_is_replayed_after_a_training_that_broke_off(store: Store, repeaters: list[Repeater]) -> None:
    model, data = crnn(), data_of(store)
    with pytest.raises(ValueError, match="broken off"):
        fit(model, data, step="graph", callbacks=[Breaking()])
    replayed = repeaters[0].forwards_replayed
    assert replayed == VALIDATED - 1
    Trainer(accelerator="cpu", logger=False, enable_progress_bar=False).validate(model, data, verbose=False)
    assert repeaters[0].forwards_replayed == replayed
    assert not data.subsets_as_rows


def test_compilers_with_graphs_of_their_own_are_refused(cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, "trainer.step=graph", "trainer.compile=reduce-overhead")
    assert outcome.code == 2
    assert "with trainer.step=graph set trainer.compile=default or null" in outcome.err
    assert "trainer.step=grap is not one of eager, graph" in cli(*tiny, "trainer.step=grap").err
