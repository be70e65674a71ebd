import os
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from genreclf.errors import UserError
from genreclf.features import STEP_DB, FeatureSpec, LogMel, Scaling, to_steps

SETTINGS = [(22050, 2048, 512, 128), (22050, 2048, 1024, 128), (16000, 2048, 512, 128), (22050, 2048, 512, 256)]


def music(sample_rate: int) -> NDArray[np.float32]:
    """Three seconds of tones, noise and silence."""
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
    # 100 dB below the loudest, one float32 FFT differs from another.
    heard = expected > expected.max() - 100
    assert stored.shape == expected.shape
    assert np.abs(stored.numpy() * STEP_DB - expected)[heard].max() < 0.02


def test_store_of_real_tracks_equals_librosa(tmp_path: Path) -> None:
    if "GENRECLF_GTZAN" not in os.environ:
        pytest.skip("set GENRECLF_GTZAN to a folder with GTZAN's audio/genres_original")
    from genreclf.commands.compose import checked
    from genreclf.material import gather

    root = Path(os.environ["GENRECLF_GTZAN"]) / "audio"
    material = gather(checked([f"data.root={root}", f"data.store_dir={tmp_path}"], run_dir="-"))
    assert len(material.tracks) == 32
    for track in material.tracks.values():
        waveform, sample_rate = soundfile.read(track.path, dtype="float32")
        expected = librosa_db(waveform, sample_rate, 2048, 512, 128)
        stored = material.store.spectrogram(track.id) * STEP_DB
        assert np.abs(stored - expected).max() < 0.02, track.id


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
    with pytest.raises(UserError, match=r"features\.scale=other is none of"):
        Scaling(spec=spec(), scale="other")  # type: ignore[arg-type]


def test_pictures_span_80_db() -> None:
    pictures = FeatureSpec.of_pictures(n_mels=4, frames_per_second=12.9, clip_seconds=10)
    assert pictures.clip_frames == 129
    level = Scaling(spec=pictures, scale="decibel")(torch.tensor([[[0, 255]] * 4], dtype=torch.uint8))
    torch.testing.assert_close(level[0, 0], torch.tensor([-80.0, 0.0]))


def test_a_spec_survives_a_checkpoint() -> None:
    assert FeatureSpec.from_plain(spec().plain()) == spec()
    assert all(isinstance(value, int | float | None) for value in spec().plain().values())
