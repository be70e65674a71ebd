import json
import random
from collections import Counter
from dataclasses import replace

import pytest
from made_tracks import CLIP_FRAMES, GENRES, assign, counts_of, folder, frames_of, gtzan, ids

from genreclf.datasets.identity import KNOWN_REPEATS
from genreclf.errors import UserError
from genreclf.splits.base import SUBSETS, Segment, Split, Splitter
from genreclf.splits.rules import ArtistFolds, ChunkSplitter, TrackSplitter

WHOLE = [
    pytest.param(ArtistFolds(folds=4, fold=1, seed=3), id="artist_folds"),
    pytest.param(TrackSplitter(seed=3), id="track"),
]
DRAWN = [*WHOLE, pytest.param(ChunkSplitter(seed=3), id="chunk")]


@pytest.mark.parametrize("split", WHOLE)
def test_whole_track_sides_are_disjoint_and_cover_every_track(split: Splitter) -> None:
    tracks = gtzan(30, artists=7)
    split = assign(split, tracks)
    held = Counter(segment.track_id for subset in split.subsets.values() for segment in subset)
    assert held == Counter(track.id for track in tracks)
    assert {(segment.start_frame, segment.stop_frame) for segment in split.train} == {(0, 130)}
    assert split.genres == GENRES
    assert split.whole_tracks
    assert not split.leaky
    for subset, segments in split.subsets.items():
        assert list(segments) == sorted(segments), subset


@pytest.mark.parametrize("split", DRAWN)
def test_draws_depend_on_the_seed_and_not_on_the_order_of_the_tracks(split: Splitter) -> None:
    tracks = gtzan(30, artists=7)
    first = assign(split, tracks)
    shuffled = random.Random(0).sample(tracks, len(tracks))
    assert assign(split, shuffled) == first
    split_settings = vars(split) | {"seed": 4}
    assert assign(type(split)(**split_settings), tracks).hash != first.hash


@pytest.mark.parametrize("split", DRAWN)
def test_draws_do_not_depend_on_other_genres(split: Splitter) -> None:
    tracks = gtzan(30, artists=7)
    few = [track for track in tracks if track.genre in ("blues", "rock")]
    all_genres, two_genres = assign(split, tracks), assign(split, few)
    for subset in SUBSETS:
        of_two = [segment for segment in all_genres.subsets[subset] if segment.track_id.startswith(("blues", "rock"))]
        assert of_two == list(two_genres.subsets[subset])


def test_known_draws_stay_the_same_over_versions() -> None:
    tracks = gtzan(30, artists=7)
    hashes = {split.name: assign(split, tracks).hash for split in (ArtistFolds(), TrackSplitter(), ChunkSplitter())}
    assert hashes == {"artist_folds": "8586bbf101b287bd", "track": "eaa12ca53993b659", "chunk": "a138b413ebb90e2d"}


@pytest.mark.parametrize("split", DRAWN)
def test_json_round_trip(split: Splitter) -> None:
    tracks = gtzan(12, artists=6)
    split = assign(split, tracks)
    data = json.loads(json.dumps(split.to_json()))
    assert Split.from_json(data) == split
    assert data["hash"] == split.hash
    assert (data["name"], data["leaky"], data["genres"]) == (split.name, split.leaky, list(GENRES))
    first = split.test[0]
    whole = first.track_id
    cut = {"track_id": first.track_id, "start_frame": first.start_frame, "stop_frame": first.stop_frame}
    assert data["test"][0] == (whole if split.whole_tracks else cut)


def test_changed_or_broken_json_is_refused() -> None:
    data = assign(TrackSplitter(), gtzan(12)).to_json()
    moved = data | {"train": data["train"][1:], "test": sorted([*data["test"], data["train"][0]])}
    with pytest.raises(UserError, match=r"split\.json was changed by hand"):
        Split.from_json(moved)
    with pytest.raises(UserError, match=r"split\.json is not complete \(KeyError: 'val'\)"):
        Split.from_json({key: value for key, value in data.items() if key != "val"})


def test_hash_tells_sides_apart_and_nothing_else() -> None:
    tracks = gtzan(12)
    base = assign(TrackSplitter(), tracks)
    assert len(base.hash) == 16
    assert int(base.hash, 16) >= 0
    assert assign(TrackSplitter(), tracks, n_frames=777).hash == base.hash
    assert replace(base, train=base.train[::-1], name="other", warnings=("x",)).hash == base.hash
    assert replace(base, train=base.test, test=base.train).hash != base.hash
    assert replace(base, train=base.train[1:]).hash != base.hash
    chunk = assign(ChunkSplitter(), tracks)
    first = chunk.train[0]
    moved = Segment(first.track_id, first.start_frame, first.stop_frame - 1)
    assert replace(chunk, train=(moved, *chunk.train[1:])).hash != chunk.hash


def test_counts_by_genre_and_side() -> None:
    tracks = gtzan(20)
    counts = counts_of(assign(TrackSplitter(train=0.5, val=0.25, test=0.25), tracks), tracks)
    assert list(counts) == list(GENRES)
    assert counts["rock"] == {"train": 10, "val": 5, "test": 5}


@pytest.mark.parametrize("n", [3, 4, 7, 10, 33, 100])
@pytest.mark.parametrize("fractions", [(0.7, 0.15, 0.15), (0.8, 0.1, 0.1), (0.98, 0.01, 0.01), (1 / 3, 1 / 3, 1 / 3)])
def test_tracks_are_stratified(n: int, fractions: tuple[float, float, float]) -> None:
    tracks = folder({"rock": n, "pop": 2 * n})
    train, val, test = fractions
    counts = counts_of(assign(TrackSplitter(train=train, val=val, test=test), tracks), tracks)
    for genre, total in (("rock", n), ("pop", 2 * n)):
        exact = {"train": train * total, "val": val * total, "test": test * total}
        assert sum(counts[genre].values()) == total
        assert min(counts[genre].values()) >= 1
        # A subset that would round to nothing takes its one track from the largest, at most two in all.
        slack = 2 if min(exact.values()) < 1 else 1
        assert all(abs(counts[genre][subset] - exact[subset]) < slack for subset in SUBSETS)


def test_ten_tracks_round_in_favour_of_the_test() -> None:
    tracks = folder({"rock": 10, "pop": 10})
    assert counts_of(assign(TrackSplitter(), tracks), tracks)["rock"] == {"train": 7, "val": 1, "test": 2}


def test_artists_parted_by_a_random_split_are_counted() -> None:
    assert not assign(TrackSplitter(), gtzan(20)).warnings
    (notice,) = assign(TrackSplitter(), gtzan(20, artists=2)).warnings
    assert notice.startswith("20 of 20 known artists are in more than one subset")


def test_known_repeats_parted_by_a_random_split_are_counted() -> None:
    split = assign(TrackSplitter(), gtzan(100))
    known, test = ids(split, "train") | ids(split, "val"), ids(split, "test")
    affected = {id for twins in KNOWN_REPEATS for id in test.intersection(twins) if known.intersection(twins)}
    assert affected
    (notice,) = split.warnings
    assert notice.startswith(f"{len(affected)} of {len(test)} test tracks are known repeats of training or validation")


@pytest.mark.parametrize("split", [TrackSplitter, ChunkSplitter])
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"train": 0.9}, r"split\.train=0\.9, split\.val=.* sum to 1\.\d+: choose fractions that sum to 1"),
        ({"train": 1.0, "val": 0.0, "test": 0.0}, r"split\.val=0\.0 is not a fraction"),
        ({"test": -0.1}, r"split\.test=-0\.1 is not a fraction"),
        ({"test": float("nan")}, r"split\.test=nan is not a fraction"),
        ({"train": "train.txt"}, r"split\.train=train\.txt is not a fraction"),
    ],
)
def test_wrong_fractions(split: type[TrackSplitter | ChunkSplitter], settings: dict[str, float], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        split(**settings)


def test_genre_too_small_for_three_sides() -> None:
    tracks = folder({"rock": 10, "pop": 10, "polka": 1})
    with pytest.raises(UserError, match=r"1 of 3 genres has no validation track \(polka\) and 1 of 3 .* no test track"):
        assign(TrackSplitter(), tracks)
    split = assign(TrackSplitter(allow_missing=True), tracks)
    assert split.genres == ("polka", "pop", "rock")
    assert "in split=track 1 of 3 genres has no test track (polka)" in split.warnings


def test_one_genre_or_no_readable_track() -> None:
    with pytest.raises(UserError, match="has one genre to learn, rock"):
        assign(TrackSplitter(allow_missing=True), folder({"rock": 10}))
    tracks = folder({"rock": 2, "pop": 2})
    with pytest.raises(UserError, match="none of the 4 tracks of the data can be read"):
        TrackSplitter().split(tracks, {}, CLIP_FRAMES)


def test_unreadable_tracks_are_on_no_side() -> None:
    tracks = gtzan(20)
    frames = frames_of(tracks)
    del frames["rock.00007"]
    split = TrackSplitter().split(tracks, frames, CLIP_FRAMES)
    assert sum(len(segments) for segments in split.subsets.values()) == 199
    assert split.warnings == ("split=track leaves 1 of 200 tracks in no subset, 1 of them unreadable",)


def test_chunks_fill_tracks_without_overlap_and_leak() -> None:
    tracks = gtzan(10)
    frames = frames_of(tracks)
    frames["rock.00000"] = 25
    frames["rock.00001"] = 80
    split = ChunkSplitter().split(tracks, frames, CLIP_FRAMES)
    segments = sorted(segment for subset in split.subsets.values() for segment in subset)
    expected = [
        Segment(id, start, start + CLIP_FRAMES)
        for id, n_frames in frames.items()
        for start in range(0, n_frames - CLIP_FRAMES + 1, CLIP_FRAMES)
    ]
    assert segments == sorted([*expected, Segment("rock.00000", 0, 25)])
    assert split.leaky
    assert not split.whole_tracks
    shared = ids(split, "train") & ids(split, "test")
    assert shared
    counts = counts_of(split, tracks)
    assert counts["blues"] == {"train": 24, "val": 3, "test": 3}
    several = {id for subset in SUBSETS for id in ids(split, subset) if sum(id in ids(split, s) for s in SUBSETS) > 1}
    assert f"split=chunk leaks: {len(several)} of 100 tracks are in more than one subset" in split.warnings[0]


def test_segments_of_whole_tracks_are_those_of_chunk_and_do_not_leak() -> None:
    tracks = gtzan(20)
    cut, chunk, whole = (
        assign(splitter, tracks) for splitter in (TrackSplitter(pieces=True), ChunkSplitter(), TrackSplitter())
    )
    assert sorted(cut.train + cut.val + cut.test) == sorted(chunk.train + chunk.val + chunk.test)
    assert not cut.leaky
    for subset, segments in cut.subsets.items():
        assert {segment.track_id for segment in segments} == {track.track_id for track in whole.subsets[subset]}
    assert Split.from_json(json.loads(json.dumps(cut.to_json()))) == cut
