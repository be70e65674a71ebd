"""Test a checkpoint in exact float32, without shortcuts such as TF32, and write the results."""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from genreclf.checkpoint import load_checkpoint
from genreclf.config.config import Config
from genreclf.datasets.identity import artist_groups
from genreclf.devices import device_errors, exactly
from genreclf.errors import UserError
from genreclf.evaluation.calibration import Calibration
from genreclf.evaluation.metrics import accuracies_and_losses, evaluate, rounded, scores_by_seen
from genreclf.evaluation.predictions import ClipPredictions, TrackPredictions, write_clip_csv, write_track_csv
from genreclf.experiment.fit import is_first_rank
from genreclf.experiment.seen import Seen
from genreclf.experiment.setup import Prepared
from genreclf.experiment.trainer import trainer_of
from genreclf.models import GenreClassifier
from genreclf.reports.run import write_report
from genreclf.reports.titles import run_title
from genreclf.run_directory import RunDirectory
from genreclf.training.callbacks import RankGuard
from genreclf.training.parts import OF_TRAINING
from genreclf.training.tracking import Tracking


def test(
    config: Config,
    run: RunDirectory,
    trained: RunDirectory,
    prepared: Prepared,
    tracking: Tracking,
    draw: Callable[..., Callable[[], object]],
) -> Generator[str, None, None]:
    """Test the best checkpoint of `trained` in float32, then write the result files into the run directory `run`.

    Args:
        config: Configuration of the test.
        run: Run directory to write into.
        trained: Run directory with the checkpoint; the same as `run` after training.
        prepared: Data, split and model of the test.
        tracking: Loggers that receive the results.
        draw: Function that starts to draw the plots, and returns a function that waits until they are finished.

    Yields:
        Name of the stage that begins: ``test``, then ``report`` before the last files are written.
    """
    yield "test"
    split, data, model = prepared.split, prepared.data, prepared.model
    best_epoch = _load(model, trained)
    trainer = trainer_of(
        config,
        precision="32-true",
        limit_test_batches=config.trainer.limit_test_batches,
        callbacks=[RankGuard(run, config.hash)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
    )
    with exactly(), device_errors(f"lower data.batch_size={config.clips.batch_size}"):
        val, val_accuracy = ClipPredictions.none(data.genres), None
        if split.val:
            trainer.validate(model, datamodule=data, verbose=False)
            val = _predictions(model)
            val_accuracy = accuracies_and_losses(val)["track"]["accuracy"]
        started_s = time.perf_counter()
        trainer.test(model, datamodule=data, verbose=False)
        test_s = time.perf_counter() - started_s
    if not is_first_rank():
        return
    clips = _predictions(model)
    history = trained.read_history()
    begun = run.read_metrics()
    artists = artist_groups(clips.track_ids, prepared.split_record["artists"])
    calibration = _calibration(run, trained, val)
    seen = {} if prepared.seen is None else {"seen": prepared.seen.counts}
    metrics: dict[str, Any] = {
        "status": "finished",
        "objective": val_accuracy,
        "seed": config.seed,
        "parameters": model.n_parameters,
        "epochs": len(history),
        "best_epoch": best_epoch if history else None,
        "split": {"name": split.name, "hash": split.hash, "leaky": split.leaky, **seen},
        **prepared.provenance,
        **model.summary(load_checkpoint(trained.last)["state_dict"] if trained.last.exists() else {}),
        "val": {"track": {"accuracy": val_accuracy}},
        **({} if calibration is None else {"calibration": calibration.plain()}),
        "test": _scores(clips, artists, calibration, prepared.seen),
        "timing": _timing(begun["timing"], history, test_s),
    }
    metrics = rounded(metrics) | {key: begun[key] for key in ("energy", "energy_sources") if key in begun}
    write_track_csv(run.val_predictions, val.per_track())
    yield from _write(config, run, metrics, clips, history, prepared, tracking, draw, artists)


def _calibration(run: RunDirectory, trained: RunDirectory, val: ClipPredictions) -> Calibration | None:
    """Return the calibration of the run that is tested again, or fit one on the validation tracks if there is none."""
    known = None
    if trained.path != run.path:
        with suppress(UserError):
            known = Calibration.of_run(trained)
    return known or Calibration.fit(val)


def _scores(
    clips: ClipPredictions, artists: Mapping[str, str] | None, calibration: Calibration | None, seen: Seen | None
) -> dict[str, Any]:
    """Return the entry ``test`` of ``metrics.json``."""
    scores = evaluate(clips, artists)
    if calibration is not None:
        for unit, calibrated in calibration.scores(clips).items():
            scores[unit]["calibrated"] = calibrated
    return scores if seen is None else scores | scores_by_seen(clips.per_track(), seen.ids, artists)


def _timing(begun: Mapping[str, Any], history: Sequence[Mapping[str, float]], test_s: float) -> dict[str, Any]:
    """Return the durations of a run; `begun` holds those recorded before the test."""
    fit_s = sum(row["epoch_s"] for row in history) if history else begun.get("fit_s", 0.0)
    clips = sum(row["clips_per_s"] * row["epoch_s"] for row in history)
    return {**begun, "fit_s": fit_s, "test_s": test_s, "clips_per_s": clips / fit_s if fit_s else 0.0}


def _load(model: GenreClassifier, trained: RunDirectory) -> int:
    """Load the best checkpoint of a run into a model, in float32, and return the epoch of the checkpoint.

    Tensors of the loss and the augmentation may be missing, as in ensembles and shared runs: the test uses neither.
    """
    checkpoint = load_checkpoint(trained.best)
    of_training = {key: values for key, values in model.state_dict().items() if key.startswith(OF_TRAINING)}
    try:
        model.float().load_state_dict({**of_training, **model.own_state(checkpoint["state_dict"])})
        return int(checkpoint["epoch"])
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"The checkpoint {trained.best} is not one of this model ({str(error).strip().splitlines()[-1].strip()}); "
            f"put a copy in its place or delete {trained.path} and train again."
        ) from error


def _write(
    config: Config,
    run: RunDirectory,
    metrics: dict[str, Any],
    clips: ClipPredictions,
    history: Sequence[dict[str, float]],
    prepared: Prepared,
    tracking: Tracking,
    draw: Callable[..., Callable[[], object]],
    artists: Mapping[str, str] | None,
) -> Generator[str, None, None]:
    """Write the files of a finished run, ``metrics.json`` last."""
    tracks: TrackPredictions = clips.per_track()
    write_clip_csv(run.clip_predictions, clips)
    write_track_csv(run.predictions, tracks)
    title = run_title(metrics, config.plain, tracks.track_ids)
    wait_for_figures = draw(run.figures, history, clips, metrics, title)
    yield "report"
    wait_for_figures()
    write_report(
        run.report,
        metrics=metrics,
        config=config.plain,
        environment=run.read_json(run.environment),
        history=history,
        tracks=tracks,
        artists=artists,
        warnings=prepared.warnings,
    )
    data = prepared.data
    tracking.finish(run, metrics, tracks, data.store.spectrogram if data.spec.kind == "log_mel" else None)
    run.write_json(run.metrics, metrics)


def _predictions(model: GenreClassifier) -> ClipPredictions:
    assert model.predictions is not None
    return model.predictions
