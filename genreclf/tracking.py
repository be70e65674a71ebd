"""Loggers. Nothing else imports wandb."""

import netrc
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from genreclf.errors import UserError
from genreclf.evaluation.predictions import TrackPredictions
from genreclf.rundir import RunDirectory


class Tracking:
    """The record of one run beside its directory.

    Args:
        kind: ``wandb``, ``csv``, ``tensorboard`` or ``none``.
        run: The run directory.
        config: The resolved configuration, which W&B keeps.
        project: W&B project.
        entity: W&B user or team.
        group: W&B group.
        tags: W&B tags.
        job_type: W&B's word for what a run of a group does.
        offline: Keep the W&B record on disk; None: unless an API key is found.
    """

    def __init__(
        self,
        *,
        kind: str,
        run: RunDirectory,
        config: Mapping[str, Any],
        project: str = "genreclf",
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        job_type: str = "train",
        offline: bool | None = None,
    ) -> None:
        """Prepare the logger; W&B starts with the first figure."""
        self.kind = kind
        self.logger: Logger | None = None
        if kind == "csv":
            self.logger = CSVLogger(run.path, name="csv", version="")
        elif kind == "tensorboard":
            try:
                self.logger = TensorBoardLogger(run.path, name="tensorboard", version="")
            except ModuleNotFoundError as error:
                raise UserError("logger=tensorboard needs: pip install 'genreclf[tensorboard]'") from error
        elif kind == "wandb":
            self.logger = self._wandb(run, config, project, entity, group, list(tags), job_type, offline)

    def _wandb(
        self,
        run: RunDirectory,
        config: Mapping[str, Any],
        project: str,
        entity: str | None,
        group: str | None,
        tags: list[str],
        job_type: str,
        offline: bool | None,
    ) -> Logger:
        import wandb
        from lightning.pytorch.loggers import WandbLogger

        if offline is None:
            offline = "WANDB_MODE" not in os.environ and not _has_wandb_account()
        os.environ.setdefault("WANDB_SILENT", "true")
        return WandbLogger(
            experiment=wandb.init(
                project=project,
                entity=entity,
                group=group,
                tags=tags,
                name=run.path.resolve().name,
                # Absolute: the service that writes it may have been started elsewhere.
                dir=run.path.resolve(),
                mode="offline" if offline else None,
                config=dict(config),
                job_type=job_type,
                reinit="finish_previous",
            )
        )

    def add_pictures(self, draw: Callable[[], Sequence[Path]]) -> None:
        """Add pictures of the data, drawn for W&B alone."""
        if self.kind == "wandb" and self.logger is not None:
            import wandb

            images = {f"data/{path.stem}": wandb.Image(str(path)) for path in draw()}
            self.logger.experiment.log(images)  # type: ignore[attr-defined]

    def finish(self, metrics: Mapping[str, Any], tracks: TrackPredictions | None) -> None:
        """Add the figures of the test, the confusion matrix and a table of the test tracks."""
        if self.logger is None:
            return
        flat = _flat({key: metrics[key] for key in ("val", "test") if key in metrics})
        if self.kind != "wandb":
            self.logger.log_metrics(flat)
            return
        import wandb

        run = self.logger.experiment  # type: ignore[attr-defined]
        run.summary.update({**flat, "objective": metrics.get("objective"), "parameters": metrics.get("parameters")})
        if tracks is None:
            return
        names = list(tracks.genres)
        rows = [
            [track_id, names[true], names[said], float(odds[said])]
            for track_id, true, said, odds in zip(
                tracks.track_ids, tracks.targets, tracks.predicted, tracks.probabilities, strict=True
            )
        ]
        run.log(
            {
                "test/tracks": wandb.Table(["track_id", "genre", "predicted", "probability"], data=rows),
                "test/confusion": wandb.plot.confusion_matrix(
                    y_true=tracks.targets.tolist(), preds=tracks.predicted.tolist(), class_names=names
                ),
            }
        )

    def __enter__(self) -> Self:
        """Return the record."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        """End the record, so that another run in this process begins another."""
        if self.logger is None:
            return
        self.logger.finalize("success" if kind is None else "failed")
        if self.kind == "wandb":
            import wandb

            wandb.finish(exit_code=0 if kind is None else 1)


def _has_wandb_account() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    for name in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        if name and (path := Path(name).expanduser()).is_file():
            try:
                return netrc.netrc(path).authenticators("api.wandb.ai") is not None
            except (netrc.NetrcParseError, OSError):
                return False
    return False


def _flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    flat: dict[str, float] = {}
    for key, value in nested.items():
        name = f"{prefix}/{key}" if prefix else key
        if isinstance(value, Mapping):
            flat |= _flat(value, name)
        elif isinstance(value, int | float):
            flat[name] = value
    return flat
