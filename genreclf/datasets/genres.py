"""Rename, merge or leave out genres of a dataset, so that a model with other genre names can be tested on it."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from genreclf.config_file import parse_config
from genreclf.datasets.base import Track
from genreclf.errors import UserError

WANTED = "a dictionary {THEIRS: OURS, ...} or a YAML file of lines `THEIRS: OURS`, where null leaves a genre out"
"""Description of the values that ``data.genre_map`` accepts, used in error messages."""


def read_genre_map(given: Mapping[Any, Any] | str | None) -> dict[str, str | None]:
    """Return a dictionary that maps each listed genre to its new name, or to None if it is left out.

    Args:
        given: Value of ``data.genre_map``: a dictionary, the path of a YAML file with one, or None to rename nothing.

    Raises:
        UserError: The value is not a valid dictionary of genres, or the file cannot be read.
    """
    if given is None:
        return {}
    values: Any = given
    if isinstance(given, str):
        try:
            values = parse_config(Path(given).expanduser())
        except (OSError, ValueError) as error:
            raise UserError(f"data.genre_map={given} cannot be read ({error}): give {WANTED}.") from None
    if not isinstance(values, Mapping) or not values:
        raise UserError(f"data.genre_map={given} holds no genres: give {WANTED}.")
    for theirs, ours in values.items():
        if ours is not None and (not isinstance(ours, str) or not ours):
            raise UserError(f"data.genre_map: {theirs} is to be {ours!r}, which is not a genre: give {WANTED}.")
    return {str(theirs): ours for theirs, ours in values.items()}


def map_genres(tracks: Sequence[Track], genre_map: Mapping[str, str | None]) -> tuple[list[Track], list[str]]:
    """Return the tracks with their new genres, and warnings for the user, one sentence each.

    Args:
        tracks: All tracks of the dataset; genres that are not in the map stay unchanged.
        genre_map: New name of each genre, or None to leave it out; see `read_genre_map`.

    Raises:
        UserError: No track is left, or no track has a genre that is in the map.
    """
    if not genre_map:
        return list(tracks), []
    counts = Counter(track.genre for track in tracks)
    unknown = [genre for genre in genre_map if genre not in counts]
    if len(unknown) == len(genre_map):
        raise UserError(
            f"data.genre_map names none of the genres of the data, which are {', '.join(sorted(counts))}: it has "
            f"{', '.join(unknown)}."
        )
    kept = [
        replace(track, genre=genre)
        for track in tracks
        if (genre := genre_map.get(track.genre, track.genre)) is not None
    ]
    if not kept:
        raise UserError("data.genre_map leaves out all genres of the data: keep some.")
    warnings = []
    if unknown:
        warnings.append(f"data.genre_map names {', '.join(unknown)}, of which the data has no track.")
    if left_out := {genre: n for genre, n in sorted(counts.items()) if genre_map.get(genre, genre) is None}:
        warnings.append(
            f"data.genre_map leaves out {len(tracks) - len(kept)} of {len(tracks)} tracks: {named(left_out)}."
        )
    if renamed := {f"{genre} as {ours}": counts[genre] for genre, ours in genre_map.items() if ours and counts[genre]}:
        warnings.append(f"data.genre_map takes {named(renamed)}.")
    return kept, warnings


def of_known_genres(tracks: Sequence[Track], known: Collection[str]) -> tuple[list[Track], list[str]]:
    """Return the tracks of genres that a model knows, and a warning for the user if others are dropped.

    Args:
        tracks: All tracks, with the genres that ``data.genre_map`` gives them.
        known: Genres of the model.

    Raises:
        UserError: The model knows none of the genres.
    """
    unknown = Counter(track.genre for track in tracks if track.genre not in known)
    if not unknown:
        return list(tracks), []
    genres = named(dict(sorted(unknown.items())))
    if unknown.total() == len(tracks):
        raise UserError(
            f"With data.genre_map the model knows none of the genres of the data, {genres}: map them to its own, "
            f"{', '.join(known)}."
        )
    count = f"{unknown.total()} of {len(tracks)} tracks"
    warning = f"{count} are left out, as the model does not know their genres: {genres}."
    return [track for track in tracks if track.genre in known], [warning]


def named(counts: Mapping[str, int]) -> str:
    """Format genres with their numbers of tracks, such as ``soul (12), funk (3)``."""
    return ", ".join(f"{genre} ({n})" for genre, n in counts.items())
