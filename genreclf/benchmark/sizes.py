"""How the cost grows with the number of tracks: building the store, an epoch, prediction."""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from genreclf.benchmark.invented import write_pictures, write_songs
from genreclf.benchmark.store import build_s
from genreclf.benchmark.training import epoch_s
from genreclf.config import Config
from genreclf.inference.predictor import GenrePredictor
from genreclf.preparing import prepare

Configure = Callable[[str, Path], Config]
"""Makes the configuration of a run on invented files: kind of the source (``data``) and where they lie."""


def measure_sizes(folder: Path, configure: Configure, sizes: Sequence[int]) -> dict[str, Any]:
    """Measure each part on several numbers of tracks.

    Args:
        folder: Where the files are invented.
        configure: Makes a run's configuration.
        sizes: Numbers of tracks, ascending.

    Returns:
        By part: milliseconds a track at each size, and ``hours_per_100000``, worked out from the line through the
        smallest and the largest.
    """
    songs = write_songs(folder / "songs", max(sizes))
    predictor = GenrePredictor(model=prepare(configure("folder", folder / "songs")).model)

    def predict_s(tracks: int) -> float:
        predictor.predict(songs[0])
        started_s = perf_counter()
        for song in songs[:tracks]:
            predictor.predict(song)
        return perf_counter() - started_s

    def one_epoch_s(tracks: int) -> float:
        write_pictures(folder / f"pictures{tracks}", tracks)
        return epoch_s(configure("spectrogram_images", folder / f"pictures{tracks}"))

    parts = {"store": lambda tracks: build_s(folder / "songs", tracks), "epoch": one_epoch_s, "predict": predict_s}
    return {name: _line(part, sizes) for name, part in parts.items()}


def _line(part: Callable[[int], float], sizes: Sequence[int]) -> dict[str, Any]:
    part(sizes[0])
    seconds = [part(size) for size in sizes]
    slope_s = (seconds[-1] - seconds[0]) / (sizes[-1] - sizes[0])
    return {
        "tracks": list(sizes),
        "ms_per_track": [round(1e3 * spent / size, 2) for spent, size in zip(seconds, sizes, strict=True)],
        "hours_per_100000": round(slope_s * 100_000 / 3600, 3),
    }
