import json

import numpy as np
import pytest
from fake_predictions import predictions

from genreclf.evaluation.calibration import (
    COVERAGES,
    HIGHEST,
    LOWEST,
    Calibration,
    fit_temperature,
    risk,
    tempered,
)
from genreclf.evaluation.metrics import evaluate, logarithms
from genreclf.evaluation.predictions import ClipPredictions


def drawn(temperature: float, n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Return logarithms of probabilities, and targets drawn from these at a temperature."""
    rng = np.random.default_rng(0)
    logs = np.log(tempered(3 * rng.normal(size=(n, 4)), 1.0))
    shares = tempered(logs, temperature).cumsum(axis=1)
    return logs, (rng.random((n, 1)) > shares).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.35, 3.0])
def test_a_temperature_is_found_again(temperature: float) -> None:
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.05)


def test_calibrated_predictions_are_better_calibrated_and_as_accurate() -> None:
    sharp = predictions(tracks=400)
    sharp = ClipPredictions(**{**vars(sharp), "logits": 3 * sharp.logits})
    calibration = Calibration.fit(sharp)
    assert calibration is not None
    assert calibration.clip > 2
    scores, calibrated = evaluate(sharp), calibration.scores(sharp)
    for unit in ("track", "clip"):
        assert calibrated[unit]["calibration_error"] < scores[unit]["calibration_error"]
        assert calibrated[unit]["loss"] < scores[unit]["loss"]
    tracks = sharp.per_track()
    after = tempered(logarithms(tracks.probabilities), calibration.track)
    np.testing.assert_array_equal(after.argmax(axis=1), tracks.predicted)


def test_few_validation_tracks_that_are_all_right_or_all_wrong_stay_within_bounds() -> None:
    logs = np.log(np.array([[0.6, 0.4], [0.7, 0.3]]))
    assert fit_temperature(logs, np.array([0, 0])) == pytest.approx(LOWEST, rel=0.01)
    assert fit_temperature(logs, np.array([1, 1])) == pytest.approx(HIGHEST, rel=0.01)


def test_what_a_run_keeps_is_read_again() -> None:
    calibration = Calibration.fit(predictions())
    assert calibration is not None
    kept = json.loads(json.dumps({"status": "finished", "calibration": calibration.plain()}))
    assert Calibration.of_metrics(kept) == calibration
    assert Calibration.of_metrics(kept | {"status": "running"}) is None
    assert Calibration.of_metrics({"status": "finished"}) is None
    for key, value in (
        ("temperature", {"track": 0, "clip": 1}),
        ("confidence", [2.0] * len(COVERAGES)),
        ("accuracy", []),
    ):
        with pytest.raises(ValueError, match=r"temperature|confidence"):
            Calibration.of_metrics(kept | {"calibration": kept["calibration"] | {key: value}})


def test_a_coverage_keeps_that_share_of_the_validation_tracks() -> None:
    clips = predictions(tracks=200)
    calibration = Calibration.fit(clips)
    assert calibration is not None
    confidence = tempered(logarithms(clips.per_track().probabilities), calibration.track).max(axis=1)
    for coverage in (0.05, 0.5, 0.8, 1.0):
        kept = confidence >= calibration.least_confidence(coverage)
        assert kept.mean() == pytest.approx(coverage)
        right = (clips.per_track().predicted == clips.per_track().targets)[kept].mean()
        assert calibration.accuracy_at(coverage) == pytest.approx(right)


def test_risk_is_the_share_of_errors_among_the_surest() -> None:
    tracks = predictions(tracks=50).per_track()
    wrong = risk(tracks)
    assert wrong[-1] == pytest.approx((tracks.predicted != tracks.targets).mean())
    surest = tracks.probabilities.max(axis=1).argmax()
    assert wrong[0] == (tracks.predicted[surest] != tracks.targets[surest])
    assert Calibration.fit(ClipPredictions.none(tracks.genres)) is None
