"""Compute the spectrograms of a dataset and store them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path

from genreclf.audio.log_mel import FeatureSpec, LogMel, in_steps, to_steps
from genreclf.data.encode_all import Encode
from genreclf.data.store import Recipe, Store, open_or_build
from genreclf.datasets.base import AudioDataset, Dataset, ImageDataset, Track
from genreclf.errors import UserError
from genreclf.hardware import reuse_memory

FRAMES_AT_ONCE = 256
"""Frames transformed at a time: few enough for the processor's caches, and to bound the memory of long tracks."""


def store_of(
    source: Dataset,
    tracks: Sequence[Track],
    spec: FeatureSpec,
    *,
    directory: str | Path | None = None,
    skip_unreadable: bool = False,
) -> Store:
    """Open the store of `tracks`, building it first if it is not there.

    Args:
        source: Of the tracks.
        tracks: The tracks to store.
        spec: How the spectrograms are computed; the length of a clip does not matter.
        directory: Where stores are kept; None for the user's cache folder.
        skip_unreadable: Leave out tracks that cannot be read instead of stopping.

    Raises:
        UserError: Tracks cannot be read, or the disk is full.
    """
    reuse_memory()  # For what follows too: every training opens a store first.
    recipe, encode = _making(source, spec)
    return open_or_build(
        directory=Path(directory).expanduser() if directory else user_cache_path("genreclf") / "stores",
        recipe=recipe,
        tracks=tracks,
        encode=encode,
        skip_unreadable=skip_unreadable,
    )


def _making(source: Dataset, spec: FeatureSpec) -> tuple[Recipe, Encode]:
    """Return what the stored values depend on, and the function that computes those of a track."""
    if isinstance(source, ImageDataset):
        return Recipe(source.name, "uint8", spec.n_mels, {}), lambda track: source.picture(track).T
    if not isinstance(source, AudioDataset):
        raise UserError(f"data: {type(source).__name__} is neither an AudioDataset nor an ImageDataset.")
    settings = {
        "sample_rate": spec.sample_rate or 0,
        "n_fft": spec.n_fft or 0,
        "hop_length": spec.hop_length or 0,
        "n_mels": spec.n_mels,
    }
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    log_mel = LogMel(**settings).to(device)

    @torch.inference_mode()
    def encode(track: Track) -> NDArray[np.int16]:
        waveform = torch.from_numpy(source.waveform(track, settings["sample_rate"])).to(device)
        frames = torch.split(log_mel.frames(waveform), FRAMES_AT_ONCE)
        steps = torch.cat([to_steps(log_mel.of_frames(some)).T for some in frames])
        if spec.top_db is not None:
            steps.clamp_(min=int(steps.max()) - in_steps(spec.top_db))
        stored: NDArray[np.int16] = steps.cpu().numpy()
        return stored

    clipping = {} if spec.top_db is None else {"top_db": spec.top_db}
    return Recipe(source.name, "int16", spec.n_mels, settings | clipping), encode
