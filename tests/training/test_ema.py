import copy
from pathlib import Path

import pytest
import torch
from helpers import Cli, history_without_times
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from tiny_training import crnn, data_of
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn

from genreclf.data.store import Store
from genreclf.training.ema import EMA, ExponentialAverage

DECAY = 0.9


class Network(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)


def take_a_step(network: Network) -> None:
    """Change all weights and buffers, as a training step does."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape))
    network.layers(torch.randn(2, 1, 8, 8))


def assert_same_floats(ours: AveragedModel, theirs: AveragedModel) -> None:
    for (name, value), expected in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert torch.equal(value, expected) or name.endswith("num_batches_tracked")


def test_the_average_is_pytorchs_to_the_last_bit_over_a_break() -> None:
    torch.manual_seed(0)
    network = Network()
    theirs = AveragedModel(network, avg_fn=get_ema_avg_fn(DECAY), use_buffers=True)
    unbroken, broken = ExponentialAverage(network, DECAY), ExponentialAverage(network, DECAY)
    unbroken.follow(network)
    broken.follow(network)
    for step in range(6):
        if step == 3:
            state = broken.state_dict()
            broken = ExponentialAverage(Network(), DECAY)
            broken.load_state_dict(state)
            broken.follow(network)
        take_a_step(network)
        for average in (theirs, unbroken, broken):
            average.update_parameters(network)
        assert_same_floats(unbroken, theirs)
        assert_same_floats(broken, theirs)
    assert int(unbroken.n_averaged) == 6
    tracked = "module.layers.1.num_batches_tracked"
    assert unbroken.state_dict()[tracked] == 6


def test_swaps_all_weights_and_buffers() -> None:
    network = Network()
    average = ExponentialAverage(network, DECAY)
    average.follow(network)
    for _ in range(2):
        take_a_step(network)
        average.update_parameters(network)
    assert int(network.layers[1].num_batches_tracked) == 2
    take_a_step(network)
    given = [copy.deepcopy(each.state_dict()) for each in (network, average.module)]
    places = [value.data_ptr() for value in network.state_dict().values()]
    for expected in (given[::-1], given):
        average.swap()
        for each, state in zip((network, average.module), expected, strict=True):
            torch.testing.assert_close(each.state_dict(), state, rtol=0, atol=0)
    assert [value.data_ptr() for value in network.state_dict().values()] == places


def test_a_validation_before_the_training_swaps_too(tiny: list[str], cli: Cli) -> None:
    outcome = cli(*tiny, "regularization=ema", "trainer.num_sanity_val_steps=1")
    assert outcome.code == 0, outcome.err


def test_until_the_first_update_the_weights_themselves_are_validated_saved_and_tested(
    tiny: list[str], cli: Cli, tmp_path: Path
) -> None:
    settings = [*tiny, "optimizer.lr=0.05", "trainer.max_epochs=2"]
    late = ["callbacks=[default,ema]", "+callbacks.ema.update_starting_at_step=1000"]
    for name, more in (("plain", []), ("late", late)):
        outcome = cli(*settings, *more, f"run_dir={name}")
        assert outcome.code == 0, outcome.err
    assert history_without_times(tmp_path / "late") == history_without_times(tmp_path / "plain")
    assert Path("late/predictions.csv").read_text() == Path("plain/predictions.csv").read_text()


def test_updates_at_no_step_are_refused() -> None:
    with pytest.raises(ValueError, match="update_every_n_steps=0 must be at least 1"):
        EMA(update_every_n_steps=0)


def trainer_with(average: EMA, folder: Path, epochs: int = 2) -> Trainer:
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[average, ModelCheckpoint(folder, filename="end", enable_version_counter=False)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def test_the_same_trainer_tests_the_averages_of_a_checkpoint(store: Store, tmp_path: Path) -> None:
    average = EMA(0.5)
    model, data, trainer = crnn(), data_of(store), trainer_with(average, tmp_path)
    for _ in range(2):  # Another trainer may use the callback again.
        trainer.fit(model, datamodule=data)
        trainer.test(model, datamodule=data, ckpt_path="best", weights_only=True, verbose=False)
        saved = torch.load(tmp_path / "end.ckpt", weights_only=True)
        tested = model.state_dict()
        assert all(torch.equal(tested[name], value) for name, value in saved["state_dict"].items())
        assert not all(torch.equal(tested[name], value) for name, value in saved["current_model_state"].items())
        trainer = trainer_with(average, tmp_path)


def test_the_update_at_the_end_of_an_epoch_comes_before_its_validation(store: Store, tmp_path: Path) -> None:
    average = EMA(0.5, update_every_n_steps=1000, update_starting_at_epoch=0)
    model, data, trainer = crnn(), data_of(store), trainer_with(average, tmp_path)
    trainer.fit(model, datamodule=data)
    seen = float(trainer.callback_metrics["val/loss"])
    assert int(torch.load(tmp_path / "end.ckpt", weights_only=True)["averaging_state"]["n_averaged"]) == 3
    assert trainer.validate(model, datamodule=data, verbose=False)[0]["val/loss"] == pytest.approx(seen, rel=1e-6)
