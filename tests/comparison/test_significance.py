"""Tests and intervals against hand computation, enumeration and simulation."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ttest_1samp

from genreclf.comparison import significance
from genreclf.comparison.significance import TrackScores, accuracy_interval, holm, mcnemar, paired_test, permutation
from genreclf.evaluation.intervals import wilson_interval


def scores(right: Sequence[int], times: int | Sequence[int] = 1) -> TrackScores:
    counts = np.full(len(right), times) if isinstance(times, int) else np.array(times)
    ids = tuple(f"t{number:04d}" for number in range(len(right)))
    return TrackScores(track_ids=ids, right=np.array(right, dtype=np.int64), times=counts.astype(np.int64))


@pytest.mark.parametrize(
    ("first_only", "second_only", "p"),
    [
        (1, 9, 2 * (1 + 10) / 2**10),
        (9, 1, 2 * (1 + 10) / 2**10),
        (0, 5, 2 / 2**5),
        (5, 5, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_by_hand(first_only: int, second_only: int, p: float) -> None:
    assert mcnemar(first_only, second_only) == pytest.approx(p)


def test_one_run_each_is_mcnemar() -> None:
    # 2 right in both, 1 in the first alone, 6 in the second alone, 3 in none.
    first = [1, 1, 1, *[0] * 6, 0, 0, 0]
    second = [1, 1, 0, *[1] * 6, 0, 0, 0]
    test = paired_test(scores(first), scores(second))
    assert (test.first_better, test.second_better, test.method) == (1, 6, "McNemar")
    assert test.p == pytest.approx(2 * (1 + 7) / 2**7)
    assert test.difference == pytest.approx(-5 / 12)


def test_permutation_of_single_runs_is_mcnemar() -> None:
    assert permutation(np.array([1] * 3 + [-1] * 11 + [0] * 6)) == pytest.approx(mcnemar(3, 11))


def test_permutation_equals_enumeration() -> None:
    steps = np.array([3, -1, 2, 2, -3, 1, 3, 0, 2, 3])
    sums = [abs(sum(sign * abs(step) for sign, step in zip(signs, steps, strict=True)))
            for signs in product((-1, 1), repeat=len(steps))]  # fmt: skip
    expected = float(np.mean([total >= abs(steps.sum()) for total in sums]))
    assert permutation(steps) == pytest.approx(expected)
    assert permutation(steps * 7) == pytest.approx(expected)
    assert permutation(-steps) == pytest.approx(expected)


def test_several_runs_by_hand() -> None:
    """Differences of 2/3, 1/3 and 1/3: of the eight sums, two reach as far as 4/3."""
    test = paired_test(scores([3, 2, 1, 0], 3), scores([1, 1, 0, 0], 3))
    assert test.method == "permutation"
    assert test.p == pytest.approx(2 / 8)
    assert test.difference == pytest.approx((4 / 3) / 4)


def test_experiments_with_unequal_numbers_of_runs() -> None:
    """Shares of 2/3 and 1/2 differ by 1/6, which thirds or halves alone cannot count."""
    test = paired_test(scores([2, 2, 0], 3), scores([1, 1, 1], 2))
    assert (test.first_better, test.second_better) == (2, 1)
    # Steps of +1, +1, -3 sixths: sums of +-1 and +-5 and +-3 twice, of which all are at least 1.
    assert test.p == pytest.approx(1.0)
    assert test.difference == pytest.approx(-1 / 18)


def test_the_interval_of_a_difference_is_students() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    test = paired_test(scores(list(first), 3), scores(list(second), 3))
    expected = ttest_1samp((first - second) / 3, 0).confidence_interval(0.95)
    assert (test.low, test.high) == pytest.approx((expected.low, expected.high))


def test_other_tracks_are_refused() -> None:
    with pytest.raises(ValueError, match="different tracks"):
        paired_test(scores([1, 0]), scores([1, 0, 1]))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_one_run_has_wilsons_interval() -> None:
    interval = accuracy_interval(scores([1] * 7 + [0] * 3))
    assert (interval.low, interval.high) == wilson_interval(7, 10)
    assert interval.method == "Wilson"


def test_runs_that_agree_everywhere_leave_an_interval() -> None:
    interval = accuracy_interval(scores([3] * 20, 3))
    assert (interval.low, interval.high) == wilson_interval(20, 20)
    assert 0.8 < interval.low < 1


def draws(rng: np.random.Generator, tracks: int, runs: int) -> NDArray[np.int64]:
    """Draw how many of the runs recognize each track, on average two thirds; hard tracks are hard for all."""
    return rng.binomial(runs, rng.beta(1.0, 0.5, tracks))


def test_the_bootstrap_covers_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(significance, "RESAMPLES", 999)
    rng = np.random.default_rng(0)
    intervals = [accuracy_interval(scores(list(draws(rng, 120, 3)), 3)) for _ in range(150)]
    assert {interval.method for interval in intervals} == {"bootstrap"}
    covered = np.mean([interval.low <= 2 / 3 <= interval.high for interval in intervals])
    assert 0.90 <= covered <= 0.99


def test_seeds_are_not_taken_for_more_tracks() -> None:
    """Of runs that nearly agree, the interval is as wide as that of one of them, not as that of so many tracks."""
    right = [3] * 130 + [0] * 69 + [1]
    interval, single = accuracy_interval(scores(right, 3)), wilson_interval(130, 200)
    assert interval.high - interval.low == pytest.approx(single[1] - single[0], rel=0.05)


def test_equal_experiments_are_seldom_told_apart() -> None:
    rng = np.random.default_rng(0)
    p_values = [paired_test(*(scores(list(draws(rng, 60, 3)), 3) for _ in range(2))).p for _ in range(300)]
    assert np.mean(np.array(p_values) < 0.05) < 0.09
    assert np.mean(np.array(p_values) < 0.5) > 0.4


def test_over_artists_whole_artists_are_swapped() -> None:
    artist = np.array([0, 0, 0, 1, 1, 2, 3, 3, 4, 5])
    right = np.array([[2, 2, 2, 1, 2, 0, 2, 1, 1, 2], [0, 0, 1, 0, 2, 1, 0, 1, 0, 2]])
    first, second = (
        TrackScores(
            track_ids=tuple("abcdefghij"),
            right=row,
            times=np.full(10, 2),
            by_seed=np.stack([row > 0, row > 1]).astype(float),
            artist=artist,
        )
        for row in right
    )
    test = paired_test(first, second)
    sums = np.bincount(artist, weights=right[0] - right[1])
    reached = [abs(np.dot(signs, sums)) >= abs(sums.sum()) for signs in product((-1, 1), repeat=6)]
    assert test.p_artists == pytest.approx(np.mean(reached))
    assert test.p_artists != test.p
    assert test.ci95_artists is not None
    assert test.ci95_artists[0] < test.difference < test.ci95_artists[1]


def test_one_artist_says_nothing_about_others() -> None:
    ids, ones = tuple("abcd"), np.ones(4, dtype=np.int64)
    rights = ([1, 1, 1, 0], [0, 1, 0, 0])
    first, second = (TrackScores(track_ids=ids, right=np.array(r), times=ones, artist=0 * ones) for r in rights)
    test = paired_test(first, second)
    assert (test.ci95_artists, test.p_artists) == (None, None)
    assert test.difference == 0.5


@pytest.mark.parametrize(("right", "difference"), [([1, 0, 1, 1, 0, 1], 0.0), ([1] * 6, 1.0)])
def test_the_interval_of_equal_differences_is_no_point(right: list[int], difference: float) -> None:
    ones = np.ones(6, dtype=np.int64)
    first, second = (
        TrackScores(track_ids=tuple("abcdef"), right=np.array(each), times=ones, artist=np.array([0, 0, 0, 1, 1, 2]))
        for each in (right, np.array(right) - int(difference))
    )
    test = paired_test(first, second)
    tracks, artists = wilson_interval(0, 6)[1], wilson_interval(0, 3)[1]
    assert (test.low, test.high) == pytest.approx((difference - tracks, min(1, difference + tracks)))
    assert test.ci95_artists == pytest.approx((difference - artists, min(1, difference + artists)))


def test_an_interval_over_artists_shows_how_seeds_differ_where_artists_do_not() -> None:
    ids, artist = tuple(f"t{number:02}" for number in range(60)), np.repeat(np.arange(20), 3)
    by_seed = [[np.ones(60), np.tile([1.0, 0, 0], 20)], [np.tile([1.0, 1, 0], 20), np.tile([1.0, 0, 1], 20)]]
    differing, steady = (
        TrackScores(
            track_ids=ids,
            right=np.sum(seeds, 0).astype(np.int64),
            times=np.full(60, 2),
            by_seed=np.stack(seeds),
            artist=artist,
        )
        for seeds in by_seed
    )
    assert paired_test(differing, steady).ci95_artists == pytest.approx((-1 / 3, 1 / 3))
    assert differing.artist_interval == pytest.approx((1 / 3, 1.0))
    assert steady.artist_interval == pytest.approx(wilson_interval(13, 20))


def test_one_track_leaves_an_interval() -> None:
    test = paired_test(scores([1]), scores([0]))
    assert (test.low, test.high) == pytest.approx((1 - wilson_interval(0, 1)[1], 1))


def test_over_artists_of_one_track_each_nothing_changes() -> None:
    ids, ones = tuple(f"t{number:02}" for number in range(40)), np.ones(40, dtype=np.int64)
    rights = [(np.arange(40) % step == 0).astype(np.int64) for step in (2, 3)]
    first, second = (TrackScores(track_ids=ids, right=r, times=ones, artist=np.arange(40)) for r in rights)
    test = paired_test(first, second)
    assert test.p_artists == pytest.approx(test.p)
    assert test.ci95_artists == pytest.approx((test.low, test.high), abs=0.03)
