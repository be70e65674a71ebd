"""Draw log-mel spectrograms with axes in seconds, Hz and dB."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genreclf.audio.log_mel import PICTURE_RANGE_DB, FeatureSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TICKS_HZ = (0, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000)


def level_db(stored: NDArray[Any], spec: FeatureSpec) -> NDArray[np.float32]:
    """Return stored log-mel values ``(mel, frame)`` in dB relative to the loudest value."""
    level = stored.astype(np.float32) * spec.step_db + spec.zero_db
    below_peak: NDArray[np.float32] = level - level.max()
    return below_peak


def draw_mel(axes: "Axes", stored: NDArray[Any], spec: FeatureSpec, *, labels: bool = True) -> Any:
    """Draw a stored log-mel ``(mel, frame)`` over seconds, from its peak to 80 dB below, low frequencies at the bottom.

    The frequency axis is in Hz if the frequencies of the mel bands are known, otherwise in mel bands.

    Returns:
        The image drawn by matplotlib, for a color bar.
    """
    n_mels, frames = stored.shape
    shown = axes.imshow(
        level_db(stored, spec),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0, frames / spec.frames_per_second, -0.5, n_mels - 0.5),
        cmap="magma",
        vmin=-PICTURE_RANGE_DB,
        vmax=0,
    )
    if spec.range_hz is not None:
        axes.set_yticks(*mel_ticks(n_mels, spec.range_hz))
    if labels:
        axes.set_ylabel("mel band" if spec.range_hz is None else "frequency (Hz)")
        axes.set_xlabel("time (s)")
    return shown


def mel_ticks(n_mels: int, range_hz: tuple[float, float]) -> tuple[NDArray[np.float64], list[str]]:
    """Return the positions of round frequencies among `n_mels` mel bands on Slaney's scale, and their labels in Hz."""
    import librosa

    lowest_hz, highest_hz = range_hz
    edges_hz = librosa.mel_frequencies(n_mels + 2, fmin=lowest_hz, fmax=highest_hz)
    ticks_hz = [hz for hz in TICKS_HZ if lowest_hz <= hz <= highest_hz]
    return np.interp(ticks_hz, edges_hz, np.arange(n_mels + 2) - 1.0), [f"{hz:,}" for hz in ticks_hz]


def add_bar(figure: "Figure", shown: Any, axes: Any, spec: FeatureSpec) -> None:
    """Add a color bar for `shown` next to `axes`; the label says so if the dB scale is an assumption."""
    bar = figure.colorbar(shown, ax=axes, pad=0.015, aspect=30)
    measured = spec.sample_rate is not None or spec.rendering is not None
    bar.set_label("dB relative to the track's peak" if measured else "dB relative to the peak, if black is -80 dB")
    bar.outline.set_visible(False)
