"""Compute and store the spectrograms of a dataset."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path
from torch import Tensor

from genreclf.audio.log_mel import WAVEFORM_SAMPLES, FeatureSpec, LogMel, in_steps, is_odd, to_steps
from genreclf.audio.scaling import FULL_SCALE
from genreclf.data.encode_all import Encode
from genreclf.data.store import Recipe, Store, open_or_build
from genreclf.datasets.base import AudioDataset, Dataset, ImageDataset, Track
from genreclf.datasets.checks import checked_picture, checked_waveform
from genreclf.devices import device_errors, exactly
from genreclf.errors import UserError
from genreclf.hardware import reuse_memory

FRAMES_AT_ONCE = 256
"""Number of frames transformed at a time; small enough for CPU caches, and to bound the memory of long tracks."""

CPU = torch.device("cpu")


def store_of(
    dataset: Dataset,
    tracks: Sequence[Track],
    spec: FeatureSpec,
    *,
    directory: str | Path | None = None,
    skip_unreadable: bool = False,
    device: torch.device = CPU,
) -> Store:
    """Open the store of `tracks`, and build it first if it does not exist.

    Args:
        dataset: Dataset that the tracks belong to.
        tracks: Tracks to store.
        spec: Parameters of the spectrograms; the length of a clip does not matter.
        directory: Folder that contains the stores; None for the user's cache folder.
        skip_unreadable: Whether to leave out tracks that cannot be read, instead of raising an error.
        device: Device that computes the spectrograms if the store does not exist. A GPU computes one track at a time,
            and its memory is freed afterward; instead of an Apple GPU, which lacks float64, the CPU is used. Values may
            differ by one quantization step (1/256 dB) between kinds of devices.

    Raises:
        UserError: Tracks cannot be read, or the store cannot be written or is damaged.
    """
    recipe, encode = log_mel_recipe(dataset, spec, device)
    return open_store(recipe, encode, tracks, directory=directory, skip_unreadable=skip_unreadable)


def stores_folder(directory: str | Path | None) -> Path:
    """Return the folder that contains the stores: `directory` or, if it is None, a folder in the user's cache."""
    return Path(directory).expanduser() if directory else user_cache_path("genreclf") / "stores"


def open_store(
    recipe: Recipe,
    encode: Encode,
    tracks: Sequence[Track],
    *,
    directory: str | Path | None = None,
    skip_unreadable: bool = False,
) -> Store:
    """Open the store that `recipe` describes, and build it with `encode` if it does not exist; see `store_of`.

    Args:
        recipe: Everything that the stored values depend on besides the tracks.
        encode: Function that computes the stored values of a track.
        tracks: Tracks to store.
        directory: Folder that contains the stores; None for the user's cache folder.
        skip_unreadable: Whether to leave out tracks that cannot be read, instead of raising an error.

    Raises:
        UserError: Tracks cannot be read, or the store cannot be written or is damaged.
    """
    reuse_memory()  # This also affects training, which always opens a store first.
    try:
        return open_or_build(
            directory=stores_folder(directory),
            recipe=recipe,
            tracks=tracks,
            encode=encode,
            skip_unreadable=skip_unreadable,
        )
    finally:
        torch.cuda.empty_cache()


def columns_of(waveform: NDArray[np.float32]) -> NDArray[np.int16]:
    """Quantize a waveform ``(sample,)`` to the stored form ``(column, sample)``; silence fills up the last column."""
    columns = max(1, -(-len(waveform) // WAVEFORM_SAMPLES))
    filled = np.pad(waveform, (0, columns * WAVEFORM_SAMPLES - len(waveform))).reshape(columns, WAVEFORM_SAMPLES)
    limits = np.iinfo(np.int16)
    return np.clip(np.rint(filled * FULL_SCALE), limits.min, limits.max).astype(np.int16)


def waveform_recipe(dataset: Dataset, sample_rate: int) -> tuple[Recipe, Encode]:
    """Return the recipe of a store of waveforms, and the function that reads a waveform ``(column, sample)``."""
    if not isinstance(dataset, AudioDataset):
        raise UserError(f"data: {type(dataset).__name__} has no waveforms; choose a dataset of audio.")

    def encode(track: Track) -> NDArray[np.int16]:
        return columns_of(checked_waveform(dataset, track, sample_rate))

    return Recipe(dataset.name, "int16", WAVEFORM_SAMPLES, {"waveform": sample_rate}, "Waveforms"), encode


def log_mel_recipe(dataset: Dataset, spec: FeatureSpec, device: torch.device) -> tuple[Recipe, Encode]:
    """Return the recipe of a store of spectrograms, and the function that computes the stored values of a track."""
    if isinstance(dataset, ImageDataset):
        return Recipe(dataset.name, "uint8", spec.n_mels, {}), lambda track: checked_picture(dataset, track).T
    if not isinstance(dataset, AudioDataset):
        raise UserError(f"data: {type(dataset).__name__} is neither an AudioDataset nor an ImageDataset.")
    settings = spec.log_mel
    assert settings is not None
    device = CPU if device.type == "mps" else device
    # All tracks share one thread, since cuBLAS keeps memory for every thread that has used it.
    gpu_thread = ThreadPoolExecutor(1)

    @cache
    def log_mel() -> LogMel:
        return LogMel(**settings).to(device)

    @device_errors("end other programs on it, or build the store on the CPU, with prepare and trainer=cpu")
    @exactly()
    @torch.inference_mode()
    def transform(waveform: Tensor) -> NDArray[np.int16]:
        frames = torch.split(log_mel().frames(waveform.to(device)), FRAMES_AT_ONCE)
        steps = torch.cat([to_steps(log_mel().of_frames(some)).T for some in frames])
        if spec.top_db is not None:
            steps.clamp_(min=int(steps.max()) - in_steps(spec.top_db))
        stored: NDArray[np.int16] = steps.cpu().numpy()
        return stored

    def encode(track: Track) -> NDArray[np.int16]:
        waveform = torch.from_numpy(checked_waveform(dataset, track, settings["sample_rate"]))
        return transform(waveform) if device.type == "cpu" else gpu_thread.submit(transform, waveform).result()

    # Settings at their defaults are left out, so that stores of earlier versions stay valid.
    named = {key: value for key, value in spec.plain().items() if key in (*settings, "top_db") and value is not None}
    if is_odd(settings["n_fft"], settings["sample_rate"]):
        named["filters"] = "librosa"  # Stores of earlier versions have wrong values in this case.
    return Recipe(dataset.name, "int16", spec.n_mels, named), encode
