"""A CPU that records steps, and noise to train on."""

from typing import Any

import numpy as np
import pytest
from fake_recorder import Repeater
from tiny_training import GENRES, SPEC

from genreclf.data.store import Recipe, Store, open_or_build
from genreclf.datasets.base import Track
from genreclf.training import recorder


@pytest.fixture
def repeaters(monkeypatch: pytest.MonkeyPatch) -> list[Repeater]:
    """Let CPUs record, and return who does it."""
    Repeater.made = []
    monkeypatch.setitem(recorder.RECORDERS, "cpu", Repeater)
    return Repeater.made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Noise of three tracks per genre, the last one shorter than a clip."""
    folder = tmp_path_factory.mktemp("noise")
    draws = np.random.default_rng(0)
    tracks = [Track(f"{genre}/{number}", genre, folder) for genre in GENRES for number in range(3)]

    def noise(track: Track) -> np.ndarray[Any, Any]:
        return draws.integers(-9000, 0, (10 if track.id.endswith("2") else 40, SPEC.n_mels), dtype=np.int16)

    recipe = Recipe("noise", "int16", SPEC.n_mels, {})
    return open_or_build(directory=folder, recipe=recipe, tracks=tracks, encode=noise, workers=1)
