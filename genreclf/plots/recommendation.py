"""Plot of a recommendation: a map of the library with the recommended songs, and the genres predicted for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genreclf.plots.style import GRAY, INK, OTHERS, genre_colors, new_figure, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 10
"""Largest number of recommended songs in the plot."""

_NAME_LETTERS = 46


@dataclass(frozen=True, eq=False, kw_only=True)
class SongMap:
    """Songs of a library, or a sample of them, as points of a map."""

    genres: Sequence[str]
    """All genres of the library, in the order of `genreclf.plots.recommendation.SongBar.probabilities`."""
    vectors: NDArray[np.float64]
    """Position of each song, shape ``(song, dimension)``."""
    song_genres: Sequence[str]
    """Most probable genre of each song in `vectors`."""
    songs: int
    """Number of songs in the whole library."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SongBar:
    """A song that is marked on the map and whose genre probabilities are drawn beside it."""

    name: str
    """Displayed name of the song."""
    probabilities: NDArray[np.float64]
    """Predicted probabilities of the genres, shape ``(genre,)``."""
    vector: NDArray[np.float64]
    """Position of the song, shape ``(dimension,)``."""
    similarity: float | None = None
    """Similarity to the query song; None for the query song itself."""


def draw_recommendation(path: Path, library: SongMap, asked: SongBar, found: Sequence[SongBar]) -> None:
    """Draw a map of a library that marks a song and similar songs, next to the genres predicted for each of them.

    The map shows the first two principal components of the vectors of the library.
    """
    songs = [asked, *found[:SHOWN]]
    weights = np.sum([song.probabilities for song in songs], axis=0)
    colors = genre_colors(dict(zip(library.genres, weights.tolist(), strict=True)))
    figure = new_figure(13, 2.4 + 0.42 * max(10, len(songs)), f"Songs like {asked.name}")
    left, right = figure.subplots(1, 2, width_ratios=(6, 7))
    kept = _draw_map(left, library, songs, colors)
    part = f"{len(library.vectors):,} of " if len(library.vectors) < library.songs else ""
    left.set_title(
        f"{part}{library.songs:,} songs by most probable genre ({100 * kept:.0f} % of the variance)",
        loc="left",
        fontsize=11,
        color=INK,
    )
    _draw_shares(right, songs, list(colors.values()))
    for spines in (left.spines, right.spines):
        spines[:].set_visible(False)
    named = {genre: color for genre, color in colors.items() if color != OTHERS}
    if len(named) < len(colors):
        named["others"] = OTHERS
    marks = [left.scatter([], [], s=60, color=color) for color in named.values()]
    figure.legend(marks, named, loc="outside lower center", ncols=min(11, len(named)), frameon=False, fontsize=11)
    save(figure, path)


def _draw_map(axes: "Axes", library: SongMap, songs: Sequence[SongBar], colors: dict[str, str]) -> float:
    """Draw the map, and return the share of the variance that it explains."""
    center = library.vectors.mean(axis=0)
    _, lengths, directions = np.linalg.svd(library.vectors - center, full_matrices=False)
    plane = directions[:2]
    kept = float((lengths[:2] ** 2).sum() / max((lengths**2).sum(), 1e-12))

    def places(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        flat = (vectors - center) @ plane.T
        return np.pad(flat, ((0, 0), (0, 2 - len(plane))))

    size = float(np.clip(6000 / len(library.vectors), 8, 60))
    x, y = places(library.vectors).T
    axes.scatter(x, y, s=size, c=[colors[genre] for genre in library.song_genres], alpha=0.7, linewidths=0)
    (here_x, here_y), *there = places(np.stack([song.vector for song in songs]))
    for to_x, to_y in there:
        axes.plot([here_x, to_x], [here_y, to_y], color=GRAY, linewidth=0.8, zorder=2)
    x, y = np.transpose(there)
    fills = [colors[library.genres[int(song.probabilities.argmax())]] for song in songs[1:]]
    axes.scatter(x, y, s=90, c=fills, edgecolors=INK, linewidths=1.4, zorder=3)
    axes.scatter(here_x, here_y, s=420, marker="*", color=INK, edgecolors="white", linewidths=1.2, zorder=5)
    axes.set(xticks=[], yticks=[])
    axes.margins(0.08)
    return kept


def _draw_shares(axes: "Axes", songs: Sequence[SongBar], colors: Sequence[str]) -> None:
    places = np.arange(len(songs)) + 0.5 * (np.arange(len(songs)) > 0)
    left = np.zeros(len(songs))
    for share, color in zip(100 * np.transpose([song.probabilities for song in songs]), colors, strict=True):
        axes.barh(places, share, left=left, height=0.42, color=color, linewidth=0)
        left += share
    at: dict[str, Any] = {"va": "bottom", "color": INK, "fontsize": 10.5, "parse_math": False}
    for rank, (place, song) in enumerate(zip(places, songs, strict=True)):
        name = song.name if len(song.name) <= _NAME_LETTERS else f"{song.name[: _NAME_LETTERS - 1]}…"
        axes.text(-2, place + 0.02, str(rank or "★"), ha="right", **{**at, "va": "center", "fontweight": "bold"})
        axes.text(0, place - 0.25, name, **at)
        if song.similarity is not None:
            axes.text(100, place - 0.25, f"{song.similarity:.3f}", ha="right", **at)
    axes.set_xlim(-5, 100)
    axes.set_ylim(max(places[-1], 9.5) + 0.5, -0.9)
    axes.set(xticks=[], yticks=[])
    axes.set_title("Probabilities of the genres in each; similarity to the song", loc="left", fontsize=11, color=INK)
