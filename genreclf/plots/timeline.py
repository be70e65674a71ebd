"""Plot of a song: its genres over time, and the spectrogram they were predicted from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from genreclf.audio.log_mel import PICTURE_RANGE_DB
from genreclf.plots.mel import mel_ticks
from genreclf.plots.style import EDGE, INK, OTHERS, genre_colors, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False, kw_only=True)
class SongPlot:
    """What is plotted of a song."""

    probabilities: Mapping[str, float]
    """Probability of each genre in the whole song, in the order of the classes."""
    edges_s: NDArray[np.float64]
    """Times in seconds at which the shares may change, shape ``(moment + 1,)``."""
    shares: NDArray[np.float64]
    """Probabilities between these times, shape ``(moment, genre)``."""
    spectrogram_db: NDArray[np.float32]
    """Log-mel in dB, shape ``(mel, column)``."""
    range_hz: tuple[float, float]
    """Lowest and highest frequency of its mels, in Hz."""
    analyzed_s: tuple[float, float]
    """Where the spectrogram begins and ends in the song, in seconds."""


@dataclass(frozen=True, eq=False)
class Band:
    """A genre as a band of the plot, as high as its probability."""

    name: str
    """The genre, or ``others``."""
    color: str
    """As ``#RRGGBB``."""
    share: float
    """Of the whole song."""
    shares: NDArray[np.float64]
    """Between the edges of `SongPlot.edges_s`, shape ``(moment,)``."""


def draw_timeline(path: Path, song: SongPlot, title: str, caption: str) -> None:
    """Draw the shares of the genres over time, stacked, and the mel spectrogram under them on the same axis."""
    figure = new_figure(12, 7, title)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    _draw_shares(above, song)
    above.set_title(caption, loc="left", fontsize=12, parse_math=False)
    _draw_spectrogram(below, song)
    for axes in (above, below):
        axes.tick_params(colors=INK, labelsize=11)
        axes.spines[:].set_color(EDGE)
    save(figure, path)


def bands(probabilities: Mapping[str, float], shares: NDArray[np.float64]) -> list[Band]:
    """Return the genres that have a color of their own, in the order of the classes, and the others as one.

    Probabilities are of the whole song, shares over time, shape ``(moment, genre)``.
    """
    colors = genre_colors(probabilities)
    columns = dict(zip(probabilities, shares.T, strict=True))
    rest = [genre for genre, color in colors.items() if color == OTHERS]
    found = [Band(name, colors[name], probabilities[name], columns[name]) for name in colors if name not in rest]
    if rest:
        found.append(
            Band("others", OTHERS, sum(probabilities[name] for name in rest), sum(columns[name] for name in rest))
        )
    return found


def _draw_shares(axes: "Axes", song: SongPlot) -> None:
    drawn = bands(song.probabilities, song.shares)
    labels = [f"{band.name}  {100 * band.share:.1f} %" for band in drawn]
    # A step lasts from its edge to the next one.
    stacked = 100 * np.repeat([band.shares for band in drawn], 2, axis=1)
    fills = [band.color for band in drawn]
    axes.stackplot(np.repeat(song.edges_s, 2)[1:-1], stacked, labels=labels, colors=fills, linewidth=0)
    axes.set_ylim(0, 100)
    axes.set_ylabel("share of the genre (%)", fontsize=12)
    handles, names = axes.get_legend_handles_labels()
    font = min(11.0, 170 / len(drawn))
    axes.legend(handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=font)


def _draw_spectrogram(axes: "Axes", song: SongPlot) -> None:
    n_mels = len(song.spectrogram_db)
    shown = axes.imshow(
        song.spectrogram_db - song.spectrogram_db.max(),
        origin="lower",
        aspect="auto",
        extent=(*song.analyzed_s, -0.5, n_mels - 0.5),
        cmap="magma",
        vmin=-PICTURE_RANGE_DB,
        vmax=0,
    )
    axes.set_yticks(*mel_ticks(n_mels, song.range_hz))
    axes.set_ylabel("frequency (Hz)", fontsize=12)
    axes.set_xlabel("time (s)", fontsize=12)
    bar = axes.figure.colorbar(shown, cax=axes.inset_axes((1.015, 0, 0.015, 1)))
    bar.set_label("dB relative to the peak", fontsize=11)
