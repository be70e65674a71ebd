"""Identify tracks: the id of a file, its artists, and which tracks must stay together in a split."""

import csv
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from io import StringIO
from pathlib import Path, PurePosixPath

from genreclf.audio.formats import AUDIO_SUFFIXES, PICTURE_SUFFIXES
from genreclf.errors import UserError

GTZAN_GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")

BROKEN_TRACK = "jazz.00054"
"""The file that nobody can decode; every dataset leaves it out."""

_REPEATS_WITHIN: dict[str, tuple[tuple[int, ...], ...]] = {
    "disco": ((98, 99),),
    "hiphop": ((39, 45), (76, 78)),
    "jazz": (
        *((33, 51), (34, 53), (35, 55), (36, 58), (37, 60), (38, 62), (39, 65)),
        *((40, 67), (42, 68), (43, 69), (44, 70), (45, 71), (46, 72)),
    ),
    "metal": ((34, 94), (40, 61), (41, 62), (42, 63), (43, 64), (44, 65), (45, 66)),
    "pop": ((54, 60), (67, 71)),
    "reggae": ((81, 82),),
}

KNOWN_REPEATS: tuple[tuple[str, ...], ...] = (
    *(
        tuple(f"{genre}.{number:05d}" for number in numbers)
        for genre, sets in _REPEATS_WITHIN.items()
        for numbers in sets
    ),
    ("metal.00058", "rock.00016"),
)
"""Sets of GTZAN tracks with the same spectrogram (the jazz pairs correlate by more than 0.985). These faults are
described in B. L. Sturm, "The GTZAN dataset: its contents, its faults, their effects on evaluation, and its future
use", arXiv:1306.1461, 2013, which lists more, cut apart; grouping by artist keeps those together."""

JOINT = re.compile(r"\s*(?:\b(?:feat(?:uring)?|ft|vs|with|and)\b\.?|[&+,/])\s*", re.IGNORECASE)
"""What stands between the artists of a joint credit."""

_GTZAN_NAME = re.compile(rf"({'|'.join(GTZAN_GENRES)})\.?(\d{{5}})(\.[a-z0-9]+)?", re.IGNORECASE)


def gtzan_id(name: str) -> str | None:
    """Return ``genre.NNNNN`` for a file name such as ``blues.00002.wav`` or ``Blues00002.png``, else None."""
    match = _GTZAN_NAME.fullmatch(name)
    return f"{match[1].lower()}.{match[2]}" if match else None


def track_id(genre: str, file_name: str) -> str:
    """Return the id of a file in the folder of a genre: GTZAN's where name and folder agree, else ``genre/stem``."""
    gtzan = gtzan_id(file_name)
    if gtzan is not None and gtzan.startswith(f"{genre.lower()}."):
        return gtzan
    return f"{genre}/{_without_suffix(file_name)}"


def read_artists(path: str | Path, *, option: str = "data.artists=") -> dict[str, str]:
    """Read the artists of tracks from a file.

    A line has one of two forms: Sturm's ``index.txt`` (``name.wav ::: artist ::: title``) and CSV (``track_id,artist``,
    header or none). Lines that start with ``#`` and blank lines are skipped; a track whose artist is empty is
    not in the result.

    Args:
        path: The file, UTF-8 or Latin-1.
        option: What names the file in the message where it cannot be read.

    Returns:
        Artist by track: GTZAN's id, ``genre/stem``, or the bare stem where the file names no folder; see `names_of`.

    Raises:
        UserError: The file cannot be read, a line has neither form, or a track has two artists.
    """
    path = Path(path).expanduser()
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"{option}{path} cannot be read ({error.strerror}): name a file of artists.") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")

    artists: dict[str, str] = {}
    for number, line in enumerate(StringIO(text, newline=None), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, artist = _parse_artist_line(line, f"{path}, line {number}")
        if (name.casefold(), artist.casefold()) == ("track_id", "artist") or not artist:
            continue
        key = gtzan_id(PurePosixPath(name).name) or unicodedata.normalize("NFC", _without_suffix(name))
        if set(credited(artists.setdefault(key, artist))) != set(credited(artist)):
            raise UserError(
                f"{path}, line {number}: {name!r} has two artists, {artists[key]!r} and {artist!r}; keep one."
            )
    return artists


def known_repeats(tracks: Collection[str]) -> set[str]:
    """Return the ids of other tracks that are known to be the same recording as one of these, see `KNOWN_REPEATS`."""
    return {id for known in KNOWN_REPEATS for id in known if not {*known}.isdisjoint(tracks)} - {*tracks}


def artist_of(track: str, artists: Mapping[str, str]) -> str | None:
    """Return the artist of a track id, listed in `artists` by one of `names_of` it."""
    return next((artists[name] for name in names_of(track) if artists.get(name)), None)


def names_of(track: str) -> tuple[str, str]:
    """Return the names by which a file of artists may list a track: its id and its bare stem.

    Both are in Unicode's form NFC, as are the names that `read_artists` returns: macOS writes the letters of file names
    and their accents apart, most editors together.
    """
    id = unicodedata.normalize("NFC", track)
    return id, id.partition("/")[2]


def credited(artist: str | None) -> tuple[str, ...]:
    """Return the artists of a credit, each once, stripped and in lower case.

    Semicolons separate artists: ``Lauryn Hill; Bob Marley`` are two. None and an empty string are no artist.
    """
    names = (name.strip().casefold() for name in (artist or "").split(";"))
    return tuple(dict.fromkeys(name for name in names if name))


def credited_parts(artist: str | None) -> tuple[str, ...]:
    """Return the artists of a credit, and whom those seem to name: ``Ann & Bob`` gives also ``ann`` and ``bob``."""
    names = credited(artist)
    return tuple(dict.fromkeys([*names, *(part for name in names for part in JOINT.split(name) if part)]))


def groups(artists: Mapping[str, str | None]) -> dict[str, str]:
    """Assign each track to a group that must stay together in a split.

    Tracks that share an artist are a group, and so is each set of `KNOWN_REPEATS`; where groups overlap, they are one.

    Args:
        artists: Artist (or None) by track id, for every track; see `credited` for several artists of one track.

    Returns:
        Name of the group by track id: its artists (``artist: a + b``), or else the first of its ids.
    """
    repeats_of = {track: repeats[0] for repeats in KNOWN_REPEATS for track in repeats}
    names: dict[str, str] = {}
    for together in connected({track: [*credited(artists[track]), repeats_of.get(track)] for track in artists}):
        makers = sorted({name for track in together for name in credited(artists[track])})
        name = f"artist: {' + '.join(makers)}" if makers else together[0]
        names |= dict.fromkeys(together, name)
    return names


def artist_groups(tracks: Iterable[str], artists: Mapping[str, Iterable[str]]) -> dict[str, str] | None:
    """Return the group of each track, see `groups`; None if no artist of any of them is known.

    Args:
        tracks: Ids of the tracks.
        artists: Artists by track id, as `credited` returns them; a track without one is left out or has none.
    """
    credits = {track: "; ".join(artists.get(track, ())) for track in tracks}
    return groups(credits) if any(credits.values()) else None


def connected(marks_of: Mapping[str, Iterable[str | None]]) -> list[list[str]]:
    """Return the connected components of tracks that share a mark.

    Args:
        marks_of: The marks of each track by its id; None marks nothing.

    Returns:
        The components, which hold each track once; components and tracks are sorted.
    """
    parent = {track: track for track in marks_of}

    def find(track: str) -> str:
        while parent[track] != track:
            parent[track] = parent[parent[track]]
            track = parent[track]
        return track

    first_with: dict[str, str] = {}
    for track, marks in marks_of.items():
        for mark in marks:
            if mark is not None:
                parent[find(track)] = find(first_with.setdefault(mark, track))
    sets: dict[str, list[str]] = {}
    for track in sorted(marks_of):
        sets.setdefault(find(track), []).append(track)
    return sorted(sets.values())


def _parse_artist_line(line: str, where: str) -> tuple[str, str]:
    if ":::" in line:
        name, artist, *_ = (part.strip() for part in line.split(":::"))
        fields = [name, artist]
    else:
        try:
            fields = [field.strip() for field in next(csv.reader([line], skipinitialspace=True, strict=True))]
        except csv.Error:
            fields = []
    if len(fields) != 2 or not fields[0]:
        raise UserError(
            f"{where}: neither 'name.wav ::: artist ::: title' nor 'track_id,artist' (an artist with a comma in it "
            f"wants quotation marks): {line.strip()[:80]!r}."
        )
    return fields[0], fields[1]


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if stem and dot + suffix.lower() in (*AUDIO_SUFFIXES, *PICTURE_SUFFIXES) else name
