"""The picture of a recommendation."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genreclf.plots.recommendation import draw_recommendation
from genreclf.plots.timeline import MUTED
from genreclf.recommend.library import Library
from genreclf.recommend.records import Records, Song

GENRES = tuple(f"genre {number}" for number in range(11))


@pytest.fixture
def library(tmp_path: Path) -> Library:
    rng = np.random.default_rng(0)
    songs = [
        Song(
            id=0,
            origin="/music",
            name=f"{number}.flac",
            path=Path(f"/music/{number} $x^2$ <b>.flac"),
            fingerprint="1",
            artist="Ann" if number % 2 else None,
            genre=GENRES[number % 11],
            probabilities=np.eye(11)[number % 11],
            duration_s=1.0,
            embedding=rng.normal(size=8).astype(np.float32) + 3 * np.eye(11, 8)[number % 11].astype(np.float32),
        )
        for number in range(60)
    ]
    records = Records(tmp_path / "songs.sqlite", GENRES)
    records.change(add=songs)
    return Library(directory=tmp_path, records=records)


def test_songs_are_spread_evenly(library: Library) -> None:
    assert [song.id for song in library.records.spread(4)] == [1, 21, 40, 60]
    assert len(library.records.spread(1000)) == 60


def test_the_genres_have_their_colors(library: Library, tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="needs the extra library")
    from genreclf.recommend.indexing import make_searchable

    make_searchable(tmp_path, library.records)
    (song,) = library.records.songs([3])
    found = library.like(song, k=3)
    draw_recommendation(tmp_path / "like.png", library, song, "a name of many words " * 9, found)
    pixels = np.asarray(Image.open(tmp_path / "like.png").convert("RGB"))
    right = pixels[:, pixels.shape[1] // 2 :].reshape(-1, 3)
    counts = {color: int((right == [int(color[i : i + 2], 16) for i in (1, 3, 5)]).all(1).sum()) for color in MUTED}
    heard = [song.genre, *(one.song.genre for one in found)]
    likeliest = sorted(sorted(range(11), key=lambda i: -heard.count(GENRES[i]))[:9])
    bars = {GENRES[i]: counts[color] for i, color in zip(likeliest, MUTED, strict=False)}
    bar = sum(bars.values()) / len(heard)
    for genre in set(heard):
        assert bars[genre] == pytest.approx(bar * heard.count(genre), rel=0.1)
