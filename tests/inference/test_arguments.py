"""What `GenrePredictor.predict` and ``predict`` are given: rates, skips, narrow terminals, pictures that fail."""

import math
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import Cli, Trained, forked, run_main

import genreclf
from genreclf.errors import BROKEN_PIPE, UserError
from genreclf.export.files import describe
from genreclf.inference.predictor import GenrePredictor


@pytest.fixture(scope="module")
def predictor(trained: Trained) -> GenrePredictor:
    return genreclf.load(trained.run.path)


NOISE = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)


@pytest.mark.parametrize("skip_s", [-1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["skip_start_s", "skip_end_s"])
def test_a_skip_is_a_number_of_seconds(name: str, skip_s: float, predictor: GenrePredictor) -> None:
    with pytest.raises(UserError, match=f"{name}={skip_s} must be a number of seconds from 0 on"):
        predictor.predict(NOISE, sample_rate=8000, **{name: skip_s})


@pytest.mark.parametrize("rate", [8000.5, 0, -8000, math.nan, math.inf, "8000"])
def test_a_rate_is_a_whole_number(rate: object, predictor: GenrePredictor) -> None:
    with pytest.raises(UserError, match="must be a whole number of Hz"):
        predictor.predict(NOISE, sample_rate=rate)  # type: ignore[arg-type]


def test_a_whole_rate_may_be_a_float(predictor: GenrePredictor) -> None:
    expected = predictor.predict(NOISE, sample_rate=16000)
    for rate in (16000.0, np.int64(16000)):
        found = predictor.predict(NOISE, sample_rate=rate)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_a_waveform_has_channels(predictor: GenrePredictor) -> None:
    with pytest.raises(UserError, match=r"not \(0, 8000\)"):
        predictor.predict(np.zeros((0, 8000)), sample_rate=8000)


@pytest.mark.pictures
def test_a_picture_that_cannot_be_written_costs_no_prediction(cli: Cli, trained: Trained) -> None:
    Path("pictures/1.png").mkdir(parents=True)
    song = trained.music / "blues/0.wav"
    shutil.copy(song, "1.wav")
    outcome = cli("predict", str(trained.run.path), str(song), "1.wav", "--timeline-dir", "pictures")
    assert outcome.code == 2
    assert "1.png" in outcome.err
    assert "0.wav" in outcome.out
    assert "1.wav" in outcome.out


def test_a_narrow_table_still_names_the_songs(cli: Cli, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    outcome = cli("predict", str(trained.run.path), str(trained.music / "blues" / "0.wav"))
    assert "0.wav" in outcome.out


@pytest.mark.parametrize(
    "metrics", [{"split": [], "test": {"track": 3}}, {"split": None, "test": None}, {"test": {"track": []}}], ids=str
)
def test_odd_metrics_say_nothing_of_an_export(
    metrics: dict[str, object], predictor: GenrePredictor, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(trained.run), "read_metrics", lambda _: metrics)
    assert describe(trained.run, predictor)["split"] == "null"


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_whoever_reads_predictions_may_have_seen_enough(format: str, trained: Trained) -> None:
    process = forked(write_to_nobody, ["predict", str(trained.run.path), str(trained.music), "--format", format])
    process.join()
    assert process.exitcode == BROKEN_PIPE


def write_to_nobody(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)
    with open(1, "w", closefd=False) as sys.stdout:
        run_main(arguments)
