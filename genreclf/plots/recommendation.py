"""The picture of a recommendation: where the songs lie in the library, and what the model hears in each."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genreclf.escaping import printable
from genreclf.inference.prediction import Prediction
from genreclf.plots.run import new_figure, save
from genreclf.plots.timeline import INK, MUTED, OTHERS
from genreclf.recommend.library import Library, Recommendation
from genreclf.recommend.records import Song
from genreclf.recommend.similarity import vectors_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 10
"""Recommended songs in the picture, at most."""

DOTS = 3000
"""Songs on the map, at most."""

_NAME_LETTERS = 46


def draw_recommendation(
    path: Path, library: Library, song: Song | Prediction, name: str, found: Sequence[Recommendation]
) -> None:
    """Draw a map of the library on which a song and those like it are marked, beside the genres heard in each.

    The map has the two directions in which the songs of the library, as they are compared, differ most.
    A library of more than `DOTS` songs is thinned out evenly.

    Args:
        path: The PNG to write.
        library: Where they were found.
        song: The one that was asked for, with an embedding.
        name: What it is called.
        found: What is like it, the likest first; ten are drawn.
    """
    found = found[:SHOWN]
    rows = [song.probabilities, *(one.song.probabilities for one in found)]
    colors = dict.fromkeys(library.genres, OTHERS)
    likeliest = np.argsort(-np.sum(rows, axis=0), kind="stable")[: len(MUTED)].tolist()
    for i, color in zip(sorted(likeliest), MUTED, strict=False):
        colors[library.genres[i]] = color
    figure = new_figure(13, 2.4 + 0.42 * max(10, len(rows)), f"Songs like {name}", leaky=False)
    left, right = figure.subplots(1, 2, width_ratios=(6, 7))
    dots = library.records.spread(DOTS)
    kept = _draw_map(left, dots, song, found, colors)
    part = f"{len(dots):,} of " if len(dots) < len(library) else ""
    left.set_title(
        f"{part}{len(library):,} songs by the likeliest genre; two components, {100 * kept:.0f} % of the variance",
        loc="left",
        fontsize=11,
        color=INK,
    )
    _draw_shares(right, rows, [name, *(_called(one.song) for one in found)], found, colors)
    for spines in (left.spines, right.spines):
        spines[:].set_visible(False)
    rest = [genre for genre, color in colors.items() if color == OTHERS]
    named = {genre: color for genre, color in colors.items() if genre not in rest}
    if rest:
        named["others" if len(rest) > 1 else rest[0]] = OTHERS
    marks = [left.scatter([], [], s=60, color=color) for color in named.values()]
    figure.legend(marks, named, loc="outside lower center", ncols=len(named), frameon=False, fontsize=11)
    save(figure, path)


def _draw_map(
    axes: "Axes",
    dots: Sequence[Song],
    asked: Song | Prediction,
    found: Sequence[Recommendation],
    colors: dict[str, str],
) -> float:
    """Draw the map, and return which share of the variance it holds."""
    vectors = vectors_of(dots)
    center = vectors.mean(axis=0)
    _, lengths, directions = np.linalg.svd(vectors - center, full_matrices=False)
    plane = directions[:2]
    kept = float((lengths[:2] ** 2).sum() / max((lengths**2).sum(), 1e-12))

    def places(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        flat = (vectors - center) @ plane.T
        return np.pad(flat, ((0, 0), (0, 2 - len(plane))))

    size = float(np.clip(6000 / len(dots), 8, 60))
    x, y = places(vectors).T
    axes.scatter(x, y, s=size, c=[colors[dot.genre] for dot in dots], alpha=0.7, linewidths=0)
    (here_x, here_y), *there = places(vectors_of([asked, *(one.song for one in found)]))
    for to_x, to_y in there:
        axes.plot([here_x, to_x], [here_y, to_y], color="#777777", linewidth=0.8, zorder=2)
    x, y = np.transpose(there)
    axes.scatter(x, y, s=90, c=[colors[one.song.genre] for one in found], edgecolors=INK, linewidths=1.4, zorder=3)
    axes.scatter(here_x, here_y, s=420, marker="*", color=INK, edgecolors="white", linewidths=1.2, zorder=5)
    axes.set(xticks=[], yticks=[])
    axes.margins(0.08)
    return kept


def _draw_shares(
    axes: "Axes",
    rows: Sequence[NDArray[np.float64]],
    names: Sequence[str],
    found: Sequence[Recommendation],
    colors: dict[str, str],
) -> None:
    places = np.arange(len(rows)) + 0.5 * (np.arange(len(rows)) > 0)
    left = np.zeros(len(rows))
    for share, color in zip(100 * np.transpose(rows), colors.values(), strict=True):
        axes.barh(places, share, left=left, height=0.42, color=color, linewidth=0)
        left += share
    ranks = ["★", *(str(one.rank) for one in found)]
    likenesses = ["", *(f"{one.similarity:.3f}" for one in found)]
    for place, rank, name, likeness in zip(places, ranks, names, likenesses, strict=True):
        short = name if len(name) <= _NAME_LETTERS else f"{name[: _NAME_LETTERS - 1]}…"
        at: dict[str, Any] = {"va": "bottom", "color": INK, "fontsize": 10.5, "parse_math": False}
        axes.text(-2, place + 0.02, rank, ha="right", **{**at, "va": "center", "fontweight": "bold"})
        axes.text(0, place - 0.25, short, **at)
        axes.text(100, place - 0.25, likeness, ha="right", **at)
    axes.set_xlim(-5, 100)
    axes.set_ylim(max(places[-1], 9.5) + 0.5, -0.9)
    axes.set(xticks=[], yticks=[])
    axes.set_title("Shares of the genres in each; likeness to the song", loc="left", fontsize=11, color=INK)


def _called(song: Song) -> str:
    title = song.path.stem if song.playable else song.name
    return printable(f"{song.artist} - {title}" if song.artist else title)
