"""Predictions and a history faked from a seed, shared by the tests of this folder."""

from typing import Any

import numpy as np

from genreclf.evaluation.predictions import ClipPredictions

GENRES = ("blues", "classical", "jazz", "rock")


def arrays(*, tracks: int = 40, clips: int = 5, absent: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Return the arguments of `ClipPredictions.gathered`, in order and without repeats."""
    rng = np.random.default_rng(seed)
    targets = rng.choice([genre for genre in range(len(GENRES)) if genre != absent], tracks)
    track = np.repeat(np.arange(tracks), clips)
    logits = rng.normal(size=(tracks * clips, len(GENRES))) + np.repeat(
        rng.normal(size=(tracks, len(GENRES))), clips, 0
    )
    logits[np.arange(len(track)), targets[track]] += 1
    return {
        "genres": GENRES,
        "track_ids": [f"track.{number:05}" for number in range(tracks)],
        "targets": targets,
        "track": track,
        "clip": np.tile(np.arange(clips), tracks),
        "start_s": np.tile(np.arange(clips) * 2.5, tracks),
        "logits": logits.astype(np.float32),
    }


def predictions(**choices: Any) -> ClipPredictions:
    return ClipPredictions.gathered(**arrays(**choices))


def history(epochs: int) -> list[dict[str, float]]:
    """Return rows whose best epoch is the last but one, and whose epoch 0 misses its validation."""
    rows = [
        {
            "epoch": epoch,
            "train/loss": 2 / (epoch + 1),
            "train/accuracy": 1 - 0.8 / (epoch + 1),
            "val/loss": 2.2 / (epoch + 1),
            "val/clip_accuracy": 0.6 - 0.4 / (epoch + 1),
            "val/track_accuracy": 0.7 if epoch == epochs - 2 else 0.5,
            "val/track_loss": 2.1 / (epoch + 1),
        }
        for epoch in range(epochs)
    ]
    return [{key: value for key, value in rows[0].items() if not key.startswith("val/")}, *rows[1:]]
