"""Audit a dataset and collect all findings."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from statistics import median

from genreclf.audit import artists, labels, repeats
from genreclf.audit.sound import Sound, measure_audio, measure_picture
from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.datasets.base import AudioDataset, Track
from genreclf.datasets.identity import KNOWN_REPEATS, connected, credited
from genreclf.errors import UnreadableTrack, UserError
from genreclf.experiment.corpus import Corpus, load_corpus
from genreclf.splits.base import Split

CLIPPED = 1e-3
"""Lowest share of clipped samples at which a track is flagged as clipped."""

SILENCE_S = 1.0
"""Shortest silence, in seconds, that is flagged."""

LENGTH_TOLERANCE = 0.05
"""Largest deviation of a track's length from the median, as a fraction of the median, that is not flagged."""

SAME_LENGTH = 0.9
"""Share of the tracks that must have about the median length for deviating lengths to be flagged."""

NARROW = 0.6
"""Fraction of the median band edge below which a track is flagged as narrow."""

RATE_OF_COMPUTED = 22050
"""Sample rate in Hz at which waveforms that a dataset computes, such as synthetic ones, are measured."""

Progress = Callable[[Sequence[int], str], Iterable[int]]
"""Function that iterates over the steps of a task and shows the progress; called with the steps and the task's name."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Findings of the audit of a dataset."""

    name: str
    """Short name of the dataset."""
    tracks: tuple[Track, ...]
    """All tracks of the dataset."""
    sounds: Mapping[str, Sound]
    """Measurements of each readable track, by track id."""
    unreadable: Mapping[str, str]
    """Reason why a track cannot be read, by track id."""
    repeats: tuple[repeats.Repeat, ...]
    """Pairs of tracks that repeat each other."""
    split: Split | None
    """Split of the configuration; None if the tracks cannot be split that way."""
    split_problem: str
    """Reason why the tracks cannot be split; empty if they can."""
    joint: tuple[artists.JointCredit, ...]
    """Joint credits without semicolons; see `genreclf.audit.artists.joint_credits`."""
    spellings: tuple[tuple[str, ...], ...]
    """Sets of spellings of one artist; see `genreclf.audit.artists.spellings`."""
    suspects: tuple[labels.Suspect, ...] | None
    """Tracks whose genre may be wrong; None if no predictions were given."""
    predicted: int
    """Number of tracks for which there were predictions."""
    runs: int
    """Number of runs whose predictions were used."""
    warnings: tuple[str, ...]
    """Warnings about the dataset for the user."""
    is_audio: bool
    """Whether the dataset has audio samples, not only images."""

    @cached_property
    def by_id(self) -> dict[str, Track]:
        """Tracks of the dataset, by id."""
        return {track.id: track for track in self.tracks}

    @cached_property
    def repeat_sets(self) -> list[list[str]]:
        """Sets of ids of tracks that repeat each other, directly or through other tracks."""
        marks: dict[str, list[str]] = {}
        for repeat in self.repeats:
            for track in repeat.tracks:
                marks.setdefault(track, []).append(" ".join(repeat.tracks))
        return connected(marks)

    @property
    def repeats_of_several_genres(self) -> list[list[str]]:
        """Sets of repeats whose tracks have different genres."""
        return [same for same in self.repeat_sets if len({self.by_id[track].genre for track in same}) > 1]

    @cached_property
    def shared_artists(self) -> list[artists.SharedArtist]:
        """Artists with tracks in several subsets of the split."""
        return artists.shared_artists(self.tracks, self.split) if self.split else []

    @cached_property
    def shared_repeats(self) -> list[artists.SharedArtist]:
        """Sets of repeats with tracks in several subsets of the split."""
        return artists.shared_repeats(self.repeat_sets, self.split) if self.split else []

    @cached_property
    def subset_of(self) -> dict[str, str]:
        """Names of the subsets that contain a track, separated by spaces, by track id."""
        found: dict[str, list[str]] = {}
        for subset, segments in self.split.subsets.items() if self.split else ():
            for track in sorted({segment.track_id for segment in segments}):
                found.setdefault(track, []).append(subset)
        return {track: " ".join(subsets) for track, subsets in found.items()}

    @cached_property
    def flags(self) -> dict[str, list[str]]:
        """Short descriptions of the sound problems of each track that has any, by track id."""
        lengths = [sound.duration_s for sound in self.sounds.values()]
        edges = [sound.band_edge for sound in self.sounds.values()]
        usual_s, usual_edge = (median(lengths), median(edges)) if self.sounds else (0.0, 0.0)
        far_off = {
            track
            for track, sound in self.sounds.items()
            if abs(sound.duration_s - usual_s) > LENGTH_TOLERANCE * usual_s
        }
        is_usual = len(far_off) <= (1 - SAME_LENGTH) * len(self.sounds)
        found = {}
        for track, sound in self.sounds.items():
            clipped = sound.clipped or 0.0
            flags = [f"{100 * clipped:.1f} % clipped"] if clipped >= CLIPPED else []
            flags += [f"{sound.silence_s:.1f} s of silence"] if sound.silence_s >= SILENCE_S else []
            flags += [f"{sound.duration_s:.1f} s long"] if is_usual and track in far_off else []
            flags += [f"channels: {sound.stereo}"] if sound.stereo not in (None, "mono", "stereo") else []
            flags += ["narrow band"] if sound.band_edge < NARROW * usual_edge else []
            if flags:
                found[track] = flags
        return found

    @cached_property
    def known_repeats(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Pairs of GTZAN's known repeats among the tracks: first those that were found, then those that were missed."""
        set_of = {track: i for i, same in enumerate(self.repeat_sets) for track in same}
        pairs = [
            (one, other)
            for known in KNOWN_REPEATS
            for i, one in enumerate(known)
            for other in known[i + 1 :]
            if one in self.sounds and other in self.sounds
        ]
        found = [pair for pair in pairs if set_of.get(pair[0], -1) == set_of.get(pair[1], -2)]
        return found, [pair for pair in pairs if pair not in found]


def examine(config: Config, runs: Sequence[str], progress: Progress) -> Findings:
    """Audit the dataset of a configuration; a problem with one track never stops the audit.

    Args:
        config: Configuration that names the dataset, the features and the split.
        runs: Finished runs whose test predictions are used to find doubtful genres; may be empty.
        progress: Function that shows the progress, see `Progress`.

    Raises:
        UserError: No track can be read, or the predictions of a run cannot be used.
    """
    judged = labels.read_out_of_fold(runs, config) if runs else None
    corpus = load_corpus(replace(config, clips=replace(config.clips, skip_unreadable=True)))
    tracks = tuple(corpus.tracks.values())
    predicted = len(corpus.tracks.keys() & set(judged.track_ids)) if judged else 0
    if judged and not predicted:
        raise UserError(f"--runs {runs[0]} did not test any of the {len(tracks)} tracks: choose runs on this dataset.")
    sounds, unreadable = _measure(config, corpus, progress)
    split, problem = _split(config, corpus)
    exact = repeats.exact_repeats({track: sound.digest for track, sound in sounds.items()})
    spectrograms = {track: partial(corpus.store.spectrogram, track) for track in sounds}
    known = {repeat.tracks for repeat in exact}
    near = repeats.near_repeats(spectrograms, corpus.spec, progress=progress)
    return Findings(
        name=corpus.dataset_name,
        tracks=tracks,
        sounds=sounds,
        unreadable=unreadable,
        repeats=(*exact, *(repeat for repeat in near if repeat.tracks not in known)),
        split=split,
        split_problem=problem,
        joint=tuple(artists.joint_credits(tracks)),
        spellings=tuple(artists.spellings(tracks)),
        suspects=tuple(labels.label_suspects(judged, corpus.genre_of)) if judged else None,
        predicted=predicted,
        runs=len(runs),
        warnings=corpus.warnings,
        is_audio=any(sound.sample_rate is not None for sound in sounds.values()),
    )


def artists_in(tracks: Iterable[Track]) -> int:
    """Return the number of different artists who are credited for the tracks."""
    return len({name for track in tracks for name in credited(track.artist)})


def _measure(config: Config, corpus: Corpus, progress: Progress) -> tuple[dict[str, Sound], dict[str, str]]:
    dataset = instantiate.make("data", config.data)
    dataset.tracks()  # A user's dataset may find its waveforms there.
    sounds: dict[str, Sound] = {}
    unreadable = dict(corpus.store.unreadable)
    ids = list(corpus.store.lengths_frames)
    for i in progress(range(len(ids)), "Sound"):
        try:
            if isinstance(dataset, AudioDataset):
                sounds[ids[i]] = measure_audio(dataset, corpus.tracks[ids[i]], RATE_OF_COMPUTED)
            else:
                sounds[ids[i]] = measure_picture(corpus.store.spectrogram(ids[i]), corpus.spec)
        except UnreadableTrack as reason:
            unreadable[ids[i]] = str(reason)
    return sounds, unreadable


def _split(config: Config, corpus: Corpus) -> tuple[Split | None, str]:
    try:
        return corpus.split(config), ""
    except UserError as problem:
        return None, str(problem)
