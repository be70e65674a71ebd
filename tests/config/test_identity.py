"""What makes two configurations the same experiment."""

import inspect
from typing import Any

import pytest
from hydra.utils import get_class

from genreclf.cli.compose import checked
from genreclf.config.identity import LEFT_TO_CLASSES, difference, digest, flat, identity

CONFIG: dict[str, Any] = {
    "run_dir": "a",
    "debug": False,
    "logger": {"project": "mine"},
    "data": {"root": "music", "store_dir": "here", "download": True, "crops": [1, 2]},
    "optimizer": {"lr": 1},
    "trainer": {"step": "eager"},
    "seed": 0,
}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"run_dir": "b", "debug": True, "logger": None}, True),
        ({"data": {**CONFIG["data"], "store_dir": "there", "download": False}}, True),
        ({"optimizer": {"lr": 1.0}}, True),
        ({"optimizer": {"lr": 1, "_partial_": True}}, True),
        ({"trainer": {"step": "graph"}}, True),
        ({"data": {**CONFIG["data"], "root": "other"}}, False),
        ({"optimizer": {"lr": 1.5}}, False),
        ({"seed": 1}, False),
        ({"split": {"inner_fold": None, "inner_folds": 4, "train_fraction": 1.0, "subset_seed": 3}}, True),
        ({"split": {"inner_fold": 0, "inner_folds": 4}}, False),
        ({"features": {"f_min": 0.0, "f_max": None}}, True),
        ({"features": {"f_max": 8000.0}}, False),
        ({"model": {"center_bands": False}}, True),
        ({"model": {"center_bands": True}}, False),
        ({"encoder": {"enlarge": 1.0}}, True),
        ({"encoder": {"enlarge": 1.75}}, False),
        ({"encoder": {"centered": False}}, True),
        ({"encoder": {"centered": True}}, False),
        ({"augmentation": {"spec_augment": {"mel_masks": 2, "frame_masks": 2}, "filter_augment": {"knots": 7}}}, True),
        ({"augmentation": {"band_limit": {"high_hz": 11000.0, "probability": 0.5}}}, True),
        ({"augmentation": {"spec_augment": {"mel_masks": 3, "frame_masks": 2}}}, False),
        ({"split": {"train_fraction": 0.5, "subset_seed": 3}}, False),
        ({"split": {"artists_per_genre": 2}}, False),
    ],
)
def test_places_logging_and_the_way_of_a_step_make_no_other_experiment(change: dict[str, Any], same: bool) -> None:
    changed = {**CONFIG, **change}
    assert (digest(identity(changed)) == digest(identity(CONFIG))) is same
    sections = ["seed", "optimizer", "data", "split", "features", "model", "encoder", "augmentation"]
    assert digest(identity(changed, ignore=sections)) == digest({})


def test_what_earlier_versions_left_to_a_class_is_what_it_takes() -> None:
    options = ["augmentation=[band_limit,filter_augment,spec_augment]"]
    config = checked(["data=synthetic", *options], run_dir="-")
    kept = flat({"augmentation": config.augmentation})
    for key, value in LEFT_TO_CLASSES.items():
        section, _, name = key.rpartition(".")
        default = inspect.signature(get_class(kept[f"{section}._target_"])).parameters[name].default
        assert value == default == kept[key]


@pytest.mark.parametrize(("model", "same"), [("finetune", True), ("probe", False)])
def test_windows_of_pictures_make_another_probe_but_no_other_fine_tuning(model: str, same: bool) -> None:
    pytest.importorskip("timm")
    now = checked(["data=synthetic", "encoder=efficientnet_lite0", f"model={model}"], run_dir="-").plain
    before = {**now, "encoder": {key: value for key, value in now["encoder"].items() if key != "window_s"}}
    assert (digest(identity(before)) == digest(identity(now))) is same


def test_a_key_that_runs_of_earlier_versions_lack_is_null_or_the_default() -> None:
    assert difference(CONFIG, {**CONFIG, "refit": None}) == ""
    assert difference(CONFIG, {**CONFIG, "refit": "run"}) == "no refit there, refit=run here"
    assert difference({**CONFIG, "refit": "run"}, CONFIG) == "refit=run there, no refit here"
    unseen = {"split": {"unseen": True}}
    assert difference(CONFIG, {**CONFIG, "split": {"unseen": False}}) == ""
    assert difference(CONFIG, {**CONFIG, **unseen}) == "split.unseen=False there, True here"
    assert difference(CONFIG, {**CONFIG, **unseen}, ignore=["split"]) == ""
    assert difference({**CONFIG, "refit": None}, {**CONFIG, "refit": "run"}) == "refit=None there, run here"
