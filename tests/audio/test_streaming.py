"""What is computed block after block is what the whole gives."""

import os
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from math import ceil

import numpy as np
import pytest
import torch

from genreclf.audio.log_mel import LogMel, to_steps
from genreclf.audio.resample import resample
from genreclf.audio.streaming import log_mel_frames, resampled, without_ends
from genreclf.inference.feature_extractor import _mapped


def noise(n_samples: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.2, n_samples).astype(np.float32)


def in_blocks(samples: np.ndarray, n_samples: int) -> Iterator[np.ndarray]:
    edges = [*range(0, len(samples), n_samples), len(samples)]
    return (samples[start:stop] for start, stop in pairwise(edges))


@pytest.mark.parametrize("block_samples", [100, 4096, 30_011, 10**6])
@pytest.mark.parametrize(("n_fft", "hop_length"), [(2048, 512), (2048, 1024), (512, 700), (1001, 250)])
def test_log_mel_in_blocks_is_that_of_the_whole(n_fft: int, hop_length: int, block_samples: int) -> None:
    samples = noise(90_001 if block_samples > 100 else 9_001)
    log_mel = LogMel(sample_rate=22050, n_fft=n_fft, hop_length=hop_length, n_mels=40)
    whole = to_steps(log_mel(torch.from_numpy(samples)))
    blocks = map(torch.from_numpy, in_blocks(samples, block_samples))
    parts = torch.cat(list(log_mel_frames(blocks, log_mel, n_fft=n_fft, hop_length=hop_length)), -1)
    assert parts.shape == whole.shape
    assert (to_steps(parts).int() - whole.int()).abs().max() <= 1


@pytest.mark.parametrize("n_samples", [1, 700, 2000])
def test_log_mel_of_less_than_a_window(n_samples: int) -> None:
    samples = torch.from_numpy(noise(n_samples))
    log_mel = LogMel(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=40)
    parts = torch.cat(list(log_mel_frames([samples], log_mel, n_fft=2048, hop_length=512)), -1)
    torch.testing.assert_close(parts, log_mel(samples))


@pytest.mark.parametrize("block_samples", [999, 50_000, 10**6])
@pytest.mark.parametrize("from_rate", [22050, 44100, 48000, 16000, 192_000, 11025, 44_101])
def test_resampling_in_blocks_is_that_of_the_whole(from_rate: int, block_samples: int) -> None:
    samples = noise(120_001)
    whole = resample(samples, from_rate, 22050)
    parts = torch.cat(list(resampled(in_blocks(samples, block_samples), from_rate, 22050))).numpy()
    assert parts.shape == whole.shape
    np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize("n_samples", [2, 3, 100])
@pytest.mark.parametrize(("from_rate", "to_rate"), [(1000, 22050), (44100, 22050), (1_000_000, 8000)])
def test_resampling_of_a_few_samples_in_blocks_is_that_of_the_whole(
    from_rate: int, to_rate: int, n_samples: int
) -> None:
    samples = noise(n_samples)
    whole = resample(samples, from_rate, to_rate)
    parts = torch.cat(list(resampled(in_blocks(samples, 1), from_rate, to_rate))).numpy()
    assert len(whole) == ceil(n_samples * to_rate / from_rate)
    np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (10, 0), (0, 10), (35, 47), (60, 39), (60, 60), (200, 0)])
def test_ends_are_left_out(start: int, end: int) -> None:
    samples = np.arange(100, dtype=np.float32)
    left = list(without_ends(in_blocks(samples, 13), start, end))
    np.testing.assert_array_equal(np.concatenate([np.zeros(0), *left]), samples[start : max(start, 100 - end)])


def test_a_spectrogram_larger_than_the_memory_is_mapped() -> None:
    frame_bytes = 128 * 2
    frames = 2 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // frame_bytes
    with tempfile.TemporaryFile() as file:
        file.seek((frames - 1) * frame_bytes)  # Holes: only the last frame is written.
        file.write(np.full(128, 7, np.int16).data)
        steps = _mapped(file, np.dtype(np.int16), 128)
        assert steps.shape == (frames, 128)
        assert (torch.from_numpy(steps)[-1] == 7).all()
