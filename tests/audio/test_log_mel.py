import os
import sys
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from genreclf.audio.log_mel import STEP_DB, FeatureSpec, LogMel, to_steps
from genreclf.audio.scaling import Scaling
from genreclf.errors import UserError

BOUND_DB = 0.01
"""By how much a stored level may differ from librosa's."""

SETTINGS = [
    (22050, 2048, 512, 128),
    (22050, 2048, 1024, 128),
    (16000, 2048, 512, 128),
    (22050, 2048, 512, 256),
    (11025, 1024, 256, 64),
    (22050, 441, 220, 40),
]


def music(sample_rate: int) -> NDArray[np.float32]:
    """Three seconds of tones, noise, tones alone and silence."""
    time_s = np.arange(3 * sample_rate) / sample_rate
    tones = sum(np.sin(2 * np.pi * 110 * 2**octave * time_s) / 2**octave for octave in range(6))
    noise = np.random.default_rng(0).normal(0, 0.05, len(time_s)) * (time_s < 2)
    return (0.2 * tones * (time_s < 2.5) + noise).astype(np.float32)


def librosa_db(
    waveform: NDArray[np.float32], sample_rate: int, n_fft: int, hop: int, n_mels: int
) -> NDArray[np.float32]:
    power = librosa.feature.melspectrogram(
        y=waveform, sr=sample_rate, n_fft=n_fft, hop_length=hop, n_mels=n_mels, pad_mode="constant"
    )
    level: NDArray[np.float32] = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)
    return level


@pytest.mark.parametrize(("sample_rate", "n_fft", "hop_length", "n_mels"), SETTINGS)
def test_equals_librosa(sample_rate: int, n_fft: int, hop_length: int, n_mels: int) -> None:
    waveform = music(sample_rate)
    log_mel = LogMel(sample_rate=sample_rate, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels)
    stored = to_steps(log_mel(torch.from_numpy(waveform)))
    expected = librosa_db(waveform, sample_rate, n_fft, hop_length, n_mels)
    assert stored.shape == expected.shape
    assert np.abs(stored.numpy() * STEP_DB - expected).max() < BOUND_DB


def test_bands_between_two_frequencies_equal_librosa() -> None:
    waveform = music(16000)
    log_mel = LogMel(sample_rate=16000, n_fft=1024, hop_length=256, n_mels=64, f_min=50.0, f_max=6000.0)
    power = librosa.feature.melspectrogram(
        y=waveform, sr=16000, n_fft=1024, hop_length=256, n_mels=64, fmin=50.0, fmax=6000.0, pad_mode="constant"
    )
    expected = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None)
    assert np.abs(to_steps(log_mel(torch.from_numpy(waveform))).numpy() * STEP_DB - expected).max() < BOUND_DB
    between = FeatureSpec.of_audio(
        sample_rate=16000, n_fft=1024, hop_length=256, n_mels=64, clip_seconds=1, f_min=50.0, f_max=6000.0
    )
    assert FeatureSpec.from_plain(between.plain()) == between
    assert between.centers_hz is not None
    np.testing.assert_allclose(between.centers_hz, librosa.mel_frequencies(66, fmin=50.0, fmax=6000.0)[1:-1])
    assert not {"f_min", "f_max"} & spec().plain().keys()
    embedded = FeatureSpec.of_embeddings(
        layers={"last": 8}, frames_per_second=1.0, sample_rate=None, clip_seconds=3, source=between
    )
    assert FeatureSpec.from_plain(embedded.plain()) == embedded
    assert not {"f_min", "f_max"} & replace(embedded, source=spec()).plain()["source"].keys()


@pytest.mark.parametrize("n_mels", [128, pytest.param(256, marks=pytest.mark.slow)])
def test_store_of_real_tracks_equals_librosa(tmp_path: Path, n_mels: int) -> None:
    if "GENRECLF_GTZAN" not in os.environ:
        pytest.skip("set GENRECLF_GTZAN to a folder with GTZAN's audio/genres_original")
    from genreclf.cli.compose import checked
    from genreclf.experiment.corpus import load_corpus

    root = Path(os.environ["GENRECLF_GTZAN"]) / "audio"
    overrides = [f"data.root={root}", f"data.store_dir={tmp_path}", f"features.n_mels={n_mels}"]
    corpus = load_corpus(checked(overrides, run_dir="-"))
    assert len(corpus.tracks) == 32
    for track in corpus.tracks.values():
        waveform, sample_rate = soundfile.read(track.path, dtype="float32")
        expected = librosa_db(waveform, sample_rate, 2048, 512, n_mels)
        stored = corpus.store.spectrogram(track.id) * STEP_DB
        assert np.abs(stored - expected).max() < BOUND_DB, track.id


def test_decibel_is_clipped_below_the_tracks_peak_as_librosa_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genreclf.audio import decode
    from genreclf.cli.compose import checked
    from genreclf.experiment.corpus import load_corpus
    from genreclf.inference.feature_extractor import FeatureExtractor

    path = tmp_path / "music/rock/a.wav"
    path.parent.mkdir(parents=True)
    soundfile.write(path, np.stack([music(44100)[::-1], music(44100)[::-1] / 2], 1), 44100)  # Silence comes first.
    overrides = ["data=folder", f"data.root={tmp_path / 'music'}", f"data.store_dir={tmp_path}", "data.clip_seconds=1"]
    unclipped = load_corpus(checked(overrides, run_dir="-"))
    corpus = load_corpus(checked([*overrides, "features.scale=decibel"], run_dir="-"))

    waveform = librosa.load(path, sr=22050)[0]
    power = librosa.feature.melspectrogram(y=waveform, sr=22050, pad_mode="constant")
    expected = librosa.power_to_db(power)
    stored = corpus.store.spectrogram("rock/a")
    scaled = Scaling(spec=corpus.spec, scale="decibel")(torch.from_numpy(stored.copy())[None])[0].numpy()
    np.testing.assert_allclose(scaled, expected, atol=BOUND_DB)
    assert unclipped.store.spectrogram("rock/a").min() * STEP_DB == pytest.approx(-100)

    monkeypatch.setattr(decode, "BLOCK_VALUES", 30_000)
    with decode.open_audio(path) as stream, FeatureExtractor(corpus.spec).extract(stream) as features:
        assert np.abs(features.log_mel_q.T.numpy().astype(int) - stored).max() <= 1


def spec() -> FeatureSpec:
    return FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=4, clip_seconds=1)


def stored_clips() -> torch.Tensor:
    return torch.randint(-20000, 0, (16, 4, 10), generator=torch.Generator().manual_seed(0)).to(torch.int16)


def test_standardize_brings_each_band_to_mean_0_and_deviation_1() -> None:
    scaling = Scaling(spec=spec(), scale="standardize")
    scaling.fit(stored_clips())
    std, mean = torch.std_mean(scaling(stored_clips()), dim=(0, 2), correction=0)
    torch.testing.assert_close(mean, torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(std, torch.ones(4), atol=1e-4, rtol=0)


def test_a_silent_band_stays_finite() -> None:
    scaling = Scaling(spec=spec(), scale="standardize")
    scaling.fit(torch.full((2, 4, 10), -25600, dtype=torch.int16))
    assert scaling(stored_clips()).isfinite().all()


def test_the_other_scales() -> None:
    level = stored_clips().float() / 256
    torch.testing.assert_close(Scaling(spec=spec(), scale="decibel")(stored_clips()), level)
    torch.testing.assert_close(Scaling(spec=spec(), scale="power")(stored_clips()), 10 ** (level / 10))
    below = (level - level.amax((1, 2), keepdim=True)).clamp(min=-80)
    torch.testing.assert_close(Scaling(spec=spec(), scale="peak_decibel")(stored_clips()), below)
    unit = Scaling(spec=spec(), scale="unit")(stored_clips())
    assert unit.min() >= 0
    assert unit.amax((1, 2)).eq(1).all()
    with pytest.raises(UserError, match=r"features\.scale=other is not one of"):
        Scaling(spec=spec(), scale="other")  # type: ignore[arg-type]


def test_waveforms_in_double_precision() -> None:
    scaling = Scaling(spec=FeatureSpec.of_waveform(sample_rate=16000, clip_seconds=1)).double()
    expected = stored_clips().transpose(1, 2).flatten(1).double() / 2**15
    torch.testing.assert_close(scaling(stored_clips()), expected)


def test_pictures_span_80_db() -> None:
    pictures = FeatureSpec.of_pictures(n_mels=4, frames_per_second=12.9, clip_seconds=10)
    assert pictures.clip_frames == 129
    level = Scaling(spec=pictures, scale="decibel")(torch.tensor([[[0, 255]] * 4], dtype=torch.uint8))
    torch.testing.assert_close(level[0, 0], torch.tensor([-80.0, 0.0]))


def test_a_spec_survives_a_checkpoint() -> None:
    assert FeatureSpec.from_plain(spec().plain()) == spec()
    assert all(isinstance(value, int | float | str | None) for value in spec().plain().values())


def test_a_torchaudio_of_another_build_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torchaudio.py").write_text('raise OSError("Could not load this library: libtorchaudio.so")')
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UserError, match=r"does not match torch .* \(Could not load .*\): reinstall both"):
        LogMel(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=128)
