"""Tracks to split, and what a split did with them."""

from collections import Counter
from pathlib import Path

from genreclf.datasets.base import Track
from genreclf.splits.base import SUBSETS, Split, Splitter

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")

CLIP_FRAMES = 40


def gtzan(n: int = 100, artists: int = 0) -> list[Track]:
    """GTZAN's ids without jazz.00054; `artists` a genre, or none known."""
    tracks = []
    for genre in GENRES:
        for i in range(n):
            id = f"{genre}.{i:05d}"
            artist = f"{genre} artist {i % artists}" if artists else None
            tracks.append(Track(id, genre, Path(f"genres/{genre}/{id}.wav"), artist=artist, group=artist or id))
    return [track for track in tracks if track.id != "jazz.00054"]


def folder(counts: dict[str, int]) -> list[Track]:
    return [
        Track(f"{genre}/{genre} song {i}", genre, Path(f"music/{genre}/{genre} song {i}.mp3"))
        for genre, n in counts.items()
        for i in range(n)
    ]


def frames_of(tracks: list[Track], n_frames: int = 130) -> dict[str, int]:
    return {track.id: n_frames for track in tracks}


def assign(split: Splitter, tracks: list[Track], **frames: int) -> Split:
    return split.split(tracks, frames_of(tracks, **frames), CLIP_FRAMES)


def ids(split: Split, subset: str) -> set[str]:
    return {segment.track_id for segment in split.subsets[subset]}


def counts_of(split: Split, tracks: list[Track]) -> dict[str, dict[str, int]]:
    """Return the number of segments by genre and subset."""
    genre_of = {track.id: track.genre for track in tracks}
    found = {subset: Counter(genre_of[segment.track_id] for segment in split.subsets[subset]) for subset in SUBSETS}
    return {genre: {subset: found[subset][genre] for subset in SUBSETS} for genre in split.genres}
