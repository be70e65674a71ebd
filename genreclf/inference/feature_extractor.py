"""Extract from a song, block by block, the features that a model was trained on."""

import math
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genreclf.audio.decode import AudioStream
from genreclf.audio.log_mel import (
    LIBROSA_PEAK80,
    PICTURE_RANGE_DB,
    STEP_DB,
    WAVEFORM_SAMPLES,
    FeatureSpec,
    LogMel,
    in_steps,
    to_steps,
)
from genreclf.audio.streaming import log_mel_frames, resampled, without_ends
from genreclf.data.encoding import columns_of
from genreclf.data.store import mapped
from genreclf.errors import UnreadableTrack, UserError
from genreclf.models.encoders.store import EmbeddingExtractor
from genreclf.run_directory import sentence_when_full

OVERVIEW_COLUMNS = 1500
"""Maximum number of columns of the spectrogram that is kept for display."""

_CHUNK_FRAMES = 1 << 14

BLOCK_SAMPLES = WAVEFORM_SAMPLES << 14
"""Number of samples of a stored waveform that are read back at a time."""


@dataclass(frozen=True)
class SongFeatures:
    """Features of a song, as a model takes them, with times and a spectrogram for display."""

    log_mel_q: Tensor
    """Quantized log-mel spectrogram, shape ``(frame, mel)``; memory-mapped, and valid only within the context of
    `FeatureExtractor.extract`."""
    overview_db: NDArray[np.float32]
    """Log-mel spectrogram for display in dB relative to 1, shape ``(mel, column)``."""
    start_s: float
    """Time of the first frame in the song, in seconds."""
    length_s: float
    """Length of the analyzed part of the song, in seconds."""
    duration_s: float
    """Length of the whole song, in seconds."""


class FeatureExtractor:
    """Extractor of the features that a model was trained on, for songs of any length in bounded memory.

    Args:
        spec: Parameters of the features.
        embedding_extractor: Extractor that computes the embeddings, if `spec` describes embeddings.

    Raises:
        UserError: `spec` describes images that were rendered in an unknown way.
    """

    def __init__(self, spec: FeatureSpec, embedding_extractor: EmbeddingExtractor | None = None) -> None:
        self.spec = spec
        self.embedding_extractor = embedding_extractor
        # Computes the log-mel spectrograms from which embeddings are computed, unless the encoder takes waveforms.
        self.of_source = None if spec.source is None else FeatureExtractor(spec.source)
        spec = spec.source or spec
        settings = spec.log_mel
        if spec.kind != "log_mel":
            if spec.sample_rate is None or (spec.kind == "embedding") != (embedding_extractor is not None):
                raise UserError("The model takes embeddings of unknown spectrograms: train it again.")
            # The log-mel spectrogram is computed for display only.
            settings = {**LIBROSA_PEAK80, "sample_rate": spec.sample_rate, "n_mels": 128}
        if settings is None:
            raise UserError(
                "The model was trained on pictures, and how they were made of audio is not known: "
                "train with data.rendering=librosa_peak80 if that is how, or with a dataset of audio."
            )
        self.sample_rate, self.n_mels = settings["sample_rate"], settings["n_mels"]
        self.n_fft, self.hop_length = settings["n_fft"], settings["hop_length"]
        self.range_hz = spec.range_hz or (0.0, self.sample_rate / 2)
        self.log_mel = LogMel(**settings)

    @property
    def notice(self) -> str | None:
        """Sentence for the user on how the model's features are made from audio; None if nothing is noteworthy."""
        if (rendering := (self.spec.source or self.spec).rendering) is None:
            return None
        return f"The model was trained on pictures ({rendering}): the same pictures are made of the audio."

    @contextmanager
    def extract(
        self, stream: AudioStream, *, skip_start_s: float = 0.0, skip_end_s: float = 0.0
    ) -> Iterator[SongFeatures]:
        """Extract the features of a song, as a context manager.

        Args:
            stream: Waveform of the song.
            skip_start_s: Seconds to leave out at the start.
            skip_end_s: Seconds to leave out at the end.

        Yields:
            The features, whose arrays must not be used after the context is closed.

        Raises:
            UnreadableTrack: The song cannot be used; the message says why.
            NoSpace: There is no space for temporary files.
        """
        for name, skip_s in (("skip_start_s", skip_start_s), ("skip_end_s", skip_end_s)):
            if not (isinstance(skip_s, Real) and 0 <= skip_s < math.inf):
                raise UnreadableTrack(f"{name}={skip_s} must be a number of seconds from 0 on")
        if self.of_source is not None:
            skipped = {"skip_start_s": skip_start_s, "skip_end_s": skip_end_s}
            with (
                self.of_source.extract(stream, **skipped) as song,
                sentence_when_full(),
                tempfile.TemporaryFile() as embedded,
            ):
                source, parts = self.of_source.spec, torch.split(song.log_mel_q, _CHUNK_FRAMES)
                levels_db = (part.T.float() * source.step_db + source.zero_db for part in parts)
                values = self._embeddings(levels_db, cast(BinaryIO, embedded))
                yield replace(song, log_mel_q=torch.from_numpy(values))
            return
        skips = round(skip_start_s * stream.sample_rate), round(skip_end_s * stream.sample_rate)
        with sentence_when_full(), tempfile.TemporaryFile() as file, tempfile.TemporaryFile() as samples:
            used_samples, is_audible = 0, False

            def blocks() -> Iterator[NDArray[np.float32]]:
                nonlocal used_samples, is_audible
                for block in without_ends(stream, *skips):
                    used_samples += len(block)
                    is_audible = is_audible or bool(block.any())
                    yield block
                if used_samples < 2 or not is_audible:
                    left = "nothing" if used_samples < 2 else "only digital silence"
                    raise UnreadableTrack(
                        f"{left} is left of its {stream.duration_s:.1f} s without the first {skip_start_s:g} s "
                        f"and the last {skip_end_s:g} s"
                    )

            waveform: Iterator[Tensor] = resampled(blocks(), stream.sample_rate, self.sample_rate)
            if self.spec.kind != "log_mel":
                waveform = _kept(waveform, cast(BinaryIO, samples))
            for part in log_mel_frames(waveform, self.log_mel, n_fft=self.n_fft, hop_length=self.hop_length):
                if not part.isfinite().all():
                    raise UnreadableTrack("samples far beyond full scale")
                file.write(to_steps(part).T.contiguous().numpy().data)
            steps = _mapped(cast(BinaryIO, file), np.dtype(np.int16), self.n_mels)
            overview_db = _columns(steps, min(len(steps), OVERVIEW_COLUMNS)) * STEP_DB
            with tempfile.TemporaryFile() as beside:
                log_mel_q: NDArray[np.generic] = steps
                if self.spec.kind != "log_mel":
                    log_mel_q = self._values(cast(BinaryIO, samples), cast(BinaryIO, beside))
                elif self.spec.rendering is not None:
                    length_s = used_samples / stream.sample_rate
                    columns = max(1, round(length_s * self.spec.frames_per_second))
                    log_mel_q = _picture(steps, columns, cast(BinaryIO, beside))
                elif self.spec.top_db is not None:
                    log_mel_q = _clipped(steps, self.spec.top_db, cast(BinaryIO, beside))
                yield SongFeatures(
                    log_mel_q=torch.from_numpy(log_mel_q),
                    overview_db=np.ascontiguousarray(overview_db.T),
                    start_s=skips[0] / stream.sample_rate,
                    length_s=used_samples / stream.sample_rate,
                    duration_s=stream.duration_s,
                )

    def _values(self, samples: BinaryIO, file: BinaryIO) -> NDArray[np.generic]:
        """Return the input of the network, ``(frame, value)``, for a waveform stored in the file `samples`."""
        waveform: NDArray[Any] = _mapped(samples, np.dtype(np.float32), 1)[:, 0]
        blocks = (waveform[i : i + BLOCK_SAMPLES] for i in range(0, len(waveform), BLOCK_SAMPLES))
        if self.embedding_extractor is None:
            for block in blocks:
                file.write(columns_of(block).data)
            return _mapped(file, np.dtype(np.int16), self.spec.n_mels)
        return self._embeddings(map(torch.from_numpy, blocks), file)

    def _embeddings(self, blocks: Iterable[Tensor], file: BinaryIO) -> NDArray[np.generic]:
        """Return the embeddings ``(window, value)`` of a waveform or a log-mel spectrogram given in blocks."""
        assert self.embedding_extractor is not None
        for values in self.embedding_extractor.of_blocks(blocks):
            file.write(values.data)
        return _mapped(file, np.dtype(np.float16), self.spec.n_mels)


def _kept(blocks: Iterator[Tensor], file: BinaryIO) -> Iterator[Tensor]:
    """Yield blocks ``(sample,)`` after writing them to a file."""
    for block in blocks:
        file.write(block.numpy().data)
        yield block


def _mapped(file: BinaryIO, dtype: np.dtype[np.generic], n_mels: int) -> NDArray[np.generic]:
    """Return the content of a file as a memory-mapped array ``(frame, mel)``."""
    file.flush()
    frames = file.tell() // (n_mels * dtype.itemsize)
    return mapped(file, dtype, (frames, n_mels))


def _peak(steps: NDArray[np.generic]) -> int:
    return max(int(steps[i : i + _CHUNK_FRAMES].max()) for i in range(0, len(steps), _CHUNK_FRAMES))


def _clipped(steps: NDArray[np.generic], top_db: float, file: BinaryIO) -> NDArray[np.generic]:
    """Return quantized levels ``(frame, mel)``, clipped at `top_db` dB below their peak."""
    floor = _peak(steps) - in_steps(top_db)
    for i in range(0, len(steps), _CHUNK_FRAMES):
        file.write(np.maximum(steps[i : i + _CHUNK_FRAMES], np.int16(floor)).data)
    return _mapped(file, steps.dtype, steps.shape[1])


def _picture(steps: NDArray[np.generic], columns: int, file: BinaryIO) -> NDArray[np.generic]:
    """Render quantized levels ``(frame, mel)`` as an image ``(column, mel)`` of 256 levels of gray."""
    peak = _peak(steps)
    lowest = min(int(steps[i : i + _CHUNK_FRAMES].min()) for i in range(0, len(steps), _CHUNK_FRAMES))
    floor = max(lowest, peak - in_steps(PICTURE_RANGE_DB))
    for first in range(0, columns, _CHUNK_FRAMES):
        levels_db = _columns(steps, columns, first, min(columns, first + _CHUNK_FRAMES), lowest=floor)
        gray = (levels_db - floor) / max(1, peak - floor) * 255
        file.write(np.rint(gray).astype(np.uint8).data)
    return _mapped(file, np.dtype(np.uint8), steps.shape[1])


def _columns(
    steps: NDArray[np.generic], columns: int, first: int = 0, stop: int | None = None, lowest: float = -np.inf
) -> NDArray[np.float32]:
    """Average frames ``(frame, mel)`` over `columns` columns of equal width; return columns `first` to `stop`."""
    means = np.empty(((columns if stop is None else stop) - first, steps.shape[1]), np.float32)
    width = len(steps) / columns
    for row in range(len(means)):
        left, right = (first + row) * width, (first + row + 1) * width
        start, end = int(left), min(len(steps), int(np.ceil(right - 1e-9)))
        weights = np.ones(end - start)
        weights[0] -= left - start
        weights[-1] -= end - right
        frames = np.maximum(steps[start:end].astype(np.float32), lowest)
        means[row] = weights @ frames / weights.sum()
    return means
