"""A run trained on pictures takes audio only if it is known how they were rendered."""

import csv
import io
import os
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from helpers import SMALL, Cli, Trained, train
from PIL import Image

from benchmarks.audio_and_pictures import compared
from genreclf.audio.decode import open_audio
from genreclf.audio.log_mel import FeatureSpec
from genreclf.datasets.images import read_levels
from genreclf.evaluation.predictions import read_track_csv
from genreclf.inference.feature_extractor import FeatureExtractor

COLUMNS_PER_S = 12.9


def draw(song: Path, picture: Path) -> None:
    """Make a picture of a song with librosa: as wide as the music is long, each column the mean over its area."""
    samples, rate = soundfile.read(song, dtype="float32", always_2d=True)
    waveform = librosa.to_mono(samples.T)
    assert rate == 22050
    power = librosa.feature.melspectrogram(y=waveform, sr=rate, n_fft=2048, hop_length=512, n_mels=128)
    levels_db = librosa.power_to_db(power, ref=np.max, top_db=80)
    gray = 255 * (1 - levels_db / levels_db.min())
    width = round(len(waveform) / rate * COLUMNS_PER_S)
    drawn = gray[::-1].repeat(width, axis=1).reshape(128, width, -1).mean(axis=2)
    picture.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(drawn).astype(np.uint8)).save(picture)


@pytest.fixture(scope="module")
def pictures(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for song in trained.music.glob("*/*"):
        samples, _ = soundfile.read(song, always_2d=True)
        as_wav = root / "music" / song.parent.name / f"{song.stem}.wav"
        as_wav.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(as_wav, samples[:, 0], 22050)
        draw(as_wav, root / "drawn" / song.parent.name / f"{song.stem}.png")
    return root


def train_on(pictures: Path, run: Path, *overrides: str) -> None:
    train(
        *SMALL,
        "data=spectrogram_images",
        f"data.root={pictures / 'drawn'}",
        f"data.store_dir={pictures / 'stores'}",
        f"data.seconds={43 / COLUMNS_PER_S}",
        "data.clip_seconds=1.5",
        *("split=track", "split.train=0.2", "split.val=0.2", "split.test=0.6"),
        *overrides,
        f"run_dir={run}",
    )


def test_the_picture_of_known_making_is_made_of_audio(cli: Cli, pictures: Path, tmp_path: Path) -> None:
    train_on(pictures, tmp_path / "run", "data.rendering=librosa_peak80")
    outcome = cli("predict", "run", str(pictures / "music"), "--format", "csv")
    assert outcome.code == 0, outcome.err
    assert "trained on pictures (librosa_peak80): the same pictures are made of the audio" in outcome.err
    tested = read_track_csv(tmp_path / "run/predictions.csv")
    rows = {
        f"{Path(row['path']).parent.name}/{Path(row['path']).stem}": row
        for row in csv.DictReader(io.StringIO(outcome.out))
    }
    ours = np.array([[float(rows[name][genre]) for genre in tested.genres] for name in tested.track_ids])
    np.testing.assert_allclose(ours, tested.probabilities, atol=0.001)
    assert np.ptp(tested.probabilities, axis=0).max() > 0.02
    outcome = cli("evaluate", "run", "robustness=[low_pass_8k,mp3]", "run_dir=measured")
    assert outcome.code == 0, outcome.err
    assert "mp3 of robustness need waveforms, and data=spectrogram_images has pictures: left out" in outcome.err
    unchanged = read_track_csv(tmp_path / "measured/predictions/unchanged.csv")
    np.testing.assert_allclose(unchanged.probabilities, tested.probabilities, atol=1e-6)
    assert [line[:11] for line in (tmp_path / "measured/robustness.csv").read_text().splitlines()[1:]] == [
        "low_pass_8k"
    ]
    music = ("evaluate", "run", "data=folder", f"data.root={pictures / 'music'}", "features=log_mel")
    renamed = ("split=test_all", "data.genre_map={blues: metal}")
    outcome = cli(*music, *renamed, "robustness=gain", "run_dir=renamed")
    assert outcome.code == 0, outcome.err
    genres = read_track_csv(tmp_path / "renamed/predictions/unchanged.csv")
    assert {genres.genres[target] for target in genres.targets} == {"classical", "metal"}
    outcome = cli(*music, "robustness=mp3", "run_dir=heard")
    assert outcome.code == 0, outcome.err
    heard = read_track_csv(tmp_path / "heard/predictions/unchanged.csv")
    np.testing.assert_allclose(heard.probabilities, tested.probabilities, atol=0.001)


def test_the_picture_is_the_one_that_librosa_draws(pictures: Path) -> None:
    spec = FeatureSpec.of_pictures(
        n_mels=128, frames_per_second=COLUMNS_PER_S, clip_seconds=1, rendering="librosa_peak80"
    )
    extractor = FeatureExtractor(spec)
    for song in (pictures / "music").glob("*/*.wav"):
        drawn = read_levels(pictures / "drawn" / song.parent.name / f"{song.stem}.png")[::-1].astype(int)
        with open_audio(song) as stream, extractor.extract(stream) as features:
            assert features.log_mel_q.dtype == torch.uint8
            stored = features.log_mel_q.numpy().T.astype(int)
        assert stored.shape == drawn.shape
        assert np.abs(stored - drawn).max() <= 1


def test_the_unknown_making_is_refused(cli: Cli, pictures: Path, trained: Trained, tmp_path: Path) -> None:
    train_on(pictures, tmp_path / "run", "trainer.max_epochs=1")
    outcome = cli("predict", "run", str(trained.music))
    assert outcome.code == 2
    assert "trained on pictures, and how they were made of audio is not known" in outcome.err
    assert "data.rendering=librosa_peak80" in outcome.err


def test_an_unknown_name_of_a_making(cli: Cli, pictures: Path) -> None:
    outcome = cli("data=spectrogram_images", f"data.root={pictures / 'drawn'}", "data.rendering=magic")
    assert outcome.code == 2
    assert "data.rendering=magic is not one of null, librosa_peak80." in outcome.err


def test_a_spec_of_an_older_checkpoint_has_no_making() -> None:
    spec = FeatureSpec.of_pictures(n_mels=128, frames_per_second=COLUMNS_PER_S, clip_seconds=1)
    older = {key: value for key, value in spec.plain().items() if key != "rendering"}
    assert FeatureSpec.from_plain(older) == spec


@pytest.mark.slow
def test_real_songs_are_predicted_as_their_pictures(cli: Cli, tmp_path: Path) -> None:
    if "GENRECLF_GTZAN" not in os.environ:
        pytest.skip("set GENRECLF_GTZAN to a folder with GTZAN's audio/genres_original and pictures")
    gtzan = Path(os.environ["GENRECLF_GTZAN"])
    outcome = cli(
        *("data=spectrogram_images", f"data.root={gtzan / 'pictures'}", "data.rendering=librosa_peak80"),
        *("split=fault_filtered", "experiment=best", "trainer=cpu", "logger=none", "run_dir=run"),
    )
    assert outcome.code == 0, outcome.err
    found = compared(tmp_path / "run", gtzan / "audio/genres_original", [])
    assert len(found) == 32
    assert len({picture for picture, _ in found.values()}) > 4
    assert sum(picture == audio for picture, audio in found.values()) >= 28
