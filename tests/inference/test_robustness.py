import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SMALL, Cli, Trained, write_music

from genreclf.audio.log_mel import FeatureSpec
from genreclf.audio.transforms import (
    Gain,
    HighPass,
    LowPass,
    Mp3,
    Noise,
    Pitch,
    Resampling,
    Speed,
    TimeStretch,
    Transformation,
)
from genreclf.comparison.runs import find_runs
from genreclf.errors import UserError
from genreclf.evaluation.intervals import wilson_interval
from genreclf.evaluation.predictions import TrackPredictions, read_track_csv
from genreclf.evaluation.robustness import Robustness
from genreclf.plots import robustness as plot
from genreclf.plots.style import new_figure
from genreclf.run_directory import RunDirectory

RATE = 22050
TONES_HZ = (110.0, 1000.0, 9000.0)


def tones(hz: tuple[float, ...] = TONES_HZ) -> np.ndarray:
    time_s = np.arange(2 * RATE) / RATE
    return np.sum([np.sin(2 * np.pi * f * time_s) / 8 for f in hz], axis=0).astype(np.float32)


def levels_db(samples: np.ndarray, *hz: float) -> np.ndarray:
    """Return the level of some frequencies relative to that of a tone of `tones`, away from the ends."""
    middle = samples[RATE // 4 : RATE // 4 + RATE] * np.hanning(RATE)
    spectrum = np.abs(np.fft.rfft(middle)) / (RATE / 4 / 8)
    return np.array([20 * np.log10(spectrum[round(f) - 3 : round(f) + 4].max() + 1e-9) for f in hz])


@pytest.mark.parametrize(
    ("change", "expected_db"),
    [
        (Gain(gain_db=-10), (-10, -10, -10)),
        (LowPass(cutoff_hz=8000), (0, 0, None)),
        (LowPass(cutoff_hz=500), (0, None, None)),
        (HighPass(cutoff_hz=200), (None, 0, 0)),
        (Resampling(sample_rate=44100), (0, 0, 0)),
        (Mp3(bitrate_kbps=64), (0, 0, 0)),
    ],
)
def test_levels_of_tones(change: Transformation, expected_db: tuple[float | None, ...]) -> None:
    samples = tones()
    changed = change.of_waveform(samples, RATE)
    assert changed.dtype == np.float32
    assert abs(len(changed) - len(samples)) < 3000
    for level, expected in zip(levels_db(changed, *TONES_HZ), expected_db, strict=True):
        assert level == pytest.approx(expected, abs=0.5) if expected is not None else level < -15


@pytest.mark.parametrize(
    ("change", "hz", "length"),
    [
        (Speed(factor=1.05), 1050.0, 1 / 1.05),
        (Pitch(semitones=1), 1000 * 2 ** (1 / 12), 1.0),
        (TimeStretch(factor=1.1), 1000.0, 1 / 1.1),
    ],
)
def test_pitch_and_length_of_a_tone(change: Transformation, hz: float, length: float) -> None:
    samples = tones((1000.0,))
    changed = change.of_waveform(samples, RATE)
    assert len(changed) == pytest.approx(length * len(samples), rel=0.01)
    assert np.abs(np.fft.rfft(changed[: len(samples) // 2])).argmax() == pytest.approx(hz, abs=3)


def test_noise_has_its_power() -> None:
    samples = tones()
    noise = Noise(snr_db=20).of_waveform(samples, RATE) - samples
    assert 10 * np.log10(np.mean(samples**2) / np.mean(noise**2)) == pytest.approx(20, abs=0.1)


def test_impossible_changes_are_refused() -> None:
    with pytest.raises(UserError, match="not below half the sample rate"):
        LowPass(cutoff_hz=8000).of_waveform(tones(), 16000)
    with pytest.raises(UserError, match="must be between 8 and 160"):
        Mp3(bitrate_kbps=320).of_waveform(tones(), RATE)


def test_pictures_lose_bands_and_columns() -> None:
    spec = FeatureSpec.of_pictures(n_mels=64, frames_per_second=10, clip_seconds=1, rendering="librosa_peak80")
    centers_hz = spec.centers_hz
    assert centers_hz is not None
    picture = torch.full((110, 64), 200, dtype=torch.uint8)
    low, high = (change.of_picture(picture, spec) for change in (LowPass(cutoff_hz=4000), HighPass(cutoff_hz=200)))
    assert low is not None
    assert high is not None
    assert torch.equal(low[0] == 0, centers_hz > 4000)
    assert torch.equal(high[0] == 0, centers_hz < 200)
    stretched = TimeStretch(factor=1.1).of_picture(picture, spec)
    assert stretched is not None
    assert (stretched.shape, int(stretched.min())) == ((100, 64), 200)
    assert Mp3(bitrate_kbps=64).of_picture(picture, spec) is None


def predictions_of(predicted: list[int]) -> TrackPredictions:
    ids = tuple(f"t{number}" for number in range(len(predicted)))
    return TrackPredictions(
        genres=("a", "b"),
        track_ids=ids,
        targets=np.zeros(len(ids), dtype=np.int64),
        probabilities=np.eye(2)[predicted],
    )


def test_flips_and_drop() -> None:
    before, after = predictions_of([0, 0, 0, 1, 1, 0]), predictions_of([1, 1, 0, 0, 1, 0])
    artists = {"t0": "x", "t1": "x", "t2": "y", "t3": "y", "t4": "z", "t5": "z"}
    found = Robustness.of("noise", before, after, artists)
    assert (found.flips, found.accuracy, found.drop) == pytest.approx((3 / 6, 3 / 6, 1 / 6))
    for value, interval in (
        (found.flips, found.flips_ci95),
        (found.flips, found.flips_ci95_artists),
        (found.drop, found.drop_ci95),
        (found.drop, found.drop_ci95_artists),
    ):
        assert interval is not None
        assert interval[0] < value < interval[1]
    assert Robustness.of("noise", before, after, None).drop_ci95_artists is None


def test_equal_changes_of_all_tracks_do_not_make_a_drop_certain() -> None:
    artists = {f"t{number}": str(number // 2) for number in range(20)}
    right, wrong = predictions_of([0] * 20), predictions_of([1] * 20)
    over_tracks, over_artists = wilson_interval(0, 20)[1], wilson_interval(0, 10)[1]
    kept = Robustness.of("gain", right, right, artists)
    assert kept.drop_ci95 == (-over_tracks, over_tracks)
    assert kept.drop_ci95_artists == (-over_artists, over_artists)
    lost = Robustness.of("gain", right, wrong, artists)
    assert lost.drop_ci95 == (1 - over_tracks, 1)
    assert lost.drop_ci95_artists == (1 - over_artists, 1)
    half = Robustness.of("gain", right, predictions_of([0, 1] * 10), artists)
    assert half.drop_ci95_artists == (0.5 - over_artists, 0.5 + over_artists)


def test_a_run_is_measured_and_goes_on(cli: Cli, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = RunDirectory(shutil.copytree(trained.run.path, "mine"))
    mine.write_json(mine.metrics, mine.read_metrics() | {"refit": {"run": "another"}})
    titles: list[str] = []
    monkeypatch.setattr(plot, "new_figure", lambda *given: titles.append(given[-1]) or new_figure(*given))
    command = ("evaluate", "mine", "robustness=[gain,low_pass_2k]", "run_dir=measured")
    outcome = cli(*command)
    assert outcome.code == 0, outcome.err
    assert titles == ["REFIT: mine, split track"]
    assert "Robustness of mine, split track (REFIT)" in outcome.out
    assert Path("measured/report.md").read_text().startswith("# Robustness of mine, split track (REFIT)\n")
    assert find_runs([Path()])[1] == []
    for file in ("robustness.csv", "report.md", "config.yaml", "figures/robustness.png", "predictions/gain.csv"):
        assert Path("measured", file).is_file(), file
    unchanged = read_track_csv(Path("measured/predictions/unchanged.csv"))
    tested = read_track_csv(trained.run.predictions)
    assert unchanged.track_ids == tested.track_ids
    np.testing.assert_allclose(unchanged.probabilities, tested.probabilities, atol=1e-5)
    with Path("measured/robustness.csv").open() as file:
        rows = {row["change"]: row for row in csv.DictReader(file)}
    assert {(row["leaky"], row["pretrained"], row["refit"]) for row in rows.values()} == {("False", "", "True")}
    assert list(rows) == ["gain", "low_pass_2k"]
    for name, row in rows.items():
        changed = read_track_csv(Path(f"measured/predictions/{name}.csv"))
        assert not np.array_equal(changed.probabilities, unchanged.probabilities)
        assert float(row["flips"]) == pytest.approx((changed.predicted != unchanged.predicted).mean(), abs=1e-6)
    written = {path: path.stat().st_mtime_ns for path in Path("measured/predictions").iterdir()}
    Path("measured/predictions/gain.csv").unlink()
    assert cli(*command).code == 0
    again = {path: path.stat().st_mtime_ns for path in Path("measured/predictions").iterdir()}
    assert {path.name for path in written if written[path] != again[path]} == {"gain.csv"}
    other = cli(*command[:2], "robustness=gain", "run_dir=measured")
    assert other.code == 2
    assert "holds another measurement" in other.err


def test_tracks_that_cannot_be_read_are_left_out_as_in_training(cli: Cli) -> None:
    write_music(Path("music"))
    for number in range(5, 8):
        for genre in ("blues", "metal"):
            Path(f"music/{genre}/{number}.wav").write_bytes(b"no audio")
    outcome = cli(
        *SMALL,
        *(
            "data=folder",
            "data.root=music",
            "data.store_dir=stores",
            "data.clip_seconds=1",
            "data.skip_unreadable=true",
        ),
        *("split=track", "split.train=0.2", "split.val=0.2", "split.test=0.6", "trainer.max_epochs=1", "run_dir=mine"),
    )
    assert outcome.code == 0, outcome.err
    outcome = cli("evaluate", "mine", "robustness=gain", "run_dir=measured")
    assert outcome.code == 0, outcome.err
    assert "6 tracks that cannot be read are left out" in outcome.err
    measured = read_track_csv(Path("measured/predictions/unchanged.csv"))
    assert measured.track_ids == read_track_csv(Path("mine/predictions.csv")).track_ids


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["robustness=gain", "trainer.devices=2"], "measured on one device"),
        (["robustness=gain", "data.grid_overlap=0"], "data.grid_overlap=0 has no effect on robustness, which"),
        (["robustness=gain", "+data.short=wrap"], "+data.short=wrap has no effect on robustness, which"),
        (["robustness=gain", "data.batch_size=7"], "data.batch_size=7 has no effect on robustness, which"),
        (["robustness=low_pass_8k", "robustness.low_pass_8k.cutoff_hz=0"], "must be above 0"),
    ],
)
def test_mistakes_are_sentences(words: list[str], sentence: str, cli: Cli, trained: Trained) -> None:
    outcome = cli("evaluate", str(trained.run.path), *words, "run_dir=measured")
    assert outcome.code == 2
    assert sentence in outcome.err
    assert not Path("measured").exists()


def test_a_training_has_no_robustness(cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, "robustness=all", "run_dir=run")
    assert outcome.code == 2
    assert "evaluate RUN robustness=all" in outcome.err
