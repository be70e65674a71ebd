import json
import time
from typing import Any

import numpy as np
import pytest
import torch
from fake_predictions import GENRES, arrays, history, predictions
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)
from torchmetrics.functional.classification import multiclass_calibration_error, multiclass_f1_score

from genreclf.errors import UserError
from genreclf.evaluation.intervals import wilson_interval
from genreclf.evaluation.metrics import (
    accuracies_and_losses,
    best_epoch,
    calibration_error,
    confusion,
    evaluate,
    genre_scores,
    rounded,
)
from genreclf.evaluation.predictions import ClipPredictions, TrackPredictions


def tracks_of(targets: list[int], probabilities: list[list[float]]) -> TrackPredictions:
    return TrackPredictions(
        genres=GENRES[: len(probabilities[0])],
        track_ids=tuple(f"track.{number:05}" for number in range(len(targets))),
        targets=np.array(targets),
        probabilities=np.array(probabilities, dtype=np.float64),
    )


def clips_of(targets: list[int], probabilities: list[list[float]]) -> ClipPredictions:
    """Return one clip per track."""
    with np.errstate(divide="ignore"):
        logits = np.log(np.array(probabilities)).clip(min=-1e4)
    return ClipPredictions.gathered(
        genres=GENRES[: len(probabilities[0])],
        track_ids=[f"track.{number:05}" for number in range(len(targets))],
        targets=targets,
        track=range(len(targets)),
        clip=[0] * len(targets),
        start_s=[0] * len(targets),
        logits=logits,
    )


def test_wilson_interval_at_the_ends() -> None:
    assert wilson_interval(0, 20)[0] == 0
    assert wilson_interval(20, 20)[1] == 1
    assert wilson_interval(0, 0) == (0, 1)
    with pytest.raises(ValueError, match="does not lie between 0 and n=2"):
        wilson_interval(3, 2)


def test_wilson_interval_by_hand() -> None:
    assert wilson_interval(5, 10) == pytest.approx((0.2365931, 0.7634069))


def test_by_hand() -> None:
    result = evaluate(
        clips_of(
            [0, 0, 1, 1],
            [[0.5, 0.25, 0.125, 0.125], [0.25, 0.5, 0.125, 0.125], [0.5, 0.25, 0.125, 0.125], [0, 1, 0, 0]],
        )
    )
    assert result["track"]["accuracy"] == result["clip"]["accuracy"] == 0.5
    assert result["track"]["accuracy_ci95"] == pytest.approx([0.150039, 0.849961], abs=1e-6)
    assert result["track"]["top3_accuracy"] == 1
    assert result["track"]["f1_macro"] == 0.5
    assert result["track"]["loss"] == pytest.approx(np.log([2, 4, 4, 1]).mean())
    assert result["clip"]["loss"] == pytest.approx(np.log([2, 4, 4, 1]).mean())
    # three tracks of confidence .5, one of them right, and one right of confidence 1
    assert result["track"]["calibration_error"] == pytest.approx(3 / 4 * abs(1 / 3 - 0.5))
    assert result["track"]["n"] == result["clip"]["n"] == 4
    assert result["per_genre"]["blues"] == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "n": 2}
    assert result["per_genre"]["rock"] == {"precision": 0, "recall": 0, "f1": 0, "n": 0}


def test_keys_are_those_of_metrics_json() -> None:
    result = evaluate(predictions())
    assert set(result) == {"clip", "track", "per_genre"}
    assert set(result["clip"]) == {"accuracy", "f1_macro", "calibration_error", "loss", "n"}
    assert set(result["track"]) == {
        *("accuracy", "accuracy_ci95", "f1_macro", "top3_accuracy", "calibration_error", "loss", "n"),
        *("accuracy_ci95_artists", "artist_accuracy", "effective_n", "artists"),
    }
    assert tuple(result["per_genre"]) == GENRES


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scikit_learn_and_torchmetrics(seed: int) -> None:
    clips = predictions(tracks=200, seed=seed)
    tracks, result = clips.per_track(), evaluate(clips)
    labels = list(range(len(GENRES)))
    clip_targets = clips.targets[clips.track]

    assert result["clip"]["accuracy"] == accuracy_score(clip_targets, clips.predicted)
    assert result["clip"]["f1_macro"] == pytest.approx(f1_score(clip_targets, clips.predicted, average="macro"))
    assert result["clip"]["loss"] == pytest.approx(log_loss(clip_targets, clips.probabilities, labels=labels), 1e-12)
    assert result["track"]["accuracy"] == accuracy_score(tracks.targets, tracks.predicted)
    assert result["track"]["f1_macro"] == pytest.approx(f1_score(tracks.targets, tracks.predicted, average="macro"))
    assert result["track"]["loss"] == pytest.approx(log_loss(tracks.targets, tracks.probabilities, labels=labels))
    assert result["track"]["top3_accuracy"] == top_k_accuracy_score(tracks.targets, tracks.probabilities, k=3)
    assert (confusion(tracks) == confusion_matrix(tracks.targets, tracks.predicted, labels=labels)).all()
    table = np.array(
        [[score[name] for name in ("precision", "recall", "f1", "n")] for score in result["per_genre"].values()]
    )
    expected = precision_recall_fscore_support(tracks.targets, tracks.predicted, labels=labels, zero_division=0)
    np.testing.assert_allclose(table.T, expected, rtol=1e-12)

    target, probability = torch.tensor(tracks.targets), torch.tensor(tracks.probabilities)
    assert result["track"]["calibration_error"] == pytest.approx(
        float(multiclass_calibration_error(probability, target, len(GENRES), n_bins=15)), abs=1e-6
    )
    assert result["track"]["f1_macro"] == pytest.approx(
        float(multiclass_f1_score(torch.tensor(tracks.predicted), target, len(GENRES), average="macro")), abs=1e-6
    )


def test_genre_without_test_tracks_has_no_part_in_macro_f1() -> None:
    clips = predictions(tracks=60, absent=2)
    tracks, result = clips.per_track(), evaluate(clips)
    assert (tracks.predicted == 2).any(), "the case is only of interest if the absent genre is predicted"
    assert result["per_genre"]["jazz"] == {"precision": 0, "recall": 0, "f1": 0, "n": 0}
    others = [score["f1"] for genre, score in result["per_genre"].items() if genre != "jazz"]
    assert result["track"]["f1_macro"] == pytest.approx(np.mean(others))
    assert result["track"]["f1_macro"] == pytest.approx(
        f1_score(tracks.targets, tracks.predicted, labels=[0, 1, 3], average="macro")
    )


def test_calibration_bins_are_closed_on_the_right() -> None:
    # .6 is the edge between bins 9 and 10 of 15: with (.5333, .6] the two tracks share a bin, and their gaps cancel
    def error(targets: list[int], probabilities: list[list[float]]) -> float:
        return calibration_error(np.array(probabilities), np.array(targets))

    assert error([0, 1], [[0.6, 0.4], [0.58, 0.42]]) == pytest.approx(abs((1 - 0.6) + (0 - 0.58)) / 2)
    assert error([0], [[1, 0]]) == 0
    assert error([1], [[1 + 1e-15, 0]]) == pytest.approx(1)


def test_top3_counts_ties_in_the_order_of_genres() -> None:
    even = [0.25, 0.25, 0.25, 0.25]
    assert evaluate(clips_of([0, 1, 2, 3], [even] * 4))["track"]["top3_accuracy"] == 0.75
    assert evaluate(clips_of([0, 1], [[0.9, 0.1], [0.9, 0.1]]))["track"]["top3_accuracy"] == 1


def test_single_track_and_certain_mistake_stay_finite() -> None:
    result = evaluate(clips_of([1], [[1, 0, 0, 0]]))
    assert result["track"]["accuracy"] == 0
    assert result["track"]["accuracy_ci95"][0] == 0
    assert 700 < result["track"]["loss"] < 710
    assert json.dumps(rounded(result), allow_nan=False)


def test_broken_logits_show_in_the_loss_and_are_null_in_json() -> None:
    plain = arrays(tracks=3, clips=2)
    result = evaluate(ClipPredictions.gathered(**plain | {"logits": np.full((6, 4), np.nan)}))
    assert np.isnan(result["clip"]["loss"])
    assert np.isnan(result["track"]["loss"])
    assert rounded(result)["track"]["loss"] is None


@pytest.mark.parametrize("tracks", [1, 60])
def test_an_epoch_is_scored_as_the_test(tracks: int) -> None:
    clips = predictions(tracks=tracks, absent=2)
    figures, whole = accuracies_and_losses(clips), evaluate(clips)
    assert figures == {part: {key: whole[part][key] for key in ("accuracy", "loss")} for part in ("clip", "track")}


def test_no_clips_is_a_mistake_with_a_sentence() -> None:
    plain = arrays(tracks=3, clips=2)
    nothing = {name: plain[name][:0] for name in ("track", "clip", "start_s", "logits")}
    for score in (evaluate, accuracies_and_losses):
        with pytest.raises(UserError, match=r"trainer\.limit_test_batches"):
            score(ClipPredictions.gathered(**plain | nothing))


@pytest.mark.parametrize("seed", range(5))
def test_same_bytes_whatever_the_ranks(seed: int) -> None:
    plain = arrays()
    order = np.random.default_rng(seed).permutation(np.tile(np.arange(len(plain["track"])), 2))
    ranks = plain | {name: plain[name][order] for name in ("track", "clip", "start_s", "logits")}
    assert json.dumps(evaluate(ClipPredictions.gathered(**ranks))) == json.dumps(
        evaluate(ClipPredictions.gathered(**plain))
    )


def test_rounded_is_the_json_form() -> None:
    metrics = {"a": 1 / 3, "b": [np.float32(0.5), -0.0], "n": np.int64(3), "leaky": True, "x": float("inf"), "s": "é"}
    assert json.dumps(rounded(metrics), ensure_ascii=False) == (
        '{"a": 0.333333, "b": [0.5, 0.0], "n": 3, "leaky": true, "x": null, "s": "é"}'
    )


@pytest.mark.parametrize(
    ("metrics", "rows", "expected"),
    [
        ({}, history(6), 4),
        ({"best_epoch": 2}, history(6), 2),
        ({}, [{"epoch": 3, "val/track_accuracy": 0.5}, {"epoch": 4, "val/track_accuracy": 0.5}], 3),
        ({}, [{"epoch": 0}], None),
        ({}, [], None),
    ],
)
def test_best_epoch(metrics: dict[str, Any], rows: list[dict[str, float]], expected: int | None) -> None:
    assert best_epoch(rows, metrics) == expected


def test_cheap_enough_for_every_epoch() -> None:
    clips = predictions(tracks=200, clips=6)
    times_s = []
    for _ in range(10):
        start_s = time.perf_counter()
        accuracies_and_losses(clips)
        times_s.append(time.perf_counter() - start_s)
    assert min(times_s) < 0.01


def test_scores_of_tracks_alone() -> None:
    tracks = tracks_of([0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.1, 0.9]])
    assert genre_scores(tracks) == {
        "blues": {"precision": 0.5, "recall": 1, "f1": pytest.approx(2 / 3), "n": 1},
        "classical": {"precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3), "n": 2},
    }
