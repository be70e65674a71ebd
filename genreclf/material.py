"""What a run is made of before any training: tracks, their spectrograms and the split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genreclf import targets
from genreclf.config import Config
from genreclf.data.source import AudioSource, PictureSource, Source, Track
from genreclf.data.split import Assignment
from genreclf.data.store import Recipe, Store, open_or_build
from genreclf.errors import UserError
from genreclf.features import FeatureSpec


@dataclass(frozen=True)
class Material:
    """What a run is made of.

    Attributes:
        source_name: Short name of the source.
        tracks: All tracks of the source by id.
        store: Their spectrograms.
        spec: What these are.
        notices: What a user should know about them.
    """

    source_name: str
    tracks: Mapping[str, Track]
    store: Store
    spec: FeatureSpec
    notices: tuple[str, ...]

    @property
    def genre_of(self) -> dict[str, str]:
        """Genre of each track by its id."""
        return {track.id: track.genre for track in self.tracks.values()}

    def split(self, config: Config) -> Assignment:
        """Return which tracks train, validate and test."""
        splitter = targets.make("split", config.split)
        assignment: Assignment = splitter.assign(
            list(self.tracks.values()), self.store.lengths_frames, self.spec.clip_frames
        )
        return assignment


def gather(config: Config) -> Material:
    """List the tracks and open their store, building it if need be.

    Raises:
        UserError: There is nothing to read, or it cannot be read.
    """
    source: Source = targets.make("data", config.source)
    tracks = source.tracks()
    directory = Path(config.clips.store_dir).expanduser() if config.clips.store_dir else _cache()
    spec, recipe, encode = _making(config, source, tracks)
    store = open_or_build(
        directory=directory,
        recipe=recipe,
        tracks=tracks,
        encode=encode,
        skip_unreadable=config.clips.skip_unreadable,
    )
    notices = list(source.notices)
    if store.unreadable:
        named = ", ".join(f"{name} ({reason})" for name, reason in store.unreadable.items())
        notices.append(f"{len(store.unreadable)} tracks that cannot be read are left out: {named}.")
    return Material(source.name, {track.id: track for track in tracks}, store, spec, tuple(notices))


def _cache() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("genreclf") / "stores"


def _making(config: Config, source: Source, tracks: list[Track]) -> tuple[FeatureSpec, Recipe, Any]:
    """Return what the stored values are, what they depend on, and what makes those of a track."""
    clip_seconds = config.clips.clip_seconds
    if isinstance(source, PictureSource):
        spec = FeatureSpec.of_pictures(
            n_mels=source.n_mels, frames_per_second=source.frames_per_second(tracks), clip_seconds=clip_seconds
        )
        pictures = source

        def picture(track: Track) -> NDArray[np.uint8]:
            return pictures.picture(track).T

        return spec, Recipe(source.name, "uint8", source.n_mels, {}), picture
    if not isinstance(source, AudioSource):
        raise UserError(f"data: {type(source).__name__} is neither an AudioSource nor a PictureSource.")
    settings = {
        "sample_rate": config.features.sample_rate or 0,
        "n_fft": config.features.n_fft or 0,
        "hop_length": config.features.hop_length or 0,
        "n_mels": config.features.n_mels or 0,
    }
    if not all(settings.values()):
        missing = next(name for name, value in settings.items() if not value)
        raise UserError(f"features.{missing} must be set for audio, for example with features=log_mel.")
    spec = FeatureSpec.of_audio(**settings, clip_seconds=clip_seconds)
    return spec, Recipe(source.name, "int16", spec.n_mels, settings), _log_mel_encoder(source, settings)


def _log_mel_encoder(source: AudioSource, settings: dict[str, int]) -> Any:
    import torch

    from genreclf.features import LogMel, to_steps

    log_mel = LogMel(**settings)

    @torch.inference_mode()
    def encode(track: Track) -> NDArray[np.int16]:
        waveform = torch.from_numpy(source.waveform(track, settings["sample_rate"]))
        stored: NDArray[np.int16] = to_steps(log_mel(waveform)).T.contiguous().numpy()
        return stored

    return encode
