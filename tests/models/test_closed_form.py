"""Models that are fitted at once."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Cli
from sklearn.svm import SVC

import genreclf
from genreclf.audio.log_mel import FeatureSpec
from genreclf.datasets.synthetic import Synthetic
from genreclf.hub.bundle import rebuild, write_bundle
from genreclf.models import svm
from genreclf.models.block_level import BlockLevel
from genreclf.models.closed_form import Shares
from genreclf.run_directory import RunDirectory

PICTURES = FeatureSpec.of_pictures(n_mels=64, frames_per_second=12.9, clip_seconds=10)


def test_patterns_are_numpy_s() -> None:
    features = BlockLevel(spec=PICTURES)
    x = torch.randn(2, 64, PICTURES.clip_frames, generator=torch.Generator().manual_seed(0))
    found = torch.split(features(x), features.sizes, dim=1)
    clip = x[1].double().numpy()

    def blocks(values: np.ndarray, length: int, hop: int) -> np.ndarray:
        starts = range(0, values.shape[1] - length + 1, hop)
        return np.stack([-np.sort(-values[:, start : start + length], axis=1) for start in starts])

    def percentile(values: np.ndarray, share: float) -> np.ndarray:
        return np.quantile(values, share, axis=0, method="lower").ravel()

    np.testing.assert_allclose(found[0][1], percentile(blocks(clip, 10, 5), 0.9), atol=1e-5)
    rises = blocks(np.diff(clip, axis=1).clip(0), 25, 5)[..., :15]
    np.testing.assert_allclose(found[1][1], percentile(rises, 0.9), atol=1e-5)
    np.testing.assert_allclose(found[2][1], rises.var(axis=0).ravel(), atol=1e-5)
    fine = clip.reshape(32, 2, -1).mean(axis=1)
    pairs = np.triu_indices(32, 1)
    correlations = [np.corrcoef(fine[:, start : start + 77])[pairs] for start in range(0, 129 - 77 + 1, 38)]
    np.testing.assert_allclose(found[4][1], percentile(np.stack(correlations), 0.5), atol=1e-3)
    groups = clip.reshape(16, 4, -1)
    contrast = blocks(groups.max(axis=1) - groups.min(axis=1), 12, 6)
    np.testing.assert_allclose(found[5][1], percentile(contrast, 0.1), atol=1e-5)


def test_a_band_that_pulses_is_found_at_its_rate() -> None:
    features = BlockLevel(spec=PICTURES)
    time_s = torch.arange(PICTURES.clip_frames) / PICTURES.frames_per_second
    x = torch.zeros(1, 64, PICTURES.clip_frames)
    x[0, 16:18] = (2 * torch.pi * 2.0 * time_s).sin()
    fluctuation = torch.split(features(x), features.sizes, dim=1)[3].reshape(32, -1)
    assert fluctuation.max(dim=1).values.argmax() == 8
    slow, fast = fluctuation[8].tensor_split(2)
    assert fast.max() > slow.max() + 1


@pytest.mark.parametrize("seconds", [0.5, 30])
def test_clips_of_any_length_have_the_features_that_are_told(seconds: float) -> None:
    spec = FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=40, clip_seconds=seconds)
    features = BlockLevel(spec=spec)
    found = features(torch.zeros(2, 40, spec.clip_frames))
    assert found.shape == (2, sum(features.sizes))
    assert found.isfinite().all()


def test_decisions_are_scikit_learn_s() -> None:
    rng = np.random.default_rng(0)
    genre = rng.integers(0, 3, 60)
    x = rng.normal(size=(60, 5)) + 2 * np.eye(3, 5)[genre]
    dual, bias = svm.solve(x @ x.T, genre, 1.0, 4)
    new = rng.normal(size=(20, 5))
    decisions = new @ x.T @ dual + bias
    for number in range(3):
        theirs = SVC(kernel="linear", C=1.0).fit(x, genre == number).decision_function(new)
        np.testing.assert_allclose(decisions[:, number], theirs, atol=1e-3)
    assert (decisions[:, 3] == -1).all()


def test_a_run_of_the_machine_is_a_run_like_any_other(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    overrides = [each for each in tiny if not each.startswith("model")]
    outcome = cli(*overrides, "model=svm", "split=artist_folds", "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert "when their artist is held out" in outcome.err
    assert "trainer.max_epochs, optimizer" in outcome.out
    assert "no epoch" not in outcome.err
    metrics = RunDirectory(tmp_path / "run").read_metrics()
    assert (metrics["status"], metrics["epochs"], metrics["best_epoch"]) == ("finished", 0, None)
    assert metrics["test"]["track"]["accuracy"] > 0.3
    assert metrics["timing"]["fit_s"] > 0
    assert cli("evaluate", "run", "run_dir=again", "trainer=cpu", "logger=none").code == 0
    again = RunDirectory(tmp_path / "again").read_metrics()
    assert again["test"]["track"] == metrics["test"]["track"]
    song = np.random.default_rng(0).normal(size=22050 * 3).astype(np.float32) / 10
    assert genreclf.load("run").predict(song, sample_rate=22050).probabilities.sum() == pytest.approx(1)
    (tmp_path / "bundle").mkdir()
    write_bundle(RunDirectory(tmp_path / "run"), tmp_path / "bundle")
    assert "over artists" in rebuild(tmp_path / "bundle", tmp_path / "pulled")
    assert genreclf.load("pulled").genres == genreclf.load("run").genres
    for mistake in ("init_from=run", "trainer.devices=2"):
        assert cli(*overrides, "model=svm", mistake, "run_dir=other").code == 2


def test_artists_are_held_out_if_a_dataset_has_no_groups(
    cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [each for each in tiny if not each.startswith("model")]
    tracks = Synthetic.tracks

    def note(**known: Any) -> str:
        monkeypatch.setattr(Synthetic, "tracks", lambda self: [replace(track, **known) for track in tracks(self)])
        outcome = cli(*overrides, "model=svm", "split=track", "data.artists_per_genre=2", f"run_dir=run{len(known)}")
        notes: list[str] = outcome.err.splitlines()
        return next(line for line in notes if "model=svm chose" in line)

    assert note(group="") == note()
    assert "right when their track is held out" in note(group="", artist=None)


def test_a_run_that_is_interrupted_in_its_test_keeps_the_time_of_its_fit(
    cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*(each for each in tiny if not each.startswith("model")), "model=svm", "run_dir=run"]

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("genreclf.experiment.evaluate.evaluate", interrupted)
        assert cli(*command).code == 130
    fit_s = RunDirectory("run").read_metrics()["timing"]["fit_s"]
    outcome = cli(*command)
    assert outcome.code == 0, outcome.err
    assert RunDirectory("run").read_metrics()["timing"]["fit_s"] == fit_s > 0


@pytest.mark.parametrize("regularization", ["none", "ema"])
def test_the_constant_is_the_share_of_the_genres(
    cli: Cli, tiny: list[str], no_val: list[str], tmp_path: Path, regularization: str
) -> None:
    overrides = [each for each in tiny if not each.startswith("model")]
    with (tmp_path / "train.txt").open("a") as lists:
        lists.write("rock/00003\n")
    outcome = cli(*overrides, *no_val, "model=constant", f"regularization={regularization}", "run_dir=run")
    assert outcome.code == 0, outcome.err
    rows = (tmp_path / "run/predictions.csv").read_text().splitlines()
    assert rows[0] == "track_id,genre,predicted,blues,rock"
    shares = np.array([row.split(",")[3:] for row in rows[1:]], dtype=float)
    np.testing.assert_allclose(shares, [[0.4, 0.6]] * len(shares), atol=1e-6)
    assert json.loads((tmp_path / "run/metrics.json").read_text())["test"]["track"]["accuracy"] == 0.5


def test_the_constant_is_exported_for_any_number_of_clips() -> None:
    sizes = {"x": {0: torch.export.Dim("batch")}}
    program = torch.export.export(Shares(3), (torch.zeros(2, 4, 5),), dynamic_shapes=sizes)
    assert program.module()(torch.zeros(7, 4, 5)).shape == (7, 3)
