"""Plot of a song: predicted genres over time, above the spectrogram from which they were predicted."""

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
    """Data of a song for the plot."""

    probabilities: Mapping[str, float]
    """Probability of each genre in the whole song, in the order of the classes."""
    edges_s: NDArray[np.float64]
    """Times in seconds at which the probabilities may change, shape ``(moment + 1,)``."""
    shares: NDArray[np.float64]
    """Probability of each genre between consecutive times of `edges_s`, shape ``(moment, genre)``."""
    spectrogram_db: NDArray[np.float32]
    """Log-mel spectrogram in dB, shape ``(mel, column)``."""
    range_hz: tuple[float, float]
    """Lowest and highest frequency of the mel bands, in Hz."""
    analyzed_s: tuple[float, float]
    """Start and end of the spectrogram in the song, in seconds."""


@dataclass(frozen=True, eq=False)
class Band:
    """A genre as a band of the plot, whose height is its probability."""

    name: str
    """Name of the genre, or ``others``."""
    color: str
    """Color as ``#RRGGBB``."""
    share: float
    """Probability in the whole song."""
    shares: NDArray[np.float64]
    """Probabilities between consecutive times of `genreclf.plots.timeline.SongPlot.edges_s`, shape ``(moment,)``."""


def draw_timeline(path: Path, song: SongPlot, title: str, caption: str) -> None:
    """Draw the stacked probabilities of the genres over time, above the mel spectrogram on the same time axis."""
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
    """Return one band per genre with a color of its own, in the order of the classes, and one band for the others.

    Args:
        probabilities: Probability of each genre in the whole song.
        shares: Probability of each genre over time, shape ``(moment, genre)``.
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
    # Each probability is constant from one edge to the next.
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
