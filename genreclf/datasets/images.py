"""A dataset of ready-made spectrogram pictures in folders named by genre."""

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
"""Color maps that are tried to read a picture; gray needs none."""

RENDERINGS = ("librosa_peak80",)
"""Renderings of audio that prediction can repeat, see `genreclf.audio.log_mel.LIBROSA_PEAK80`."""

MOST_MELS = 4096
"""Maximal number of rows of a spectrogram."""

LONGEST_S = 36_000
"""Maximal length of a picture, in seconds."""

_FARTHEST_MEAN = {"PNG": 14.0, "JPEG": 20.0}
"""Mean distance of the pixels from the nearest color of the map, in levels of RGB, above which no known
map was used. Measured on GTZAN: 2 as drawn, up to 12 resized smoothly, 10 to 19 in JPEG (jet, turbo 28); photos: 34."""

_CLIPPED_DISTANCE = 64.0
"""What a pixel may add to that mean, so that axis labels and frames do not decide."""

# Pillow warns of pictures that `check_picture` refuses.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

_WHITE = 250
_FRAME_EDGE = 230
_BLACK = 40
_PROBED_PICTURES = 20
_PROBED_COLORS = 2048


class SpectrogramImages(ImageDataset):
    """Pictures ``<root>/<genre>/<file>.png`` (or .jpg), with time to the right and low frequencies at the bottom.

    Gray pictures are read as they are, 16-bit ones scaled to 8; in others the color map is inverted. White margins,
    axis labels and the axes' frame are cropped. Pictures of more or fewer than `n_mels` rows are brought to `n_mels` by
    the mean over the area of each new row, which restores the rows of one enlarged by a whole number; columns stay.
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
        """Choose the folder and how to read its pictures.

        Args:
            root: The folder of genre folders.
            artists: A file with the artist of each track, see `genreclf.datasets.identity.read_artists`.
            n_mels: Rows that pictures are resized to.
            seconds: Length in seconds of the music in a picture of the most common width.
            colormap: Name of the matplotlib color map the pictures were drawn with; None finds it among `COLORMAPS`.
            rendering: How the pictures were rendered from audio, one of `RENDERINGS`; None if unknown.

        Raises:
            UserError: There is no such color map or rendering, or a number is out of range.
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
        """Return a track for each picture, sorted by id, without lengths."""
        files = files_of(self.root, "pictures", PICTURE_SUFFIXES, self.warnings, unread=UNREAD_SUFFIXES)
        reading = f"{self.n_mels}-{self.colormap or 'any'}"
        files = [replace(file, fingerprint=f"{file.fingerprint}-{reading}") for file in files]
        return as_tracks(files, self.artists, self.warnings)

    def frames_per_second(self, tracks: Sequence[Track]) -> float:
        """Return the columns per second of music: the most common width in a sample of pictures, divided by `seconds`.

        Raises:
            UserError: No picture of the sample can be read.
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
        """Return the picture, shape ``(mel, frame)``, low frequency first, 255 at the top of the color map."""
        levels = read_levels(track.path, self.colormap)
        return np.ascontiguousarray(with_rows(levels, self.n_mels)[::-1])


def read_levels(path: Path, colormap: str | None = None) -> NDArray[np.uint8]:
    """Read the values drawn in a spectrogram picture.

    Args:
        path: A PNG or JPEG file.
        colormap: The matplotlib color map it was drawn with; None finds it.

    Returns:
        Shape ``(row, column)``, top row first, without margins; 0 is the map's first color, 255 its last.

    Raises:
        UnreadableTrack: It is not a picture, or its color map is unknown.
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
    """Return ``(row, column)`` levels with `n_rows` rows, each the mean over the area it covers, rounded."""
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
    """Return a picture as ``(row, column, 3)``, without transparency, and the format of its file."""
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
    """Return the levels of all pixels, and the first and the last color of the map they were drawn with."""
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
    """Return ``(color, level)``; exact, as all squares of 8-bit values fit into float32."""
    distances: NDArray[np.float32] = (
        (colors**2).sum(axis=1)[:, None] - 2 * (colors @ table.T) + (table**2).sum(axis=1)[None]
    )
    return distances.clip(0)


@lru_cache(maxsize=32)
def _tables(colormap: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a map's 256 colors as 8-bit levels: rounded, as plots are drawn, and cut off, as ``imsave`` does it."""
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
    """Find the spectrogram in a plot: inside white margins, beside axis labels and color bar, within a dark frame.

    Where white is the map's loudest color, only white on all four sides is a margin; where it is the quietest, none
    is.
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
    """Return where the longest run of True lies."""
    steps = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    if len(steps) == 0:
        return slice(0, 0)
    longest = int(np.argmax(steps[1::2] - steps[::2]))
    return slice(int(steps[2 * longest]), int(steps[2 * longest + 1]))
