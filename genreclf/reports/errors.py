"""Tables of the errors of a model: confused genres, and artists with many wrong predictions."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

from genreclf.evaluation.metrics import confusion
from genreclf.evaluation.predictions import TrackPredictions
from genreclf.reports.tables import Table

CONFUSIONS_SHOWN = 10
ARTISTS_SHOWN = 10


def confusion_table(tracks: TrackPredictions) -> Table | None:
    """Return the most frequent confusions between two genres; None if all predictions are correct."""
    counts = confusion(tracks)
    true_tracks = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    wrong = sorted(zip(*np.nonzero(counts), strict=True), key=lambda cell: (-counts[cell], cell))[:CONFUSIONS_SHOWN]
    if not wrong:
        return None
    rows = [
        (tracks.genres[true], tracks.genres[given], str(counts[true, given]), str(true_tracks[true]))
        for true, given in wrong
    ]
    return Table(header=("true", "predicted", "tracks", "of"), cells=rows, words=2)


def artist_table(tracks: TrackPredictions, artists: Mapping[str, str] | None) -> Table | None:
    """Return the artists with the most wrong predictions; None if no artists are known or no prediction is wrong."""
    if artists is None:
        return None
    of_artist = Counter(artists[track_id] for track_id in tracks.track_ids)
    is_wrong = tracks.predicted != tracks.targets
    wrong = Counter(artists[track_id] for track_id, error in zip(tracks.track_ids, is_wrong, strict=True) if error)
    most = sorted(wrong, key=lambda artist: (-wrong[artist], of_artist[artist], artist))[:ARTISTS_SHOWN]
    rows = [(artist.removeprefix("artist: "), str(wrong[artist]), str(of_artist[artist])) for artist in most]
    return Table(header=("artist", "wrong tracks", "of"), cells=rows) if rows else None
