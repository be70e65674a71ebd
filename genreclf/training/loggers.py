"""Logger that records a run in W&B (Weights & Biases)."""

import configparser
import netrc
import os
import shlex
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from lightning.pytorch.loggers import WandbLogger
from numpy.typing import NDArray

from genreclf.errors import first_line
from genreclf.escaping import say
from genreclf.evaluation.predictions import TrackPredictions
from genreclf.evaluation.provenance import marks_of
from genreclf.run_directory import RunDirectory
from genreclf.training.artifacts import KeptModel, keep_model, use_inputs

INIT_TIMEOUT_S = 30.0
"""Seconds W&B may take to start a run, unless ``WANDB_INIT_TIMEOUT`` is set; after that, the record stays on disk."""
FINISH_TIMEOUT_S = 60.0
"""Seconds W&B may take to finish a run, unless ``WANDB_FINISH_TIMEOUT`` is set; after that, the rest stays on disk."""
OFFLINE_MODES = ("offline", "dryrun", "disabled")
"""Values of ``WANDB_MODE`` with which nothing is sent to W&B."""
TRACK_COLUMNS = ("track_id", "genre", "predicted", "probability")
"""Columns of the table of test tracks."""
PICTURE_FRAMES = 256
"""Maximum width of a spectrogram image, in frames."""


class PatientWandbLogger(WandbLogger):
    """Lightning's W&B logger, whose failures can lose a record but never stop a training.

    Args:
        save_dir: Folder of the record on disk.
        run_name: Name of the W&B run; None: that of this folder.
        project: Name of the W&B project.
        entity: W&B user or team that the run belongs to.
        group: Name of the W&B group that the run belongs to.
        tags: Tags of the run in W&B.
        offline: Whether to keep the record on disk; None: as ``WANDB_MODE`` says, else only if no API key is found.
        notes: Notes about the run in W&B.
        resume: What W&B does online if it already has the run: ``auto``, ``allow``, ``must`` or ``never``.
        log_model: Checkpoints to keep in W&B when the run is finished, see `genreclf.training.artifacts.CHECKPOINTS`.
        model_days: Days after which W&B deletes these checkpoints; None: never.
        registry: Where W&B links the model, ``REGISTRY/COLLECTION`` or ``REGISTRY/COLLECTION:ALIAS``; None: nowhere.
        job_type: W&B job type, which names the role of the run in its group.
        config: Settings of the run that W&B stores.
        beside_others: Whether to leave other runs of this process open, and W&B's own ``wandb.run`` unset.
    """

    def __init__(
        self,
        *,
        save_dir: str | Path,
        run_name: str | None = None,
        project: str = "genreclf",
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
        offline: bool | None = None,
        notes: str | None = None,
        resume: Literal["auto", "allow", "must", "never"] = "auto",
        log_model: str = "none",
        model_days: int | None = None,
        registry: str | None = None,
        job_type: str | None = None,
        config: Mapping[str, Any] | None = None,
        beside_others: bool = False,
    ) -> None:
        """Start the record, on disk if W&B does not accept it."""
        import wandb

        self._kept = KeptModel(log_model, model_days, registry)
        if offline is None:
            offline = is_wandb_offline() and "WANDB_MODE" not in os.environ
        os.environ.setdefault("WANDB_SILENT", "true")
        folder = Path(save_dir).resolve()  # W&B's service may have been started elsewhere.

        def start(mode: Any) -> Any:
            return wandb.init(
                project=project,
                entity=entity,
                group=group,
                tags=list(tags),
                notes=notes,
                name=run_name or folder.name,
                dir=folder,
                mode=mode,
                config=dict(config or {}),
                job_type=job_type,
                reinit="create_new" if beside_others else "finish_previous",
                # A run that was killed or failed continues under its id, which W&B keeps in the directory. Not offline:
                # of two records with the same id, `wandb sync` would overwrite the first with the second.
                resume=resume if mode not in OFFLINE_MODES else None,
                settings=wandb.Settings(**_timeouts()),
            )

        refused, before = "", set(folder.glob("wandb/run-*"))
        try:
            # Passed each time, since W&B itself reads the variable only once per process.
            experiment = start("offline" if offline else os.environ.get("WANDB_MODE"))
        except (wandb.Error, OSError) as error:
            refused = first_line(error)
            with suppress(wandb.Error, OSError):
                if not beside_others:
                    wandb.teardown()
            for begun in set(folder.glob("wandb/run-*")) - before:  # The offline record is complete.
                shutil.rmtree(begun, ignore_errors=True)
            experiment = start("offline")
        super().__init__(experiment=experiment)
        self._told = False
        self._has_config = bool(config)
        if refused:
            say(f"Note: W&B did not accept the run ({refused}); its record is on disk: {self.sync_command} uploads it.")

    @property
    def place(self) -> str:
        """Where the record is: its URL, or the command that uploads it from the disk."""
        run = self.experiment
        if run.disabled:
            return "disabled"
        return f"offline, to be sent with: {self.sync_command}" if run.offline else str(run.url)

    @property
    def sync_command(self) -> str:
        """Command that uploads what W&B has not received."""
        folder = Path(self.experiment.settings.sync_dir)
        here = Path.cwd()
        return f"wandb sync {shlex.quote(str(folder.relative_to(here) if folder.is_relative_to(here) else folder))}"

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Report the first failure of W&B, and carry on after each."""
        import wandb

        try:
            yield
        except (wandb.Error, OSError, ValueError) as error:  # ValueError: answers of the server about an artifact.
            if not (self._told or self.experiment.disabled):
                sends = f"; {self.sync_command} uploads what is on disk"
                say(f"Note: W&B lost a part of the record ({first_line(error)}){sends}.")
            self._told = True

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics, and carry on if W&B fails."""
        with self.patience():
            super().log_metrics(metrics, step)

    def log_hyperparams(self, params: Any) -> None:
        """Log the arguments of the model, unless the settings of the run already contain them."""
        if not self._has_config:
            with self.patience():
                super().log_hyperparams(params)

    def log_pictures(self, paths: Sequence[Path]) -> None:
        """Add plots of the data."""
        import wandb

        with self.patience():
            self.experiment.log({f"data/{path.stem}": wandb.Image(str(path)) for path in paths})

    def log_inputs(self, dataset: str, genre_of: Mapping[str, str], run: RunDirectory, source: str | None) -> None:
        """Record the dataset, split and W&B model of a run; see `genreclf.training.tracking.Tracking.add_inputs`."""
        with self.patience():
            limit_s = self.experiment.settings.init_timeout
            _within(limit_s, partial(use_inputs, self.experiment, dataset, genre_of, run, source))

    def log_model_of(self, run: RunDirectory, metrics: Mapping[str, Any]) -> None:
        """Keep the model of a finished run in W&B, if wanted; `metrics` is the future content of ``metrics.json``."""
        with self.patience():
            limit_s = self.experiment.settings.finish_timeout
            _within(limit_s, partial(keep_model, self.experiment, run, metrics, self._kept))

    def log_test(
        self,
        flat: Mapping[str, float],
        metrics: Mapping[str, Any],
        tracks: TrackPredictions | None,
        spectrogram: Callable[[str], NDArray[Any]] | None,
    ) -> None:
        """Add test metrics, confusion matrix and test tracks; see `genreclf.training.tracking.Tracking.finish`."""
        import wandb

        run = self.experiment
        marks = {mark: metrics[mark.lower()] for mark in marks_of(metrics)}
        figures = {key: metrics.get(key) for key in ("objective", "parameters")}
        if figures["objective"] is not None:  # Of the tested epoch, instead of the last one.
            figures["val/track_accuracy"] = figures["objective"]
        run.summary.update({**flat, **figures, **marks})
        if tracks is None:
            return
        rows = track_rows(tracks)
        media: dict[str, Any] = {
            "test/tracks": wandb.Table([*TRACK_COLUMNS], data=rows),
            "test/confusion": wandb.plot.confusion_matrix(
                y_true=tracks.targets.tolist(), preds=tracks.predicted.tolist(), class_names=list(tracks.genres)
            ),
        }
        if spectrogram is not None:
            shown = [
                [wandb.Image(picture_of(spectrogram(track_id))), genre, predicted, probability, track_id]
                for track_id, genre, predicted, probability in examples(rows)
            ]
            columns: list[str | int] = ["spectrogram", "genre", "predicted", "probability", "track_id"]
            media["test/spectrograms"] = wandb.Table(columns, data=shown)
        # A table is an artifact: the client asks whether it may be logged, and waits indefinitely.
        _within(run.settings.finish_timeout, partial(run.log, media))


def _within(seconds: float, work: Callable[[], None]) -> None:
    """Run `work`, which may wait for W&B, and stop waiting after `seconds`; with 0, wait for as long as it takes."""
    outcome: list[Exception | None] = []

    def do() -> None:
        try:
            work()
            outcome.append(None)
        except Exception as error:  # The client raises many kinds of errors.
            outcome.append(error)

    (thread := threading.Thread(target=do, daemon=True)).start()
    thread.join(seconds or None)
    if not outcome:
        raise TimeoutError(f"no answer for {seconds:.0f} s")
    if outcome[0] is not None:
        raise ConnectionError(first_line(outcome[0])) from outcome[0]


def _timeouts() -> dict[str, Any]:
    ours = {"init_timeout": INIT_TIMEOUT_S, "finish_timeout": FINISH_TIMEOUT_S}
    set_here = {name: seconds for name, seconds in ours.items() if f"WANDB_{name.upper()}" not in os.environ}
    return {**set_here, "finish_timeout_raises": True}


def track_rows(tracks: TrackPredictions) -> list[list[Any]]:
    """Return one row per track with the values of `TRACK_COLUMNS`; the probability is that of the predicted genre."""
    names = list(tracks.genres)
    return [
        [track_id, names[true], names[said], float(odds[said])]
        for track_id, true, said, odds in zip(
            tracks.track_ids, tracks.targets, tracks.predicted, tracks.probabilities, strict=True
        )
    ]


def examples(rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Choose the most confident right and wrong prediction of each true genre from the rows of `track_rows`."""
    surest: dict[tuple[str, bool], Sequence[Any]] = {}
    for row in sorted(rows, key=lambda row: -row[3]):
        surest.setdefault((row[1], row[1] == row[2]), row)
    return [surest[key] for key in sorted(surest)]


def picture_of(stored: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the beginning of a spectrogram ``(mel, frame)`` as a grayscale image, from lowest to highest level.

    Low frequencies lie at the bottom, and the image is at most `PICTURE_FRAMES` wide.
    """
    level = np.asarray(stored[::-1, :PICTURE_FRAMES], dtype=np.float32)
    low, high = float(level.min()), float(level.max())
    gray: NDArray[np.uint8] = (255 * (level - low) / max(high - low, 1e-6)).astype(np.uint8)
    return gray


def is_wandb_offline() -> bool:
    """Return whether W&B records are kept on disk: as ``WANDB_MODE`` says, otherwise if no API key is found."""
    mode = os.environ.get("WANDB_MODE")
    return mode in OFFLINE_MODES if mode else not _has_wandb_account()


def _has_wandb_account() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    for name in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        if name and (path := Path(name).expanduser()).is_file():
            try:
                return netrc.netrc(path).authenticators(_wandb_host()) is not None
            except (netrc.NetrcParseError, OSError):
                return False
    return False


def _wandb_host() -> str:
    """Return the host of the W&B server from ``WANDB_BASE_URL``, otherwise as saved by ``wandb login --host``."""
    saved = configparser.ConfigParser(interpolation=None)
    with suppress(configparser.Error, OSError, UnicodeDecodeError):
        saved.read(Path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb"), "settings").expanduser())
    url = os.environ.get("WANDB_BASE_URL") or saved.get("default", "base_url", fallback="https://api.wandb.ai")
    return str(urlsplit(url).netloc)
