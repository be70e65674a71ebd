"""Find tracks whose genre may be wrong, by the predictions of models that were not trained on these tracks.

Confident learning (C. Northcutt, L. Jiang and I. Chuang, "Confident learning: estimating uncertainty in dataset
labels", Journal of Artificial Intelligence Research 70, 2021): a genre is a candidate for a track if its predicted
probability reaches its mean probability on the tracks that are labeled with it. A track is suspected if the most
probable candidate differs from its label.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.datasets.checks import check_name
from genreclf.errors import UserError
from genreclf.evaluation.predictions import TrackPredictions, read_track_csv
from genreclf.experiment.lineage import read_lineage, track_key
from genreclf.run_directory import RunDirectory


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A track whose label is doubtful, because models predict another genre."""

    track: str
    """Id of the track."""
    genre: str
    """Genre with which the track is labeled."""
    probability: float
    """Predicted probability of the labeled genre."""
    other: str
    """Genre that the models predict instead."""
    other_probability: float
    """Predicted probability of the other genre."""


def read_out_of_fold(runs: Iterable[str], config: Config | None = None) -> TrackPredictions:
    """Return the test predictions of finished runs, such as the folds of ``split=artist_folds``.

    Probabilities of a track that several runs tested are averaged.

    Args:
        runs: Run directories.
        config: Configuration that names a dataset; predictions for tracks of other datasets are left out. None uses
            those for all tracks.

    Raises:
        UserError: A run is not finished, has no predictions, is LEAKY, tested other datasets only, or has other genres
            than the first run.
    """
    ours = ""
    if config is not None:
        audited = instantiate.make("data", config.data)
        check_name(audited)
        ours = audited.dataset
    genres: tuple[str, ...] = ()
    genre_of: dict[str, str] = {}
    found: dict[str, list[np.ndarray]] = {}
    for path in runs:
        run = RunDirectory(path)
        if run.status != "finished":
            raise UserError(f"--runs {path} is not a finished run; choose runs that tested the dataset's tracks.")
        if run.read_metrics().get("split", {}).get("leaky"):
            raise UserError(f"--runs {path} is LEAKY: it was trained on tracks that it tests, so it cannot judge them.")
        predictions = read_track_csv(run.predictions)
        genres = genres or predictions.genres
        if predictions.genres != genres:
            raise UserError(f"--runs {path} has other genres than the first run: choose runs with the same ones.")
        tested = {track: row for row, track in enumerate(predictions.track_ids)}
        if config is not None:
            theirs = read_lineage(run, config).runs[0].dataset
            tested = {id: row for id, row in tested.items() if track_key(theirs, id) == track_key(ours, id)}
            if not tested:
                raise UserError(f"--runs {path} did not test any of the tracks: choose runs on this dataset.")
        for track, row in tested.items():
            genre_of[track] = genres[predictions.targets[row]]
            found.setdefault(track, []).append(predictions.probabilities[row])
    ids = tuple(sorted(found))
    means = [np.mean(found[track], axis=0) for track in ids]
    return TrackPredictions(
        genres=genres,
        track_ids=ids,
        targets=np.array([genres.index(genre_of[track]) for track in ids], dtype=np.int64),
        probabilities=np.array(means, dtype=np.float64).reshape(len(ids), len(genres)),
    )


def label_suspects(predictions: TrackPredictions, genre_of: Mapping[str, str]) -> list[Suspect]:
    """Return the tracks whose genre is doubtful, the most doubtful first.

    Args:
        predictions: Predictions of models that were not trained on the tracks.
        genre_of: Labeled genre by track id; tracks whose genre the models do not know are ignored.
    """
    rows = [row for row, track in enumerate(predictions.track_ids) if genre_of.get(track) in predictions.genres]
    if not rows:
        return []
    ids = [predictions.track_ids[row] for row in rows]
    shares = predictions.probabilities[rows]
    bears = np.array([predictions.genres.index(genre_of[track]) for track in ids])
    count = len(predictions.genres)
    borne = np.bincount(bears, minlength=count)
    sums = np.bincount(bears, weights=shares[np.arange(len(rows)), bears], minlength=count)
    thresholds = np.where(borne > 0, sums / np.maximum(1, borne), np.inf)
    confident = np.where(shares >= thresholds, shares, -1.0)
    likeliest = confident.argmax(axis=1)
    suspects = [
        Suspect(
            track=ids[i],
            genre=predictions.genres[bears[i]],
            probability=float(shares[i, bears[i]]),
            other=predictions.genres[likeliest[i]],
            other_probability=float(shares[i, likeliest[i]]),
        )
        for i in range(len(rows))
        if confident[i].max() >= 0 and likeliest[i] != bears[i]
    ]
    return sorted(suspects, key=lambda suspect: (suspect.probability - suspect.other_probability, suspect.track))
