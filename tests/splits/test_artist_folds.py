"""Folds that keep artists together."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from made_tracks import GENRES, assign, counts_of, folder, gtzan, ids

from genreclf.datasets.base import Track
from genreclf.datasets.images import SpectrogramImages
from genreclf.errors import UserError
from genreclf.splits.base import SUBSETS
from genreclf.splits.lists import FaultFiltered
from genreclf.splits.rules import ArtistFolds, TrackSplitter, group_names


@pytest.mark.parametrize("seed", range(4))
def test_artist_folds_keep_groups_together_and_test_each_track_once(seed: int) -> None:
    tracks = gtzan(40, artists=8)
    # One artist plays two genres, and two tracks are the same recording by unknown artists.
    tracks = [replace(t, artist="both", group="both") if t.id in ("rock.00000", "metal.00001") else t for t in tracks]
    tracks = [replace(t, artist=None, group="same") if t.id in ("pop.00003", "pop.00004") else t for t in tracks]
    group_of = {track.id: track.group for track in tracks}
    tested: Counter[str] = Counter()
    validated: Counter[str] = Counter()
    for fold in range(5):
        split = assign(ArtistFolds(folds=5, fold=fold, seed=seed), tracks)
        groups = [{group_of[id] for id in ids(split, subset)} for subset in SUBSETS]
        assert not groups[0] & groups[1]
        assert not groups[0] & groups[2]
        assert not groups[1] & groups[2]
        following = assign(ArtistFolds(folds=5, fold=(fold + 1) % 5, seed=seed), tracks)
        assert ids(split, "val") == ids(following, "test")
        tested.update(ids(split, "test"))
        validated.update(ids(split, "val"))
    assert tested == validated == Counter(group_of.keys())


def test_artist_folds_of_single_tracks_are_stratified_within_one() -> None:
    tracks = folder({"rock": 23, "pop": 11, "jazz": 5})
    for fold in range(5):
        split = assign(ArtistFolds(fold=fold), tracks)
        counts = counts_of(split, tracks)
        assert counts["jazz"]["test"] == 1
        assert counts["rock"]["test"] in (4, 5)
        assert counts["pop"]["test"] in (2, 3)
        assert any("no artist or group is known for 39 of 39 tracks" in notice for notice in split.warnings)


def test_a_group_named_like_an_artist_loses_no_track() -> None:
    artist, group = (None, "Ann", "Bob"), ("Ann", "", "")
    tracks = [Track(f"rock/{n}", "rock", Path("rock"), artist=artist[n], group=group[n]) for n in range(3)]
    assert group_names(tracks) == {"rock/0": "Ann", "rock/1": "Ann", "rock/2": "Bob"}


def test_artist_folds_balance_groups_of_unequal_size() -> None:
    sizes = [9, 8, 7, 6, 5, 4, 3, 2, 1]
    tracks = [
        Track(f"{genre}/{group}-{i}", genre, Path(f"{genre}/{group}-{i}.wav"), group=f"{genre} {group}")
        for genre in ("rock", "pop")
        for group, size in enumerate(sizes)
        for i in range(size)
    ]
    counts = [counts_of(assign(ArtistFolds(fold=fold), tracks), tracks)["pop"]["test"] for fold in range(5)]
    assert counts == [9, 9, 9, 9, 9]


def test_genre_with_fewer_groups_than_folds() -> None:
    tracks = [track for track in gtzan(40, artists=8) if track.genre != "blues" or track.artist < "blues artist 4"]
    with pytest.raises(UserError, match=r"split\.folds=5 wants .* fewer in blues \(4\): use split\.folds=4 at most"):
        assign(ArtistFolds(), tracks)
    assert assign(ArtistFolds(folds=4), tracks).genres == GENRES
    folds = [assign(ArtistFolds(fold=fold, allow_missing=True), tracks) for fold in range(5)]
    assert all(fold.warnings[0].endswith("fewer in blues (4): some folds lack them") for fold in folds)
    lacking = [
        fold for fold in folds if "in split=artist_folds 1 of 10 genres has no test track (blues)" in fold.warnings
    ]
    assert len(lacking) == 1


def test_two_groups_make_no_folds() -> None:
    with pytest.raises(UserError, match=r"jazz \(2\): use split=track, or"):
        assign(ArtistFolds(folds=3), folder({"rock": 5, "jazz": 2}))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"folds": 2}, r"split\.folds=2 is too few"),
        ({"fold": 5}, r"split\.fold=5 is not one of the 5 folds: give 0 to 4"),
        ({"fold": -1}, r"split\.fold=-1 is not one"),
    ],
)
def test_wrong_folds(settings: dict[str, int], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        ArtistFolds(**settings)


def test_artist_folds_of_the_real_gtzan() -> None:
    if "GENRECLF_GTZAN" not in os.environ:
        pytest.skip("set GENRECLF_GTZAN to a folder with GTZAN's pictures/ and audio/index.txt")
    root = Path(os.environ["GENRECLF_GTZAN"])
    tracks = SpectrogramImages(root=root / "pictures", artists=root / "audio/index.txt").tracks()
    assert len(tracks) == 999
    artists_of = {
        name.strip().removesuffix(".wav"): {part.strip().casefold() for part in artist.split(";") if part.strip()}
        for line in (root / "audio/index.txt").read_text("utf-8").splitlines()
        if ":::" in line
        for name, artist, *_ in [line.split(":::")]
    }
    assert sum(len(artists) > 1 for artists in artists_of.values()) == 9
    tests = []
    for fold in range(5):
        split = assign(ArtistFolds(fold=fold), tracks)
        counts = counts_of(split, tracks)
        assert all(counts[genre][subset] > 0 for genre in GENRES for subset in SUBSETS)
        assert not any("known artists are in more than one subset" in notice for notice in split.warnings)
        on_side = [set().union(*(artists_of.get(id, set()) for id in ids(split, subset))) for subset in SUBSETS]
        assert sum(map(len, on_side)) == len(set.union(*on_side))
        tests.append({genre: counts[genre]["test"] for genre in GENRES})
        print(f"fold {fold}: {sum(tests[-1].values())} test tracks, {tests[-1]}")
    deviation = {genre: max(abs(test[genre] - sum(t[genre] for t in tests) / 5) for test in tests) for genre in GENRES}
    print(f"largest deviation from a fifth: {deviation}")
    # 36 of 100 reggae tracks are Bob Marley's and stay together.
    assert deviation.pop("reggae") == 16
    assert max(deviation.values()) <= 9
    assert "13 of 275 known artists are in more than one subset" in assign(FaultFiltered(), tracks).warnings[0]


def test_artist_folds_keep_joint_credits_together_whatever_the_source_says_of_groups() -> None:
    tracks = gtzan(40, artists=8)
    names = {"rock.00000": "Duo; rock artist 1", "pop.00001": "duo", "jazz.00002": "DUO ; pop artist 3"}
    tracks = [replace(t, artist=names[t.id], group=t.id) if t.id in names else t for t in tracks]
    for fold in range(5):
        split = assign(ArtistFolds(fold=fold), tracks)
        (subset,) = [subset for subset in SUBSETS if ids(split, subset) & names.keys()]
        together = {t.id for t in tracks if t.artist in ("rock artist 1", "pop artist 3")} | names.keys()
        assert together <= ids(split, subset)
        assert not any("more than one subset" in notice for notice in split.warnings)


def test_each_artist_of_a_joint_credit_counts_in_the_notice() -> None:
    tracks = [replace(t, artist=f"{t.genre}; {t.id}" if t.genre == "rock" else t.id) for t in gtzan(20)]
    (notice,) = assign(TrackSplitter(), tracks).warnings
    assert notice.startswith("1 of 201 known artists are in more than one subset")
