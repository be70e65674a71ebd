"""How a library of songs grows: ``python benchmarks/library_scale.py [--songs 10000 100000 1000000]``.

Synthetic embeddings of 128 dimensions, as the default CRNN's: 16 independent directions in 1,000 clusters, and a little
noise in all. Everything but the hearing is what ``index`` and ``recommend`` do.
"""

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genreclf.library import Library, Song
from genreclf.library.indexing import make_searchable
from genreclf.library.library import songs_file, vectors_file
from genreclf.library.records import Records
from genreclf.library.vectors import Vectors

DIMENSION, DIRECTIONS, CLUSTERS = 128, 16, 1000
GENRES = tuple(f"genre {number}" for number in range(10))
QUERIES, K, BATCH = 100, 10, 10_000


def embeddings(songs: int) -> Iterator[NDArray[np.float32]]:
    """Yield batches ``(song, dimension)``."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(CLUSTERS, DIRECTIONS))
    directions = rng.normal(size=(DIRECTIONS, DIMENSION))
    for _ in range(songs // BATCH):
        latent = centers[rng.integers(CLUSTERS, size=BATCH)] + 0.5 * rng.normal(size=(BATCH, DIRECTIONS))
        yield (latent @ directions + 0.1 * rng.normal(size=(BATCH, DIMENSION))).astype(np.float32)


def fill(records: Records, songs: int) -> None:
    """Add songs as `index` would."""
    rng = np.random.default_rng(1)
    for batch, vectors in enumerate(embeddings(songs)):
        rows = rng.dirichlet(np.full(len(GENRES), 0.3), size=BATCH)
        records.change(
            add=(
                Song(
                    id=0,
                    origin="/music",
                    name=f"{batch}/{number}.flac",
                    path=Path(f"/music/{batch}/{number}.flac"),
                    fingerprint="1",
                    artist=f"artist {rng.integers(songs // 10)}",
                    genre=GENRES[int(row.argmax())],
                    probabilities=row,
                    duration_s=200.0,
                    embedding=vector,
                )
                for number, (row, vector) in enumerate(zip(rows, vectors, strict=True))
            )
        )


def measure(songs: int) -> str:
    """Return a row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        records = Records(songs_file(directory), GENRES)
        records.note(genres=GENRES, changed=True)
        fill(records, songs)
        started_s = time.perf_counter()
        make_searchable(directory, records)
        build_s = time.perf_counter() - started_s
        started_s = time.perf_counter()
        vectors = Vectors.load(vectors_file(directory))
        load_s = time.perf_counter() - started_s
        library = Library(directory=directory, records=records)
        library.__dict__["vectors"] = vectors
        ids = np.random.default_rng(2).choice(np.arange(1, songs + 1), QUERIES, replace=False).tolist()
        times_ms: dict[bool, list[float]] = {False: [], True: []}
        right = 0
        for song in records.songs(ids):
            for same_genre, times in times_ms.items():
                started_s = time.perf_counter()
                found = library.like(song, k=K, same_genre=same_genre)
                times.append(1000 * (time.perf_counter() - started_s))
                if not same_genre:
                    itself = np.array([song.id])
                    exact = vectors.search(song.embedding, K, without=itself, probed_cells=vectors.index.nlist)
                    right += len({one.song.id for one in found} & set(exact))
        plain, genre = (float(np.median(times)) for times in times_ms.values())
        sizes_mb = [file(directory).stat().st_size / 1e6 for file in (vectors_file, songs_file)]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    figures = [f"{songs:,}", f"{build_s:.1f}", f"{load_s:.2f}", f"{plain:.1f}", f"{genre:.1f}"]
    figures += [f"{right / QUERIES / K:.3f}", *(f"{size:.0f}" for size in sizes_mb), f"{peak_mb:.0f}"]
    return f"| {' | '.join(figures)} |"


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--songs", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="multiples of 10,000"
    )
    print(
        "| songs | build s | load s | query ms | same genre ms | recall@10 | vectors MB | songs MB | peak memory MB |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for songs in sorted(parser.parse_args().songs):
        print(measure(songs), flush=True)


if __name__ == "__main__":
    main()
