"""Write the search index of a library, weighted as validation tracks suggest."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genreclf.errors import UserError
from genreclf.recommend.library import vectors_file
from genreclf.recommend.records import Records
from genreclf.recommend.similarity import Similarity, compared, is_weighting, usual_weights
from genreclf.recommend.vectors import Vectors
from genreclf.run_directory import RunDirectory

Weighting = tuple[tuple[int, ...], tuple[float, ...]]
"""Number of values of each part of an embedding, and the weights of the parts and of the genres."""

WEIGHTS = "similarity.json"
"""File of a run with the weights that its validation tracks prefer."""


def make_searchable(directory: Path, records: Records, weighting: Weighting | None = None) -> None:
    """Write the search index if songs or weights, None for equal ones, changed; `UserError` if they do not fit."""
    path = vectors_file(directory)
    about = records.about()
    count = len(records)
    if not count:
        path.unlink(missing_ok=True)
        return
    kept = about.get("similarity", {})
    is_same = weighting is None or (kept.get("sizes"), kept.get("weights")) == tuple(map(list, weighting))
    if kept and is_same and not about.get("changed", True) and _loads(path):
        return
    center: NDArray[np.float64] = np.zeros(1)
    for _, embeddings, probabilities in records.in_batches():
        center = center + compared(embeddings, probabilities).sum(axis=0) / count
    dimension = len(center) - len(records.genres)
    sizes, weights = weighting or ((dimension,), usual_weights((dimension,)))
    if sum(sizes) != dimension:
        raise UserError(f"The run's {WEIGHTS} is of other embeddings: delete it, or run recommend --evaluate again.")
    similarity = Similarity(sizes=sizes, weights=weights, center=center)
    ids = np.empty(count, np.int64)
    vectors = np.empty((0, 0), np.float32)
    end = 0
    for some, embeddings, probabilities in records.in_batches():
        batch = similarity.vectors(embeddings, probabilities)
        if not end:
            vectors = np.empty((len(ids), batch.shape[1]), np.float32)
        start, end = end, end + len(some)
        ids[start:end], vectors[start:end] = some, batch
    Vectors.build(ids, vectors).save(path)
    records.note(changed=False, searchable_up_to=int(ids[-1]), similarity=similarity.plain())


def weighting_of(run: RunDirectory, sizes: tuple[int, ...]) -> Weighting | None:
    """Return the weights that ``recommend --evaluate`` chose, else the usual ones; `UserError` if they are damaged."""
    path = run.path / WEIGHTS
    if not path.exists():
        return (sizes, usual_weights(sizes)) if sizes else None
    try:
        return read_weighting(run.read_json(path))
    except ValueError:
        raise UserError(f"{path} holds no weights: delete it, or run recommend --evaluate again.") from None


def read_weighting(content: Mapping[str, Any]) -> Weighting:
    """Return what a file of weights holds.

    Raises:
        ValueError: It is something else.
    """
    try:
        found = tuple(map(int, content["sizes"])), tuple(map(float, content["weights"]))
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError("no weights") from error
    if not is_weighting(*found):
        raise ValueError("no weights")
    return found


def _loads(path: Path) -> bool:
    try:
        Vectors.load(path)
    except UserError:
        return False
    return True
