"""The logger of a run for W&B."""

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
"""How long W&B may take to start a run, unless ``WANDB_INIT_TIMEOUT`` is set; after that, the record stays on disk."""
FINISH_TIMEOUT_S = 60.0
"""How long it may take to receive the rest at the end, unless ``WANDB_FINISH_TIMEOUT`` is set; the same holds then."""
OFFLINE_MODES = ("offline", "dryrun", "disabled")
"""Values of ``WANDB_MODE`` with which nothing is sent."""
TRACK_COLUMNS = ("track_id", "genre", "predicted", "probability")
"""Columns of the table of test tracks."""
PICTURE_FRAMES = 256
"""Widest picture of a spectrogram."""


class PatientWandbLogger(WandbLogger):
    """Lightning's W&B logger, whose failures can lose a record but never stop a training.

    Args:
        save_dir: The run directory, whose name is that of W&B's run.
        project: W&B project.
        entity: W&B user or team.
        group: W&B group.
        tags: W&B tags.
        offline: Keep the record on disk; None: unless an API key is found.
        notes: W&B's notes about the run.
        resume: What W&B does where the run is known, online: ``auto``, ``allow``, ``must`` or ``never``.
        log_model: Checkpoints to keep in W&B when the run is finished, see `genreclf.training.artifacts.CHECKPOINTS`.
        model_days: After how many days W&B deletes them; None: never.
        registry: Where W&B links the model, ``REGISTRY/COLLECTION`` or ``REGISTRY/COLLECTION:ALIAS``.
        job_type: W&B's word for what a run of a group does.
        config: What W&B keeps as the settings of the run.
        beside_others: Leave other runs of this process open, and W&B's own `wandb.run` unset.
    """

    def __init__(
        self,
        *,
        save_dir: str | Path,
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
        """Start the record, on disk where W&B does not take it."""
        import wandb

        self._kept = KeptModel(log_model, model_days, registry)
        if offline is None:
            offline = is_wandb_offline() and "WANDB_MODE" not in os.environ
        os.environ.setdefault("WANDB_SILENT", "true")
        folder = Path(save_dir).resolve()  # The service that writes it may have been started elsewhere.

        def start(mode: Any) -> Any:
            return wandb.init(
                project=project,
                entity=entity,
                group=group,
                tags=list(tags),
                notes=notes,
                name=folder.name,
                dir=folder,
                mode=mode,
                config=dict(config or {}),
                job_type=job_type,
                reinit="create_new" if beside_others else "finish_previous",
                # A run that was killed or failed goes on under its id, which W&B keeps in the directory. Not offline:
                # of two such records `wandb sync` puts the second in the place of the first.
                resume=resume if mode not in OFFLINE_MODES else None,
                settings=wandb.Settings(**_timeouts()),
            )

        refused, before = "", set(folder.glob("wandb/run-*"))
        try:
            # Given each time, since W&B itself reads the variable once in a process.
            experiment = start("offline" if offline else os.environ.get("WANDB_MODE"))
        except (wandb.Error, OSError) as error:
            refused = first_line(error)
            with suppress(wandb.Error, OSError):
                if not beside_others:
                    wandb.teardown()
            for begun in set(folder.glob("wandb/run-*")) - before:  # The offline record has all.
                shutil.rmtree(begun, ignore_errors=True)
            experiment = start("offline")
        super().__init__(experiment=experiment)
        self._told = False
        self._has_config = bool(config)
        if refused:
            say(f"Note: W&B did not accept the run ({refused}); its record is on disk: {self.sync_command} uploads it.")

    @property
    def place(self) -> str:
        """Where the record is: its address, or the command that sends what lies on the disk."""
        run = self.experiment
        if run.disabled:
            return "disabled"
        return f"offline, to be sent with: {self.sync_command}" if run.offline else str(run.url)

    @property
    def sync_command(self) -> str:
        """The command that sends what W&B has not received."""
        folder = Path(self.experiment.settings.sync_dir)
        here = Path.cwd()
        return f"wandb sync {shlex.quote(str(folder.relative_to(here) if folder.is_relative_to(here) else folder))}"

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Say once what W&B cannot do, and go on."""
        import wandb

        try:
            yield
        except (wandb.Error, OSError, ValueError) as error:  # ValueError of what the server answers about an artifact.
            if not (self._told or self.experiment.disabled):
                sends = f"; {self.sync_command} uploads what is on disk"
                say(f"Note: W&B lost a part of the record ({first_line(error)}){sends}.")
            self._told = True

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log figures."""
        with self.patience():
            super().log_metrics(metrics, step)

    def log_hyperparams(self, params: Any) -> None:
        """Log what the model was made with, unless the settings of the run say so already."""
        if not self._has_config:
            with self.patience():
                super().log_hyperparams(params)

    def log_pictures(self, paths: Sequence[Path]) -> None:
        """Add pictures of the data."""
        import wandb

        with self.patience():
            self.experiment.log({f"data/{path.stem}": wandb.Image(str(path)) for path in paths})

    def log_inputs(self, dataset: str, genre_of: Mapping[str, str], run: RunDirectory, source: str | None) -> None:
        """Say which dataset, split and model of W&B the run starts from; see `Tracking.add_inputs`."""
        with self.patience():
            limit_s = self.experiment.settings.init_timeout
            _within(limit_s, partial(use_inputs, self.experiment, dataset, genre_of, run, source))

    def log_model_of(self, run: RunDirectory, metrics: Mapping[str, Any]) -> None:
        """Keep the model of a finished run in W&B, if that is wanted; `metrics` are what ``metrics.json`` will hold."""
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
        """Add the figures of the test, the confusion matrix, and tables of the test tracks; see `Tracking.finish`."""
        import wandb

        run = self.experiment
        marks = {mark: metrics[mark.lower()] for mark in marks_of(metrics)}
        figures = {key: metrics.get(key) for key in ("objective", "parameters")}
        if figures["objective"] is not None:  # Of the epoch that was tested, in place of the last one's.
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
        # A table is an artifact: the client asks whether it may be logged, and waits without an end.
        _within(run.settings.finish_timeout, partial(run.log, media))


def _within(seconds: float, work: Callable[[], None]) -> None:
    """Do what may wait for W&B, and leave it to itself after some time; 0 waits for as long as it takes."""
    outcome: list[Exception | None] = []

    def do() -> None:
        try:
            work()
            outcome.append(None)
        except Exception as error:  # Of many kinds, as the client has them.
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
    """Return a row a track with the values of `TRACK_COLUMNS`, the last the probability of the predicted genre."""
    names = list(tracks.genres)
    return [
        [track_id, names[true], names[said], float(odds[said])]
        for track_id, true, said, odds in zip(
            tracks.track_ids, tracks.targets, tracks.predicted, tracks.probabilities, strict=True
        )
    ]


def examples(rows: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
    """Choose of each genre the right and the wrong prediction that the model was surest of, see `track_rows`."""
    surest: dict[tuple[str, bool], Sequence[Any]] = {}
    for row in sorted(rows, key=lambda row: -row[3]):
        surest.setdefault((row[1], row[1] == row[2]), row)
    return [surest[key] for key in sorted(surest)]


def picture_of(stored: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the beginning of a spectrogram ``(mel, frame)`` as a gray picture from its lowest to its highest level.

    Low frequencies lie at the bottom, and it is at most `PICTURE_FRAMES` wide.
    """
    level = np.asarray(stored[::-1, :PICTURE_FRAMES], dtype=np.float32)
    low, high = float(level.min()), float(level.max())
    gray: NDArray[np.uint8] = (255 * (level - low) / max(high - low, 1e-6)).astype(np.uint8)
    return gray


def is_wandb_offline() -> bool:
    """Whether W&B is kept on disk: as ``WANDB_MODE`` says, else where no API key is found."""
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
    """Return the host of the W&B server, as ``WANDB_BASE_URL`` says, or else ``wandb login --host``."""
    saved = configparser.ConfigParser(interpolation=None)
    with suppress(configparser.Error, OSError, UnicodeDecodeError):
        saved.read(Path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb"), "settings").expanduser())
    url = os.environ.get("WANDB_BASE_URL") or saved.get("default", "base_url", fallback="https://api.wandb.ai")
    return str(urlsplit(url).netloc)
