"""Keys that cannot be set: names used by earlier versions, and arguments of the Trainer that a run sets itself."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_here = Path(__file__).parent.parent
CONFIG_DIR = str(_here / "conf" if (_here / "conf").is_dir() else _here.parent / "conf")
"""Path of the folder ``conf`` with the options of genreclf, in the installed package or in the clone."""

COMBINED = ("augmentation", "callbacks", "logger", "robustness")
"""Groups that combine any number of classes, each under its own name."""

TRAINING = ("loss", "optimizer", "scheduler", "augmentation", "regularization", "callbacks", "data.crops_per_track")
"""Groups and keys that have an effect on training only, besides those of the trainer."""

SET_BY_THE_RUN: dict[str, tuple[Any, str]] = {
    "callbacks": (None, "choose callbacks with callbacks=NAME"),
    "logger": (None, "choose loggers with logger=NAME"),
    "default_root_dir": (None, "set run_dir"),
    "num_nodes": (1, "trainer.devices counts the devices of all machines"),
    "use_distributed_sampler": (False, "each device reads clips of its own already"),
    "enable_checkpointing": (True, "a run needs its checkpoints to be tested and resumed"),
    "barebones": (False, "a run needs its checkpoints and its history"),
    "limit_predict_batches": (None, "a run predicts nothing; give the command predict fewer files"),
}
"""Arguments of Lightning's Trainer that a run sets itself, with the only allowed value and what to do instead."""


TEST_SETTINGS = ("accelerator", "devices", "limit_val_batches", "limit_test_batches")
"""Settings of the trainer for the test of a run; by default, another test of the run uses the same values."""

TEST_ARGUMENTS = ("strategy", "plugins", "deterministic", "inference_mode", "fast_dev_run")
"""Further arguments of Lightning's Trainer that have an effect outside training."""

MOVED = {
    "regularization.dropout": "model.dropout",
    "regularization.label_smoothing": "loss.label_smoothing",
    "regularization.spec_augment": "augmentation.spec_augment.mel_fraction",
    "regularization.filter_augment": "augmentation.filter_augment.deviation",
    "regularization.mixup": "augmentation.mixup.alpha",
    "regularization.ema": "callbacks.ema.decay",
    "early_stopping.monitor": "callbacks.checkpoint.monitor",
    "early_stopping.ties": "callbacks.checkpoint.ties",
    "early_stopping.patience": "callbacks.early_stopping.patience",
    **{f"logger.{name}": f"logger.wandb.{name}" for name in ("project", "entity", "group", "tags", "offline")},
}
"""Keys of earlier versions and their current names."""


def hint(key: str) -> str | None:
    """Return how to set what a dotted key stands for, if it was renamed, is off, or is set elsewhere; else None."""
    group, _, name = key.partition(".")
    if group == "trainer" and name in SET_BY_THE_RUN:
        return f"{SET_BY_THE_RUN[name][1]}."
    if now := MOVED.get(key):
        way = turned_on(now)
        return f"it is {now} now{f', with {way}' if way else ''}."
    if not (way := turned_on(key)):
        return None
    parent = key.rpartition(".")[0]
    return f"{parent} is off, or has no such key: turn it on with {way}, or add the key with +{key}=VALUE."


def to_be_set(key: str, overrides: Sequence[str] = ()) -> str:
    """Return the sentence for a key that must be set, with the comment on the key in the file of the chosen option."""
    group, _, name = key.partition(".")
    chosen = [word.partition("=")[2] for word in overrides if word.startswith(f"{group}=")]
    path = Path(CONFIG_DIR, group, f"{chosen[-1] if chosen else ''}.yaml")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    comment = re.search(rf"^{re.escape(name)}: \?\?\? *# *(.*)", text, re.MULTILINE)
    return f"{key} must be set: {key}=VALUE{f' ({comment[1].strip()})' if comment else ''}."


def without_package(file: str) -> str:
    """Return the sentence for a file of ``experiment`` or ``sweep`` that lacks the line ``# @package _global_``."""
    return (
        f"{file}.yaml must begin with the line # @package _global_, or it sets keys of {file.partition('/')[0]} alone."
    )


def turned_on(key: str) -> str | None:
    """Return the override that turns on the class of a key, in a group that combines classes; None for other keys."""
    group, _, rest = key.partition(".")
    name, _, below = rest.partition(".")
    if not below or not (Path(CONFIG_DIR) / group / f"{name}.yaml").is_file() or group not in COMBINED:
        return None
    return f"{group}=[default,{name}]" if group == "callbacks" else f"{group}={name}"
