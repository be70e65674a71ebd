"""``python -m genreclf recommend RUN --evaluate [overrides]``: measure recommendations on test tracks."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genreclf.cli.compose import load_corpus_for
from genreclf.cli.printing import note, print_table
from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.datasets.base import Track
from genreclf.errors import UserError
from genreclf.escaping import say
from genreclf.experiment.corpus import Corpus
from genreclf.experiment.lineage import read_lineage, track_key
from genreclf.inference.predictor import GenrePredictor
from genreclf.recommend import quality as q
from genreclf.recommend.searching import WEIGHTS
from genreclf.recommend.similarity import usual_weights
from genreclf.run_directory import RunDirectory, csv_of
from genreclf.splits.base import Segment, Split
from genreclf.splits.rules import group_names


def evaluate(
    run: str, overrides: Sequence[str], *, k: int, form: str, device: str, trust: Sequence[str], config_dir: Path | None
) -> None:
    """Choose weights on validation tracks; print the test precision of the similarity, of MFCCs and of chance."""
    directory = RunDirectory(run)
    predictor = GenrePredictor.of_run(run, device=device, trust=trust)
    predictor.check_embeds()
    split = Split.from_json(directory.read_json(directory.split))
    if split.leaky:
        raise UserError(f"{run} has a LEAKY split: it was trained on its test tracks, so they measure nothing.")
    corpus = load_corpus_for(
        predictor.spec,
        directory,
        overrides,
        device=predictor.device,
        trust=trust,
        config_dir=config_dir,
        check=lambda config, tracks: _check_tracks(directory, split, config, {track.id for track in tracks}),
    )
    tracks = _test_tracks(split, corpus)
    collection = _collection(tracks)
    if not collection.right.any():
        raise UserError(
            f"None of the {len(tracks)} test tracks has a track of its genre by another artist, so nothing can be "
            "measured: check data.artists, or give a run with more test tracks."
        )
    spectrograms = [corpus.store.spectrogram(track.id) for track in tracks]
    probabilities, embeddings = _described(predictor, spectrograms)
    sizes = predictor.model.embedding_sizes or (embeddings.shape[1],)
    weights = _chosen_weights(directory, predictor, corpus, split, sizes, k)
    vectors = q.similarity_of(embeddings, probabilities, sizes, weights).vectors(embeddings, probabilities)
    similarity_by = {
        "similarity": vectors @ vectors.T,
        "embedding": q.cosines(embeddings),
        "genres": q.cosines(np.sqrt(probabilities)),
        **q.mfcc_similarities([q.mfcc_moments(stored, corpus.spec) for stored in spectrograms]),
    }
    rows = _rows(similarity_by, collection, k)
    groups = len(np.unique(collection.group))
    say(f"{len(tracks)} test tracks in {groups} groups that share no artist, each compared with the other groups.")
    _show(rows, k, form)


def _check_tracks(run: RunDirectory, split: Split, config: Config, listed: Collection[str]) -> None:
    """Raise `UserError` if the configuration chooses other tracks than those of a run, or one of these is missing."""
    ids = _ids(split.test)
    own, dataset = read_lineage(run, config).runs[0], instantiate.make("data", config.data).dataset
    if own.keys(ids) != {track_key(dataset, id) for id in ids}:
        raise UserError(
            f"{run.path} was tested on {own.dataset}, and not on {dataset}: omit the settings that choose another "
            "dataset."
        )
    _check_complete(ids, listed)


def _check_complete(ids: Sequence[str], known: Collection[str]) -> None:
    if missing := [id for id in ids if id not in known]:
        raise UserError(
            f"The dataset lacks {len(missing)} of the run's test tracks, such as {missing[0]}: check data.root."
        )


def _ids(segments: Iterable[Segment]) -> list[str]:
    return sorted({segment.track_id for segment in segments})


def _test_tracks(split: Split, corpus: Corpus) -> list[Track]:
    """Return the test tracks of a run; raise `UserError` if one of them cannot be read."""
    ids = _ids(split.test)
    _check_complete(ids, corpus.store.lengths_frames)
    tracks = [corpus.tracks[id] for id in ids]
    if not any(track.artist for track in tracks):
        note("no artist is known, so songs by the same artist match each other; set data.artists.")
    return tracks


def _chosen_weights(
    run: RunDirectory, predictor: GenrePredictor, corpus: Corpus, split: Split, sizes: tuple[int, ...], k: int
) -> tuple[float, ...]:
    """Choose the weights with the highest precision on validation tracks and save them; else return the usual ones.

    If the usual weights are returned, saved ones are removed.
    """
    tracks = [corpus.tracks[id] for id in _ids(split.val) if id in corpus.store.lengths_frames]
    if not tracks:
        _remove_weights(run)
        return usual_weights(sizes)
    probabilities, embeddings = _described(predictor, [corpus.store.spectrogram(track.id) for track in tracks])
    weights = q.preferred_weights(embeddings, probabilities, sizes, _collection(tracks), k)
    if weights is None:
        note(
            f"no weights are chosen, since all find as much on the {len(tracks)} validation tracks; the usual ones are "
            "measured."
        )
        _remove_weights(run)
        return usual_weights(sizes)
    say(f"Weights chosen on {len(tracks)} validation tracks: {_kept(run, sizes, weights)}")
    return weights


def _remove_weights(run: RunDirectory) -> None:
    """Remove the weights that an earlier evaluation saved, so that the next ``index`` uses the usual ones."""
    path = run.path / WEIGHTS
    if not path.exists():
        return
    try:
        path.unlink()
    except OSError as error:
        note(f"the next index still uses the weights in {path}, which cannot be removed ({error.strerror}).")
    else:
        note(f"{path}, which an earlier evaluation saved, is removed: the next index uses the usual weights.")


def _rows(similarity_by: Mapping[str, NDArray[Any]], collection: q.Collection, k: int) -> list[dict[str, Any]]:
    """Return a row per similarity, chance and the best order: its precision, and how far it is below the first one."""
    per_query = {name: q.precision_at(similarity, collection, k) for name, similarity in similarity_by.items()}
    per_query |= {"random": q.random_precision(collection, k), "at best": q.best_precision(collection, k)}
    rows = []
    for name, values in per_query.items():
        own = q.quality(values, collection)
        less = q.quality(per_query["similarity"] - values, collection, bounds=(-1.0, 1.0))
        row = {"method": name, "k": k, "precision": own.precision, "low": own.ci95[0], "high": own.ci95[1]}
        row["hubness"] = q.hubness(similarity_by[name], collection, k) if name in similarity_by else None
        low, high = (0.0, 0.0) if name == "similarity" else less.ci95
        row |= {"less": less.precision, "less_low": low, "less_high": high}
        rows.append({key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()})
    return rows


def _kept(run: RunDirectory, sizes: Sequence[int], weights: Sequence[float]) -> str:
    """Save weights for the next ``index`` command; return a text with the weights and the path of their file."""
    place = f"They are saved in {run.path / WEIGHTS} for the next index."
    try:
        run.write_json(run.path / WEIGHTS, {"sizes": list(sizes), "weights": list(weights)})
    except OSError as error:
        place = f"They are not saved, since {run.path} cannot be written to ({error.strerror})."
    named = [f"part {i + 1}" for i in range(len(sizes))] if len(sizes) > 1 else ["embedding"]
    listed = ", ".join(f"{name} {weight:g}" for name, weight in zip([*named, "genres"], weights, strict=True))
    return f"{listed}. {place}"


def _collection(tracks: Sequence[Track]) -> q.Collection:
    group_of = group_names(tracks)
    return q.Collection(
        genre=np.array([track.genre for track in tracks]),
        group=np.array([group_of[track.id] for track in tracks]),
    )


def _described(
    predictor: GenrePredictor, spectrograms: Sequence[NDArray[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return probabilities ``(track, genre)`` and embeddings ``(track, dimension)`` of stored spectrograms."""
    described = [predictor.describe(torch.from_numpy(stored.T)) for stored in spectrograms]
    embeddings = [embedding for _, embedding in described if embedding is not None]
    return np.stack([shares for shares, _ in described]), np.stack(embeddings)


def _show(rows: list[dict[str, Any]], k: int, form: str) -> None:
    if form == "json":
        print(json.dumps(rows, indent=2))
    elif form == "csv":
        print(csv_of(rows[0], (row.values() for row in rows)), end="")
    else:
        cells = []
        for row in rows:
            figures = [row[key] for key in ("precision", "low", "high", "less", "less_low", "less_high")]
            mean, low, high, less, less_low, less_high = (f"{figure:.3f}" for figure in figures)
            own = row["method"] == "similarity"
            apart = ("", "") if own else (less, f"{less_low} to {less_high}")
            hubs = "" if row["hubness"] is None else f"{row['hubness']:.2f}"
            cells.append((row["method"], mean, f"{low} to {high}", hubs, *apart))
        print_table(("nearest by", f"precision@{k}", "95 %", "hubness", "less by", "95 %"), cells)
