"""Search for the nearest vectors by cosine with FAISS (M. Douze et al., "The Faiss library", arXiv:2401.08281, 2024).

The index is an inverted file: the vectors are grouped into cells around centers found by k-means, and a query searches
only the nearest cells (J. Sivic and A. Zisserman, "Video Google", ICCV 2003). With at most `EXACT_SONGS` vectors, there
is a single cell and the search is exact.
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
"""Largest number of vectors for which a query is compared with every vector, which takes milliseconds."""

PROBED_CELLS = 32
"""Default number of cells that a query searches."""


class Vectors:
    """Index of unit vectors with ids, which several threads may search at the same time."""

    def __init__(self, index: "faiss.IndexIVFFlat") -> None:
        self.index = index

    @classmethod
    def build(cls, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> "Vectors":
        """Build the index of `vectors` ``(song, dimension)``, normalized in place, with their `ids` ``(song,)``."""
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
        """Read an index written by `save`; raise `UserError` if the file is missing or damaged."""
        faiss = load_faiss()
        try:
            check_checksum(np.memmap(path, np.uint8, "r").data)  # Check first: FAISS trusts the sizes in the file.
            index = faiss.read_index(str(path))
        except (MemoryError, OSError, RuntimeError, ValueError) as error:
            raise UserError(f"{path} is missing or damaged; index again: no song is computed anew.") from error
        if not isinstance(index, faiss.IndexIVFFlat):
            raise UserError(f"{path} was not made by index; delete it and index again.")
        return cls(index)

    def save(self, path: Path) -> None:
        """Write the index to `path` atomically, with a checksum at the end of the file."""
        content = load_faiss().serialize_index(self.index).data
        with atomic_path(path) as partial, partial.open("wb") as file:
            file.write(content)
            file.write(checksum(content))  # FAISS does not read it.

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
        """Return the ids of the `k` nearest vectors, nearest first; fewer only if there are no more.

        Args:
            vector: Query, shape ``(dimension,)``.
            k: Number of vectors to return.
            among: Ids to which the search is restricted; None searches all.
            without: Ids to exclude from the result.
            probed_cells: Number of cells to search first; all cells are searched if these yield too few vectors.

        Raises:
            UserError: The dimension of the query differs from that of the indexed vectors.
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
    """Import and return the module ``faiss``; raise `UserError` if it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise missing_packages("A search for songs", "library", "faiss") from error
    return faiss
