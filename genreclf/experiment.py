"""The one place that knows the order of a run: gather, split, seed, build, fit, test, report."""

import dataclasses
import logging
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint

from genreclf.building import build_data, build_model, load_checkpoint
from genreclf.callbacks import EpochProgress, EpochSeed, History, RankGuard
from genreclf.config import Config
from genreclf.data.datamodule import ClipDataModule
from genreclf.data.split import Assignment
from genreclf.errors import UserError
from genreclf.evaluation.figures import draw_all
from genreclf.evaluation.metrics import evaluate, rounded
from genreclf.evaluation.predictions import ClipPredictions, TrackPredictions, write_clip_csv, write_track_csv
from genreclf.evaluation.report import run_title, summary_table, write_report
from genreclf.features import FeatureSpec
from genreclf.hardware import environment, resolve_accelerator, resolve_precision
from genreclf.material import Material, gather
from genreclf.models import GenreClassifier
from genreclf.parallel.launch import launch
from genreclf.rundir import RunDirectory, sentence_when_full
from genreclf.tracking import Tracking


@dataclass(frozen=True)
class RunResult:
    """A finished run.

    Attributes:
        run: Its directory.
        metrics: What its ``metrics.json`` holds.
    """

    run: RunDirectory
    metrics: dict[str, Any]

    @property
    def objective(self) -> float:
        """What a sweeper maximizes: the accuracy on validation tracks."""
        return float(self.metrics["objective"])


def run(config: Config) -> RunResult:
    """Train, test and report; go on where a killed run of the same directory stopped; leave a finished one alone.

    Raises:
        UserError: Something the user can mend.
    """
    run = RunDirectory(config.run_dir)
    if run.status is not None and (before := Config.from_plain(run.read_config())).hash != config.hash:
        raise UserError(f"{run.path} holds another experiment ({_difference(before, config)}); set another run_dir.")
    if run.status == "finished":
        print(f"{run.path} is finished and left as it is.")
        return RunResult(run, run.read_metrics())
    return carry_out("train", config)


def carry_out(task: str, config: Config) -> RunResult:
    """Prepare the run directory, do one of `TASKS` on as many ranks as the configuration wants, show the result."""
    run = RunDirectory(config.run_dir)
    accelerator = resolve_accelerator(config.trainer.accelerator, config.trainer.devices)
    precision = resolve_precision(config.trainer.precision, accelerator)
    run.make()
    with sentence_when_full(run.path):
        started_s = time.perf_counter()
        material = gather(config)
        assignment = material.split(config)
        for notice in (*material.notices, *assignment.notices):
            print(f"Note: {notice}")
        run.write_config(config.plain)
        run.write_json(run.split, assignment.to_json())
        run.write_json(run.environment, environment(accelerator, config.trainer.devices, precision))
        timing = {"prepare_s": round(time.perf_counter() - started_s, 3)}
        before = run.read_metrics() if run.status else {}
        run.write_json(run.metrics, {**before, "status": "running", "timing": timing})
        try:
            if config.trainer.devices > 1:
                launch(task, run.path, ranks=config.trainer.devices)
            else:
                TASKS[task](config, material)
        except Exception:
            run.write_json(run.metrics, {**run.read_metrics(), "status": "failed"})
            raise
    metrics = run.read_metrics()
    _show(run, metrics)
    return RunResult(run, metrics)


def train(config: Config, material: Material | None = None) -> None:
    """Do one rank's share of fitting and testing; the first rank writes the report.

    Args:
        config: Of the run, whose directory `carry_out` has prepared.
        material: Of `gather`; gathered anew where it is None.
    """
    run = RunDirectory(config.run_dir)
    material = material or gather(config)
    seed_everything(config.seed, workers=True, verbose=False)
    assignment = Assignment.from_json(run.read_json(run.split))
    data = build_data(config, material, assignment)
    model, notices = build_model(config, material.spec, data)
    tracking = _tracking(config, run)
    status = "failed"
    try:
        if not run.read_metrics().get("fitted"):
            _fit(config, run, model, data, tracking)
        if not run.best.exists():
            raise UserError(f"No epoch of {run.path} gave a figure for {config.early_stopping.monitor}.")
        notices = [*material.notices, *notices, *assignment.notices]
        _test(config, run, run, model, data, assignment, notices, tracking)
        status = "success"
    finally:
        tracking.close(status)


def evaluate_again(config: Config, material: Material | None = None) -> None:
    """Do one rank's share of testing the best checkpoint of the run that `config.init_from` names."""
    run = RunDirectory(config.run_dir)
    assert config.init_from is not None
    trained = RunDirectory(config.init_from)
    material = material or gather(config)
    checkpoint = load_checkpoint(trained.best)
    genres = checkpoint["hyper_parameters"]["genres"]
    assignment = Assignment.from_json(run.read_json(run.split))
    unknown = set(assignment.genres) - set(genres)
    if unknown:
        raise UserError(
            f"The checkpoint of {trained.path} does not know {', '.join(sorted(unknown))} "
            f"(it knows {', '.join(genres)}); choose data and split of these genres."
        )
    if FeatureSpec.from_plain(checkpoint["hyper_parameters"]["spec"]) != material.spec:
        raise UserError(
            f"{trained.path} was trained on other spectrograms; leave features and data.clip_seconds as they were."
        )
    data = build_data(config, material, assignment, genres)
    model, _ = build_model(config, material.spec, data)
    tracking = _tracking(config, run)
    notices = [*material.notices, *assignment.notices]
    try:
        _test(config, run, trained, model, data, assignment, notices, tracking)
    finally:
        tracking.close("success")


TASKS = {"train": train, "evaluate": evaluate_again}
"""What a rank can be asked to do."""


def _fit(config: Config, run: RunDirectory, model: GenreClassifier, data: ClipDataModule, tracking: Tracking) -> None:
    """Train, from the last epoch that a killed run finished."""
    settings, stopping = config.trainer, config.early_stopping
    clips = len(data.tables["train"]) * config.clips.crops_per_track
    checkpoint = partial(
        ModelCheckpoint, dirpath=run.checkpoints, save_on_train_epoch_end=True, enable_version_counter=False
    )
    callbacks: list[Callback] = [
        RankGuard(run, config.hash),
        EpochSeed(config.seed),
        History(run, clips),
        checkpoint(filename="best", monitor=stopping.monitor, mode=stopping.mode),
        checkpoint(filename="last"),
    ]
    if stopping.patience is not None:
        callbacks.append(EarlyStopping(stopping.monitor, mode=stopping.mode, patience=stopping.patience))
    if config.regularization.ema is not None:
        callbacks.append(EMAWeightAveraging(decay=config.regularization.ema))
    if _is_first():
        callbacks.append(EpochProgress())
    trainer = _trainer(
        config,
        precision=run.read_json(run.environment)["precision"],
        max_epochs=settings.max_epochs,
        gradient_clip_val=settings.gradient_clip_val,
        limit_train_batches=settings.limit_train_batches,
        callbacks=callbacks,
        logger=tracking.logger or False,
        log_every_n_steps=10,
        num_sanity_val_steps=0,
        enable_progress_bar=_is_first(),
    )
    resume = run.last if run.last.exists() else None
    if resume is not None:
        load_checkpoint(resume)
    trainer.fit(model, datamodule=data, ckpt_path=resume, weights_only=True)
    if trainer.interrupted:
        raise UserError(f"Interrupted; the same command with run_dir={run.path} goes on from the last epoch.")
    if _is_first():
        run.write_json(run.metrics, {**run.read_metrics(), "fitted": True})


def _test(
    config: Config,
    run: RunDirectory,
    trained: RunDirectory,
    model: GenreClassifier,
    data: ClipDataModule,
    assignment: Assignment,
    notices: Sequence[str],
    tracking: Tracking,
) -> None:
    """Test the best weights of `trained` exactly, in float32; write into `run` all that a finished run holds."""
    checkpoint = load_checkpoint(trained.best)
    model.load_state_dict(checkpoint["state_dict"])
    trainer = _trainer(
        config,
        precision="32-true",
        limit_test_batches=config.trainer.limit_test_batches,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    trainer.validate(model, datamodule=data, verbose=False)
    val = evaluate(_predictions(model))
    started_s = time.perf_counter()
    trainer.test(model, datamodule=data, verbose=False)
    test_s = time.perf_counter() - started_s
    if not _is_first():
        return
    clips = _predictions(model)
    history = trained.read_history()
    fit_s = sum(row["epoch_s"] for row in history)
    clips_seen = sum(row["clips_per_s"] * row["epoch_s"] for row in history)
    metrics: dict[str, Any] = {
        "status": "finished",
        "objective": val["track"]["accuracy"],
        "seed": config.seed,
        "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
        "epochs": len(history),
        "best_epoch": checkpoint["epoch"],
        "split": {"name": assignment.name, "hash": assignment.hash, "leaky": assignment.leaky},
        "val": {"track": {"accuracy": val["track"]["accuracy"]}},
        "test": evaluate(clips),
        "timing": {
            **run.read_metrics()["timing"],
            "fit_s": fit_s,
            "test_s": test_s,
            "clips_per_s": clips_seen / fit_s if fit_s else 0.0,
        },
    }
    metrics = rounded(metrics)
    _write(config, run, metrics, clips, history, notices, tracking)


def _write(
    config: Config,
    run: RunDirectory,
    metrics: dict[str, Any],
    clips: ClipPredictions,
    history: Sequence[dict[str, float]],
    notices: Sequence[str],
    tracking: Tracking,
) -> None:
    """Write the files of a finished run, ``metrics.json`` last."""
    tracks: TrackPredictions = clips.per_track()
    write_clip_csv(run.clip_predictions, clips)
    write_track_csv(run.predictions, tracks)
    draw_all(run.figures, history, tracks, metrics, run_title(metrics, config.plain))
    write_report(
        run.report,
        metrics=metrics,
        config=config.plain,
        environment=run.read_json(run.environment),
        history=history,
        tracks=tracks,
        notices=notices,
    )
    tracking.finish(metrics, tracks)
    run.write_json(run.metrics, metrics)


def _trainer(config: Config, **arguments: Any) -> Trainer:
    """Return a Trainer on the devices of the configuration; its ranks are there already."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*LeafSpec.*", DeprecationWarning)
    devices = config.trainer.devices
    accelerator = resolve_accelerator(config.trainer.accelerator, devices)
    return Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        use_distributed_sampler=False,
        enable_model_summary=False,
        default_root_dir=config.run_dir,
        limit_val_batches=config.trainer.limit_val_batches,
        **arguments,
    )


def _tracking(config: Config, run: RunDirectory) -> Tracking:
    settings = dataclasses.asdict(config.logger)
    kind = settings.pop("name")
    return Tracking(kind=kind if _is_first() else "none", run=run, config=config.plain, **settings)


def _predictions(model: GenreClassifier) -> ClipPredictions:
    assert model.predictions is not None
    return model.predictions


def _is_first() -> bool:
    """Whether this process is the first rank, the one that writes."""
    return os.environ.get("RANK", "0") == "0"


def _difference(before: Config, now: Config) -> str:
    """Name the first keys in which two configurations differ."""
    old, new = _flat(before.plain), _flat(now.plain)
    ours = ("run_dir", "debug", "logger.")
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key) and not key.startswith(ours)]
    return ", ".join(f"{key}={old.get(key)} there, {new.get(key)} here" for key in keys[:3])


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _show(run: RunDirectory, metrics: dict[str, Any]) -> None:
    """Print the summary, and where the report lies last."""
    from rich.console import Console

    Console().print(summary_table(metrics))
    print(f"Report: {run.report}")
