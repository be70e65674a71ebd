"""Identify tracks: their ids, their artists, and the groups that must stay together in a split."""

import csv
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from io import StringIO
from pathlib import Path, PurePosixPath

from genreclf.audio.formats import AUDIO_SUFFIXES, PICTURE_SUFFIXES
from genreclf.datasets.base import Track
from genreclf.errors import UserError

GTZAN_GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")

BROKEN_TRACK = "jazz.00054"
"""Id of the GTZAN track whose published file cannot be decoded; every dataset leaves it out."""

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
"""Sets of GTZAN tracks with the same spectrogram (the spectrograms of the jazz pairs have correlations above 0.985).
These faults are described in B. L. Sturm, "The GTZAN dataset: its contents, its faults, their effects on evaluation,
and its future use", arXiv:1306.1461, 2013. The paper lists more pairs, which are different excerpts of one recording;
grouping by artist keeps these together."""

JOINT = re.compile(r"\s*(?:\b(?:feat(?:uring)?|ft|vs|with|and)\b\.?|[&+,/])\s*", re.IGNORECASE)
"""Separators between the artists of a joint credit, such as ``feat.`` or ``&``."""

_GTZAN_NAME = re.compile(rf"({'|'.join(GTZAN_GENRES)})\.?(\d{{5}})(\.[a-z0-9]+)?", re.IGNORECASE)


def gtzan_id(name: str) -> str | None:
    """Return the GTZAN id of a file name (``blues.00002`` for ``blues.00002.wav`` or ``Blues00002.png``), or None."""
    match = _GTZAN_NAME.fullmatch(name)
    return f"{match[1].lower()}.{match[2]}" if match else None


def track_id(genre: str, file_name: str) -> str:
    """Return the id of a file in a genre folder: its GTZAN id if name and folder agree, otherwise ``genre/stem``."""
    gtzan = gtzan_id(file_name)
    if gtzan is not None and gtzan.startswith(f"{genre.lower()}."):
        return gtzan
    return f"{genre}/{_without_suffix(file_name)}"


def read_artists(path: str | Path, *, option: str = "data.artists=") -> dict[str, str]:
    """Read the artists of tracks from a file.

    Each line has the form of Sturm's ``index.txt`` (``name.wav ::: artist ::: title``) or is CSV (``track_id,artist``,
    with or without a header). Blank lines and lines that start with ``#`` are skipped, and so are tracks with an empty
    artist.

    Args:
        path: Path of the file, in UTF-8 or Latin-1.
        option: Text that precedes the path in the error message if the file cannot be read.

    Returns:
        Dictionary of artists. Its keys are GTZAN ids, ``genre/stem``, or the stem alone if the file gives no folder;
        see `names_of`.

    Raises:
        UserError: The file cannot be read, a line has neither of the two forms, or a track has two different artists.
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
    """Return the ids of further tracks that are known repeats of any of `tracks`, see `KNOWN_REPEATS`."""
    return {id for known in KNOWN_REPEATS for id in known if not {*known}.isdisjoint(tracks)} - {*tracks}


def artist_of(track: str, artists: Mapping[str, str]) -> str | None:
    """Return the artist of a track, looked up in `artists` by each of its `names_of`; None if it is not listed."""
    return next((artists[name] for name in names_of(track) if artists.get(name)), None)


def ambiguous(tracks: Iterable[str], artists: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the names in a file of artists that do not say which of several tracks they mean.

    Args:
        tracks: Ids of all tracks.
        artists: Artists as returned by `read_artists`.

    Returns:
        By each name without a genre that fits several tracks, the ids of these tracks; a track that the file also lists
        by its id is left out.
    """
    fitting: dict[str, list[str]] = {}
    for track in tracks:
        id, stem = names_of(track)
        if stem in artists and id not in artists:
            fitting.setdefault(stem, []).append(track)
    return {name: sorted(ids) for name, ids in fitting.items() if len(ids) > 1}


def names_of(track: str) -> tuple[str, str]:
    """Return the two names by which a file of artists may list a track: its id, and its stem without the genre.

    Both are normalized to Unicode NFC, like the names that `read_artists` returns: in file names, macOS stores accents
    separately from their letters, while most editors write composed characters.
    """
    id = unicodedata.normalize("NFC", track)
    return id, id.partition("/")[2]


def credited(artist: str | None) -> tuple[str, ...]:
    """Return the artists of a credit without duplicates, stripped and in lower case.

    Artists are separated by semicolons: ``Lauryn Hill; Bob Marley`` gives two. None and an empty string give none.
    """
    names = (name.strip().casefold() for name in (artist or "").split(";"))
    return tuple(dict.fromkeys(name for name in names if name))


def credited_parts(artist: str | None) -> tuple[str, ...]:
    """Return the artists of a credit and the parts of joint names: ``Ann & Bob`` also gives ``ann`` and ``bob``."""
    names = credited(artist)
    return tuple(dict.fromkeys([*names, *(part for name in names for part in JOINT.split(name) if part)]))


def groups(artists: Mapping[str, str | None]) -> dict[str, str]:
    """Assign each track to a group that must stay together in a split.

    Tracks that share an artist form a group, and so does each set of `KNOWN_REPEATS`; overlapping groups are merged.

    Args:
        artists: Artist of every track by track id, or None if unknown; a track may have several, see `credited`.

    Returns:
        Name of each track's group, by track id. A group is named after its artists (``artist: a + b``), or after the
        first of its track ids if no artist is known.
    """
    repeats_of = {track: repeats[0] for repeats in KNOWN_REPEATS for track in repeats}
    names: dict[str, str] = {}
    for together in connected({track: [*credited(artists[track]), repeats_of.get(track)] for track in artists}):
        makers = sorted({name for track in together for name in credited(artists[track])})
        name = f"artist: {' + '.join(makers)}" if makers else together[0]
        names |= dict.fromkeys(together, name)
    return names


def owners_of(tracks: Collection[Track]) -> dict[str, tuple[str, ...]]:
    """Return the owners of each track by track id: its artists, or its group if it has no artist.

    A track has no owner if its artist is unknown and its group contains no other track, except for `KNOWN_REPEATS`.
    """
    members: dict[str, list[str]] = {}
    for track in tracks:
        members.setdefault(track.group, []).append(track.id)

    def has_others(track: Track) -> bool:
        same = {track.id} | known_repeats([track.id])
        return track.group != "" and any(id not in same for id in members[track.group])

    return {
        track.id: credited(track.artist) or ((f"group {track.group}",) if has_others(track) else ()) for track in tracks
    }


def artist_groups(tracks: Iterable[str], artists: Mapping[str, Iterable[str]]) -> dict[str, str] | None:
    """Return the group of each track, see `groups`, or None if no track has a known artist.

    Args:
        tracks: Ids of the tracks.
        artists: Artists by track id, as returned by `credited`; tracks without artists may be missing.
    """
    credits = {track: "; ".join(artists.get(track, ())) for track in tracks}
    return groups(credits) if any(credits.values()) else None


def connected(marks_of: Mapping[str, Iterable[str | None]]) -> list[list[str]]:
    """Return the connected components of the graph in which tracks are linked if they share a mark.

    Args:
        marks_of: Marks of each track by track id, such as its artists; marks that are None are ignored.

    Returns:
        Sorted list of components, each a sorted list of track ids; every track is in exactly one component.
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
