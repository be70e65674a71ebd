"""Files of noise for measurements, since the cost of a file does not depend on its music."""

from pathlib import Path

import numpy as np

SAMPLE_RATE = 22050
"""Sample rate of the songs in Hz, as in GTZAN."""

DURATION_S = 30.0
"""Duration of each song in seconds, as in GTZAN."""

PICTURE_SIZE = (128, 387)
"""Rows and columns of the images, as in the published images of GTZAN."""

_GENRES = 10


def write_songs(folder: Path, tracks: int) -> list[Path]:
    """Write 16-bit WAV files ``<folder>/<genre>/<song>.wav`` and return their paths; existing files are kept."""
    import soundfile

    generator = np.random.default_rng(0)
    samples = round(SAMPLE_RATE * DURATION_S)
    files = [folder / f"genre{index % _GENRES}" / f"song{index:06d}.wav" for index in range(tracks)]
    for file in files:
        if file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        decay = np.linspace(0.3, 0.1, samples, dtype=np.float32)
        soundfile.write(file, decay * generator.standard_normal(samples, np.float32), SAMPLE_RATE, subtype="PCM_16")
    return files


def write_pictures(folder: Path, tracks: int) -> list[Path]:
    """Write grayscale images ``<folder>/<genre>/<song>.png`` and return their paths."""
    from PIL import Image

    generator = np.random.default_rng(0)
    files = [folder / f"genre{index % _GENRES}" / f"song{index:06d}.png" for index in range(tracks)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, PICTURE_SIZE, dtype=np.uint8)).save(file, compress_level=1)
    return files
