"""Measure by simulation how often the 95 % intervals of an accuracy contain the true accuracy.

    python -m benchmarks.interval_coverage

In each trial, some artists are drawn, whose tracks are classified with a probability of their own: on average 70 %, and
so that two tracks of an artist have a correlation of 0.3. An artist has four tracks on average, and one track is the
most frequent number. An interval that keeps its promise contains 70 % in 95 % of the trials.
"""

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genreclf.evaluation.intervals import artist_interval, wilson_interval
from genreclf.reports.tables import Table, percent, span

ARTISTS = (3, 5, 8, 10, 15, 20, 30, 100)
"""Numbers of artists that are simulated."""
ACCURACY, CORRELATION, MEAN_TRACKS = 0.7, 0.3, 4
"""True accuracy, correlation of two tracks of an artist, and mean number of tracks of an artist."""


def main() -> None:
    """Print a table with a row for each number of artists."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--trials", type=int, default=1000, help="trials for each number of artists (default: 1000)")
    words.add_argument("--seed", type=int, default=0, help="draws the artists and their tracks (default: 0)")
    asked = words.parse_args()
    if asked.trials < 1:
        words.error("--trials must be at least 1.")
    print(table(asked.trials, asked.seed).markdown())


def table(trials: int, seed: int) -> Table:
    """Return how many of the intervals over artists, and of those over tracks, contain the true accuracy."""
    rows = []
    for artists in ARTISTS:
        rng = np.random.default_rng([seed, artists])
        hits = np.sum([contained(*simulated(artists, rng)) for _ in range(trials)], axis=0)
        rows.append((str(artists), *(f"{percent(n / trials)} ({span(*wilson_interval(n, trials))})" for n in hits)))
    header = ("artists", "intervals over artists with the truth (%)", "intervals over tracks with the truth (%)")
    return Table(header=header, cells=rows, words=0)


def simulated(artists: int, rng: np.random.Generator) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return whether each track is classified correctly, and the index of its artist, both of shape ``(track,)``."""
    artist = np.repeat(np.arange(artists), rng.geometric(1 / MEAN_TRACKS, artists))
    spread = 1 / CORRELATION - 1
    probability = rng.beta(ACCURACY * spread, (1 - ACCURACY) * spread, artists)
    return rng.random(len(artist)) < probability[artist], artist


def contained(right: NDArray[Any], artist: NDArray[np.int64]) -> tuple[bool, bool]:
    """Return whether the interval over artists, and the interval over tracks, contains the true accuracy."""
    intervals = artist_interval(right[None].astype(np.float64), artist), wilson_interval(int(right.sum()), len(right))
    over_artists, over_tracks = (low <= ACCURACY <= high for low, high in intervals)
    return over_artists, over_tracks


if __name__ == "__main__":
    main()
