"""Plots of the data: waveform and spectrograms of a track, one track of each genre, several tracks of one genre."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genreclf.audio.log_mel import PICTURE_RANGE_DB, FeatureSpec
from genreclf.data.store import Store
from genreclf.plots.mel import add_bar, draw_mel
from genreclf.plots.style import BLUE, new_figure, save, tidy

MAP_COLUMNS = 5
MOSAIC_COLUMNS = 4
MOSAIC_TRACKS = 12


def draw_waveform(path: Path, waveform: NDArray[np.float32], sample_rate: int, title: str) -> None:
    """Draw a waveform ``(sample,)`` over seconds; a long waveform is drawn as its minimum and maximum in short bins."""
    figure = new_figure(11, 3.6, title)
    axes = figure.subplots()
    bins = min(2200, len(waveform))
    edges = np.linspace(0, len(waveform), bins + 1).astype(int)[:-1]
    time_s = edges / sample_rate
    low, high = np.minimum.reduceat(waveform, edges), np.maximum.reduceat(waveform, edges)
    axes.fill_between(time_s, low, high, step="post", color=BLUE, linewidth=0.3)
    reach = max(1.0, float(np.abs(waveform).max()))
    axes.set_ylim(-reach, reach)
    axes.set_xlim(0, len(waveform) / sample_rate)
    axes.set_xlabel("time (s)", fontsize=13)
    axes.set_ylabel("amplitude (full scale 1)", fontsize=13)
    tidy(axes, grid_axis="both")
    save(figure, path)


def draw_spectrogram_and_mel(
    path: Path, waveform: NDArray[np.float32], stored: NDArray[Any], spec: FeatureSpec, title: str
) -> None:
    """Draw the linear-frequency spectrogram of a waveform ``(sample,)`` above its stored log-mel ``(mel, frame)``."""
    import librosa

    assert spec.sample_rate is not None
    assert spec.n_fft is not None
    assert spec.hop_length is not None
    magnitude = np.abs(
        librosa.stft(waveform, n_fft=spec.n_fft, hop_length=spec.hop_length, center=True, pad_mode="constant")
    )
    linear_db = librosa.amplitude_to_db(magnitude, ref=np.max, top_db=PICTURE_RANGE_DB)
    figure = new_figure(11, 8, title)
    above, below = figure.subplots(2, 1, sharex=True)
    above.imshow(
        linear_db,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0, linear_db.shape[1] / spec.frames_per_second, 0, spec.sample_rate / 2),
        cmap="magma",
        vmin=-PICTURE_RANGE_DB,
        vmax=0,
    )
    above.set_ylabel("frequency (Hz)")
    above.yaxis.set_major_formatter("{x:,.0f}")
    above.set_title(f"Spectrogram: {linear_db.shape[0]} linear bands, window {spec.n_fft} samples", loc="left")
    shown = draw_mel(below, stored, spec)
    below.set_title(f"Log-mel: {spec.n_mels} bands, the input of a network", loc="left")
    add_bar(figure, shown, [above, below], spec)
    save(figure, path)


def draw_log_mel(path: Path, stored: NDArray[Any], spec: FeatureSpec, title: str) -> None:
    """Draw the stored log-mel ``(mel, frame)`` of one track."""
    figure = new_figure(11, 4.4, title)
    axes = figure.subplots()
    add_bar(figure, draw_mel(axes, stored, spec), axes, spec)
    save(figure, path)


def draw_genre_map(path: Path, store: Store, genre_of: Mapping[str, str], spec: FeatureSpec, title: str) -> None:
    """Draw the log-mel of the first track of each genre, five per row."""
    first = {genre: ids[0] for genre, ids in ids_by_genre(store, genre_of).items()}
    tiles = {f"{genre} ({track_id})": store.spectrogram(track_id) for genre, track_id in first.items()}
    _draw_tiles(path, tiles, spec, f"{title}: log-mel of a track of each genre", MAP_COLUMNS)


def ids_by_genre(store: Store, genre_of: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the ids of the stored tracks by genre, with genres and ids sorted."""
    ids: dict[str, list[str]] = {}
    for track_id in sorted(store.lengths_frames, key=lambda name: (genre_of[name], name)):
        ids.setdefault(genre_of[track_id], []).append(track_id)
    return ids


def draw_mosaic(path: Path, stored: Mapping[str, NDArray[Any]], spec: FeatureSpec, title: str) -> None:
    """Draw log-mels ``(mel, frame)`` of several tracks, such as tracks of one genre, by their titles."""
    _draw_tiles(path, stored, spec, title, MOSAIC_COLUMNS)


def spread(names: Sequence[str], at_most: int) -> list[str]:
    """Return at most `at_most` of the names, evenly spread from the first to the last."""
    places = np.linspace(0, len(names) - 1, min(at_most, len(names))).round().astype(int)
    return [names[place] for place in places]


def _draw_tiles(path: Path, stored: Mapping[str, NDArray[Any]], spec: FeatureSpec, title: str, columns: int) -> None:
    columns = min(columns, len(stored))
    rows = -(-len(stored) // columns)
    figure = new_figure(3.1 * columns + 1.6, 2.6 * rows + 1.0, title)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, (name, values) in zip(grid.flat, stored.items(), strict=False):
        shown = draw_mel(axes, values, spec, labels=False)
        axes.set_title(name, fontsize=12, parse_math=False)
    longest_s = max(values.shape[1] for values in stored.values()) / spec.frames_per_second
    grid.flat[0].set_xlim(0, longest_s)
    for axes in grid.flat[len(stored) :]:
        axes.remove()
    for axes in grid.flat[max(0, len(stored) - columns) : len(stored)]:
        axes.tick_params(labelbottom=True)
    figure.supxlabel("time (s)")
    known = spec.sample_rate is not None or spec.rendering is not None
    figure.supylabel("frequency (Hz)" if known else "mel band")
    add_bar(figure, shown, list(grid.flat[: len(stored)]), spec)
    save(figure, path)
