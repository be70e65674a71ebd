"""Finished runs written to disk, with the right and wrong answers that a test chooses."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from genreclf.evaluation.intervals import wilson_interval

GENRES = ("blues", "jazz", "rock")


def write_run(
    path: Path,
    right: Sequence[bool],
    *,
    model: str = "CNN",
    val: float = 0.5,
    seed: int = 0,
    split: str = "fault_filtered",
    fold: int | None = None,
    split_hash: str = "aaaa",
    leaky: bool = False,
    first_track: int = 0,
    genres: Sequence[str] = GENRES,
    settings: Mapping[str, Any] | None = None,
    epochs: int = 4,
    parameters: int = 1000,
    status: str = "finished",
) -> Path:
    """Write a run whose track number k, the k-th of `right`, is recognized or taken for the next genre."""
    path.mkdir(parents=True)
    ids = [f"{genres[k % len(genres)]}.{first_track + k:05d}" for k in range(len(right))]
    with (path / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["track_id", "genre", "predicted", *genres])
        for k, hit in sorted(enumerate(right), key=lambda item: ids[item[0]]):
            given = (k if hit else k + 1) % len(genres)
            probabilities = [0.8 if number == given else 0.2 / (len(genres) - 1) for number in range(len(genres))]
            writer.writerow([ids[k], genres[k % len(genres)], genres[given], *(f"{p:.9f}" for p in probabilities)])
    config: dict[str, Any] = {
        "seed": seed,
        "run_dir": str(path),
        "init_from": None,
        "debug": False,
        "split": {"_target_": f"genreclf.data.{split}", **({} if fold is None else {"fold": fold, "seed": 0})},
        "model": {"_target_": f"genreclf.models.{model}", "dropout": 0.3},
        "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.001},
        "data": {"_target_": "genreclf.datasets.gtzan.Gtzan", "root": "music", "store_dir": str(path)},
        "logger": {"csv": {"_target_": "lightning.pytorch.loggers.CSVLogger", "version": str(path)}},
    }
    for key, value in (settings or {}).items():
        section, _, last = key.rpartition(".")
        (config[section] if section else config)[last] = value
    (path / "config.yaml").write_text(yaml.safe_dump(config))
    accuracy = sum(right) / len(right)
    metrics = {
        "status": status,
        "objective": val,
        "seed": seed,
        "parameters": parameters,
        "epochs": epochs,
        "split": {"name": split, "hash": split_hash, "leaky": leaky},
        "val": {"track": {"accuracy": val}},
        "test": {
            "clip": {"accuracy": round(accuracy / 2, 6), "f1_macro": 0.4, "loss": 1.0, "n": 3 * len(right)},
            "track": {
                "accuracy": round(accuracy, 6),
                "accuracy_ci95": wilson_interval(sum(right), len(right)),
                "f1_macro": 0.5,
                "n": len(right),
            },
        },
        "timing": {"prepare_s": 1.0, "fit_s": 10.0 + seed, "test_s": 1.0, "clips_per_s": 100.0},
    }
    (path / "metrics.json").write_text(json.dumps(metrics))
    (path / "environment.json").write_text(json.dumps({"device": "CPU"}))
    with (path / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        measures = ["train/accuracy", "train/loss", "val/loss", "val/track_accuracy", "val/track_loss"]
        writer.writerow(["epoch", *measures, "epoch_s", "clips_per_s"])
        for epoch in range(epochs):
            share = (epoch + 1) / epochs
            losses = [2.1 - share / 2, val * share, 2.0 - share / 2 + seed / 20]
            writer.writerow([epoch, 0.9 * share, 2 - share, *losses, 1.0, 100.0])
    return path


def pattern(text: str) -> list[bool]:
    """Return right (``+``) and wrong (``-``) answers; spaces are for the reader."""
    return [sign == "+" for sign in text if sign in "+-"]


FIRST = pattern("+++++ +++++ +---- -----")
SECOND = pattern("++--- ----- +++-- -----")
"""Right in both: 3; in the first alone: 8; in the second alone: 2; in none: 7."""


def three_models(folder: Path) -> Path:
    write_run(folder / "a", FIRST, model="CRNN", val=0.6)
    write_run(folder / "b", SECOND, model="CNN", val=0.5)
    write_run(folder / "c", pattern("-" * 20), model="FFNN", val=0.1)
    return folder


def leaky_and_honest(folder: Path) -> Path:
    write_run(folder / "honest", FIRST, model="CRNN")
    write_run(
        folder / "leak", pattern("+++++ +++++ +++++ ++++-"), model="CRNN", split="chunk", split_hash="c", leaky=True
    )
    return folder
