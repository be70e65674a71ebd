"""Embeddings of whole tracks, computed once and kept in a store."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genreclf.audio.log_mel import FeatureSpec
from genreclf.data.encode_all import Encode
from genreclf.data.encoding import log_mel_recipe
from genreclf.data.store import Recipe
from genreclf.datasets.base import AudioDataset, Dataset, Track
from genreclf.datasets.checks import checked_waveform
from genreclf.devices import device_errors, exactly
from genreclf.errors import UnreadableTrack, UserError
from genreclf.models.encoders.base import Encoder

WINDOWS_AT_ONCE = 8
"""Windows that an encoder embeds at a time."""


def windows_of(blocks: Iterable[Tensor], window: int, hop: int) -> Iterator[Tensor]:
    """Cut a signal into windows, of which the last one ends within it; a signal shorter than one ends in zeros.

    Args:
        blocks: Consecutive parts of the signal, ``(..., sample)`` each.
        window: Length of a window in samples.
        hop: Samples from one window to the next.

    Yields:
        At most `WINDOWS_AT_ONCE` windows, ``(window, ..., sample)``.
    """
    held: Tensor | None = None
    waiting: list[Tensor] = []
    found = False
    for block in blocks:
        held = block if held is None else torch.cat([held, block], -1)
        start = 0
        while start + window <= held.shape[-1]:
            waiting.append(held[..., start : start + window])
            start += hop
            found = True
            if len(waiting) == WINDOWS_AT_ONCE:
                yield torch.stack(waiting)
                waiting = []
        held = held[..., start:]
    if not found and held is not None:
        waiting = [torch.nn.functional.pad(held, (0, window - held.shape[-1]))]
    if waiting:
        yield torch.stack(waiting)


class EmbeddingExtractor:
    """Embeds whole tracks: of each window, the mean of the encoder's frames, a layer after the other, in float16.

    Args:
        encoder: Its weights are loaded when the first track is embedded.
        device: Where it runs; the CPU instead of an Apple GPU, which has no float64.
        frames_per_second: Of the log-mel, if it takes one.
    """

    def __init__(self, encoder: Encoder, device: torch.device, frames_per_second: float | None = None) -> None:
        self.encoder = encoder
        self.device = torch.device("cpu") if device.type == "mps" else device
        rate = encoder.sample_rate or frames_per_second or 1.0
        self.window, self.hop = max(1, round(encoder.window_s * rate)), max(1, round(encoder.hop_s * rate))
        self._lock, self._is_ready = Lock(), False

    def of_blocks(self, blocks: Iterable[Tensor]) -> Iterator[NDArray[np.float16]]:
        """Embed a signal of any length in bounded memory.

        Args:
            blocks: Consecutive parts of a waveform ``(sample,)``, or of a log-mel in dB, ``(mel, frame)``.

        Yields:
            Embeddings ``(window, value)``, the values of all layers one after the other.

        Raises:
            UnreadableTrack: They are not finite.
        """
        self.make_ready()
        for windows in windows_of(blocks, self.window, self.hop):
            yield self._embedded(windows)

    @device_errors("end other programs on it, or compute on the CPU, with trainer=cpu")
    @exactly()
    @torch.inference_mode()
    def _embedded(self, windows: Tensor) -> NDArray[np.float16]:
        layers = self.encoder.embed(windows.to(self.device).float()).mean(2)
        values = torch.cat(
            [layer[:, :size] for layer, size in zip(layers.unbind(1), self.encoder.dimensions, strict=True)], 1
        )
        if not values.isfinite().all():
            raise UnreadableTrack("its embeddings from the encoder are not finite")
        limit = torch.finfo(torch.float16).max
        embedded: NDArray[np.float16] = values.clamp(-limit, limit).half().cpu().numpy()
        return embedded

    def make_ready(self) -> Encoder:
        """Load the encoder's weights and bring it to the device, the first time; return it."""
        with self._lock:
            if not self._is_ready:
                self.encoder.load()
                self.encoder.eval().requires_grad_(False).to(self.device)
            self._is_ready = True
        return self.encoder


def embedding_recipe(
    dataset: Dataset, encoder: Encoder, device: torch.device, log_mel: FeatureSpec | None = None
) -> tuple[Recipe, Encode]:
    """Return what stored embeddings depend on, and the function that computes those of a track.

    Args:
        dataset: Of the tracks.
        encoder: Whose embeddings they are.
        device: Where it runs, one track at a time if it is a GPU.
        log_mel: The spectrograms, for an encoder that takes them.

    Raises:
        UserError: The encoder takes waveforms, and there are none.
    """
    gpu_thread = ThreadPoolExecutor(1)
    extractor = EmbeddingExtractor(encoder, device, log_mel.frames_per_second if log_mel else None)
    settings = {
        "encoder": encoder.name,
        "sha256": encoder.provenance.sha256,
        "layers": list(encoder.layers),
        "pooling": ["mean", encoder.window_s, encoder.hop_s],
        **encoder.options,
    }
    if encoder.sample_rate is None:
        assert log_mel is not None
        recipe, spectrogram = log_mel_recipe(dataset, log_mel, device)
        settings["log_mel"] = sorted(recipe.settings.items())

        def signal(track: Track) -> Tensor:
            stored = torch.from_numpy(spectrogram(track)).T.float()
            return stored * log_mel.step_db + log_mel.zero_db

    elif isinstance(dataset, AudioDataset):
        rate = encoder.sample_rate

        def signal(track: Track) -> Tensor:
            return torch.from_numpy(checked_waveform(dataset, track, rate))

    else:
        raise UserError(f"data: {type(dataset).__name__} has no waveforms, which encoder={encoder.name} needs.")

    def embed(x: Tensor) -> NDArray[np.float16]:
        return np.concatenate(list(extractor.of_blocks([x])))

    def encode(track: Track) -> NDArray[np.float16]:
        x = signal(track)
        return embed(x) if extractor.device.type == "cpu" else gpu_thread.submit(embed, x).result()

    return Recipe(dataset.name, "float16", sum(encoder.dimensions), settings, "Embeddings"), encode
