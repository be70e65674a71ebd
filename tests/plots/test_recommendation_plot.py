"""Plot of a recommendation."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genreclf.plots.recommendation import SongBar, SongMap, draw_recommendation
from genreclf.plots.style import genre_colors

GENRES = tuple(f"genre {number}" for number in range(11))


def bar(genre: int, name: str, similarity: float | None = None) -> SongBar:
    return SongBar(name=name, probabilities=np.eye(11)[genre], vector=np.eye(11, 8)[genre], similarity=similarity)


def count(pixels: NDArray[np.uint8], color: str) -> int:
    return int((pixels == [int(color[i : i + 2], 16) for i in (1, 3, 5)]).all(1).sum())


@pytest.mark.pictures
def test_the_genres_have_their_colors(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    genres = [number % 11 for number in range(60)]
    vectors = rng.normal(size=(60, 8)) + 3 * np.eye(11, 8)[genres]
    library = SongMap(genres=GENRES, vectors=vectors, song_genres=[GENRES[genre] for genre in genres], songs=90)
    found = [bar(genre, f"{genre} $x^2$ <b>", 0.9) for genre in (2, 2, 5)]
    draw_recommendation(tmp_path / "like.png", library, bar(3, "a name of many words " * 9), found)
    pixels = np.asarray(Image.open(tmp_path / "like.png").convert("RGB"))
    right = pixels[:, pixels.shape[1] // 2 :].reshape(-1, 3)
    colors = genre_colors(dict.fromkeys(GENRES, 0.0))
    # The legend has a dot of each color, a third of which may lie on this side.
    one, two = count(right, colors["genre 3"]), count(right, colors["genre 2"])
    assert one > 5000
    assert abs(two - 2 * one) < 0.1 * two
    assert count(right, colors["genre 8"]) < 0.1 * one
