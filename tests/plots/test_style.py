"""One color a genre."""

import re

import pytest

from genreclf.datasets.identity import GTZAN_GENRES
from genreclf.plots.style import GENRE_COLORS, OTHERS, SHOWN_GENRES, genre_color, genre_colors

FMA = (
    *("Blues", "Classical", "Country", "Easy Listening", "Electronic", "Experimental", "Folk", "Hip-Hop"),
    *("Instrumental", "International", "Jazz", "Old-Time / Historic", "Pop", "Rock", "Soul-RnB", "Spoken"),
)
BALLROOM = ("ChaChaCha", "Jive", "Quickstep", "Rumba-American", "Samba", "Tango", "VienneseWaltz", "Waltz")


@pytest.mark.parametrize("genres", [GTZAN_GENRES, FMA, BALLROOM])
def test_the_genres_of_a_known_dataset_have_colors_of_their_own(genres: tuple[str, ...]) -> None:
    assert len({genre_color(genre) for genre in genres}) == len(genres)


def test_a_color_depends_on_the_name_alone() -> None:
    assert genre_color("Hip-Hop") == genre_color("hip hop") == GENRE_COLORS["hiphop"]
    names = ["rock", *(f"genre {index}" for index in range(SHOWN_GENRES - 1))]
    alone = {name: genre_colors({name: 0.5})[name] for name in names}
    assert genre_colors({name: float(weight) for weight, name in enumerate(names)}) == alone
    assert genre_colors({name: float(-weight) for weight, name in enumerate(reversed(names))}) == alone
    assert all(re.fullmatch("#[0-9A-F]{6}", color) for color in alone.values())
    assert len(set(alone.values())) > SHOWN_GENRES - 3


def test_of_many_genres_the_weightiest_are_shown() -> None:
    weights = {f"genre {index}": float(index == 7) for index in range(50)}
    colors = genre_colors(weights)
    assert colors["genre 7"] == genre_color("genre 7")
    assert sum(color != OTHERS for color in colors.values()) == SHOWN_GENRES
