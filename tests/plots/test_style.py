"""One color a genre."""

import pytest

from genreclf.plots.style import GTZAN_COLORS, OTHERS, PALETTE, genre_colors


def test_genres_of_gtzan_have_the_same_colors_in_any_set() -> None:
    assert genre_colors({"rock": 0.1, "blues": 0.9}) == {
        "rock": GTZAN_COLORS["rock"],
        "blues": GTZAN_COLORS["blues"],
    }
    assert set(genre_colors(dict.fromkeys([*GTZAN_COLORS, "tango", "fado"], 0.0)).items()) > set(GTZAN_COLORS.items())


@pytest.mark.parametrize("number", [1, 11, 20])
def test_colors_are_distinct_and_do_not_depend_on_order_or_weights(number: int) -> None:
    weights = {f"genre {index}": float(index) for index in range(number)}
    colors = genre_colors(weights)
    assert list(colors) == list(weights)
    assert len(set(colors.values()) - {OTHERS}) == number
    assert genre_colors({genre: -weights[genre] for genre in reversed(weights)}) == colors


def test_with_more_genres_than_colors_the_weightiest_have_theirs() -> None:
    weights = {f"genre {index}": float(index == 7) for index in range(50)}
    colors = genre_colors(weights)
    assert colors["genre 7"] != OTHERS
    named = [color for color in colors.values() if color != OTHERS]
    assert len(named) == len(set(named)) == len(PALETTE)
