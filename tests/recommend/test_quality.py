"""Precision among the nearest, without songs of the query's own artist."""

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import Cli, divide
from scipy.stats import skew
from torchaudio.functional import create_dct

from genreclf.audio.log_mel import FeatureSpec
from genreclf.datasets.synthetic import Synthetic
from genreclf.evaluation.intervals import wilson_interval
from genreclf.recommend.quality import (
    Collection,
    best_precision,
    cosines,
    hubness,
    mfcc_moments,
    mfcc_similarities,
    precision_at,
    preferred_weights,
    quality,
    random_precision,
    similarity_of,
)
from genreclf.run_directory import RunDirectory
from genreclf.splits.base import Split

GENRE = np.array(["a", "a", "a", "b", "b", "b"])
GROUP = np.array(["1", "1", "2", "3", "4", "4"])


def test_songs_of_the_same_artist_do_not_count() -> None:
    collection = Collection(genre=GENRE, group=GROUP)
    position = np.array([0.0, 0.1, 0.5, 5.0, 5.1, 0.2])
    similarity = -np.abs(position[:, None] - position[None])
    # By hand: song 0 may not find 1, and then finds 5 (of genre b) and 2.
    np.testing.assert_allclose(precision_at(similarity, collection, 2), [0.5, 0.5, 0.5, 0.5, 0.5, 0.0])
    np.testing.assert_allclose(random_precision(collection, 2), [1 / 4, 1 / 4, 2 / 5, 2 / 5, 1 / 4, 1 / 4])
    np.testing.assert_allclose(best_precision(collection, 2), [0.5, 0.5, 1, 1, 0.5, 0.5])
    # More than a query may find: each order finds all, and the missing ones count as wrong.
    for precision in (random_precision(collection, 8), precision_at(similarity, collection, 8)):
        np.testing.assert_allclose(precision, best_precision(collection, 8))


def test_hubs_are_found_more_often_than_others() -> None:
    collection = Collection(genre=np.full(6, "a"), group=np.arange(6).astype(str))
    assert hubness(np.zeros((6, 6)), collection, 5) == 0.0
    around_one = np.zeros((6, 6))
    around_one[:, 3] = 1.0
    # By hand: song 3 is found by the five others, and song 0 by song 3.
    assert hubness(around_one, collection, 1) == pytest.approx(10 / (20 / 6) ** 1.5)


def test_songs_that_a_query_may_not_find_are_no_hubs() -> None:
    collection = Collection(genre=np.full(6, "a"), group=np.array(["1", "1", "1", "1", "1", "2"]))
    # By hand: five songs find only song 5, which finds all of them, each song 1 time and song 5 five times.
    assert hubness(np.zeros((6, 6)), collection, 5) == pytest.approx(skew([1, 1, 1, 1, 1, 5]))


def test_the_interval_keeps_an_artist_together() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(20), 10)
    values = np.repeat(rng.random(20), 10)
    apart = quality(values, Collection(genre=group.astype(str), group=np.arange(200).astype(str)))
    together = quality(values, Collection(genre=group.astype(str), group=group.astype(str)))
    assert apart.precision == together.precision == pytest.approx(values.mean())
    ratio = np.ptp(together.ci95) / np.ptp(apart.ci95)
    assert ratio == pytest.approx(10**0.5, rel=0.1)
    assert together.ci95[0] < values.mean() < together.ci95[1]


def test_the_interval_of_equal_precisions_is_no_point() -> None:
    collection = Collection(genre=np.full(20, "a"), group=np.arange(20).astype(str))
    low, high = wilson_interval(20, 20)
    assert quality(np.ones(20), collection).ci95 == pytest.approx((low, high))
    assert quality(np.full(20, 0.4), collection).ci95 == pytest.approx((0.4 - (1 - low), 0.4 + (1 - low)))
    assert quality(np.zeros(20), collection, bounds=(-1, 1)).ci95 == pytest.approx((low - 1, 1 - low))


def test_the_interval_of_many_artists_takes_little_memory() -> None:
    group = np.arange(2000).astype(str)
    collection = Collection(genre=group, group=group)
    tracemalloc.start()
    quality(np.random.default_rng(0).random(2000), collection)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 120e6


@pytest.mark.parametrize(("group", "k"), [(GENRE, 1), (np.arange(6).astype(str), 5)])
def test_no_weights_are_preferred_where_all_find_as_much(group: np.ndarray, k: int) -> None:
    """Where no track may be found that is right, and where all tracks are found."""
    rng = np.random.default_rng(0)
    embeddings, probabilities = rng.normal(size=(6, 4)), rng.dirichlet(np.ones(3), 6)
    assert preferred_weights(embeddings, probabilities, (4,), Collection(genre=GENRE, group=group), k) is None


def test_weights_that_find_most_are_preferred() -> None:
    probabilities = np.repeat(np.eye(2), 3, axis=0)
    embeddings = np.array([0, 1, 2, 0, 1, 2])[:, None] == np.arange(3)
    collection = Collection(genre=GENRE, group=np.arange(6).astype(str))
    songs = embeddings.astype(float), probabilities
    weights = preferred_weights(*songs, (3,), collection, 1)
    assert weights is not None
    vectors = similarity_of(*songs, (3,), weights).vectors(*songs)
    assert precision_at(vectors @ vectors.T, collection, 1).mean() == 1


def test_mfcc_is_the_orthonormal_dct() -> None:
    stored = np.random.default_rng(0).integers(0, 256, (128, 50)).astype(np.uint8)
    spec = FeatureSpec.of_pictures(n_mels=128, frames_per_second=12.9, clip_seconds=1)
    mean, covariance = mfcc_moments(stored, spec)
    level_db = stored * spec.step_db + spec.zero_db
    expected = create_dct(20, 128, "ortho").double().T.numpy() @ level_db
    np.testing.assert_allclose(mean, expected.mean(axis=1), atol=1e-4)
    np.testing.assert_allclose(covariance, np.cov(expected, bias=True) + 1e-3 * np.eye(20), atol=1e-2)
    similarities = mfcc_similarities([(mean, covariance), (mean + 1, covariance), (mean + 2, 2 * covariance)])
    for similarity in similarities.values():
        np.testing.assert_allclose(similarity, similarity.T)
        assert similarity[0, 0] > similarity[0, 1] > similarity[0, 2]


def test_cosines() -> None:
    np.testing.assert_allclose(cosines(np.array([[2, 0], [1, 1]], np.float32))[0], [1, 0.5**0.5], atol=1e-7)


def test_options_of_a_search_are_refused(cli: Cli) -> None:
    outcome = cli("recommend", "run", "--evaluate", "--diverse", "--library", "elsewhere")
    assert outcome.code == 2
    assert "--diverse, --library has no effect with --evaluate" in outcome.err


@pytest.mark.parametrize("song", ["song.wav", "pop.00001", "a=b.wav"])
def test_a_song_is_refused(song: str, cli: Cli) -> None:
    Path("a=b.wav").touch()
    outcome = cli("recommend", "run", "--evaluate", "data.artists=artists.csv", song)
    assert outcome.code == 2
    assert f"--evaluate takes no song, but settings such as data.artists=FILE; omit {song}." in outcome.err


def test_segments_of_tracks_count_as_their_tracks(cli: Cli, tiny: list[str]) -> None:
    shares = ("split.train=0.4", "split.val=0.2", "split.test=0.4")
    assert cli(*tiny, "split=track", "split.pieces=true", *shares, "run_dir=run").code == 0
    outcome = cli("recommend", "run", "--evaluate", "-k", "1", "--format", "json")
    assert outcome.code == 0, outcome.err
    tested = {segment["track_id"] for segment in json.loads(Path("run/split.json").read_text())["test"]}
    assert f"{len(tested)} test tracks in" in outcome.err


def test_songs_with_a_common_artist_are_one_group(
    cli: Cli, finished: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    artists = {"blues/00000": "Ann", "blues/00001": "Ann; Bob", "blues/00002": "bob", "blues/00003": "Cid"}
    divide(finished, tuple(artists), ())
    tracks = Synthetic.tracks
    monkeypatch.setattr(
        Synthetic,
        "tracks",
        lambda self: [replace(track, artist=artists.get(track.id), group="") for track in tracks(self)],
    )
    outcome = cli("recommend", "run", "--evaluate", "-k", "1")
    assert outcome.code == 0, outcome.err
    assert "4 test tracks in 2 groups that share no artist" in outcome.err


def test_what_cannot_be_measured_is_told(cli: Cli, finished: RunDirectory) -> None:
    weights = finished.path / "similarity.json"
    several, single = ("blues/00000", "blues/00001"), ("metal/00000", "rock/00000")
    divide(finished, single, several)
    outcome = cli("recommend", "run", "--evaluate", "-k", "1")
    assert outcome.code == 2
    assert "None of the 2 test tracks has a track of its genre by another artist" in outcome.err
    assert "check data.artists, or give a run with more test tracks" in outcome.err
    divide(finished, several, single)
    outcome = cli("recommend", "run", "--evaluate", "-k", "1")
    assert outcome.code == 0, outcome.err
    assert "Note: no weights are chosen, since all find as much on the 2 validation tracks" in outcome.err
    assert "Weights chosen" not in outcome.err
    assert not weights.exists()


@pytest.mark.parametrize("val", [(), ("metal/00000", "rock/00000")])
def test_weights_of_an_earlier_evaluation_are_removed(val: tuple[str, ...], cli: Cli, finished: RunDirectory) -> None:
    weights = finished.path / "similarity.json"
    divide(finished, ("blues/00000", "blues/00001"), val)
    weights.write_text("{}")
    outcome = cli("recommend", "run", "--evaluate", "-k", "1")
    assert outcome.code == 0, outcome.err
    assert "Note: run/similarity.json, which an earlier evaluation saved, is removed" in outcome.err
    assert not weights.exists()
    weights.mkdir()
    outcome = cli("recommend", "run", "--evaluate", "-k", "1")
    assert outcome.code == 0, outcome.err
    assert "the next index still uses the weights in run/similarity.json, which cannot be removed (" in outcome.err


def test_tracks_of_another_dataset_are_refused_before_they_are_computed(cli: Cli, finished: RunDirectory) -> None:
    elsewhere = "data.store_dir=elsewhere"
    outcome = cli("recommend", "run", "--evaluate", "data.seed=1", elsewhere)
    assert outcome.code == 2
    assert "run was tested on synthetic, seed 0, 5 artists a genre, and not on synthetic, seed 1, 5" in outcome.err
    outcome = cli("recommend", "run", "--evaluate", "features.n_mels=32", elsewhere)
    assert outcome.code == 2
    assert "differ from those the model was trained on (n_mels" in outcome.err
    split = Split.from_json(record := finished.read_json(finished.split))
    gone = replace(split.test[0], track_id="blues/00009")
    finished.write_json(finished.split, {**record, **replace(split, test=(gone, *split.test[1:])).to_json()})
    outcome = cli("recommend", "run", "--evaluate", elsewhere)
    assert outcome.code == 2
    assert "The dataset lacks 1 of the run's test tracks, such as blues/00009: check data.root." in outcome.err
    assert not Path("elsewhere").exists()


@pytest.mark.slow
def test_embeddings_of_synthetic_music_are_above_chance(cli: Cli, stores: object) -> None:
    few = ["data.tracks_per_genre=20", "data.duration_s=6", f"data.store_dir={stores}"]
    outcome = cli("experiment=quickstart", "run_dir=run", *few)
    assert outcome.code == 0, outcome.err
    outcome = cli("recommend", "run", "--evaluate", "-k", "1", "--format", "json")
    assert outcome.code == 0, outcome.err
    by_method = {row["method"]: row for row in json.loads(outcome.out)}
    assert by_method["similarity"]["low"] > by_method["random"]["high"]
