"""Parts of a split: folds inside its training and validation tracks, and fewer training tracks."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from genreclf.datasets.base import Track
from genreclf.errors import UserError
from genreclf.splits.base import Split
from genreclf.splits.parts import inner_split, with_fewer
from genreclf.splits.rules import ArtistFolds, ChunkSplitter

GENRES = ("blues", "jazz", "rock")


def tracks_of(artists: int = 12, songs: int = 3) -> list[Track]:
    names = [(genre, artist, song) for genre in GENRES for artist in range(artists) for song in range(songs)]
    return [
        Track(f"{genre}/{artist} {song}", genre, Path(f"{genre}/{artist} {song}.wav"), artist=f"{genre} {artist}")
        for genre, artist, song in names
    ]


TRACKS = tracks_of()
ARTIST_OF = {track.id: track.artist for track in TRACKS}


@pytest.fixture(scope="module")
def split() -> Split:
    return ArtistFolds(folds=4).split(TRACKS, {track.id: 100 for track in TRACKS}, 10)


def ids(split: Split, subset: str) -> set[str]:
    return {segment.track_id for segment in split.subsets[subset]}


def test_inner_folds_hold_each_training_and_validation_track_out_once_and_never_a_test_track(split: Split) -> None:
    inner = [inner_split(split, TRACKS, folds=3, fold=fold) for fold in range(3)]
    known = ids(split, "train") | ids(split, "val")
    for subset in ("val", "test"):
        assert Counter(id for each in inner for id in ids(each, subset)) == Counter(known)
    for each in inner:
        assert ids(each, "train") | ids(each, "val") | ids(each, "test") == known
        owners = [{ARTIST_OF[id] for id in ids(each, subset)} for subset in ("train", "val", "test")]
        assert sum(map(len, owners)) == len(set().union(*owners))
        assert each.name == "inner folds of artist_folds"
        assert "test tracks are left out" in each.warnings[0]
        assert {segment.stop_frame for segment in each.train} == {100}


def test_what_has_no_inner_folds(split: Split) -> None:
    chunks = ChunkSplitter().split(TRACKS, {track.id: 100 for track in TRACKS}, 10)
    with pytest.raises(UserError, match=r"split.inner_fold divides whole tracks, and split=chunk cuts them"):
        inner_split(chunks, TRACKS, folds=3, fold=0)
    with pytest.raises(UserError, match=r"split.inner_fold divides training and validation tracks, and split="):
        inner_split(replace(split, train=(), val=()), TRACKS, folds=3, fold=0)
    with pytest.raises(
        UserError, match=r"split.inner_folds=10 wants as many artists .* use split.inner_folds=9 at most"
    ):
        inner_split(split, TRACKS, folds=10, fold=0)


@pytest.mark.parametrize("key", ["fraction", "artists_per_genre"])
def test_more_of_a_subset_holds_what_fewer_do(key: str, split: Split) -> None:
    sizes = (0.1, 0.4, 0.7, 1.0) if key == "fraction" else (1, 2, 4, 100)
    parts = [with_fewer(split, TRACKS, **{key: size}, seed=3) for size in sizes]
    kept = [ids(part, "train") for part in parts]
    assert kept[0] < kept[1] < kept[2] < kept[3] == ids(split, "train")
    for part, size in zip(parts, sizes, strict=True):
        assert (part.val, part.test, part.name) == (split.val, split.test, split.name)
        per_genre = Counter(id.partition("/")[0] for id in ids(part, "train"))
        artists = Counter(str(artist).split()[0] for artist in {ARTIST_OF[id] for id in ids(part, "train")})
        expected = round(size * 18) if key == "fraction" else min(size, 6)
        assert (per_genre if key == "fraction" else artists) == dict.fromkeys(GENRES, expected)
    other = with_fewer(split, TRACKS, **{key: sizes[1]}, seed=4)
    assert ids(other, "train") != kept[1]
    assert with_fewer(split, list(reversed(TRACKS)), **{key: sizes[1]}, seed=3) == parts[1]


def test_a_part_says_how_much_it_is_and_the_whole_says_nothing(split: Split) -> None:
    assert with_fewer(split, TRACKS) is split
    (note,) = with_fewer(split, TRACKS, artists_per_genre=2).warnings[len(split.warnings) :]
    assert note == "18 of 54 training tracks of split=artist_folds are trained on, of 6 of 18 artists"
    unknown = [replace(track, artist=None) for track in TRACKS]
    with pytest.raises(UserError, match=r"split.artists_per_genre counts artists, and none is known"):
        with_fewer(split, unknown, artists_per_genre=2)
