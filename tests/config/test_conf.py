"""Every YAML in conf/ composes, passes the check and runs one step."""

import inspect
import re
from collections.abc import Iterable
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path

import pytest
from helpers import ROOT, Cli
from hydra.utils import get_class

from genreclf.cli.compose import checked
from genreclf.errors import UserError
from genreclf.run_directory import RunDirectory

FILES = [path.relative_to(ROOT / "conf").with_suffix("") for path in (ROOT / "conf").glob("*/**/*.yaml")]
OF_HYDRA = [f"{path.parent}={path.name}" for path in FILES if path.parts[0] == "hydra"]
OURS = [path for path in FILES if path.parts[0] != "hydra" and not path.stem.startswith("_")]
OPTIONS = sorted(f"{path.parts[0]}={'/'.join(path.parts[1:])}" for path in OURS if "published" not in path.parts)
NOT_RUN = {
    *("data=gtzan", "data=folder", "data=spectrogram_images", "split=fault_filtered", "split=list"),  # need files
    "loss=distill",  # in experiment/test_teacher.py
    *("data=fma", "split=official"),  # in datasets/test_fma.py
    "split=test_all",  # trains nothing
    *("model=finetune", "model=probe", "sweep=layers"),  # in models/test_encoders.py and test_finetune.py
    *(f"encoder={name}" for name in ("musicnn_mtt", "musicnn_msd", "vgg_mtt", "vgg_msd")),
    *(f"robustness={name}" for name in (path.name for path in OURS if path.parts[0] == "robustness") if name != "none"),
    *("trainer=ddp", *(() if find_spec("psutil") else ("callbacks=device_stats",))),
    *("logger=mlflow", "logger=wandb", "callbacks=codecarbon"),  # in training/test_trackers.py and its neighbors
}
"""The rest runs here, but sweeps, in sweep/. Published systems compose and run in models/test_published.py."""

FAST_MODELS = ("band_statistics", "cnn", "crnn", "ffnn", "statistics_crnn")
NEEDS_A_DEVICE = ("trainer=gpu", "trainer=mps")
LOGS = ("learning_rate_monitor", "device_stats")
COMBINED = ("callbacks", "regularization")
"""Groups whose options are run by twos."""

RUN = {
    *(f"model={name}" for name in FAST_MODELS),
    *(option for option in OPTIONS if not option.startswith(("encoder=", "experiment=", "model=", "sweep="))),
} - NOT_RUN
"""Options that combine to settings that are run."""

STEP = ["trainer.limit_train_batches=1", "trainer.limit_val_batches=2", "trainer.limit_test_batches=2"]
RESULTS = re.findall(r"^(?:experiment|sweep)=.*", (ROOT / "RESULTS.md").read_text(), re.MULTILINE)


def side_by_side(groups: dict[str, list[str]]) -> list[list[str]]:
    """Return settings in which each option of each group occurs at least once."""
    rows = max(map(len, groups.values()))
    return [list(row) for row in zip(*(islice(cycle(options), rows) for options in groups.values()), strict=True)]


def grouped(chosen: Iterable[str]) -> dict[str, list[str]]:
    """Return options by their groups."""
    groups: dict[str, list[str]] = {}
    for option in chosen:
        groups.setdefault(option.partition("=")[0], []).append(option)
    return groups


def combinations() -> list[list[str]]:
    """Return the settings that are run."""
    groups = grouped(option for option in OPTIONS if option in RUN)
    for group in COMBINED:
        names = [option.partition("=")[2] for option in groups[group] if not option.endswith("=none")]
        pairs = [",".join(names[start : start + 2]) for start in range(0, len(names), 2)]
        groups[group] = [f"{group}=none", *(f"{group}=[{pair}]" for pair in pairs)]
    groups["augmentation"].sort(key=lambda option: option != "augmentation=none")  # Beside regularization=none.
    return side_by_side(groups)


def others(*starts: str) -> list[list[str]]:
    """Return the options that begin so, and are not in `combinations`, each alone."""
    return [[option] for option in OPTIONS if option.startswith(starts) and option not in RUN | NOT_RUN]


@pytest.mark.parametrize(
    "options",
    [
        *(pytest.param(options, id=" ".join(options)) for options in combinations()),
        *(pytest.param(options, id=options[0]) for options in others("experiment=best", "experiment=quickstart")),
        *(
            pytest.param(options, id=options[0], marks=pytest.mark.slow)
            for options in others("model=", "experiment=ablation/")
        ),
    ],
)
def test_runs_one_step(options: list[str], cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    kept = [word for word in tiny if not word.startswith(("model", "logger="))]
    forced = ["trainer.accelerator=cpu"] if set(options) & set(NEEDS_A_DEVICE) else []
    logged = ["logger=csv"] if any(name in option for name in LOGS for option in options) else []
    outcome = cli(*kept, "logger=none", *options, *forced, *logged, *STEP, "data.batch_size=4", "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert RunDirectory(tmp_path / "run").read_metrics()["status"] == "finished"


NOT_COMPOSED = grouped(option for option in OPTIONS if option not in RUN)
"""What the settings that are run do not show."""

ALONE = [*NOT_COMPOSED.pop("experiment"), *NOT_COMPOSED.pop("sweep"), *OF_HYDRA]
"""Options that choose options of other groups."""


@pytest.mark.parametrize("options", [*side_by_side(NOT_COMPOSED), *([option] for option in ALONE)], ids=" ".join)
def test_composes(options: list[str], cli: Cli) -> None:
    outcome = cli(*options, "--cfg", "job")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("option", ["regularization=spec_augment", "regularization=strong", "experiment=best"])
def test_what_an_option_turns_on_has_all_its_keys(option: str) -> None:
    turned_on = checked(["data=synthetic", option], run_dir="-")
    for group, sections in (("augmentation", turned_on.augmentation), ("callbacks", turned_on.callbacks)):
        for name, section in sections.items():
            if name in ("spec_augment", "mixup", "filter_augment", "mix_style", "ema"):
                alone = checked(["data=synthetic", f"{group}={name}"], run_dir="-")
                assert section == getattr(alone, group)[name]
    if "spec_augment" in turned_on.augmentation:
        changed = checked(["data=synthetic", option, "augmentation.spec_augment.mel_masks=3"], run_dir="-")
        assert changed.augmentation["spec_augment"]["mel_masks"] == 3


def test_classes_take_by_default_what_their_options_say() -> None:
    augmentations = "augmentation=[band_limit,filter_augment,mix_style,mixup,spec_augment]"
    config = checked(["data=synthetic", augmentations, "callbacks=[default,early_stopping,ema]"], run_dir="-")
    for name, section in (config.augmentation | config.callbacks).items():
        parameters = inspect.signature(get_class(section["_target_"])).parameters
        named = {key: parameters[key].default for key in section if key in parameters}
        assert named == {key: section[key] for key in named}, name


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
    assert "does not support bf16" in cli(*tiny, "trainer.precision=bf16-mixed").err
    assert "is for GPUs" in cli(*tiny, "trainer.precision=16-mixed").err


def test_mistakes_are_listed_in_the_order_of_the_file() -> None:
    keys = ["batch_size", "crops_per_track", "grid_overlap", "short", "store_dir", "skip_unreadable"]
    with pytest.raises(UserError) as refusal:
        checked(["data=synthetic", *(f"data.{key}=[1]" for key in reversed(keys))], run_dir="-")
    assert [line.partition("=")[0] for line in str(refusal.value).splitlines()] == [f"data.{key}" for key in keys]
