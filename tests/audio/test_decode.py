import sys
from pathlib import Path
from subprocess import run

import librosa
import numpy as np
import pytest
import soundfile

from genreclf.audio.decode import decode, header_duration_s, open_audio, stream_of
from genreclf.audio.resample import resample
from genreclf.errors import UnreadableTrack


def write(path: Path, samples: np.ndarray, rate: int = 8000, **options: str) -> Path:
    soundfile.write(path, samples, rate, **options)
    return path


def test_16_bit_samples_are_divided_by_32768(tmp_path: Path) -> None:
    samples = np.array([[0, 1], [-32768, 32767], [12345, -1]], dtype=np.int16)
    for name in ("a.wav", "a.au", "a.flac"):
        waveform, rate = decode(write(tmp_path / name, samples, 22050, subtype="PCM_16"))
        assert rate == 22050
        assert waveform.dtype == np.float32
        np.testing.assert_array_equal(waveform, (samples.astype(np.float32) / 32768).mean(axis=1))


@pytest.mark.parametrize("suffix", ["ogg", "mp3"])
def test_compressed_files_decode(tmp_path: Path, suffix: str) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(22050) / 22050)
    waveform, rate = decode(write(tmp_path / f"a.{suffix}", tone, 22050))
    assert rate == 22050
    assert waveform.ndim == 1
    peak_hz = np.abs(np.fft.rfft(waveform[:22050])).argmax()
    assert peak_hz == pytest.approx(440, abs=1)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(0), "zero length"),
        (np.zeros(1), "1 sample"),
        (np.array([0, np.nan, 0]), "NaN or infinity"),
        (np.array([0, np.inf, 0]), "NaN or infinity"),
    ],
)
def test_unusable_samples_are_named(tmp_path: Path, samples: np.ndarray, reason: str) -> None:
    path = write(tmp_path / "a.wav", samples.astype(np.float32), subtype="FLOAT")
    with pytest.raises(UnreadableTrack, match=reason):
        decode(path)


def test_unusable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("not music " * 50)
    (tmp_path / "nothing.wav").touch()
    (tmp_path / "folder.wav").mkdir()
    for name, reason in {
        "text.wav": "not readable as audio: Format not recognised",
        "nothing.wav": "empty file",
        "folder.wav": "a folder",
        "gone.wav": "missing",
    }.items():
        with pytest.raises(UnreadableTrack, match=reason):
            decode(tmp_path / name)
        assert header_duration_s(tmp_path / name) is None


def test_header_duration(tmp_path: Path) -> None:
    assert header_duration_s(write(tmp_path / "a.wav", np.zeros((4000, 2)))) == 0.5


def test_channels_are_averaged_and_equal_rates_touch_nothing() -> None:
    stereo = np.array([[1, 0, -1], [0, 0.5, -1]], dtype=np.float32)
    (samples,) = stream_of(stereo, 8000)
    np.testing.assert_array_equal(samples, np.array([0.5, 0.25, -1], dtype=np.float32))
    assert resample(samples, 8000, 8000) is samples


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_the_whole_is_its_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtype: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, (5001, 2))
    path = write(tmp_path / "a.wav", noise, subtype=subtype)
    whole, _ = decode(path)
    monkeypatch.setattr("genreclf.audio.decode.BLOCK_VALUES", 1000)
    with open_audio(path) as stream:
        blocks = list(stream)
    assert [len(block) for block in blocks] == [500] * 10 + [1]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    np.testing.assert_array_equal(decode(path)[0], whole)


def test_silence_is_a_track_but_no_song(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.zeros(1000))
    assert not decode(path)[0].any()
    with pytest.raises(UnreadableTrack, match="digital silence"), open_audio(path) as stream:
        list(stream)


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44100, 22050), (22050, 16000), (8000, 22050), (44101, 22050)])
def test_resampling_is_librosas(from_rate: int, to_rate: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, from_rate).astype(np.float32)
    resampled = resample(noise, from_rate, to_rate)
    assert resampled.dtype == np.float32
    assert len(resampled) == to_rate
    expected = librosa.resample(noise, orig_sr=from_rate, target_sr=to_rate)
    np.testing.assert_array_equal(resampled, expected[:to_rate])


def test_resampling_passes_high_tones_and_no_aliases() -> None:
    def level_db(hertz: float) -> float:
        tone = np.sin(2 * np.pi * hertz * np.arange(44100) / 44100).astype(np.float32)
        return float(20 * np.log10(np.sqrt(2) * resample(tone, 44100, 22050)[1000:-1000].std()))

    assert abs(level_db(10_000)) < 0.01
    assert level_db(12_200) < -100


def test_listing_imports_no_torch() -> None:
    modules = "genreclf.audio.decode, genreclf.datasets.folder, genreclf.datasets.gtzan, genreclf.datasets.images"
    code = f"import sys, {modules}; print([m for m in ('torch', 'librosa', 'matplotlib') if m in sys.modules])"
    project = Path(__file__).parents[2]
    shown = run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project)
    assert shown.stdout.strip() == "[]"
