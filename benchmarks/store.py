"""Cost of building a store, compared with librosa, with torchaudio and with the minimum of necessary work."""

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genreclf.audio.decode import decode
from genreclf.audio.log_mel import FeatureSpec
from genreclf.data.encoding import store_of
from genreclf.datasets.folder import Folder
from genreclf.hardware import cores

ROUNDS = 5
"""Number of times that all ways are measured, one after the other; the fastest time of each way counts."""

SPEC = FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=128, clip_seconds=10)
"""The default features."""


def measure_store(files: Sequence[Path]) -> dict[str, Any]:
    """Compare building a store from audio files with loops that save one array per file.

    The floor is to decode all files and then transform all their frames in float64 on all cores, and nothing else.

    Args:
        files: Audio files ``<root>/<genre>/<song>`` at 22,050 Hz.

    Returns:
        Milliseconds per track of each way, and the ratios ``vs_librosa`` and ``vs_torchaudio`` (how many times faster
        the store is) and ``vs_floor`` (how many times slower it is).
    """
    root = files[0].parent.parent
    by_torchaudio = _by_torchaudio()
    ways: dict[str, Callable[[], float]] = {
        "store": lambda: build_s(root, len(files)),
        "librosa": lambda: _one_by_one(_by_librosa, files),
        "torchaudio": lambda: _one_by_one(by_torchaudio, files),
        "read_bytes": lambda: _one_by_one(Path.read_bytes, files),
        "decode": lambda: _floor(files)[0],
        "transform": lambda: _floor(files)[1],
    }
    rounds = [{name: way() for name, way in ways.items()} for _ in range(ROUNDS)]
    seconds = {name: min(spent[name] for spent in rounds) for name in ways}
    return {
        "tracks": len(files),
        "ms_per_track": {name: round(1e3 * spent / len(files), 2) for name, spent in seconds.items()},
        "vs_librosa": round(seconds["librosa"] / seconds["store"], 2),
        "vs_torchaudio": round(seconds["torchaudio"] / seconds["store"], 2),
        "vs_floor": round(seconds["store"] / (seconds["decode"] + seconds["transform"]), 2),
    }


def build_s(root: Path, at_most: int) -> float:
    """Return the seconds to build a store of the first `at_most` songs below `root` in a new folder."""
    with tempfile.TemporaryDirectory() as directory:
        source = Folder(root=root)
        return _seconds(lambda: store_of(source, source.tracks()[:at_most], SPEC, directory=directory))


def _by_librosa(file: Path) -> None:
    import librosa

    samples, sample_rate = librosa.load(file, sr=None)
    power = librosa.feature.melspectrogram(y=samples, sr=sample_rate, n_fft=2048, hop_length=512, n_mels=128)
    np.save(file.with_suffix(".npy"), librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None))


def _by_torchaudio() -> Callable[[Path], None]:
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    mel = MelSpectrogram(22050, 2048, hop_length=512, n_mels=128, norm="slaney", mel_scale="slaney")
    decibel = AmplitudeToDB()

    def features(file: Path) -> None:
        samples, _ = decode(file)
        np.save(file.with_suffix(".npy"), decibel(mel(torch.from_numpy(samples))).numpy())

    return features


def _floor(files: Sequence[Path]) -> tuple[float, float]:
    """Return the seconds of decoding alone and of the Fourier transforms alone on all cores."""
    samples, _ = decode(files[0])
    frames = torch.from_numpy(samples).double().unfold(0, 2048, 512).contiguous()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(decode, files[:4]))
            decoding = _seconds(lambda: list(pool.map(decode, files)))
            list(pool.map(lambda _: torch.fft.rfft(frames), range(4)))
            return decoding, _seconds(lambda: list(pool.map(lambda _: torch.fft.rfft(frames), files)))
    finally:
        torch.set_num_threads(threads)


def _one_by_one(features: Callable[[Path], object], files: Sequence[Path]) -> float:
    """Return the seconds of a plain loop over the files, after one untimed file for imports and filter banks."""
    features(files[0])
    started_s = time.perf_counter()
    for file in files:
        features(file)
    return time.perf_counter() - started_s


def _seconds(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    with torch.inference_mode():
        work()
    return time.perf_counter() - started_s
