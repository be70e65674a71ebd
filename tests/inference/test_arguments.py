"""What `GenrePredictor.predict` and ``predict`` are given: rates, skips, narrow terminals, pictures that fail."""

import copy
import json
import math
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Cli, Trained, forked, run_main

import genreclf
from genreclf.errors import BROKEN_PIPE, UserError
from genreclf.export.files import describe
from genreclf.inference.predictor import GenrePredictor


@pytest.fixture(scope="module")
def predictor(trained: Trained) -> GenrePredictor:
    return genreclf.load(trained.run.path)


NOISE = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)


@pytest.mark.parametrize("skip_s", [-1.0, math.nan, math.inf, "1"])
@pytest.mark.parametrize("name", ["skip_start_s", "skip_end_s"])
def test_a_skip_is_a_number_of_seconds(name: str, skip_s: object, predictor: GenrePredictor) -> None:
    with pytest.raises(UserError, match=f"{name}={skip_s} must be a number of seconds from 0 on"):
        predictor.predict(NOISE, sample_rate=8000, **{name: skip_s})  # type: ignore[arg-type]


def test_silence_between_the_skipped_ends_has_no_genre(predictor: GenrePredictor) -> None:
    song = np.concatenate([NOISE, np.zeros(16000, np.float32)])
    with pytest.raises(UserError, match=r"only digital silence is left of its 3\.0 s without the first 2 s"):
        predictor.predict(song, sample_rate=8000, skip_start_s=2)


SEVERAL = (["a.wav", "b.wav"], (NOISE, 8000), [NOISE, NOISE[:4000]])


@pytest.mark.parametrize("song", [None, b"song.wav", *SEVERAL], ids=["none", "bytes", "paths", "rate", "waveforms"])
@pytest.mark.parametrize("rate", [None, 8000])
def test_what_is_no_song_is_named(song: object, rate: int | None, predictor: GenrePredictor) -> None:
    with pytest.raises(UserError, match=rf"A song is a path, or a waveform .* not of the type {type(song).__name__}"):
        predictor.predict(song, sample_rate=rate)  # type: ignore[arg-type]


def test_integers_as_floats_are_no_waveform(predictor: GenrePredictor) -> None:
    with pytest.raises(UserError, match=r"full scale at 1, and this one has values up to 1[0-9],\d{3}: divide 16-bit"):
        predictor.predict(NOISE * 32768, sample_rate=8000)
    loud = predictor.predict(NOISE * 99 / np.abs(NOISE).max(), sample_rate=8000)
    assert loud.duration_s == 1


def test_a_tensor_that_is_trained_is_a_waveform_too(predictor: GenrePredictor) -> None:
    expected = predictor.predict(NOISE, sample_rate=8000).probabilities
    found = predictor.predict(torch.tensor(NOISE, requires_grad=True), sample_rate=8000)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.probabilities, expected)
    with pytest.raises(ValueError, match="k=-1 must be at least 1"):
        found.top(-1)


def test_a_tensor_may_be_in_bfloat16_but_not_sparse(predictor: GenrePredictor) -> None:
    samples = torch.tensor(NOISE).bfloat16()
    expected = predictor.predict(samples.float().numpy(), sample_rate=8000).probabilities
    found = predictor.predict(samples, sample_rate=8000)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.probabilities, expected)
    with pytest.raises(UserError, match="not of the type Tensor"):
        predictor.predict(samples.to_sparse(), sample_rate=8000)  # type: ignore[arg-type]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda predictor: pickle.loads(pickle.dumps(predictor))])
def test_a_predictor_can_be_copied(
    copied: Callable[[GenrePredictor], GenrePredictor], predictor: GenrePredictor
) -> None:
    expected = predictor.predict(NOISE, sample_rate=8000)
    found = copied(predictor).predict(NOISE, sample_rate=8000)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    np.testing.assert_array_equal(found.embedding, expected.embedding)


def test_a_setting_is_no_song(cli: Cli, trained: Trained) -> None:
    outcome = cli("predict", str(trained.run.path), str(trained.music / "blues/0.wav"), "model=cnn")
    assert (outcome.code, outcome.err) == (
        2,
        "model=cnn is no song: predict takes no settings, as a run keeps those of its training.\n",
    )


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
    outcome = cli("predict", str(trained.run.path), str(song), "1.wav", "--timeline-dir", "pictures", "--format", "csv")
    assert outcome.code == 2
    assert "1.png" in outcome.err
    assert "0.wav" in outcome.out
    assert "1.wav" in outcome.out


def test_a_picture_names_no_genre_that_the_table_does_not(
    cli: Cli, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    captions: list[str] = []
    monkeypatch.setattr("genreclf.plots.timeline.draw_timeline", lambda *words: captions.append(words[-1]))
    words = ["predict", str(trained.run.path), str(trained.music / "metal/0.wav"), "--timeline-dir", "pictures"]
    named, unsure = (cli(*words, "--format", "jsonl", "--abstain", f"probability={least}") for least in (0, 1))
    genre = json.loads(named.out)["genre"]
    assert json.loads(unsure.out)["genre"] == "not sure" != genre
    assert [caption.partition(";")[0] for caption in captions] == [genre, "not sure"]


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


@pytest.mark.parametrize("format", ["csv", "jsonl", "table"])
def test_a_terminal_shows_how_many_songs_are_left_apart_from_the_results(
    format: str, cli: Cli, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("predict", str(trained.run.path), str(trained.music / "blues"), "--format", format)
    without = cli(*command)
    assert without.err == ""
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes stderr for a terminal.
    outcome = cli(*command)
    assert "Songs" in outcome.err
    assert "5/5" in outcome.err
    if format != "table":
        assert outcome.out == without.out
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        assert cli(*command).err == "", "rows on a terminal say enough"


@pytest.mark.parametrize("format", ["csv", "jsonl", "table"])
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


@pytest.mark.parametrize("format", ["csv", "jsonl", "table"])
def test_predictions_on_a_full_disk_end_with_a_sentence(format: str, trained: Trained) -> None:
    song = str(trained.music / "blues/0.wav")
    process = forked(write_to_full_disk, ["predict", str(trained.run.path), song, "--format", format])
    process.join()
    assert process.exitcode == 2
    told = "No space is left where the output is written; free some, or choose another file.\n"
    assert Path("err.txt").read_text() == told


def test_an_output_that_only_fails_at_the_end_does_so_with_a_sentence() -> None:
    process = forked(write_to_full_disk, ["list"])
    process.join()
    assert process.exitcode == 2
    assert Path("err.txt").read_text().startswith("No space is left where the output is written")


def write_to_full_disk(arguments: list[str]) -> None:
    with open("err.txt", "w") as sys.stderr, open("/dev/full", "w") as full:
        os.dup2(full.fileno(), 1)
        with open(1, "w", closefd=False) as sys.stdout:
            run_main(arguments)
