"""Measure how much a leaking split helps models that memorize: nearest neighbor and support vector machine.

    python -m benchmarks.leak data=spectrogram_images data.root=pictures/data/spectrograms data.artists=index.txt

Both use the mel-band statistics of each segment (`genreclf.models.band_statistics`), standardized over the training
segments: once with the segments of a track spread over several subsets (``chunk``, LEAKY), and once with the same
segments, but all segments of a track in one subset (``track``). The hyperparameters of the support vector machine are
those with the highest accuracy on validation segments.
"""

import sys
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from genreclf.cli.compose import checked
from genreclf.datasets.identity import artist_groups
from genreclf.errors import UserError
from genreclf.evaluation.intervals import artist_index, artist_interval, wilson_interval
from genreclf.experiment.setup import Prepared, prepare
from genreclf.reports.tables import MISSING, Table, percent, span

SPLITS = {"chunk, LEAKY": ["split=chunk"], "track": ["split=track", "split.pieces=true"]}
FRACTIONS = ("split.train=0.8", "split.val=0.1", "split.test=0.1")
PENALTIES, WIDTHS = (1.0, 10.0, 100.0), (0.25, 1.0, 4.0)
"""Tried hyperparameters of the support vector machine: C, and gamma multiplied by the number of statistics."""


def main(overrides: list[str]) -> None:
    """Print a table with a row for each split and model."""
    rows = [row for name in SPLITS for row in measure(name, overrides)]
    header = ("model", "split", "test segments", "right (%)", "95 % interval", "95 % interval, artists")
    print(Table(header=header, cells=rows, words=2).markdown())


def measure(name: str, overrides: list[str]) -> Iterator[tuple[str, ...]]:
    """Yield the table row of each model on a split, a key of `SPLITS`."""
    settings = ["model=band_statistics", "logger=none", "trainer=cpu", "data.grid_overlap=0", *FRACTIONS]
    config = checked([*settings, *overrides, *SPLITS[name]], run_dir="outputs/leak")
    prepared = prepare(config)
    x, genre, _ = segments_of(prepared, "train")
    scaler = StandardScaler().fit(x)
    fitted = scaler.transform(x)
    val, val_genre, _ = segments_of(prepared, "val")
    test, test_genre, test_tracks = segments_of(prepared, "test")
    machines = [
        SVC(C=penalty, gamma=width / x.shape[1]).fit(fitted, genre) for penalty, width in product(PENALTIES, WIDTHS)
    ]
    best = max(machines, key=lambda machine: machine.score(scaler.transform(val), val_genre))
    groups = artist_groups(test_tracks, prepared.split_record["artists"])
    for title, model in (
        ("nearest neighbor", KNeighborsClassifier(1).fit(fitted, genre)),
        (f"SVM, C={best.C:g}, gamma={best.gamma * x.shape[1]:g}/d", best),
    ):
        right = model.predict(scaler.transform(test)) == test_genre
        artist = artist_index(test_tracks, groups)
        over_artists = None if artist is None else artist_interval(right[None].astype(np.float64), artist)
        artists_interval = MISSING if over_artists is None else span(*over_artists)
        tracks_interval = span(*wilson_interval(int(right.sum()), len(right)))
        yield title, name, str(len(right)), percent(right.mean()), tracks_interval, artists_interval


def segments_of(prepared: Prepared, subset: str) -> tuple[NDArray[Any], NDArray[Any], list[str]]:
    """Return the statistics ``(segment, statistic)``, genre and track ID of each segment of a subset."""
    data, network = prepared.data, prepared.model.network
    rows, segments = data.grid(subset), data.segments(subset)
    statistics: Any = network.statistics
    with torch.inference_mode():
        found = [statistics(prepared.model.scaling(data.clips(subset, some).stored)) for some in rows.split(64)]  # type: ignore[no-untyped-call]
    genre = data.tables[subset].genre[rows[:, 0]].numpy()
    return torch.cat(found).numpy(), genre, [segments[row].track_id for row in rows[:, 0].tolist()]


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"leak: {error}")
