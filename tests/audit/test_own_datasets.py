"""Datasets of the user's own, which are measured as a model hears them."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import Cli

OWN = """
from dataclasses import replace
from pathlib import Path

from genreclf.datasets.synthetic import Synthetic


class Album(Synthetic):
    def tracks(self):
        self.parts = {track.id: track for track in super().tracks()}
        return [replace(track, path=Path("album.wav")) for track in self.parts.values()]

    def waveform(self, track, sample_rate):
        return super().waveform(self.parts[track.id], sample_rate)
"""


@pytest.fixture
def album(tmp_path: Path, stores: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides of a dataset whose tracks are parts of one file, which it finds when it lists the tracks."""
    (tmp_path / "own_album.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    soundfile.write(tmp_path / "album.wav", np.zeros(2205), 22050)
    small = ["data.tracks_per_genre=2", "data.artists_per_genre=2", "data.duration_s=2.0", "split=track"]
    return ["data=synthetic", "data._target_=own_album.Album", *small, f"data.store_dir={stores}"]


def test_parts_of_one_file_are_no_repeats(cli: Cli, album: list[str]) -> None:
    outcome = cli("audit", *album, "--out", "found")
    assert outcome.code == 0, outcome.err
    with Path("found/repeats.csv").open(newline="") as file:
        assert not [row for row in csv.DictReader(file) if row["kind"] == "exact"]
    with Path("found/tracks.csv").open(newline="") as file:
        assert {row["duration_s"] for row in csv.DictReader(file)} == {"2.0"}


def test_parts_of_one_file_are_shown(cli: Cli, album: list[str]) -> None:
    outcome = cli("show", *album, "--genre", "blues", "--out", "shown")
    assert outcome.code == 0, outcome.err
    assert Path("shown/waveform_blues.png").is_file()
