"""Load the data of a run: tracks, their stored features and the split."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from genreclf.audio.log_mel import TOP_DB, FeatureSpec
from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.data.encode_all import Encode
from genreclf.data.encoding import log_mel_recipe, open_store, waveform_recipe
from genreclf.data.store import Recipe, Store
from genreclf.datasets.base import Dataset, ImageDataset, Track
from genreclf.datasets.checks import checked_rate, checked_tracks
from genreclf.datasets.genres import map_genres, of_known_genres, read_genre_map
from genreclf.devices import first_device
from genreclf.errors import UserError
from genreclf.models.encoders.base import Encoder
from genreclf.models.encoders.store import embedding_recipe
from genreclf.splits.base import Split
from genreclf.splits.lists import AllTest, FaultFiltered, ListSplitter, Official
from genreclf.splits.parts import inner_split, with_fewer
from genreclf.splits.rules import ArtistFolds, TrackSplitter

WHOLE_TRACKS = (AllTest, FaultFiltered, Official, ListSplitter, ArtistFolds, TrackSplitter)
"""Splitters that divide tracks independently of their lengths."""

Check = Callable[[Config, Sequence[Track]], None]
"""Function that raises a `UserError` if a run cannot use the given tracks."""


@dataclass(frozen=True)
class Corpus:
    """Tracks of a run with their stored features."""

    dataset_name: str
    """Short name of the dataset."""
    dataset: str
    """Identifier of the dataset; see `genreclf.datasets.base.Dataset.dataset`."""
    tracks: Mapping[str, Track]
    """All tracks, by track id."""
    store: Store
    """Stored spectrograms, waveforms or embeddings of the tracks."""
    spec: FeatureSpec
    """Parameters of the stored features and the clips."""
    warnings: tuple[str, ...]
    """Warnings for the user, such as which tracks cannot be read."""

    @property
    def genre_of(self) -> dict[str, str]:
        """Genre of each track, by track id."""
        return {track.id: track.genre for track in self.tracks.values()}

    def of_genres(self, known: Collection[str]) -> "Corpus":
        """Return the corpus without tracks of genres that a model does not know.

        A warning is added if tracks are dropped.

        Args:
            known: Genres of the model.

        Raises:
            UserError: The model knows none of the genres.
        """
        kept, warnings = of_known_genres(list(self.tracks.values()), known)
        return replace(self, tracks={track.id: track for track in kept}, warnings=(*self.warnings, *warnings))

    def split(self, config: Config, *, trains: bool = True) -> Split:
        """Return the division of the tracks into training, validation and test; for `trains` see `split_of`."""
        frames, clip_frames = self.store.lengths_frames, self.spec.clip_frames
        return split_of(config, list(self.tracks.values()), frames, clip_frames, trains=trains)


def split_of(
    config: Config, tracks: Sequence[Track], frames: Mapping[str, int], clip_frames: int, *, trains: bool = True
) -> Split:
    """Return the division of tracks into training, validation and test, reduced to a part of it if so configured.

    Args:
        config: Configuration of the run; only its split is used.
        tracks: All tracks.
        frames: Length of each readable track, in frames of the store.
        clip_frames: Length of a clip in frames.
        trains: Whether a model is trained on the split; otherwise no warning says how many tracks are trained on.

    Raises:
        UserError: The tracks cannot be divided as configured.
    """
    splitter = instantiate.make("split", config.split)
    split: Split = splitter.split(tracks, frames, clip_frames)
    part = config.subsets
    if part.inner_fold is not None:
        own = vars(splitter)
        settings = {key: own[key] for key in ("seed", "allow_missing") if key in own}
        split = inner_split(split, tracks, folds=part.inner_folds, fold=part.inner_fold, **settings)
    fewer = with_fewer(
        split,
        tracks,
        fraction=part.train_fraction,
        artists_per_genre=part.artists_per_genre,
        seed=part.subset_seed,
    )
    return fewer if trains else replace(fewer, warnings=split.warnings)


def is_split_certain(config: Config) -> bool:
    """Return whether the split is independent of lengths and unreadable tracks, so that it needs no store."""
    return instantiate.find("split", config.split, []) in WHOLE_TRACKS and not config.clips.skip_unreadable


def check_split(config: Config, tracks: Sequence[Track]) -> None:
    """Check the split of a training before the store is built.

    If the split depends on the store (see `is_split_certain`), only the number of genres is checked.

    Raises:
        UserError: There are fewer than two genres, or the tracks cannot be divided as configured.
    """
    if len(genres := sorted({track.genre for track in tracks})) < 2:
        raise UserError(
            f"The genre of all {len(tracks)} tracks is {genres[0]}, and a classifier needs two or more: check whether "
            "data.root is the folder that holds the genre folders, or choose other data."
        )
    if is_split_certain(config):
        split_ahead(config, tracks)


def split_ahead(config: Config, tracks: Sequence[Track]) -> Split:
    """Return the division of tracks whose lengths are unknown, provided that it is certain (see `is_split_certain`).

    Raises:
        UserError: The tracks cannot be divided as configured.
    """
    return split_of(config, tracks, {track.id: 1 for track in tracks}, clip_frames=1)


class Load(Protocol):
    """Function that loads the tracks of a run and their features, such as `load_corpus`."""

    def __call__(self, config: Config, *, check: Check | None = None) -> Corpus:
        """Return the tracks and their store, as `load_corpus` does."""


def load_corpus(config: Config, device: torch.device | None = None, *, check: Check | None = None) -> Corpus:
    """List the tracks of a run and open their store, which is built if necessary.

    Args:
        config: Configuration of the run.
        device: Device that computes the store; by default the first device of the trainer.
        check: Function called with the tracks before the store is opened, such as `check_split`.

    Raises:
        UserError: The data cannot be read, or `check` raises the error.
    """
    dataset: Dataset = instantiate.make("data", config.data)
    tracks, mapped = map_genres(checked_tracks(dataset), read_genre_map(config.clips.genre_map))
    if check is not None:
        check(config, tracks)
    spec = features_of(config, dataset, tracks)
    device = device or first_device(config.trainer.accelerator)
    kept: dict[str, Any] = {"directory": config.clips.store_dir, "skip_unreadable": config.clips.skip_unreadable}
    recipe, encode = _recipe(config, dataset, spec, device)
    if not type(dataset).__module__.startswith("genreclf."):
        recipe = replace(recipe, settings={**recipe.settings, "data": sorted(config.data.items())})
    store = open_store(recipe, encode, tracks, **kept)
    if config.clips.clip_seconds == "square":
        spec = replace(spec, clip_frames=spec.n_mels)
    elif config.clips.clip_seconds == "whole":
        spec = replace(spec, clip_frames=max(store.lengths_frames.values()))
    warnings = [*dataset.warnings, *mapped, *_notice_of_length(config, spec)]
    if store.unreadable:
        reasons = ", ".join(f"{name} ({reason})" for name, reason in store.unreadable.items())
        warnings.append(
            f"{len(store.unreadable)} tracks that cannot be read are left out: {reasons}. If they can be read by now, "
            f"delete {store.directory}, which says that they cannot."
        )
    return Corpus(dataset.name, dataset.dataset, {track.id: track for track in tracks}, store, spec, tuple(warnings))


def _notice_of_length(config: Config, spec: FeatureSpec) -> list[str]:
    """Return a notice if the clips of a probe are much longer than ``data.clip_seconds``, or no notice."""
    asked_s, clip_s = config.clips.clip_seconds, spec.clip_frames / spec.frames_per_second
    if spec.kind != "embedding" or isinstance(asked_s, str) or clip_s - asked_s <= 0.5 / spec.frames_per_second:
        return []
    sets_window = instantiate.accepts("encoder", config.encoder, "window_s")
    way = f"; encoder.window_s={asked_s:g} sets shorter windows" if sets_window else ""
    return [f"Clips are {clip_s:g} s long, one window of the encoder, not {asked_s:g} s as in data.clip_seconds{way}."]


def expected_bytes(config: Config) -> int | None:
    """Return the expected size of the store in bytes, or None if track lengths are not known before decoding.

    Raises:
        UserError: The tracks cannot be listed, or a setting of the features is missing.
    """
    dataset: Dataset = instantiate.make("data", config.data)
    tracks, _ = map_genres(checked_tracks(dataset), read_genre_map(config.clips.genre_map))
    spec = features_of(config, dataset, tracks)
    lengths_s = [track.duration_s for track in tracks if track.duration_s is not None]
    if isinstance(dataset, ImageDataset) or len(lengths_s) < len(tracks):
        return None
    return round(sum(lengths_s) * spec.frames_per_second * spec.n_mels * 2)  # int16 or float16


def _recipe(config: Config, dataset: Dataset, spec: FeatureSpec, device: torch.device) -> tuple[Recipe, Encode]:
    """Return the recipe of the store, and the function that computes the stored values of a track."""
    if spec.kind == "log_mel":
        return log_mel_recipe(dataset, spec, device)
    if spec.kind == "waveform":
        assert spec.sample_rate is not None
        return waveform_recipe(dataset, spec.sample_rate)
    return embedding_recipe(dataset, make_encoder(config), device, spec.source)


def make_encoder(config: Config) -> Encoder:
    """Return the pretrained encoder of a run, without its weights; see `genreclf.config.instantiate.make_encoder`."""
    encoder: Encoder = instantiate.make_encoder(config.model, config.encoder)
    return encoder


def features_of(config: Config, dataset: Dataset, tracks: Sequence[Track]) -> FeatureSpec:
    """Return the features that the network takes.

    Clips have a length of 1 s if ``data.clip_seconds`` is not a number.

    Args:
        config: Configuration of the run.
        dataset: Dataset of the run.
        tracks: All tracks of the dataset.

    Raises:
        UserError: A setting of the features is missing, or no picture can be read.
    """
    if not isinstance(dataset, ImageDataset):
        return audio_spec(config)
    pictures = FeatureSpec.of_pictures(
        n_mels=dataset.n_mels,
        frames_per_second=checked_rate(dataset, list(tracks)),
        clip_seconds=_clip_seconds(config),
        rendering=dataset.rendering,
    )
    return _given(config, lambda: pictures)


def audio_spec(config: Config) -> FeatureSpec:
    """Return the features that the network takes for audio data.

    Clips have a length of 1 s if ``data.clip_seconds`` is not a number.

    Raises:
        UserError: A setting of the features is missing.
    """
    return _given(config, lambda: _log_mel_of_audio(config))


def _given(config: Config, log_mel: Callable[[], FeatureSpec]) -> FeatureSpec:
    """Return the features that the network takes; `log_mel` returns the parameters of the spectrograms."""
    clip_seconds = _clip_seconds(config)
    if config.takes == "embedding":
        encoder = make_encoder(config)
        return FeatureSpec.of_embeddings(
            layers=dict(zip(encoder.layers, encoder.dimensions, strict=True)),
            frames_per_second=1 / encoder.hop_s,
            sample_rate=encoder.sample_rate,
            clip_seconds=clip_seconds,
            source=log_mel() if encoder.sample_rate is None else None,
        )
    if config.takes == "waveform":
        rate = make_encoder(config).sample_rate if config.encoder.get("_target_") else config.features.sample_rate
        if not rate:
            raise UserError("features.sample_rate must be set for a network that takes waveforms.")
        return FeatureSpec.of_waveform(sample_rate=rate, clip_seconds=clip_seconds)
    return log_mel()


def _log_mel_of_audio(config: Config) -> FeatureSpec:
    features = config.features
    if not (features.sample_rate and features.n_fft and features.hop_length and features.n_mels):
        raise UserError("features.sample_rate, n_fft, hop_length and n_mels must be set for audio: features=log_mel.")
    return FeatureSpec.of_audio(
        **features.log_mel,
        clip_seconds=_clip_seconds(config),
        top_db=TOP_DB if features.scale == "decibel" else None,
    )


def _clip_seconds(config: Config) -> float:
    given = config.clips.clip_seconds
    return 1.0 if isinstance(given, str) else float(given)
