"""One experiment on several devices."""

import signal
from pathlib import Path

import pytest
import torch
from helpers import Cli, fork_ranks, history_without_times, python_m

from genreclf.checkpoint import load_checkpoint
from genreclf.run_directory import RunDirectory

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


LATE = """
import os
import time
from lightning.pytorch import Callback

class Late(Callback):
    def on_train_batch_end(self, trainer, *_):
        if os.environ.get("RANK") == "0":
            trainer._last_val_time = float("-inf") if trainer.global_step == 2 else time.monotonic()
"""
"""By the clock of the first rank, a validation is due after the second of three steps; by the other's, it never is."""


@pytest.mark.long
def test_ranks_validate_after_the_same_step_by_the_clock(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_ranks(monkeypatch)
    (tmp_path / "late.py").write_text(LATE)
    settings = ["trainer.val_check_interval=00:01:00:00", "data.batch_size=10", "+callbacks.late._target_=late.Late"]
    outcome = cli(*tiny, *settings, "trainer.devices=2", "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert load_checkpoint(RunDirectory(tmp_path / "run").best)["global_step"] == 2
