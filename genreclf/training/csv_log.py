"""Lightning's CSV logger for runs that may be interrupted and resumed."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning_utilities.core.rank_zero import rank_zero_only

from genreclf.errors import UserError
from genreclf.run_directory import atomic_path


class LastingCSVLogger(CSVLogger):
    """Lightning's `CSVLogger`, which continues the file of an interrupted run instead of deleting it.

    `CSVContinuation` must be among the callbacks of the training.
    """

    @property
    @rank_zero_experiment
    def experiment(self) -> "_LastingWriter":
        """Writer of the file; created at the first use."""
        if self._experiment is None:
            self._experiment = _LastingWriter(self.log_dir)
        assert isinstance(self._experiment, _LastingWriter)
        return self._experiment

    @rank_zero_only
    def keep_steps_before(self, step: int) -> None:
        """Remove the rows of training step `step`, counted from 0, and of later steps from the file."""
        self.experiment.keep(lambda row: row.get("step", "").isdecimal() and int(row["step"]) < step)


class CSVContinuation(Callback):
    """Let each `LastingCSVLogger` of a resumed run continue after the last step of its checkpoint."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the rows of steps that are trained again."""
        for logger in _loggers_of(trainer):
            logger.keep_steps_before(trainer.fit_loop.epoch_loop._batches_that_stepped)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the rows of the epoch before, which has been saved in a checkpoint, to the file."""
        for logger in _loggers_of(trainer):
            logger.save()


class _LastingWriter(ExperimentWriter):
    """Writer that keeps the rows of an existing file, except those of a test, which a resumed run repeats."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.keep(lambda row: not any(value and key.startswith("test/") for key, value in row.items()))

    def _check_log_dir_exists(self) -> None:
        """Leave the files of an earlier attempt in place; Lightning deletes them here."""

    def keep(self, is_kept: Callable[[Mapping[str, str]], bool]) -> None:
        """Remove the rows from the file for which `is_kept` is false."""
        path = Path(self.metrics_file_path)
        if not path.exists():
            return
        try:
            with path.open(newline="", encoding="utf-8") as lines:
                rows = [row for row in csv.DictReader(lines, restkey="", restval="") if is_kept(row)]
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"{path} is damaged ({error}); delete it to continue without its rows.") from error
        self.metrics_keys = sorted({key for row in rows for key, value in row.items() if value})
        if not rows:
            path.unlink()
            return
        with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as lines:
            writer = csv.DictWriter(lines, self.metrics_keys, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)


def _loggers_of(trainer: Trainer) -> list[LastingCSVLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, LastingCSVLogger)]
