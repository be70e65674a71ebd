"""Collect what the header of the page says about the run."""

from typing import Any

from genreclf.errors import UserError
from genreclf.evaluation.leaks import interval_words
from genreclf.inference.predictor import GenrePredictor
from genreclf.run_directory import RunDirectory


def facts(run: RunDirectory, predictor: GenrePredictor) -> dict[str, Any]:
    """Return what the template of the head wants to know: the model, its test with the interval, whether it leaks."""
    config = run.read_config()
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
        found = {"accuracy": None, "split": _named(config, "split"), "leaky": False}
    return {
        **found,
        "model": type(predictor.model).__name__,
        "run": run.path.resolve().name,
        "dataset": _named(config, "data"),
        "warning": predictor.warning,
        "report": run.holds(run.report),
        "notice": predictor.feature_extractor.notice,
    }


def _named(config: dict[str, Any], group: str) -> str:
    return str((config.get(group) or {}).get("_target_", "unknown")).rpartition(".")[2]
