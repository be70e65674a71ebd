"""Find artists that can make a split leaky: those in several subsets, in joint credits, or with several spellings."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from genreclf.datasets.base import Track
from genreclf.datasets.identity import JOINT, connected, credited
from genreclf.run_directory import csv_of
from genreclf.splits.base import Split


@dataclass(frozen=True, kw_only=True)
class SharedArtist:
    """An artist, or a set of repeats, in more than one subset of a split."""

    name: str
    """Name of the artist, or id of the first track of the set of repeats."""
    tracks: Mapping[str, int]
    """Number of tracks in each subset, by its name."""


@dataclass(frozen=True, kw_only=True)
class JointCredit:
    """A credit to several artists, at least one of whom also has tracks of their own."""

    credit: str
    """Credit as it appears in the dataset, in lower case."""
    parts: tuple[str, ...]
    """Names of the individual artists in the credit."""
    tracks: tuple[str, ...]
    """Ids of the tracks with this credit."""


def shared_artists(tracks: Iterable[Track], split: Split) -> list[SharedArtist]:
    """Return the artists with tracks in several subsets, sorted by decreasing number of tracks."""
    return _shared({track.id: credited(track.artist) for track in tracks}, split)


def shared_repeats(sets: Iterable[Sequence[str]], split: Split) -> list[SharedArtist]:
    """Return the sets of repeats with tracks in several subsets, sorted by decreasing number of tracks."""
    return _shared({track: (same[0],) for same in sets for track in same}, split)


def _shared(names_of: Mapping[str, Sequence[str]], split: Split) -> list[SharedArtist]:
    counts: dict[str, Counter[str]] = {}
    for subset, segments in split.subsets.items():
        for track in {segment.track_id for segment in segments}:
            for name in names_of.get(track, ()):
                counts.setdefault(name, Counter())[subset] += 1
    shared = [SharedArtist(name=name, tracks=dict(found)) for name, found in counts.items() if len(found) > 1]
    return sorted(shared, key=lambda artist: (-sum(artist.tracks.values()), artist.name))


def joint_credits(tracks: Iterable[Track]) -> list[JointCredit]:
    """Return credits that join several names without semicolons, at least one of which is an artist of the dataset."""
    tracks_of: dict[str, list[str]] = {}
    for track in tracks:
        for name in credited(track.artist):
            tracks_of.setdefault(name, []).append(track.id)
    found = []
    for name in sorted(tracks_of):
        parts = tuple(dict.fromkeys(part for part in JOINT.split(name) if part))
        if len(parts) > 1 and any(part in tracks_of for part in parts):
            found.append(JointCredit(credit=name, parts=parts, tracks=tuple(tracks_of[name])))
    return found


def spellings(tracks: Iterable[Track]) -> list[tuple[str, ...]]:
    """Return sets of artist names that differ only in accents, punctuation, spaces or a leading "the"."""
    by_key: dict[str, set[str]] = {}
    for track in tracks:
        for name in credited(track.artist):
            by_key.setdefault(_spelled(name), set()).add(name)
    return sorted(tuple(sorted(names)) for key, names in by_key.items() if key and len(names) > 1)


def artist_file(
    tracks: Sequence[Track],
    repeats: Iterable[Sequence[str]],
    joint: Iterable[JointCredit],
    spelled: Iterable[Sequence[str]],
) -> str:
    """Return the text of a file of artists with which grouped splits keep related tracks together.

    In the file, joint credits are separated by semicolons, each artist has one spelling, and tracks that repeat each
    other share an additional artist that is named after the first track.

    Args:
        tracks: Tracks of the dataset.
        repeats: Sets of track ids that repeat each other.
        joint: Joint credits, see `joint_credits`.
        spelled: Sets of spellings of one artist, see `spellings`.

    Returns:
        CSV text, which `genreclf.datasets.identity.read_artists` reads.
    """
    parts_of = {credit.credit: credit.parts for credit in joint}
    spelling_of = {name: names[0] for names in spelled for name in names}
    marks: dict[str, list[str]] = {}
    for same in repeats:
        for id in same:
            marks.setdefault(id, []).append(same[0])
    sets = connected(marks)
    set_of = {id: f"repeats of {same[0]}" for same in sets for id in same}
    rows = []
    for track in tracks:
        names = [part for name in credited(track.artist) for part in parts_of.get(name, (name,))]
        names = list(dict.fromkeys(spelling_of.get(name, name) for name in names))
        names += [set_of[track.id]] if track.id in set_of else []
        if names:
            rows.append([track.id, "; ".join(names)])
    return csv_of(["track_id", "artist"], rows)


def _spelled(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name)
    letters = re.sub(r"[^\w\s]|_", "", plain)
    return re.sub(r"^the\b|\s+", "", letters)
