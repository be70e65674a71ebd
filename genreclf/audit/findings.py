"""Examine a dataset and gather all findings."""

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
"""Share of a track's samples from which it counts as clipped."""

SILENCE_S = 1.0
"""Length of a silence from which it counts."""

LENGTH_TOLERANCE = 0.05
"""How far a track's length may lie from the median, as a fraction, where nearly all tracks are as long."""

SAME_LENGTH = 0.9
"""Share of the tracks that must be about as long as the median before others are told of."""

NARROW = 0.6
"""Share of the median band edge below which a track counts as narrow."""

RATE_OF_COMPUTED = 22050
"""Sample rate in Hz at which tracks without a file are measured."""

Progress = Callable[[Sequence[int], str], Iterable[int]]
"""Goes through the steps of some work, whose name it is given."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found in a dataset."""

    name: str
    """Short name of the dataset."""
    tracks: tuple[Track, ...]
    """All tracks."""
    sounds: Mapping[str, Sound]
    """What was measured of each readable track, by its id."""
    unreadable: Mapping[str, str]
    """Why a track cannot be read, by its id."""
    repeats: tuple[repeats.Repeat, ...]
    """Pairs that repeat each other."""
    split: Split | None
    """The split at hand; None if the tracks cannot be split that way."""
    split_problem: str
    """Why not."""
    joint: tuple[artists.JointCredit, ...]
    """See `genreclf.audit.artists.joint_credits`."""
    spellings: tuple[tuple[str, ...], ...]
    """See `genreclf.audit.artists.spellings`."""
    suspects: tuple[labels.Suspect, ...] | None
    """Tracks whose genre may be wrong; None if no predictions were given."""
    predicted: int
    """For how many tracks there were predictions."""
    runs: int
    """Of how many runs."""
    warnings: tuple[str, ...]
    """What a user should know about the dataset."""
    is_audio: bool
    """Whether tracks have samples, and not pictures alone."""

    @cached_property
    def by_id(self) -> dict[str, Track]:
        """The tracks by id."""
        return {track.id: track for track in self.tracks}

    @cached_property
    def repeat_sets(self) -> list[list[str]]:
        """Sets of tracks that repeat each other, directly or through others."""
        marks: dict[str, list[str]] = {}
        for repeat in self.repeats:
            for track in repeat.tracks:
                marks.setdefault(track, []).append(" ".join(repeat.tracks))
        return connected(marks)

    @property
    def repeats_of_several_genres(self) -> list[list[str]]:
        """Sets of repeats that bear different genres."""
        return [same for same in self.repeat_sets if len({self.by_id[track].genre for track in same}) > 1]

    @cached_property
    def shared_artists(self) -> list[artists.SharedArtist]:
        """Artists in several subsets."""
        return artists.shared_artists(self.tracks, self.split) if self.split else []

    @cached_property
    def shared_repeats(self) -> list[artists.SharedArtist]:
        """Sets of repeats in several subsets."""
        return artists.shared_repeats(self.repeat_sets, self.split) if self.split else []

    @cached_property
    def subset_of(self) -> dict[str, str]:
        """The subsets that hold a track, by its id."""
        found: dict[str, list[str]] = {}
        for subset, segments in self.split.subsets.items() if self.split else ():
            for track in sorted({segment.track_id for segment in segments}):
                found.setdefault(track, []).append(subset)
        return {track: " ".join(subsets) for track, subsets in found.items()}

    @cached_property
    def flags(self) -> dict[str, list[str]]:
        """What is odd about the sound of each track, in a few words each, by its id."""
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
        """Pairs of GTZAN's known repeats among the tracks: those that were found, and those that were missed."""
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
    """Examine the dataset of a configuration; what is wrong with one track never stops it.

    The test predictions of finished runs judge the genres.

    Raises:
        UserError: No track can be read, or a run is of no use.
    """
    judged = labels.read_out_of_fold(runs) if runs else None
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
    """Return how many artists are known."""
    return len({name for track in tracks for name in credited(track.artist)})


def _measure(config: Config, corpus: Corpus, progress: Progress) -> tuple[dict[str, Sound], dict[str, str]]:
    dataset = instantiate.make("data", config.data)
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
