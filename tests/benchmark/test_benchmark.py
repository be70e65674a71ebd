"""The command measures what it says, on sizes that mean nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, Cli

from benchmarks.suite.invented import DURATION_S, PICTURE_SIZE, write_pictures, write_songs
from genreclf.audio.decode import decode
from genreclf.datasets.images import read_levels


def test_invented_files_are_of_gtzans_size(tmp_path: Path) -> None:
    (song,) = write_songs(tmp_path / "songs", 1)
    waveform, sample_rate = decode(song)
    assert waveform.shape == (DURATION_S * sample_rate,)
    assert np.abs(waveform).max() > 0.5
    (picture,) = write_pictures(tmp_path / "pictures", 1)
    assert read_levels(picture).shape == PICTURE_SIZE


def test_store_and_data_path_as_json(cli: Cli) -> None:
    outcome = cli("benchmark", "--quick", "--json", "--only", "store", "--only", "data", "trainer=cpu")
    assert outcome.code == 0, outcome.err
    results = json.loads(outcome.out)
    ms = results["store"]["ms_per_track"]
    assert results["store"]["vs_librosa"] == pytest.approx(ms["librosa"] / ms["store"], rel=0.02)
    assert results["store"]["vs_floor"] == pytest.approx(ms["store"] / (ms["decode"] + ms["transform"]), rel=0.02)
    assert results["data"]["batches_per_s"] > 0
    assert "cores" in results["device"]


def test_mistakes(cli: Cli) -> None:
    assert "crnn is neither an option of benchmark nor an override" in cli("benchmark", "crnn").err
    assert cli("benchmark", "--only", "everything").code == 2


@pytest.mark.slow
def test_all_parts(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    outcome = cli("benchmark", "--quick", "--json", "trainer=cpu")
    assert outcome.code == 0, outcome.err
    results = json.loads(outcome.out)
    fit = results["fit"]
    assert fit["vs_bare_loop"] == pytest.approx(fit["fit_s"] / fit["bare_s"], rel=0.01)
    assert fit["fit_s"] > min(fit["fit_epochs_s"])
    assert {"ffnn", "cnn", "crnn"} < set(results["fit"])
    assert all(results["fit"][name]["clips_per_s"] > 0 for name in ("ffnn", "cnn", "crnn"))
    assert 0 < results["imports_s"] < results["first_step_s"] < 120
    assert results["memory_mb"] > 100
    assert set(results["sizes"]) == {"store", "epoch", "predict"}
    shown = cli("benchmark", "--quick", "--only", "command", "trainer=cpu")
    assert "first step" in shown.out
