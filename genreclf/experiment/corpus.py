"""What a run is made of before any training: tracks, their spectrograms and the split."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from genreclf.audio.log_mel import TOP_DB, FeatureSpec
from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.data.encoding import store_of
from genreclf.data.store import Store
from genreclf.datasets.base import Dataset, ImageDataset, Track
from genreclf.devices import first_device
from genreclf.errors import UserError
from genreclf.splits.base import Split


@dataclass(frozen=True)
class Corpus:
    """What a run is made of.

    Attributes:
        source_name: Short name of the source.
        dataset: See `genreclf.datasets.base.Dataset.dataset`.
        tracks: All tracks of the source by id.
        store: Their spectrograms.
        spec: What these are.
        warnings: What a user should know about them.
    """

    source_name: str
    dataset: str
    tracks: Mapping[str, Track]
    store: Store
    spec: FeatureSpec
    warnings: tuple[str, ...]

    @property
    def genre_of(self) -> dict[str, str]:
        """Genre of each track by its id."""
        return {track.id: track.genre for track in self.tracks.values()}

    def split(self, config: Config) -> Split:
        """Return which tracks train, validate and test."""
        splitter = instantiate.make("split", config.split)
        split: Split = splitter.split(list(self.tracks.values()), self.store.lengths_frames, self.spec.clip_frames)
        return split


def load_corpus(config: Config, device: torch.device | None = None) -> Corpus:
    """List the tracks and open their store, building it if need be.

    Args:
        config: Its data and features are used.
        device: Where spectrograms are computed; None for the first device of the run.

    Raises:
        UserError: There is nothing to read, or it cannot be read.
    """
    source: Dataset = instantiate.make("data", config.source)
    tracks = source.tracks()
    spec = _spec(config, source, tracks)
    store = store_of(
        source,
        tracks,
        spec,
        directory=config.clips.store_dir,
        skip_unreadable=config.clips.skip_unreadable,
        device=device or first_device(config.trainer.accelerator),
    )
    if config.clips.clip_seconds == "square":
        spec = replace(spec, clip_frames=spec.n_mels)
    elif config.clips.clip_seconds == "whole":
        spec = replace(spec, clip_frames=max(store.lengths_frames.values()))
    warnings = list(source.warnings)
    if store.unreadable:
        named = ", ".join(f"{name} ({reason})" for name, reason in store.unreadable.items())
        warnings.append(f"{len(store.unreadable)} tracks that cannot be read are left out: {named}.")
    return Corpus(source.name, source.dataset, {track.id: track for track in tracks}, store, spec, tuple(warnings))


def _spec(config: Config, source: Dataset, tracks: list[Track]) -> FeatureSpec:
    """Return what the spectrograms of the source are, or shall be, with clips of 1 s where seconds do not say."""
    if isinstance(source, ImageDataset):
        return FeatureSpec.of_pictures(
            n_mels=source.n_mels,
            frames_per_second=source.frames_per_second(tracks),
            clip_seconds=_clip_seconds(config),
            rendering=source.rendering,
        )
    return audio_spec(config)


def audio_spec(config: Config) -> FeatureSpec:
    """Return what the spectrograms of audio shall be, with clips of 1 s where seconds do not say.

    Raises:
        UserError: The features leave out what audio needs.
    """
    features = config.features
    if not (features.sample_rate and features.n_fft and features.hop_length and features.n_mels):
        raise UserError("features.sample_rate, n_fft, hop_length and n_mels must be set for audio: features=log_mel.")
    return FeatureSpec.of_audio(
        sample_rate=features.sample_rate,
        n_fft=features.n_fft,
        hop_length=features.hop_length,
        n_mels=features.n_mels,
        clip_seconds=_clip_seconds(config),
        top_db=TOP_DB if features.scale == "decibel" else None,
    )


def _clip_seconds(config: Config) -> float:
    given = config.clips.clip_seconds
    return 1.0 if isinstance(given, str) else float(given)
