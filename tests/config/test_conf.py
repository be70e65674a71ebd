"""Every YAML in conf/ composes, passes the check and runs one step."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, Cli

from genreclf.run_directory import RunDirectory

FILES = [path.relative_to(ROOT / "conf").with_suffix("") for path in (ROOT / "conf").glob("*/**/*.yaml")]
OF_HYDRA = [f"{path.parent}={path.name}" for path in FILES if path.parts[0] == "hydra"]
OURS = [path for path in FILES if path.parts[0] != "hydra" and not path.stem.startswith("_")]
OPTIONS = sorted(f"{path.parts[0]}={'/'.join(path.parts[1:])}" for path in OURS)
NEEDS_FILES = {"data=gtzan", "data=folder", "data=spectrogram_images", "split=fault_filtered", "split=list"}
NEEDS_A_DEVICE = {"trainer=gpu": "trainer.accelerator=cpu", "trainer=mps": "trainer.accelerator=cpu"}
LOGS = ("callbacks=learning_rate_monitor", "callbacks=device_stats")
STEP = ["trainer.limit_train_batches=1", "trainer.limit_val_batches=2", "trainer.limit_test_batches=2"]
RESULTS = re.findall(r"^(?:experiment|sweep)=.*", (ROOT / "RESULTS.md").read_text(), re.MULTILINE)
OF_THE_CRNN = ("model.channels", "model.hidden")
RUN_ELSEWHERE = ("experiment=published/", "sweep=")  # in test_published.py and sweep/


def run_options() -> list[Any]:
    """Return what runs here; variants and what other tests build, such as test_published.py, with the slow tests."""
    options = [option for option in OPTIONS if option not in NEEDS_FILES | {"trainer=ddp"}]
    if find_spec("psutil") is None:
        options.remove("callbacks=device_stats")
    published = ("model=xiplus", "model=wu", "model=leland", "model=liang")
    modern = ("model=short_chunk_cnn", "model=musicnn", "model=attention_crnn", "model=patch_transformer")
    variants = ("experiment=ablation/",)
    return [
        pytest.param(option, marks=[pytest.mark.slow] if option.startswith(published + modern + variants) else [])
        for option in options
        if not option.startswith(RUN_ELSEWHERE)
    ]


@pytest.mark.parametrize("option", run_options())
def test_runs_one_step(option: str, cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    overrides = [override for override in tiny if not override.startswith(option.partition("=")[0] + "=")]
    if option.startswith("model="):
        overrides = [override for override in overrides if not override.startswith(OF_THE_CRNN)]
        overrides.append("data.batch_size=4")
    if option.startswith("experiment="):  # which has a model of its own
        overrides = [override for override in overrides if not override.startswith("model")]
    if option in LOGS:
        overrides.append("logger=csv")
    forced = [NEEDS_A_DEVICE[option]] if option in NEEDS_A_DEVICE else []
    outcome = cli(option, *overrides, *forced, *STEP, "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert RunDirectory(tmp_path / "run").read_metrics()["status"] == "finished"


@pytest.mark.parametrize("option", [*OPTIONS, *OF_HYDRA])
def test_composes_alone(option: str, cli: Cli) -> None:
    outcome = cli(option, "--cfg", "job")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("line", RESULTS)
def test_commands_of_the_results_compose(line: str, cli: Cli) -> None:
    keys = (key.partition("=") for key in line.split() if not key.startswith("hydra."))
    last_values = [f"{key}={values.rpartition(',')[2]}" for key, _, values in keys]
    outcome = cli("data=spectrogram_images", "split=fault_filtered", *last_values, "--cfg", "job")
    assert outcome.code == 0, outcome.err


def test_more_devices_than_there_are(cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    outcome = cli(*tiny, "trainer.accelerator=auto", "trainer.devices=2")
    assert outcome.code == 2
    assert "trainer.devices=2, but this machine has 1 GPU; set trainer.devices=1" in outcome.err


def test_precision_that_the_device_lacks(cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {})
    assert "does not multiply bf16" in cli(*tiny, "trainer.precision=bf16-mixed").err
    assert "is for GPUs" in cli(*tiny, "trainer.precision=16-mixed").err
