import dataclasses

import numpy as np
import pytest

from genreclf.evaluation.calibration import Calibration
from genreclf.inference.prediction import Prediction, Timeline


def timeline(start_s: list[float], end_s: list[float], probabilities: list[list[float]]) -> Timeline:
    return Timeline(
        genres=("blues", "rock"),
        start_s=np.array(start_s),
        end_s=np.array(end_s),
        probabilities=np.array(probabilities),
    )


def test_shares_are_the_mean_of_the_windows_that_cover_a_moment() -> None:
    edges_s, shares = timeline([0, 1, 2], [2, 3, 4], [[1, 0], [0.5, 0.5], [0, 1]]).shares()
    assert edges_s.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(shares[:, 0], [1, 0.75, 0.25, 0])
    np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_stretches_begin_where_the_likeliest_genre_changes() -> None:
    windows = timeline([0, 2, 4, 6], [2, 4, 6, 8], [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    assert windows.stretches() == [(0, "blues"), (4, "rock"), (6, "blues")]


def test_no_moment_lies_between_windows_that_adjoin_but_for_rounding() -> None:
    start_s = [0.0, 0.1 + 0.2, 0.6]
    edges_s, shares = timeline(start_s, [0.3, 0.6 - 1e-16, 0.9], [[1, 0], [0, 1], [1, 0]]).shares()
    np.testing.assert_allclose(edges_s, [0, 0.3, 0.6, 0.9])
    assert shares.tolist() == [[1, 0], [0, 1], [1, 0]]


def prediction(windows: list[list[float]], calibration: Calibration | None = None) -> Prediction:
    times = [float(second) for second in range(len(windows) + 1)]
    return Prediction(
        path="a.wav",
        genres=("blues", "rock"),
        probabilities=np.mean(windows, axis=0),
        timeline=timeline(times[:-1], times[1:], windows),
        embedding=None,
        spectrogram_db=np.zeros((2, 2), np.float32),
        range_hz=(0.0, 4000.0),
        analyzed_s=(0, 1),
        duration_s=1,
        calibration=calibration,
    )


@pytest.mark.parametrize(("share", "bits"), [(0.5, 1.0), (1.0, 0.0), (0.25, 0.811278)])
def test_entropy_is_in_bits(share: float, bits: float) -> None:
    found = prediction([[share, 1 - share]])
    assert found.entropy_bits == pytest.approx(bits, abs=1e-6)
    assert str(found.entropy_bits)[0] != "-"
    assert found.top(1)[0][1] == max(share, 1 - share)
    assert found.genre == found.top()[0][0]


@pytest.mark.parametrize(
    ("windows", "certainty"),
    [
        ([[1, 0], [1, 0], [1, 0]], "sure"),
        ([[1, 0], [1, 0], [0, 1], [0, 1]], "changing"),
        ([[0.95, 0.05], [0.1, 0.9]], "changing"),
        ([[0.5, 0.5], [0.51, 0.49]], "sure"),
        ([[0.9, 0.1], [0.8, 0.2]], "sure"),
    ],
)
def test_a_change_within_a_song_is_told_from_an_unsure_model(windows: list[list[float]], certainty: str) -> None:
    assert prediction(windows).certainty == certainty


def test_a_model_is_unsure_if_it_is_more_likely_wrong_than_right() -> None:
    even = dataclasses.replace(
        prediction([[0.45, 0.3]]),
        genres=("blues", "rock", "pop"),
        probabilities=np.array([0.55, 0.25, 0.2]),
        timeline=timeline([0], [1], [[0.55, 0.25, 0.2]]),
    )
    assert even.certainty == "sure"
    hot = dataclasses.replace(even, calibration=Calibration(track=4))
    assert hot.certainty == "unsure"
    assert hot.confidence < 0.5 < even.confidence
    assert hot.genre == even.genre


def test_a_notebook_shows_a_prediction_in_a_line() -> None:
    found = prediction([[0.9, 0.1], [0.8, 0.2]])
    assert repr(found) == "<Prediction of 'a.wav': 85.0 % blues, 15.0 % rock; sure, confidence 0.85>"
    assert repr(dataclasses.replace(found, path=None)).startswith("<Prediction of a waveform: 85.0 %")
    assert repr(found.timeline) == "<Timeline: 2 windows from 0:00 to 0:02>"
