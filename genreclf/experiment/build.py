"""Build the data module, model, loss, callbacks, loggers and other parts of a run from its configuration."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, ProgressBar, Timer, WeightAveraging
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch import nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from genreclf.audio.log_mel import FeatureSpec
from genreclf.checkpoint import load_checkpoint
from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.data.datamodule import ClipDataModule
from genreclf.errors import UserError
from genreclf.experiment.corpus import Corpus
from genreclf.models import FineTune, GenreClassifier
from genreclf.run_directory import RunDirectory, reason_of
from genreclf.splits.base import Split
from genreclf.splits.rules import group_names
from genreclf.training.artifacts import local_run
from genreclf.training.augment import BANDS_UNKNOWN, Augment, BandLimit, FilterAugment, MixStyle, SpecAugment
from genreclf.training.best_epoch import BestCheckpoint

LOGGERS_ARE_GIVEN = ("config", "job_type", "beside_others", "run_name", "run_id")
"""Arguments that a run passes to the loggers that accept them, in addition to ``save_dir``."""


def build_data(config: Config, corpus: Corpus, split: Split, genres: list[str] | None = None) -> ClipDataModule:
    """Return the data module of a run.

    Args:
        config: Configuration of the run.
        corpus: Tracks of the run and their stored features.
        split: Division of the tracks into training, validation and test.
        genres: Genres of a checkpoint, if it knows more genres than the split has.
    """
    return ClipDataModule(
        store=corpus.store,
        split=split,
        genre_of=corpus.genre_of,
        group_of=group_names([*corpus.tracks.values()]),
        spec=corpus.spec,
        genres=genres,
        batch_size=config.clips.batch_size,
        crops_per_track=config.clips.crops_per_track,
        grid_overlap=config.clips.grid_overlap,
        # Zeros do not represent silence in embeddings.
        short="pad" if config.clips.short == "pad" and corpus.spec.kind != "embedding" else "wrap",
        seed=config.seed,
    )


def build_model(config: Config, spec: FeatureSpec, data: ClipDataModule) -> tuple[GenreClassifier, list[str]]:
    """Return the model, ready to be trained on `data`, and warnings for the user.

    Raises:
        UserError: The model class sets no ``network``, or the weights of ``init_from`` do not fit.
    """
    model: GenreClassifier = instantiate.make_model(
        config.model,
        config.encoder,
        spec=spec,
        genres=data.genres,
        scale=config.features.scale,
        loss=make_loss(config, torch.bincount(data.tables["train"].genre, minlength=len(data.genres)).tolist()),
        augment=make_augmentation(config),
        optimizer=partial(make_optimizer, config),
        scheduler=partial(make_scheduler, config) if config.scheduler.get("_target_") else None,
    )
    if not isinstance(getattr(model, "network", None), nn.Module):
        name = config.model["_target_"]
        raise UserError(
            f"model._target_={name} sets no network: its __init__ must set self.network to a torch.nn.Module that maps "
            "spectrograms (batch, mel, frame) to logits (batch, genre)."
        )
    warnings = model.warnings.copy()
    if model.fits_at_once and config.init_from is None:
        warnings.append(
            f"{type(model).__name__} is fitted at once: trainer.max_epochs, optimizer, scheduler, loss, "
            "augmentation and averages of the weights (EMA) have no effect on it."
        )
    if config.init_from is None:
        model.scaling.fit(data.sample("train"))
        if isinstance(model, FineTune):
            model.load_pretrained()
    else:
        warnings += _start_from(model, local_run(config.init_from))
    return model, warnings


def make_loss(config: Config, genre_counts: list[int]) -> nn.Module:
    """Return the loss; `genre_counts` are the numbers of training tracks per genre, in the order of the logits."""
    given = {"genre_counts": genre_counts} if instantiate.accepts("loss", config.loss, "genre_counts") else {}
    loss: nn.Module = instantiate.make("loss", config.loss, **given)
    return loss


def make_augmentation(config: Config) -> Augment | None:
    """Return the augmentations in the order of the configuration, or None if there are none.

    Raises:
        UserError: An augmentation does not suit the input of the network, or the frequencies of its bands are unknown.
    """
    steps = []
    for name, node in config.augmentation.items():
        step = instantiate.make(f"augmentation.{name}", node)
        of_bands = isinstance(step, BandLimit) and config.takes != "log_mel"
        if of_bands or (config.takes == "waveform" and isinstance(step, FilterAugment | MixStyle | SpecAugment)):
            raise UserError(
                f"augmentation.{name} is for spectrograms, and the network takes {config.takes}s; set it to null."
            )
        if isinstance(step, BandLimit) and config.data.get("rendering", "") is None:
            raise UserError(BANDS_UNKNOWN)
        steps.append(step)
    return Augment(*steps) if steps else None


def make_callbacks(config: Config, *, validates: bool = True, has_steps: bool = True) -> list[Callback]:
    """Return the callbacks of the configuration, with a `BestCheckpoint` added if the configuration has none.

    The added `BestCheckpoint` keeps the last epoch. Without validation, the last epoch always counts as the best. Every
    other `ModelCheckpoint` writes into a folder of its own, so that it cannot replace ``best.ckpt`` or ``last.ckpt``.

    Args:
        config: Configuration of the run.
        validates: Whether the training has validation data.
        has_steps: Whether the training has steps, unlike that of a model that is fitted at once. Without steps,
            callbacks that average the weights are left out, as their average would stay at the initial weights.

    Raises:
        UserError: A callback cannot be created, there are several `BestCheckpoint`, or another `ModelCheckpoint` is
            configured to write into the folder of the run's own checkpoints.
    """
    callbacks: list[Callback] = []
    for name, node in config.callbacks.items():
        if not validates and is_best_checkpoint(name, node):
            node = {**node, "monitor": None}
        callback = instantiate.make(f"callbacks.{name}", node)
        if isinstance(callback, ModelCheckpoint) and not isinstance(callback, BestCheckpoint):
            _keep_apart(callback, RunDirectory(config.run_dir).checkpoints, name)
        callbacks.append(callback)
    if config.trainer.others.get("enable_progress_bar") is False:
        callbacks = [callback for callback in callbacks if not isinstance(callback, ProgressBar)]
    if not has_steps:
        callbacks = [callback for callback in callbacks if not isinstance(callback, WeightAveraging)]
    best = [callback for callback in callbacks if isinstance(callback, BestCheckpoint)]
    if len(best) > 1:
        raise UserError(
            "callbacks has several BestCheckpoints, which would overwrite the best.ckpt of a run: keep one."
        )
    return callbacks if best else [*callbacks, BestCheckpoint(monitor=None)]


def _keep_apart(callback: ModelCheckpoint, checkpoints: Path, name: str) -> None:
    """Let a callback write into the folder `name` of a run's `checkpoints`, unless another folder is configured."""
    if callback.dirpath is None:
        callback.dirpath = str((checkpoints / name).absolute())
    elif Path(callback.dirpath).resolve() == checkpoints.resolve():
        raise UserError(
            f"callbacks.{name}.dirpath={callback.dirpath} is where the run keeps its own best.ckpt and last.ckpt: "
            f"leave dirpath out to write into {checkpoints / name}, or set another folder."
        )


def make_loggers(config: Config, given: Mapping[str, Any], *, tags: Sequence[str] = ()) -> list[Logger]:
    """Return the loggers of the configuration, which write into the run directory unless configured otherwise.

    Args:
        config: Configuration of the run.
        given: Arguments that each logger gets if it accepts them and the configuration leaves them unset.
        tags: Tags added to those of each logger that has a ``tags`` setting; as keys with the value ``true`` if
            its tags are a mapping, as those of MLflow.
    """
    run = RunDirectory(config.run_dir)
    ids = run.read_json(run.loggers) if run.loggers.exists() else {}
    loggers = []
    for name, node in config.logger.items():
        group = f"logger.{name}"
        own = {"tags": _joined(node["tags"], tags)} if "tags" in node else {}
        places = {"save_dir": config.run_dir} if instantiate.requires(group, node, "save_dir") else {}
        offered = {**given, "run_name": run.path.resolve().name, "run_id": ids.get(name)}
        more = {key: value for key, value in offered.items() if instantiate.accepts(group, node, key)}
        given_here = {key: value for key, value in (places | more).items() if node.get(key) is None}
        logger = _make_logger(group, node | own, given_here, None if name in ids else config)
        loggers.append(logger)
        if "run_id" in given_here and name not in ids:
            ids[name] = logger.run_id
            run.write_json(run.loggers, ids)
    return loggers


def _joined(own: Sequence[str] | Mapping[str, Any], tags: Sequence[str]) -> Sequence[str] | Mapping[str, Any]:
    if isinstance(own, Mapping):
        return dict.fromkeys(tags, "true") | dict(own)
    return list(dict.fromkeys([*own, *tags]))


def _make_logger(group: str, node: Mapping[str, Any], given: Mapping[str, Any], begins: Config | None) -> Any:
    """Return a logger; if it identifies the run by an id, log the configuration `begins`, unless None, to it.

    Raises:
        UserError: The logger, or the tracker behind it, cannot be used.
    """
    if "run_id" not in given:
        return instantiate.make(group, node, **given)
    try:
        logger = instantiate.make(group, node, **given)
        if begins is not None:
            logger.log_hyperparams(begins.plain)
    except Exception as error:  # Trackers and the network raise errors of many types.
        failure = error
        if isinstance(error, UserError):
            if not isinstance(error.__cause__, OSError):
                raise
            failure = error.__cause__
        raise UserError(f"{group} cannot be used ({reason_of(failure)}); correct it, or omit it.") from error
    return logger


def is_best_checkpoint(name: str, node: Mapping[str, Any]) -> bool:
    """Return whether an entry of ``callbacks`` in the configuration is a `BestCheckpoint`."""
    return _is_callback(name, node, BestCheckpoint)


def stops_without_best(config: Config) -> bool:
    """Return whether validation tracks decide when training stops, but no `BestCheckpoint` keeps an epoch."""
    nodes = config.callbacks.items()
    stops = any(
        _is_callback(name, node, EarlyStopping) and str(node.get("monitor", "val/track_loss")).startswith("val/")
        for name, node in nodes
    )
    return stops and not any(is_best_checkpoint(name, node) for name, node in nodes)


def may_end_training(name: str, node: Mapping[str, Any]) -> bool:
    """Return whether an entry of ``callbacks`` in the configuration may end the training before its last epoch."""
    if _is_callback(name, node, Timer):
        return node.get("duration") is not None
    return _is_callback(name, node, EarlyStopping)


def _is_callback(name: str, node: Mapping[str, Any], *kinds: type[Callback]) -> bool:
    found = instantiate.find(f"callbacks.{name}", node, [])
    return isinstance(found, type) and issubclass(found, kinds)


def make_optimizer(config: Config, parameters: ParamsT) -> Optimizer:
    """Return the configured optimizer for the given parameters."""
    optimizer: Optimizer = instantiate.make("optimizer", config.optimizer, params=parameters)
    return optimizer


def make_scheduler(config: Config, optimizer: Optimizer, steps: int) -> LRSchedulerConfigType:
    """Return the learning-rate schedule for a training of `steps` optimizer steps."""
    scheduler: LRSchedulerConfigType = instantiate.make("scheduler", config.scheduler, optimizer=optimizer, steps=steps)
    return scheduler


def _start_from(model: GenreClassifier, run: RunDirectory) -> list[str]:
    """Load the best weights of another run, except those that do not fit, such as a classifier of other genres.

    Returns:
        A sentence for the user that names the run and the weights that were not loaded from it.

    Raises:
        UserError: No weight of the other run fits the network.
    """
    theirs = load_checkpoint(run.best)["state_dict"]
    ours = model.state_dict()

    def fits(key: str, value: torch.Tensor) -> bool:
        return key in ours and (is_lazy(ours[key]) or ours[key].shape == value.shape)

    fitting = {key: value for key, value in theirs.items() if fits(key, value)}
    if not any(key.startswith("network.") for key in fitting):
        raise UserError(f"init_from={run.path}: no weight of that run fits this model; choose the model it trained.")
    model.load_state_dict({**ours, **fitting})
    new = sorted(key for key in ours.keys() - fitting.keys())
    return [f"Weights start from {run.path}" + (f", but for {', '.join(new)}." if new else ".")]
