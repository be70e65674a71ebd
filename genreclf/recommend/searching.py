"""Build the search index of a library, with the weights that were chosen on validation tracks."""

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
"""Number of values in each part of an embedding, and the weights of these parts and of the genres, which come last."""

WEIGHTS = "similarity.json"
"""Name of the file in a run directory that holds the weights chosen on the validation tracks."""


def make_searchable(directory: Path, records: Records, weighting: Weighting | None = None) -> None:
    """Write the search index of a library if its songs or weights have changed; delete the index if it has no songs.

    Args:
        directory: Directory of the library.
        records: Songs of the library.
        weighting: Weights of the similarity. None weights the embedding and the genres equally, but leaves the weights
            of an index of unchanged songs as they are.

    Raises:
        UserError: The weights do not fit the dimension of the embeddings.
    """
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
    """Return the weights that ``recommend --evaluate`` chose for a run, or else the default weights.

    Args:
        run: Run directory.
        sizes: Number of values in each part of an embedding.

    Returns:
        The weights; None if none were chosen and `sizes` is empty.

    Raises:
        UserError: The file of the chosen weights is damaged.
    """
    path = run.path / WEIGHTS
    if not path.exists():
        return (sizes, usual_weights(sizes)) if sizes else None
    try:
        return read_weighting(run.read_json(path))
    except ValueError:
        raise UserError(f"{path} holds no weights: delete it, or run recommend --evaluate again.") from None


def read_weighting(content: Mapping[str, Any]) -> Weighting:
    """Return the weights in the content of a weights file.

    Raises:
        ValueError: The content is not a valid set of weights.
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
