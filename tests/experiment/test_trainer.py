"""Lightning's Trainer, made as the configuration says."""

from pathlib import Path

import pytest
import torch

from genreclf.cli.compose import checked
from genreclf.experiment.trainer import device_count, trainer_of


def test_gpus_are_chosen(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is made to have three GPUs; nothing is computed on them."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    monkeypatch.setattr("lightning.fabric.accelerators.cuda.num_cuda_devices", lambda: 3)
    config = checked([*tiny, "trainer.accelerator=gpu", "trainer.devices=[2]"], run_dir=str(tmp_path))
    assert config.plain["trainer"]["devices"] == [2]
    assert device_count(config) == 1
    assert trainer_of(config).strategy.root_device == torch.device("cuda", 2)
