"""Rename, merge and leave out the genres of a dataset, so that a model that knows other names can be tested on it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from genreclf.config_file import parse_config
from genreclf.datasets.base import Track
from genreclf.errors import UserError

WANTED = "a dictionary {THEIRS: OURS, ...} or a YAML file of lines `THEIRS: OURS`, where null leaves a genre out"
"""What ``data.genre_map`` may be."""


def read_genre_map(given: Mapping[Any, Any] | str | None) -> dict[str, str | None]:
    """Return the new name of each genre that is renamed, None for one that is left out.

    Args:
        given: ``data.genre_map``: a dictionary, or the path of a YAML file that holds one; None renames nothing.

    Raises:
        UserError: It is something else, or the file cannot be read.
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
    """Return the tracks under their new genres, and what a user should know about it, a sentence each.

    Args:
        tracks: All tracks; those of genres that are not in the map stay as they are.
        genre_map: See `read_genre_map`.

    Raises:
        UserError: No track is left, or no track has a genre of the map.
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


def named(counts: Mapping[str, int]) -> str:
    """Return genres with their numbers of tracks, such as ``soul (12), funk (3)``."""
    return ", ".join(f"{genre} ({n})" for genre, n in counts.items())
