"""Songs like a song, asked for in Python."""

from pathlib import Path

import pytest

from genreclf.recommend import Library, Song


@pytest.fixture
def library(indexed: tuple[str, Path]) -> Library:
    """Songs, one of them by Ann."""
    return Library.of_run(indexed[0])


@pytest.fixture
def song(library: Library) -> Song:
    """One of them, whose artist is not known."""
    found = library.find("metal/0.wav")
    assert found is not None
    return found


def test_a_text_is_one_artist_to_exclude(library: Library, song: Song) -> None:
    found = [[one.song.name for one in library.like(song, k=20, exclude_artists=names)] for names in (["Ann"], "Ann")]
    assert found[0] == found[1]
    assert len(found[0]) == 13
