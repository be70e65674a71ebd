"""Resample a waveform and compute its log-mel spectrogram block by block, with the same result as for the whole."""

from collections.abc import Callable, Iterable, Iterator
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genreclf.audio.log_mel import LogMel
from genreclf.audio.resample import RESAMPLING_QUALITY, resampled_length


def blockwise(
    function: Callable[[Tensor], Tensor],
    blocks: Iterable[Tensor],
    *,
    step_samples: int,
    step_outputs: int,
    margin_steps: int,
) -> Iterator[Tensor]:
    """Apply a function with a bounded context block by block, with the same result as on the whole waveform.

    Args:
        function: Function that maps a waveform ``(sample,)`` to ``(..., output)``, treating everything outside the
            waveform as silence.
        blocks: Consecutive parts of the waveform, each of shape ``(sample,)``.
        step_samples: Number of samples that the function advances per step.
        step_outputs: Number of outputs per step.
        margin_steps: Number of steps to the left and to the right that the outputs of a step may depend on.

    Yields:
        Consecutive parts of the output, each of shape ``(..., output)``; the last one may be empty.
    """
    held, first_step, done_steps = torch.zeros(0), 0, 0
    for block in blocks:
        held = torch.cat([held, block])
        ready_steps = first_step + len(held) // step_samples - margin_steps
        if ready_steps <= done_steps:
            continue
        outputs = function(held)
        yield outputs[..., (done_steps - first_step) * step_outputs : (ready_steps - first_step) * step_outputs]
        done_steps = ready_steps
        keep_step = max(0, done_steps - margin_steps)
        held, first_step = held[(keep_step - first_step) * step_samples :], keep_step
    yield function(held)[..., (done_steps - first_step) * step_outputs :]


def resampled(blocks: Iterable[NDArray[np.float32]], from_rate: int, to_rate: int) -> Iterator[Tensor]:
    """Resample a waveform given in blocks ``(sample,)``, as `genreclf.audio.resample.resample` does at once.

    Yields:
        Blocks ``(sample,)`` at `to_rate` Hz, which together have exactly the samples of the whole resampled waveform.
    """
    if from_rate == to_rate:
        yield from map(torch.from_numpy, blocks)
        return
    import soxr

    stream = soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality=RESAMPLING_QUALITY)
    n_in = n_out = 0
    for block in blocks:
        n_in += len(block)
        part = stream.resample_chunk(block)
        n_out += len(part)
        yield torch.from_numpy(part)
    rest = stream.resample_chunk(np.zeros(0, np.float32), last=True)
    missing_samples = resampled_length(n_in, from_rate, to_rate) - n_out
    yield torch.from_numpy(np.pad(rest, (0, max(0, missing_samples - len(rest))))[:missing_samples])


def log_mel_frames(blocks: Iterable[Tensor], log_mel: LogMel, *, n_fft: int, hop_length: int) -> Iterator[Tensor]:
    """Yield the log-mel spectrogram in dB, in parts ``(mel, frame)``, of a waveform given in blocks ``(sample,)``."""
    return blockwise(
        log_mel, blocks, step_samples=hop_length, step_outputs=1, margin_steps=ceil((n_fft + 1) / 2 / hop_length)
    )


def without_ends(
    blocks: Iterable[NDArray[np.float32]], skip_start_samples: int, skip_end_samples: int
) -> Iterator[NDArray[np.float32]]:
    """Drop samples at the start and the end of a waveform given in blocks ``(sample,)``."""
    to_skip, held = skip_start_samples, np.zeros(0, np.float32)
    for block in blocks:
        left = block[to_skip:]
        to_skip -= len(block) - len(left)
        held = np.concatenate([held, left])
        safe_samples = len(held) - skip_end_samples
        if safe_samples > 0:
            yield held[:safe_samples]
            held = held[safe_samples:]
