"""Collect the facts about a run that the header of the page shows."""

from typing import Any

from genreclf.errors import UserError
from genreclf.evaluation.leaks import interval_words
from genreclf.evaluation.predictions import read_track_csv
from genreclf.inference.predictor import SYNTHETIC_ONLY, GenrePredictor
from genreclf.reports.titles import dataset_title, model_title, part_name
from genreclf.run_directory import RunDirectory

LEAKY = (
    "LEAKY: the test songs, or parts of them, were also used to train the model, so this accuracy says nothing about "
    "new songs."
)
PICTURES = "The model was trained on pictures of sound; your song is turned into such a picture first."


def facts(run: RunDirectory, predictor: GenrePredictor) -> dict[str, Any]:
    """Return the values for the header's template, such as model, dataset, accuracy and warnings."""
    config = run.read_config()
    metrics: dict[str, Any] = {}
    try:
        metrics = run.read_metrics()
        test = metrics["test"]["track"]
        found = {
            "accuracy": float(test["accuracy"]),
            "interval": interval_words(test),
            "tracks": int(test["n"]),
            "split": str(metrics["split"]["name"]),
            "leaky": bool(metrics["split"]["leaky"]),
        }
    except (UserError, KeyError, TypeError, ValueError, IndexError):
        found = {"accuracy": None, "split": part_name(config, "split"), "leaky": False}
    return {
        **found,
        "model": model_title(config),
        "run": run.path.resolve().name,
        "dataset": dataset_title(config, _test_ids(run)),
        "genres": predictor.genres,
        "report": run.holds(run.report),
        "notices": _notices(predictor, metrics, leaky=bool(found["leaky"])),
    }


def _test_ids(run: RunDirectory) -> list[str]:
    try:
        return list(read_track_csv(run.predictions).track_ids)
    except UserError:
        return []


def _notices(predictor: GenrePredictor, metrics: dict[str, Any], *, leaky: bool) -> list[str]:
    """Return sentences that a visitor should read before trusting the answers."""
    notices = [LEAKY] * leaky
    pretrained = metrics.get("pretrained")
    if isinstance(pretrained, dict):
        name, data, overlap = (str(pretrained.get(key, "unknown")) for key in ("name", "pretrained_on", "overlap"))
        notices.append(
            f"PRETRAINED: part of the model ({name}) was first trained on other data ({data}). Test songs in them: "
            f"{overlap}."
        )
    if predictor.warning is not None:
        notices.append(_PLAIN.get(predictor.warning, predictor.warning))
    if predictor.feature_extractor.notice is not None:
        notices.append(PICTURES)
    return notices


_PLAIN = {
    SYNTHETIC_ONLY: "The model was trained on computer-generated music only. It knows nothing about real songs, so its "
    "answers about them mean little."
}
"""Warnings of `genreclf.inference.predictor.GenrePredictor`, rephrased for visitors."""
