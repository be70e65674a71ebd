"""Compute the spectrograms of many tracks in parallel threads."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from numpy.typing import NDArray

from genreclf.datasets.base import Track
from genreclf.errors import UnreadableTrack
from genreclf.progress_bar import progress_bar

Encode = Callable[[Track], NDArray[Any]]
"""Function that computes the spectrogram of a track to store, shape ``(frame, mel)``, or raises `UnreadableTrack`."""


def encode_all(
    tracks: Sequence[Track], encode: Encode, workers: int, what: str = "Spectrograms"
) -> Iterator[tuple[Track, NDArray[Any] | UnreadableTrack]]:
    """Compute the spectrograms of tracks in parallel and show a progress bar.

    Args:
        tracks: Tracks to compute spectrograms of.
        encode: Function that computes the spectrogram of a track; it is called from several threads at once.
        workers: Number of threads.
        what: Description of the progress bar.

    Yields:
        Each track, in the order given, with its spectrogram or the `UnreadableTrack` error that `encode` raised.
    """
    if not tracks:
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    waiting: deque[tuple[Track, Future[NDArray[Any]]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        with progress_bar() as progress:
            for track in progress.track(tracks, description=what):
                waiting.append((track, pool.submit(encode, track)))
                if len(waiting) >= 2 * workers:
                    yield _result(*waiting.popleft())
            while waiting:
                yield _result(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _result(track: Track, future: Future[NDArray[Any]]) -> tuple[Track, NDArray[Any] | UnreadableTrack]:
    try:
        return track, future.result()
    except UnreadableTrack as error:
        return track, error
