"""Send the inputs, plots and test results of a run to its loggers, such as W&B and MLflow."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

from lightning.pytorch.loggers import Logger, MLFlowLogger, WandbLogger
from numpy.typing import NDArray

from genreclf.escaping import say
from genreclf.evaluation.predictions import TrackPredictions
from genreclf.run_directory import RunDirectory
from genreclf.training.loggers import TRACK_COLUMNS, PatientWandbLogger, track_rows
from genreclf.training.media import media_of, mlflow_name


class Tracking:
    """Sends inputs, plots and test results of one run to Lightning's loggers, in addition to the metrics of epochs."""

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self.loggers = list(loggers)

    @property
    def _wandb(self) -> list[PatientWandbLogger]:
        return [logger for logger in self.loggers if isinstance(logger, PatientWandbLogger)]

    def add_pictures(self, draw: Callable[[], Sequence[Path]]) -> None:
        """Add plots of the data, drawn only if a logger can store them."""
        media = [place for logger in self.loggers if (place := media_of(logger))]
        if self._wandb or media:
            paths = draw()
            for logger in self._wandb:
                logger.log_pictures(paths)
            for place in media:
                for path in paths:
                    place.log_picture(f"data/{path.stem}", path)

    def add_inputs(self, dataset: str, genre_of: Mapping[str, str], run: RunDirectory, source: str | None) -> None:
        """Record in W&B which dataset, split and model a run starts from; `source` is the W&B name of the model."""
        for logger in self._wandb:
            logger.log_inputs(dataset, genre_of, run, source)

    def finish(
        self,
        run: RunDirectory,
        metrics: Mapping[str, Any],
        tracks: TrackPredictions | None,
        spectrogram: Callable[[str], NDArray[Any]] | None,
    ) -> None:
        """Add the test metrics and, in loggers that can store them, plots and the test tracks.

        W&B also keeps the model if this is configured. `spectrogram` returns the stored values ``(mel, frame)`` of the
        track with a given id.
        """
        figures = {"test": metrics["test"], "split": {"seen": metrics.get("split", {}).get("seen", {})}}
        for logger in self.loggers:
            if isinstance(logger, PatientWandbLogger):
                with logger.patience():
                    logger.log_test(_flat(figures), metrics, tracks, spectrogram)
                    logger.log_model_of(run, metrics)
            else:
                spell = mlflow_name if isinstance(logger, MLFlowLogger) else str
                logger.log_metrics(_flat({**figures, "objective": metrics.get("objective")}, spell))
            if tracks is not None and (media := media_of(logger)) is not None:
                for path in sorted(run.figures.glob("*.png")):
                    media.log_picture(f"test/{path.stem}", path)
                media.log_table("test/tracks", TRACK_COLUMNS, track_rows(tracks))

    def __enter__(self) -> Self:
        """Print where the W&B record is."""
        for logger in self._wandb:
            say(f"W&B: {logger.place}", sys.stdout)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        """End the records, so that the next run in this process starts new ones, and print where the W&B record is."""
        for logger in self.loggers:
            patience = logger.patience() if isinstance(logger, PatientWandbLogger) else nullcontext()
            with patience:
                logger.finalize("success" if kind is None else "failed")
                if isinstance(logger, WandbLogger):
                    logger.experiment.finish(exit_code=0 if kind is None else 1)
        for logger in self._wandb:
            say(f"W&B: {logger.place}", sys.stdout)


def _flat(nested: Mapping[str, Any], spell: Callable[[str], str] = str, prefix: str = "") -> dict[str, float]:
    flat: dict[str, float] = {}
    for key, value in nested.items():
        name = prefix + spell(key)
        if isinstance(value, Mapping):
            flat |= _flat(value, spell, f"{name}/")
        elif isinstance(value, list | tuple):  # An interval.
            flat |= _flat(dict(zip(("low", "high"), value, strict=True)), spell, f"{name}/")
        elif isinstance(value, int | float):
            flat[name] = value
    return flat
