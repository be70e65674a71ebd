"""Intervals over artists, against hand computation and simulation."""

import numpy as np
import pytest

from genreclf.datasets.identity import artist_groups
from genreclf.evaluation.intervals import (
    artist_accuracy,
    artist_index,
    artist_interval,
    artist_metrics,
    effective_tracks,
    wilson_interval,
)


def test_tracks_that_agree_within_artists_count_as_one() -> None:
    of_artist = np.random.default_rng(0).random(60) < 0.6
    shares, artist = np.repeat(of_artist, 5).astype(float), np.repeat(np.arange(60), 5)
    low, high = artist_interval(shares[None], artist)
    assert (low, high) == pytest.approx(artist_interval(of_artist[None].astype(float), np.arange(60)))
    assert (low, high) == pytest.approx(wilson_interval(int(of_artist.sum()), 60), abs=0.02)
    assert effective_tracks(shares, artist) == pytest.approx(60 * (59 / 60) * 300 / 299)


def test_one_track_an_artist_is_worth_itself() -> None:
    shares = (np.arange(80) % 3 == 0).astype(float)
    assert effective_tracks(shares, np.arange(80)) == pytest.approx(80)
    assert artist_accuracy(shares, np.arange(80)) == pytest.approx(shares.mean())


def test_each_artist_counts_once() -> None:
    right, artist = np.array([1, 1, 1, 0, 1, 0]), np.array([0, 0, 0, 1, 2, 2])
    found = artist_metrics(right, artist)
    assert found["artists"] == 3
    assert found["artist_accuracy"] == pytest.approx((1 + 0 + 0.5) / 3)
    # Deviations 1/3 and -2/3, their sums 1, -2/3 and -1/3 by artist.
    assert found["effective_n"] == pytest.approx((12 / 9) * 36 / 5 / ((1 + 4 / 9 + 1 / 9) * 3 / 2))


def test_nothing_to_draw_is_told_by_the_number_of_artists() -> None:
    artist = np.repeat(np.arange(4), 10)
    assert artist_interval(np.ones((3, 40)), artist) == wilson_interval(4, 4)
    assert effective_tracks(np.ones(40), artist) is None
    assert artist_interval(np.eye(1, 7), np.zeros(7, dtype=int)) == wilson_interval(0, 1)


def test_seeds_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(1)
    artist = np.repeat(np.arange(40), 3)
    apart = np.stack([(rng.random(120) < level) for level in (0.2, 0.4, 0.6, 0.8)]).astype(float)
    assert np.ptp(artist_interval(apart, artist)) > 1.5 * np.ptp(artist_interval(apart.mean(axis=0)[None], artist))
    agreeing = apart[[0, 0, 0]]
    assert artist_interval(agreeing, artist) == pytest.approx(artist_interval(agreeing[:1], artist))


def test_joint_credits_and_unknown_artists() -> None:
    artists = {"a": ("marley",), "b": ("hill", "marley"), "c": ("hill",), "d": ()}
    index = artist_index("abcde", artist_groups("abcde", artists))
    assert index is not None
    assert index[0] == index[1] == index[2]
    assert len(set(index.tolist())) == 3
    assert artist_groups("de", artists) is None
    assert set(artist_metrics(np.ones(2), artist_index("de", None)).values()) == {None}


@pytest.mark.slow
def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng, hits = np.random.default_rng(2), 0
    artist = np.repeat(np.arange(60), 4)
    for _ in range(400):
        chances = rng.beta(1.2, 0.8, size=60)
        low, high = artist_interval((rng.random(240) < chances[artist]).astype(float)[None], artist)
        hits += low <= 0.6 <= high
    assert 0.91 < hits / 400 < 0.98
