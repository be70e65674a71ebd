"""The picture of a song: its genres over time, and the spectrogram they were read from.

Colors are those of P. Tol's "muted" scheme, "Colour schemes" (SRON technical note 2021), told apart by readers of every
color vision.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from genreclf.audio.log_mel import PICTURE_RANGE_DB
from genreclf.inference.prediction import Prediction
from genreclf.run_directory import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MUTED = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499")
OTHERS = "#BBBBBB"
INK = "#333333"
DPI = 160

_TICKS_HZ = (0, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000)


def draw_timeline(path: Path, prediction: Prediction, title: str) -> None:
    """Draw the shares of the genres over time, stacked, and the mel spectrogram under them on the same axis.

    Args:
        path: The PNG to write.
        prediction: Of the song.
        title: Names the song.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    figure.suptitle(title, fontsize=15, fontweight="bold", color=INK, parse_math=False)
    _draw_shares(above, prediction)
    _draw_spectrogram(below, prediction)
    for axes in (above, below):
        axes.tick_params(colors=INK, labelsize=11)
        axes.spines[:].set_color("#999999")
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png")


@dataclass(frozen=True, eq=False)
class Band:
    """A genre in the picture.

    Attributes:
        name: The genre, or ``others``.
        color: As ``#RRGGBB``.
        share: Of the whole song.
        shares: Between the edges of `Timeline.shares`, shape ``(moment,)``.
    """

    name: str
    color: str
    share: float
    shares: NDArray[np.float64]


def bands(prediction: Prediction) -> list[Band]:
    """Return the genres that have a color, in the order of the classes, and the others as one."""
    shares = prediction.timeline.shares()[1]
    colors = dict(zip(prediction.genres, MUTED, strict=False))
    if len(prediction.genres) > len(MUTED):
        colors = {genre: color for (genre, _), color in zip(prediction.top(), MUTED, strict=False)}
    named = [i for i, genre in enumerate(prediction.genres) if genre in colors]
    found = [
        Band(prediction.genres[i], colors[prediction.genres[i]], float(prediction.probabilities[i]), shares[:, i])
        for i in named
    ]
    if len(named) < len(prediction.genres):
        rest = [i for i in range(len(prediction.genres)) if i not in named]
        found.append(Band("others", OTHERS, float(prediction.probabilities[rest].sum()), shares[:, rest].sum(axis=1)))
    return found


def _draw_shares(axes: "Axes", prediction: Prediction) -> None:
    edges_s, drawn = prediction.timeline.shares()[0], bands(prediction)
    labels = [f"{band.name}  {100 * band.share:.1f} %" for band in drawn]
    fills = [band.color for band in drawn]
    # A step lasts from its edge to the next one.
    stacked = 100 * np.repeat([band.shares for band in drawn], 2, axis=1)
    axes.stackplot(np.repeat(edges_s, 2)[1:-1], stacked, labels=labels, colors=fills, linewidth=0)
    axes.set_ylim(0, 100)
    axes.set_ylabel("share of the genre (%)", fontsize=12)
    windows = len(prediction.timeline.start_s)
    axes.set_title(
        f"{prediction.genre}; {windows} window{'s' * (windows > 1)}, entropy {prediction.entropy_bits:.2f} bits",
        loc="left",
        fontsize=12,
        parse_math=False,
    )
    handles, names = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=11)


def _draw_spectrogram(axes: "Axes", prediction: Prediction) -> None:
    below_peak_db = prediction.spectrogram_db - prediction.spectrogram_db.max()
    n_mels = len(below_peak_db)
    shown = axes.imshow(
        below_peak_db,
        origin="lower",
        aspect="auto",
        extent=(*prediction.heard_s, -0.5, n_mels - 0.5),
        cmap="magma",
        vmin=-PICTURE_RANGE_DB,
        vmax=0,
    )
    places, labels = frequency_ticks(n_mels, prediction.sample_rate)
    axes.set_yticks(places, labels)
    axes.set_ylabel("frequency (Hz)", fontsize=12)
    axes.set_xlabel("time (s)", fontsize=12)
    bar = axes.figure.colorbar(shown, cax=axes.inset_axes((1.015, 0, 0.015, 1)))
    bar.set_label("dB relative to the peak", fontsize=11)


def frequency_ticks(n_mels: int, sample_rate: int) -> tuple[NDArray[np.float64], list[str]]:
    """Return where in a mel spectrogram of `n_mels` rows round frequencies lie."""
    import librosa

    centers_hz = librosa.mel_frequencies(n_mels + 2, fmin=0.0, fmax=sample_rate / 2)
    ticks_hz = [hz for hz in _TICKS_HZ if hz <= sample_rate / 2]
    return np.interp(ticks_hz, centers_hz, np.arange(n_mels + 2) - 1.0), [f"{hz:,}" for hz in ticks_hz]
