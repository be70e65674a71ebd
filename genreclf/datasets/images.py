"""A dataset of ready-made spectrogram images in genre folders."""

import struct
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from genreclf.audio.formats import PICTURE_SUFFIXES, UNREAD_SUFFIXES
from genreclf.datasets.base import ImageDataset, Track
from genreclf.datasets.folder import as_tracks, files_of
from genreclf.errors import UnreadableTrack, UserError
from genreclf.limits import check_is_file, check_picture

COLORMAPS = ("viridis", "magma", "inferno", "plasma", "cividis", "turbo", "jet", "hot", "afmhot")
"""Color maps that are tried when reading an image; gray images need none."""

RENDERINGS = ("librosa_peak80",)
"""Renderings of audio that prediction can reproduce, see `genreclf.audio.log_mel.LIBROSA_PEAK80`."""

MOST_MELS = 4096
"""Maximum number of rows of a spectrogram."""

LONGEST_S = 36_000
"""Maximum length of the music in an image, in seconds."""

_FARTHEST_MEAN = {"PNG": 14.0, "JPEG": 20.0}
"""Largest mean distance of the pixels from the nearest color of a color map, in RGB levels, at which an image counts as
drawn with that map. On GTZAN: 2 as drawn, up to 12 resized smoothly, 10 to 19 as JPEG (jet, turbo: 28); photos: 34."""

_CLIPPED_DISTANCE = 64.0
"""Largest distance that one pixel contributes to the mean, so that axis labels and frames do not dominate it."""

# Pillow warns about large images, which `check_picture` rejects.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_WHITE = 250
_FRAME_EDGE = 230
_BLACK = 40
_PROBED_PICTURES = 20
_PROBED_COLORS = 2048


class SpectrogramImages(ImageDataset):
    """Spectrogram images ``<root>/<genre>/<file>.png`` (or .jpg), time to the right, low frequencies at the bottom.

    Gray images are read as they are, with 16-bit values scaled to 8 bits; for other images the color map is inverted.
    White margins, axis labels and the frame of the axes are cropped. If an image does not have `n_mels` rows, it is
    resized vertically: each new row is the mean over the area that it covers, so that an image enlarged by a whole
    number gets its original rows back. The columns stay unchanged.
    """

    name = "spectrogram_images"

    def __init__(
        self,
        *,
        root: str | Path | None = None,
        artists: str | Path | None = None,
        n_mels: int = 128,
        seconds: float = 30.0,
        colormap: str | None = None,
        rendering: str | None = None,
    ) -> None:
        """Set the location of the images and how to read them.

        Args:
            root: Folder that contains the genre folders.
            artists: Path of a file with the artist of each track, see `genreclf.datasets.identity.read_artists`.
            n_mels: Number of rows that images are resized to.
            seconds: Length in seconds of the music in an image of the most common width.
            colormap: Name of the matplotlib color map that the images use; None to detect it among `COLORMAPS`.
            rendering: How the images were rendered from audio, one of `RENDERINGS`; None if unknown.

        Raises:
            UserError: The color map or the rendering does not exist, or a number is out of range.
        """
        super().__init__()
        if not 1 <= n_mels <= MOST_MELS:
            raise UserError(f"data.n_mels={n_mels} must lie between 1 and {MOST_MELS}.")
        if not 0.1 <= seconds <= LONGEST_S:
            raise UserError(f"data.seconds={seconds} must lie between 0.1 and {LONGEST_S}.")
        if colormap is not None:
            _check_colormap(colormap)
        if rendering not in (None, *RENDERINGS):
            raise UserError(f"data.rendering={rendering} is not one of null, {', '.join(RENDERINGS)}.")
        self.root = root
        self.artists = artists
        self.n_mels = n_mels
        self.seconds = seconds
        self.colormap = colormap
        self.rendering = rendering

    def tracks(self) -> list[Track]:
        """Return a track for each image, sorted by id, without lengths."""
        files = files_of(self.root, "pictures", PICTURE_SUFFIXES, self.warnings, unread=UNREAD_SUFFIXES)
        reading = f"{self.n_mels}-{self.colormap or 'any'}"
        files = [replace(file, fingerprint=f"{file.fingerprint}-{reading}") for file in files]
        return as_tracks(files, self.artists, self.warnings)

    def frames_per_second(self, tracks: Sequence[Track]) -> float:
        """Return the columns per second of music: the most common width in a sample of images, divided by `seconds`.

        Raises:
            UserError: No image of the sample can be read.
        """
        step = max(1, len(tracks) // _PROBED_PICTURES)
        widths: Counter[int] = Counter()
        for track in tracks[::step]:
            try:
                widths[read_levels(track.path, self.colormap).shape[1]] += 1
            except UnreadableTrack:
                continue
        if not widths:
            raise UserError(f"data.root={self.root}: no picture in it can be read as a spectrogram; check the files.")
        return widths.most_common(1)[0][0] / self.seconds

    def picture(self, track: Track) -> NDArray[np.uint8]:
        """Return the image of a track, shape ``(mel, frame)``, lowest frequency first; 255 is the map's last color."""
        levels = read_levels(track.path, self.colormap)
        return np.ascontiguousarray(with_rows(levels, self.n_mels)[::-1])


def read_levels(path: Path, colormap: str | None = None) -> NDArray[np.uint8]:
    """Read the values that a spectrogram image shows.

    Args:
        path: Path of a PNG or JPEG file.
        colormap: Name of the matplotlib color map of the image; None to detect it.

    Returns:
        Array of shape ``(row, column)`` without margins, top row first; 0 is the first color of the map, 255 the last.

    Raises:
        UnreadableTrack: The file is not a spectrogram image, or its color map is unknown.
    """
    pixels, file_format = _open(path)
    if min(pixels.shape[:2]) < 2:
        raise UnreadableTrack(f"a picture of {pixels.shape[1]} x {pixels.shape[0]} pixels")
    if colormap is None and (pixels == pixels[..., :1]).all():
        levels, ends = pixels[..., 0], np.array([[0] * 3, [255] * 3])
    else:
        levels, ends = _invert(pixels, colormap, _FARTHEST_MEAN[file_format])
    levels = levels[_music_box(pixels, ends)]
    if levels.size == 0 or (levels == levels.flat[0]).all():
        raise UnreadableTrack("every pixel is the same")
    return levels


def with_rows(levels: NDArray[np.uint8], n_rows: int) -> NDArray[np.uint8]:
    """Resize ``(row, column)`` levels to `n_rows` rows, each the rounded mean over the area that it covers."""
    if len(levels) == n_rows:
        return levels
    area = np.zeros((len(levels) + 1, levels.shape[1]))
    np.cumsum(levels, axis=0, out=area[1:])
    edges = np.arange(n_rows + 1) * len(levels) / n_rows
    whole = np.minimum(edges.astype(int), len(levels) - 1)
    at_edges = area[whole] + (edges - whole)[:, None] * levels[whole]
    means: NDArray[np.float64] = np.diff(at_edges, axis=0) * n_rows / len(levels)
    return np.rint(means).astype(np.uint8)


def _open(path: Path) -> tuple[NDArray[np.uint8], str]:
    """Return an image as an array ``(row, column, 3)``, without transparency, and its file format."""
    check_is_file(path)
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            check_picture(*image.size)
            if image.mode.startswith("I"):
                levels = np.rint(np.asarray(image, dtype=np.float64).clip(0, 65535) / 257).astype(np.uint8)
                return np.repeat(levels[..., None], 3, axis=2), str(image.format)
            return np.asarray(image.convert("RGB")), str(image.format)
    except UnidentifiedImageError:
        raise UnreadableTrack("not a PNG or JPEG picture") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise UnreadableTrack(f"not readable as a picture: {error}") from None


def _invert(
    pixels: NDArray[np.uint8], colormap: str | None, farthest_mean: float
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the levels of all pixels, and the first and last color of the color map that they were drawn with."""
    red, green, blue = np.moveaxis(pixels.astype(np.int32), 2, 0)
    codes, inverse, counts = np.unique(red << 16 | green << 8 | blue, return_inverse=True, return_counts=True)
    colors = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1).astype(np.float32)
    counts[colors.min(axis=1) >= _WHITE] = 0
    if not counts.any():
        raise UnreadableTrack("every pixel is the same")

    probed = np.argsort(counts)[-_PROBED_COLORS:]
    tables = [table for name in (COLORMAPS if colormap is None else (colormap,)) for table in _tables(name)]
    distances = [np.sqrt(_squared_distances(colors[probed], table).min(axis=1)) for table in tables]
    means = [np.average(distance.clip(max=_CLIPPED_DISTANCE), weights=counts[probed]) for distance in distances]
    if min(means) > farthest_mean:
        known = "a known color map" if colormap is None else f"color map {colormap}"
        raise UnreadableTrack(f"not a spectrogram picture of {known}")

    table = tables[int(np.argmin(means))]
    parts = np.array_split(colors, len(colors) // 16384 + 1)
    level = np.concatenate([_squared_distances(part, table).argmin(axis=1) for part in parts]).astype(np.uint8)
    return level[inverse.reshape(red.shape)], table[[0, -1]].astype(np.int64)


def _squared_distances(colors: NDArray[np.float32], table: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return squared distances ``(color, level)``; they are exact, since squares of 8-bit values fit into float32."""
    distances: NDArray[np.float32] = (
        (colors**2).sum(axis=1)[:, None] - 2 * (colors @ table.T) + (table**2).sum(axis=1)[None]
    )
    return distances.clip(0)


@lru_cache(maxsize=32)
def _tables(colormap: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the 256 colors of a map as 8-bit values, both rounded (as in plots) and truncated (as by ``imsave``)."""
    from matplotlib import colormaps

    colors = colormaps[colormap](np.linspace(0, 1, 256))[:, :3] * 255
    return np.rint(colors).astype(np.float32), np.floor(colors).astype(np.float32)


def _check_colormap(name: str) -> None:
    from matplotlib import colormaps

    if name not in colormaps:
        raise UserError(
            f"data.colormap={name} is not a matplotlib color map: null finds it among {', '.join(COLORMAPS)}."
        )


def _music_box(pixels: NDArray[np.uint8], ends: NDArray[np.int64]) -> tuple[slice, slice]:
    """Find the spectrogram in a plot, without white margins, axis labels, color bar and frame.

    If white is the loudest color of the map, white only counts as a margin if it is on all four sides; if white is the
    quietest color, nothing is cropped.
    """
    everything = (slice(0, pixels.shape[0]), slice(0, pixels.shape[1]))
    ink = np.minimum.reduce(np.moveaxis(pixels, 2, 0)) < _WHITE
    sides_white = [not side.any() for side in (ink[0], ink[-1], ink[:, 0], ink[:, -1])]
    quiet_white, loud_white = ends.min(axis=1) >= _WHITE
    if not ink.any() or quiet_white or not any(sides_white) or (loud_white and not all(sides_white)):
        return everything
    rows = _longest_run(ink.mean(axis=1) > 0.5 * ink.mean(axis=1).max())
    columns = _longest_run(ink[rows].mean(axis=0) > 0.5)

    planes = np.moveaxis(pixels, 2, 0)
    frame = (np.maximum.reduce(planes) <= _BLACK) | (np.minimum.reduce(planes) >= _FRAME_EDGE)
    for _ in range(3):
        inside = frame[rows, columns]
        if min(inside.shape) < 3 or min(s.mean() for s in (inside[0], inside[-1], inside[:, 0], inside[:, -1])) < 0.9:
            break
        rows, columns = slice(rows.start + 1, rows.stop - 1), slice(columns.start + 1, columns.stop - 1)
    return rows, columns


def _longest_run(flags: NDArray[np.bool_]) -> slice:
    """Return the slice of the longest run of True, which is empty if there is none."""
    steps = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    if len(steps) == 0:
        return slice(0, 0)
    longest = int(np.argmax(steps[1::2] - steps[::2]))
    return slice(int(steps[2 * longest]), int(steps[2 * longest + 1]))
