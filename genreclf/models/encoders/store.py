"""Embeddings of whole tracks, which are computed once and kept in a store."""

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
"""Largest number of windows in a batch for the encoder."""


def windows_of(blocks: Iterable[Tensor], window: int, hop: int, *, fills_up: bool = False) -> Iterator[Tensor]:
    """Cut a signal into windows that lie within it; a signal shorter than one window is repeated to fill it.

    Args:
        blocks: Consecutive parts of the signal, each ``(..., sample)``.
        window: Length of a window in samples.
        hop: Number of samples from the start of one window to the start of the next.
        fills_up: Whether a signal shorter than one window is left as it is instead.

    Yields:
        Batches of at most `WINDOWS_AT_ONCE` windows, ``(window, ..., sample)``.
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
        waiting = [held if fills_up else held[..., torch.arange(window) % held.shape[-1]]]
    if waiting:
        yield torch.stack(waiting)


class EmbeddingExtractor:
    """Embeds whole tracks in float16.

    The embedding of a window is the mean of the encoder's outputs over the frames, with all layers concatenated.

    Args:
        encoder: Encoder to use; its weights are loaded when the first track is embedded.
        device: Device to run the encoder on; an Apple GPU, which has no float64, is replaced by the CPU.
        frames_per_second: Frame rate of the log-mels, for an encoder that takes log-mels.
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
            Embeddings ``(window, value)``, with the values of all layers concatenated.

        Raises:
            UnreadableTrack: The embeddings are not finite.
        """
        self.make_ready()
        for windows in windows_of(blocks, self.window, self.hop, fills_up=self.encoder.fills_up):
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
        """Return the encoder; the first time, load the weights and move the encoder to the device."""
        with self._lock:
            if not self._is_ready:
                self.encoder.load()
                self.encoder.eval().requires_grad_(False).to(self.device)
            self._is_ready = True
        return self.encoder


def embedding_recipe(
    dataset: Dataset, encoder: Encoder, device: torch.device, log_mel: FeatureSpec | None = None
) -> tuple[Recipe, Encode]:
    """Return a recipe with all that stored embeddings depend on, and a function that computes a track's embeddings.

    Args:
        dataset: Dataset of the tracks.
        encoder: Encoder that computes the embeddings.
        device: Device to run the encoder on; a GPU embeds one track at a time.
        log_mel: Parameters of the spectrograms, for an encoder that takes log-mels.

    Raises:
        UserError: The encoder takes waveforms, but the dataset has none, or does not take spectrograms of that size.
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
    if not encoder.fills_up:  # Earlier versions filled up short tracks with zeros.
        settings["short"] = "repeated"
    if encoder.sample_rate is None:
        assert log_mel is not None
        encoder.check_size(log_mel.n_mels, extractor.window)
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
