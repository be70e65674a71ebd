"""Nearest vectors by cosine, in FAISS (M. Douze et al., "The Faiss library", arXiv:2401.08281, 2024).

An inverted file: the vectors lie in cells around centers found by k-means, and a query looks into the nearest cells
alone (J. Sivic and A. Zisserman, "Video Google", ICCV 2003). Up to `EXACT_SONGS` vectors there is one cell, so that the
search is exact.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genreclf.errors import UserError, missing_packages
from genreclf.run_directory import atomic_path, check_checksum, checksum

if TYPE_CHECKING:
    import faiss

EXACT_SONGS = 50_000
"""Up to so many vectors every one is compared; a query takes milliseconds."""

PROBED_CELLS = 32
"""Cells that a query looks into."""


class Vectors:
    """Unit vectors with ids, to be searched by several threads at a time."""

    def __init__(self, index: "faiss.IndexIVFFlat") -> None:
        self.index = index

    @classmethod
    def build(cls, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> "Vectors":
        """Arrange `vectors` ``(song, dimension)``, brought to length 1 in place, by `ids` ``(song,)``."""
        faiss = load_faiss()
        count, dimension = vectors.shape
        faiss.normalize_L2(vectors)
        cells = 1 if count <= EXACT_SONGS else round(math.sqrt(count))
        centers = faiss.IndexFlatIP(dimension)
        index = faiss.IndexIVFFlat(centers, dimension, cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid = 1
        index.cp.max_points_per_centroid = 100
        index.train(vectors)
        index.add_with_ids(vectors, ids)
        return cls(index)

    @classmethod
    def load(cls, path: Path) -> "Vectors":
        """Read what `save` wrote, or raise `UserError` if it is missing or damaged."""
        faiss = load_faiss()
        try:
            check_checksum(np.memmap(path, np.uint8, "r").data)  # Before FAISS believes the sizes in it.
            index = faiss.read_index(str(path))
        except (MemoryError, OSError, RuntimeError, ValueError) as error:
            raise UserError(f"{path} is missing or damaged; index again: no song is computed anew.") from error
        if not isinstance(index, faiss.IndexIVFFlat):
            raise UserError(f"{path} was not made by index; delete it and index again.")
        return cls(index)

    def save(self, path: Path) -> None:
        """Write to `path`, whole or not at all."""
        with atomic_path(path) as partial:
            load_faiss().write_index(self.index, str(partial))
            end = checksum(np.memmap(partial, np.uint8, "r").data)
            with partial.open("ab") as file:  # FAISS leaves it unread.
                file.write(end)

    def __len__(self) -> int:
        return int(self.index.ntotal)

    def search(
        self,
        vector: NDArray[np.float32],
        k: int,
        *,
        among: NDArray[np.int64] | None = None,
        without: NDArray[np.int64] | None = None,
        probed_cells: int = PROBED_CELLS,
    ) -> list[int]:
        """Return the ids of the nearest vectors, the nearest first; fewer than `k` only where there are no more.

        Args:
            vector: The query, shape ``(dimension,)``.
            k: How many.
            among: Ids that may be found; None is all.
            without: Ids that may not.
            probed_cells: How many cells are looked into, at first; all if those hold fewer than `k`.

        Raises:
            UserError: The vectors have another dimension.
        """
        faiss = load_faiss()
        if len(vector) != self.index.d:
            raise UserError("The library's vectors are not those of its songs; delete the library and index again.")
        query = np.array(vector, np.float32)[None]
        faiss.normalize_L2(query)
        if among is not None and without is not None:
            among, without = np.setdiff1d(among, without), None
        selector = None
        if among is not None:
            selector = faiss.IDSelectorBatch(among)
        elif without is not None and len(without):
            selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(without))
        k = min(k, len(self))
        reachable = k if among is None else min(k, len(among))
        found: NDArray[Any] = np.empty(0, np.int64)
        for cells in dict.fromkeys((min(probed_cells, self.index.nlist), self.index.nlist)):
            if k:
                settings = faiss.SearchParametersIVF(sel=selector, nprobe=cells)
                _, ids = self.index.search(query, k, params=settings)
                found = ids[0][ids[0] >= 0]
            if len(found) >= reachable:
                break
        return [int(song_id) for song_id in found]


def load_faiss() -> Any:
    """Return faiss, or raise `UserError` if it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise missing_packages("A search for songs", "library", "faiss") from error
    return faiss
