"""The energy of a training, as CodeCarbon estimates it on this machine."""

import shutil
from pathlib import Path

import pytest
import torch
from helpers import Cli

from genreclf.run_directory import RunDirectory

pytest.importorskip("codecarbon")


def test_the_energy_of_a_training_is_kept_and_compared(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    meter = ["callbacks=[default,codecarbon]", "callbacks.codecarbon.country=FRA", "run_dir=run"]
    outcome = cli(*tiny, *meter)
    assert outcome.code == 0, outcome.err
    run = RunDirectory("run")
    first = run.read_metrics()
    assert first["energy"]["kwh"] > 0
    assert first["energy"]["kg_co2eq"] > 0
    assert first["energy_sources"]
    shutil.copytree("run", "other")
    outcome = cli("compare", "run", "other", "--out", "comparison")
    assert outcome.code == 0, outcome.err
    header, *rows = Path("comparison/comparison.csv").read_text().splitlines()
    assert float(rows[0].split(",")[header.split(",").index("energy_wh")]) == pytest.approx(
        1000 * first["energy"]["kwh"], abs=1e-6
    )

    more = [*tiny, *meter, "trainer.max_epochs=2", "ckpt_path=other/checkpoints/last.ckpt"]
    assert cli(*more[:-2], "run_dir=longer", *more[-2:]).code == 0
    # The end of a training, after its last checkpoint, is measured and not carried on.
    carried = torch.load("other/checkpoints/last.ckpt", weights_only=True)["callbacks"]["EnergyMeter"]["kwh"]
    assert RunDirectory("longer").read_metrics()["energy"]["kwh"] > carried > 0


def test_the_energy_of_a_training_that_was_killed_at_its_end_is_kept(cli: Cli, tiny: list[str]) -> None:
    words = [*tiny, "callbacks=[default,codecarbon]", "run_dir=run"]
    assert cli(*words).code == 0
    run = RunDirectory("run")
    sources = run.read_metrics()["energy_sources"]
    run.metrics.unlink()
    assert cli(*words).code == 0
    assert run.read_metrics()["energy"]["kwh"] > 0
    assert run.read_metrics()["energy_sources"] == sources


def test_a_country_is_checked_before_anything_is_computed(cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, "callbacks=[default,codecarbon]", "callbacks.codecarbon.country=Atlantis", "run_dir=run")
    assert outcome.code == 2
    assert "country=Atlantis is not a three-letter country code" in outcome.err
    assert not Path("run/metrics.json").exists()
