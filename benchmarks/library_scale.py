"""Measure libraries of growing size: ``python -m benchmarks.library_scale [--songs 10000 100000 1000000]``.

The embeddings are synthetic, with 128 dimensions like those of the default CRNN: 16 latent dimensions in 1,000
clusters, and a little noise in all dimensions. Except for the analysis of audio, the same work is done as by ``index``
and ``recommend``.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.child import peak_mb
from genreclf.recommend import Library, Song
from genreclf.recommend.library import songs_file, vectors_file
from genreclf.recommend.records import Records
from genreclf.recommend.searching import make_searchable

DIMENSION, DIRECTIONS, CLUSTERS = 128, 16, 1000
GENRES = tuple(f"genre {number}" for number in range(10))
QUERIES, K, BATCH = 100, 10, 10_000


def embeddings(songs: int) -> Iterator[NDArray[np.float32]]:
    """Yield batches of synthetic embeddings ``(song, dimension)``, `songs` in total."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(CLUSTERS, DIRECTIONS))
    directions = rng.normal(size=(DIRECTIONS, DIMENSION))
    for _ in range(songs // BATCH):
        latent = centers[rng.integers(CLUSTERS, size=BATCH)] + 0.5 * rng.normal(size=(BATCH, DIRECTIONS))
        yield (latent @ directions + 0.1 * rng.normal(size=(BATCH, DIMENSION))).astype(np.float32)


def fill(records: Records, songs: int) -> None:
    """Add synthetic songs to the records, as ``index`` would."""
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


def built(directory: Path) -> tuple[float, float]:
    """Make the songs searchable, as ``index`` does; return the seconds and the peak memory in MB."""
    started_s = time.perf_counter()
    make_searchable(directory, Records(songs_file(directory), GENRES))
    return time.perf_counter() - started_s, peak_mb()


def asked(directory: Path, songs: int) -> tuple[float, float, float, float, float, float]:
    """Search for similar songs, as ``recommend`` does.

    Returns:
        Seconds to load the library; median milliseconds of a query, of a query within the same genre and of a
        comparison with every song; share of the ten nearest songs that a query finds; peak memory in MB.
    """
    started_s = time.perf_counter()
    library = Library(directory=directory, records=Records(songs_file(directory), GENRES))
    vectors = library.vectors
    load_s = time.perf_counter() - started_s
    ids = np.random.default_rng(2).choice(np.arange(1, songs + 1), QUERIES, replace=False).tolist()
    plain_s, genre_s, exact_s = [], [], []
    right = 0
    for song in library.records.songs(ids):
        started_s = time.perf_counter()
        found = library.like(song, k=K)
        plain_s.append(time.perf_counter() - started_s)
        started_s = time.perf_counter()
        library.like(song, k=K, same_genre=True)
        genre_s.append(time.perf_counter() - started_s)
        started_s = time.perf_counter()
        target = library.similarity.of_songs([song])[0].astype(np.float32)
        exact = vectors.search(target, K, without=np.array([song.id]), probed_cells=vectors.index.nlist)
        exact_s.append(time.perf_counter() - started_s)
        right += len({one.song.id for one in found} & set(exact))
    plain_ms, genre_ms, exact_ms = (1000 * float(np.median(times)) for times in (plain_s, genre_s, exact_s))
    return load_s, plain_ms, genre_ms, exact_ms, right / QUERIES / K, peak_mb()


def alone(function: Callable[..., Any], *given: Any) -> Any:
    """Call a function in a new process, so that its peak memory is measured alone."""
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        return fresh.submit(function, *given).result()


def measure(songs: int) -> str:
    """Measure a library of `songs` songs and return its row of the table."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        records = Records(songs_file(directory), GENRES)
        records.note(genres=GENRES, changed=True)
        fill(records, songs)
        build_s, build_mb = alone(built, directory)
        load_s, plain_ms, genre_ms, exact_ms, recall, query_mb = alone(asked, directory, songs)
        sizes_mb = [file(directory).stat().st_size / 1e6 for file in (vectors_file, songs_file)]
    figures = [f"{songs:,}", f"{build_s:.1f}", f"{build_mb:.0f}", *(f"{size:.0f}" for size in sizes_mb)]
    figures += [f"{load_s:.2f}", f"{plain_ms:.1f}", f"{genre_ms:.1f}", f"{exact_ms:.1f}"]
    return f"| {' | '.join([*figures, f'{recall:.3f}', f'{query_mb:.0f}'])} |"


def main() -> None:
    """Measure libraries of all given sizes and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--songs", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="multiples of 10,000"
    )
    names = (
        "songs | build s | build peak MB | vectors MB | songs MB | load s | query ms | same genre ms | every song ms"
    )
    names = f"| {names} | recall@10 | query peak MB |"
    print(names)
    print("| --- " * (names.count("|") - 1) + "|", flush=True)
    for songs in sorted(parser.parse_args().songs):
        print(measure(songs), flush=True)


if __name__ == "__main__":
    main()
