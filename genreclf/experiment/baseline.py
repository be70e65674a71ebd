"""Compare a run with a finished run, such as fine-tuning with a probe, in the report."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from genreclf.config.config import Config
from genreclf.errors import UserError
from genreclf.evaluation.metrics import get_metric
from genreclf.evaluation.provenance import marks_of, pretrained_name
from genreclf.reports.titles import model_title
from genreclf.run_directory import RunDirectory
from genreclf.splits.base import Split
from genreclf.training.artifacts import local_run


@dataclass(frozen=True)
class Baseline:
    """A finished run that another run is compared with in its report."""

    run: RunDirectory
    """Run directory of the finished run."""
    metrics: Mapping[str, Any]
    """Contents of the ``metrics.json`` of the finished run."""

    @classmethod
    def of(cls, config: Config) -> "Baseline | None":
        """Return the run that ``compare_with`` of a configuration names, or None if it is not set.

        Raises:
            UserError: The named run is not finished.
        """
        if config.compare_with is None:
            return None
        run = local_run(config.compare_with)
        metrics = run.read_metrics() if run.status else {}
        if metrics.get("status") != "finished" or get_metric(metrics, "test.track.accuracy") is None:
            raise UserError(
                f"compare_with={config.compare_with} is not a finished run; let it end first, or leave it out."
            )
        return cls(run, metrics)

    def check_split(self, split: Split) -> None:
        """Check that both runs are trained and tested on the same tracks.

        Args:
            split: Split of the run that is compared with this baseline.

        Raises:
            UserError: The tracks or their division differ.
        """
        if split.hash != self.run.split_hash:
            raise UserError(
                f"compare_with={self.run.path} was trained and tested on other tracks; name a run of the same data and "
                "split, or leave it out."
            )

    @property
    def record(self) -> dict[str, Any]:
        """Entry of the baseline in ``metrics.json``: run name, title, and accuracy on validation and test tracks."""
        title = model_title(self.run.read_config())
        if layer := get_metric(self.metrics, "probe.layer"):
            title += f" of {pretrained_name(self.metrics)}, layer {layer}"
        track = self.metrics["test"]["track"]
        shown = {key: track.get(key) for key in ("accuracy", "accuracy_ci95", "accuracy_ci95_artists", "n")}
        return {
            "run": self.run.path.resolve().name,
            "title": " ".join([title, *(f"({mark})" for mark in marks_of(self.metrics))]),
            "val": {"track": {"accuracy": get_metric(self.metrics, "val.track.accuracy")}},
            "test": {"track": shown},
        }
