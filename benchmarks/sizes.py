"""Growth of the cost with the number of tracks: building the store, an epoch, prediction."""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.command import peak_mb
from benchmarks.noise import write_pictures, write_songs
from benchmarks.store import build_s
from benchmarks.training import epoch_s
from genreclf.config.config import Config
from genreclf.experiment.setup import prepare
from genreclf.inference.predictor import GenrePredictor

Configure = Callable[[str, Path], Config]
"""Function that makes the configuration of a run, given the option of ``data`` and the folder of its files."""

PREDICTED = 400
"""Maximum number of tracks to predict; many more would take minutes."""


def measure_sizes(folder: Path, configure: Configure, sizes: Sequence[int]) -> dict[str, Any]:
    """Measure each part for several numbers of tracks.

    Args:
        folder: Folder to write the files to.
        configure: Makes the configuration of a run.
        sizes: Numbers of tracks in ascending order.

    Returns:
        For each part, milliseconds per track at each size, and ``hours_per_100000``, extrapolated from the line through
        the smallest and the largest size. For the store also ``memory_mb``, the peak memory of the command that builds
        it at each size, and ``gb_per_100000``, its size on disk. Predictions use at most `PREDICTED` tracks.
    """
    memory_mb = []
    for tracks in sizes:
        songs = write_songs(folder / "songs", tracks)
        stores = folder / f"stores{tracks}"
        memory_mb.append(
            peak_mb("prepare", "data=folder", f"data.root='{folder / 'songs'}'", f"data.store_dir='{stores}'")
        )
    (frames,) = stores.glob("*/frames.bin")
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

    few = [size * PREDICTED // max(PREDICTED, sizes[-1]) for size in sizes]
    return {
        "store": _line(lambda tracks: build_s(folder / "songs", tracks), sizes)
        | {"memory_mb": memory_mb, "gb_per_100000": round(frames.stat().st_size / sizes[-1] * 1e5 / 1e9, 1)},
        "epoch": _line(one_epoch_s, sizes),
        "predict": _line(predict_s, few),
    }


def _line(part: Callable[[int], float], sizes: Sequence[int]) -> dict[str, Any]:
    part(sizes[0])
    seconds = [part(size) for size in sizes]
    slope_s = (seconds[-1] - seconds[0]) / (sizes[-1] - sizes[0])
    return {
        "tracks": list(sizes),
        "ms_per_track": [round(1e3 * spent / size, 2) for spent, size in zip(seconds, sizes, strict=True)],
        "hours_per_100000": round(slope_s * 100_000 / 3600, 3),
    }
