"""Check the parts of a run before any data are downloaded or spectrograms computed."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from genreclf.audio.log_mel import FeatureSpec
from genreclf.audio.scaling import Scale
from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.config.weights import check_checkpoint
from genreclf.data.datamodule import ClipDataModule
from genreclf.datasets.base import ImageDataset
from genreclf.errors import UserError
from genreclf.experiment.build import make_augmentation, make_callbacks, make_loss, make_optimizer, make_scheduler
from genreclf.experiment.check_callbacks import check_callbacks, check_monitors
from genreclf.experiment.check_encoder import check_encoder
from genreclf.experiment.check_loggers import check_loggers
from genreclf.experiment.corpus import audio_spec
from genreclf.experiment.own_parts import check_arguments, check_schedule
from genreclf.experiment.trainer import device_count, trainer_of
from genreclf.hardware import memory_bytes, resolve_accelerator, resolve_precision
from genreclf.models import FineTune
from genreclf.run_directory import RunDirectory
from genreclf.splits.base import SUBSETS
from genreclf.training.artifacts import PREFIX, check_reference

GENRES = 10
"""Number of genres that is assumed until the dataset has been read."""

BYTES_PER_PARAMETER = 8
"""Bytes of a float32 weight and its gradient, the minimum that training needs for each parameter."""


def check_training(config: Config) -> None:
    """Create every part of a training, the network on the meta device, and raise all problems as one `UserError`."""
    _check(
        [
            lambda: _check_batch(config),
            lambda: _check_start(config),
            lambda: check_loggers(config),
            lambda: instantiate.make("split", config.split),
            lambda: make_loss(config, [1] * GENRES),
            lambda: make_augmentation(config),
            lambda: check_encoder(config),
            lambda: check_monitors(config),
            lambda: _check_trainer(config),
            lambda: _check_steps(config),
            lambda: _check_network_ahead(config),
        ]
    )


def check_evaluation(config: Config) -> None:
    """Check the parts that an evaluation uses, and raise all problems as one `UserError`."""
    _check(
        [
            lambda: check_loggers(config),
            lambda: instantiate.make("split", config.split),
            lambda: _check_trainer(config, fits=False),
        ]
    )


def check_network(config: Config, spec: FeatureSpec, genres: int = GENRES) -> None:
    """Build the network on the meta device, and check that it fits into memory.

    Of custom models from outside genreclf, only the arguments are checked, as building them may read files or weights.

    Raises:
        UserError: The network cannot be built, does not take the clips or fit into memory, or has an empty layer.
    """
    target = instantiate.find("model", config.model, [])
    if target is None:
        return
    if not target.__module__.startswith("genreclf."):
        check_arguments(config)
        return
    names = [str(number) for number in range(genres)]
    with torch.device("meta"):
        model = instantiate.make_model(
            config.model, config.encoder, spec=spec, genres=names, scale=config.features.scale
        )
    if isinstance(model, FineTune):
        model.body.encoder.check_size(spec.n_mels, spec.clip_frames)
    sizes = [parameter.numel() for parameter in model.parameters()]
    if not all(sizes):
        raise UserError("A layer of the network would be empty; the sizes in model must be 1 or more.")
    if (needed := BYTES_PER_PARAMETER * sum(sizes)) > memory_bytes():
        raise UserError(
            f"The network would have {sum(sizes):,} parameters, {needed / 1e9:,.0f} GB with their gradients, and this "
            f"machine has {memory_bytes() / 1e9:,.0f} GB of memory: choose smaller sizes in model, or fewer "
            "features.n_mels or data.clip_seconds."
        )


def spec_of(path: Path, checkpoint: Mapping[str, Any], config: Config) -> FeatureSpec:
    """Return the feature parameters of a checkpoint; `UserError` if model or features differ from the configuration."""
    try:
        spec = check_checkpoint(checkpoint, config.model, config.encoder, scale=cast(Scale, config.features.scale))
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise UserError(f"{path} is not of the model that is configured ({error}).") from error
    if spec.sample_rate is not None and config.features.sample_rate is not None:
        check_spectrograms(path.parent.parent, spec, replace(spec, **config.features.log_mel))
    return spec


def check_spectrograms(trained: Path, spec: FeatureSpec, now: FeatureSpec) -> None:
    """Raise a `UserError` if the run in `trained` used spectrograms (`spec`) with other parameters than `now`."""
    if differing := now.differing(spec):
        raise UserError(
            f"{trained} was trained on other spectrograms ({differing}); leave features and data.clip_seconds as they "
            "were."
        )


def check_limits(config: Config, data: ClipDataModule, subsets: Sequence[str] = SUBSETS) -> None:
    """Raise a `UserError` if a limit is less than one batch, or ``val_check_interval`` exceeds the training batches."""
    problems = []
    in_epochs = config.trainer.others.get("check_val_every_n_epoch", 1) is not None
    overfit = config.trainer.others.get("overfit_batches")
    for subset in filter(data.segments, subsets):
        key = "overfit_batches" if overfit and subset != "test" else f"limit_{subset}_batches"
        limit, clips = overfit if key == "overfit_batches" else getattr(config.trainer, key), data.loader(subset).clips
        # The batch size is per device in validation and test, but shared by all devices in training.
        at_once = config.clips.batch_size * (1 if subset == "train" else device_count(config))
        batches = math.ceil(clips / at_once)
        if isinstance(limit, float) and batches and int(limit * batches) < 1:
            sentence = f"trainer.{key}={limit} of {batches} batches is less than one"
            problems.append(f"{sentence}; a number without a decimal point, such as 1, counts batches.")
        every = config.trainer.others.get("val_check_interval")
        if subset == "train" and type(every) is int and every > batches and in_epochs:
            sentence = f"trainer.val_check_interval={every} is more than the {batches} batches of an epoch"
            problems.append(f"{sentence}; trainer.check_val_every_n_epoch=null counts them over several.")
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))


def _check(parts: list[Callable[[], object]]) -> None:
    problems = []
    for part in parts:
        try:
            part()
        except UserError as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise UserError("\n".join(dict.fromkeys(map(str, problems))))


def _check_batch(config: Config) -> None:
    devices, batch_size = device_count(config), config.clips.batch_size
    if batch_size < devices:
        raise UserError(
            f"data.batch_size={batch_size} leaves some of trainer.devices={devices} without a clip; set one at least "
            "as large as the number of devices."
        )


def _check_trainer(config: Config, *, fits: bool = True) -> None:
    """Create a Trainer for a single device, which does not wait for other ranks, and check its callbacks and strategy.

    With ``trainer.deterministic``, this also configures cuBLAS, which must precede any computation on a GPU.
    """
    settings = replace(config.trainer, devices=1)
    accelerator = resolve_accelerator(settings.accelerator, 1)
    precision = resolve_precision(settings.precision, accelerator)
    callbacks = make_callbacks(config) if fits else []
    if fits:
        check_callbacks(config, accelerator)
    shows_progress = any(isinstance(callback, ProgressBar) for callback in callbacks)
    trainer = trainer_of(
        replace(config, trainer=settings),
        fits=fits,
        precision=precision,
        logger=False,
        callbacks=callbacks,
        enable_progress_bar=shows_progress,
    )
    if (strategy := settings.others.get("strategy")) is not None:
        _check_strategy(strategy if isinstance(strategy, str) else type(trainer.strategy).__name__, trainer, config)


def _check_strategy(name: str, trainer: Trainer, config: Config) -> None:
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise UserError(f"trainer.strategy={name} starts processes of its own, as a run does already; use ddp.")
    devices = device_count(config)
    if isinstance(trainer.strategy, SingleDeviceStrategy) and devices > 1:
        raise UserError(
            f"trainer.strategy={name} trains on one device, but trainer.devices={devices}: use ddp, or set "
            "trainer.devices=1."
        )
    known = set(inspect.signature(DistributedDataParallel).parameters) - {"module", "device_ids"}
    given = trainer.strategy._ddp_kwargs if isinstance(trainer.strategy, DDPStrategy) else {}
    if unknown := sorted(given.keys() - known):
        raise UserError(
            f"trainer.strategy.{unknown[0]} is not a key of DDPStrategy or DistributedDataParallel: omit it."
        )


def _check_start(config: Config) -> None:
    if config.robustness:
        raise UserError("robustness is for a trained run: python -m genreclf evaluate RUN robustness=all.")
    if config.model.get("members"):
        raise UserError("An ensemble is made of finished runs by the command ensemble; choose a model to train.")
    if (start := config.init_from or "").startswith(PREFIX):
        check_reference(start)
    elif config.init_from is not None and not (best := RunDirectory(config.init_from).best).is_file():
        raise UserError(f"There is no {best}: init_from={config.init_from} is not a run that has finished an epoch.")
    if getattr(instantiate.find("model", config.model, []), "fits_at_once", False):
        for key, value in (("init_from", config.init_from), ("ckpt_path", config.ckpt_path)):
            if value is not None:
                raise UserError(f"{key}={value} has no effect on a model that is fitted at once: leave it out.")
        if device_count(config) > 1:
            raise UserError("A model that is fitted at once uses one device: set trainer.devices=1.")


def _check_steps(config: Config) -> None:
    optimizer = make_optimizer(config, [nn.Parameter(torch.zeros(1))])
    if (name := config.scheduler.get("_target_")) is not None:
        check_schedule(str(name), make_scheduler(config, optimizer, steps=100))


def _check_network_ahead(config: Config) -> None:
    """Check the network unless its input size depends on the data, as with image datasets and whole tracks."""
    dataset, seconds = instantiate.find("data", config.data, []), config.clips.clip_seconds
    if not isinstance(dataset, type) or issubclass(dataset, ImageDataset) or seconds == "whole":
        return
    spec = audio_spec(config)
    check_network(config, replace(spec, clip_frames=spec.n_mels) if seconds == "square" else spec)
