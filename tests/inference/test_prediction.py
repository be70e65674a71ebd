import numpy as np
import pytest

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


@pytest.mark.parametrize(("share", "bits"), [(0.5, 1.0), (1.0, 0.0), (0.25, 0.811278)])
def test_entropy_is_in_bits(share: float, bits: float) -> None:
    prediction = Prediction(
        path="a.wav",
        genres=("blues", "rock"),
        probabilities=np.array([share, 1 - share]),
        timeline=timeline([0], [1], [[share, 1 - share]]),
        embedding=None,
        spectrogram_db=np.zeros((2, 2), np.float32),
        sample_rate=8000,
        heard_s=(0, 1),
        duration_s=1,
    )
    assert prediction.entropy_bits == pytest.approx(bits, abs=1e-6)
    assert str(prediction.entropy_bits)[0] != "-"
    assert prediction.top(1)[0][1] == max(share, 1 - share)
    assert prediction.genre == prediction.top()[0][0]
