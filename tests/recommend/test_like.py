"""Songs like a song, asked for in Python."""

import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from helpers import Cli

from genreclf.errors import UserError
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


def test_an_artist_whom_no_song_has_is_told(cli: Cli, indexed: tuple[str, Path]) -> None:
    ask = ("recommend", indexed[0], "metal/0.wav", "--format", "csv", "--exclude-artist")
    outcome = cli(*ask, "Ann", "--exclude-artist", "Nobody")
    assert outcome.code == 0
    assert outcome.err == "Note: --exclude-artist Nobody has no effect: the library has no song by this artist.\n"
    outcome = cli(*ask, " ")
    assert outcome.code == 2
    assert "--exclude-artist: it needs the name of an artist" in outcome.err


def test_own_options_are_refused_without_a_dataset(cli: Cli, indexed: tuple[str, Path]) -> None:
    run, music = indexed
    for words in (("index", run, str(music)), ("recommend", run, "metal/0.wav")):
        outcome = cli(*words, "--config-dir", str(music))
        assert outcome.code == 2
        assert outcome.err.startswith("--config-dir is for ")


@pytest.mark.parametrize("k", [0, -1, 2.5, "3", None])
def test_a_count_that_is_none_is_refused(k: Any, library: Library, song: Song) -> None:
    with pytest.raises(UserError, match=re.escape(f"k={k!r} is not a whole number above 0")):
        library.like(song, k=k)
    assert len(library.like(song, k=cast(int, np.int64(2)))) == 2


def test_what_is_no_song_is_refused(library: Library, song: Song) -> None:
    for path in (str(song.path), song.path, None):
        with pytest.raises(UserError, match=rf"from find\(NAME\), or .*predict\(FILE\), not {type(path).__name__}\."):
            library.like(cast(Song, path), k=3)


def test_a_song_is_found_by_its_path(library: Library, song: Song) -> None:
    found = library.find(song.path)
    assert found is not None
    assert found.id == song.id


def test_a_notebook_shows_songs_in_a_line(library: Library) -> None:
    assert repr(library) == f"<Library of {len(library)} songs in {library.directory}>"
    for name, artist in (("blues/0.wav", ""), ("blues/1.flac", " by 'Ann'")):
        song = library.find(name)
        assert song is not None
        assert re.fullmatch(rf"<Song '{name}'{artist}: \d+\.\d % \w+>", repr(song))
