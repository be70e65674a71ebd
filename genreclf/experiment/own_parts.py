"""Check parts that users define themselves, and try networks, augmentations and losses on two clips before training."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields
from typing import Any

import torch
from lightning.pytorch.utilities.seed import isolate_rng
from lightning.pytorch.utilities.types import LRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.data.datamodule import ClipDataModule
from genreclf.errors import UserError
from genreclf.models import GenreClassifier
from genreclf.run_directory import reason_of
from genreclf.training.losses import Distillation

SCHEDULE = {entry.name for entry in fields(LRSchedulerConfig)}
"""Keys of the dictionary with which Lightning configures a scheduler."""

CHOOSING_PARAMETERS = ("configure_optimizers", "optimizer_of_network")
"""Methods of a model that choose the trained parameters."""


def check_arguments(config: Config) -> None:
    """Raise a `UserError` if the model does not accept the arguments of the run, or needs others that are not set."""
    name, given = str(config.model["_target_"]).rpartition(".")[2], instantiate.GIVEN["model"]
    refused = [key for key in given if key != "encoder" and not instantiate.accepts("model", config.model, key)]
    if refused:
        raise UserError(
            f"model: the __init__ of {name} does not take {', '.join(refused)}, which the run gives: end its arguments "
            "with **training, and pass that on with super().__init__(**training)."
        )
    if lacking := instantiate.lacking("model", config.model, given):
        raise UserError(f"model: {name} needs {' and '.join(lacking)}; set model.{lacking[0]}.")


def check_schedule(name: str, schedule: object) -> None:
    """Check that a scheduler function returns a valid scheduler configuration of Lightning.

    Args:
        name: Class path of the function.
        schedule: Return value of the function.

    Raises:
        UserError: The return value is not valid.
    """
    part = f"scheduler: {name.rpartition('.')[2]}"
    wanted = "a dictionary with the scheduler and how often it steps, as Lightning's configure_optimizers does"
    if not isinstance(schedule, dict) or not isinstance(schedule.get("scheduler"), LRScheduler | ReduceLROnPlateau):
        raise UserError(f"{part} returns {_shown(schedule)}; it must return {wanted}.")
    if unknown := sorted(schedule.keys() - SCHEDULE):
        raise UserError(f"{part} returns the key {unknown[0]}, which is not one of {', '.join(sorted(SCHEDULE))}.")
    if (interval := schedule.get("interval", "epoch")) not in ("epoch", "step"):
        raise UserError(f"{part} returns interval={interval!r}; it must be epoch or step.")
    if isinstance(schedule["scheduler"], ReduceLROnPlateau):
        if schedule.get("monitor") is None:
            raise UserError(f"{part} returns no monitor, which ReduceLROnPlateau needs, such as val/loss.")
        if schedule.get("frequency", 1) != 1:
            raise UserError(f"{part} returns a frequency; with ReduceLROnPlateau, set patience instead.")


def try_own_parts(model: GenreClassifier, data: ClipDataModule) -> None:
    """Try the network, augmentations and loss that users define themselves, and check what they return.

    Each is called with the first and the last training clip, or with logits for these two clips. This also gives lazy
    PyTorch layers their sizes. Weights, statistics and the states of random number generators do not change.

    Args:
        model: Model of the run.
        data: Data module of the run.

    Raises:
        UserError: A part fails, or does not return what training needs.
    """
    augmentations = [] if model.augment is None else list(model.augment.steps)
    if model.fits_at_once or not any(map(_is_own, (model, model.loss, *augmentations))):
        return
    if _is_own(model):
        _check_hyperparameters(model)
        _check_parameters(model)
    stored = data.sample("train", at_most=2)
    with isolate_rng(), _evaluating(model):
        x, genres = model.scaling(stored), len(model.genres)
        y = torch.eye(genres)[torch.arange(len(x)) % genres]
        if _is_own(model) and type(model).validation_step is GenreClassifier.validation_step:
            with torch.no_grad(), _failing_named(f"model: the network of {_name(model)}", x):
                logits = model(stored)
            _check_shape(f"model: the network of {_name(model)}", logits, "logits (batch, genre)", y.shape)
        distills = isinstance(model.loss, Distillation)
        targets = torch.cat([y, y.flip(1)], 1) if distills else y
        for step in augmentations:
            if _is_own(step):
                with _failing_named(f"augmentation: {_name(step)}", x):
                    returned = deepcopy(step)(x.clone(), targets.clone())
                _check_batch(f"augmentation: {_name(step)}", returned, targets.shape[1])
                if distills:
                    _check_both(f"augmentation: {_name(step)}", returned[1], genres)
        if _is_own(model.loss) and type(model).clip_loss is GenreClassifier.clip_loss:
            guessed = torch.zeros(y.shape, requires_grad=True)
            with _failing_named(f"loss: {_name(model.loss)}", guessed):
                loss = deepcopy(model.loss)(guessed, y)
            _check_shape(f"loss: {_name(model.loss)}", loss, "the mean loss of the batch", torch.Size())


def _is_own(part: nn.Module) -> bool:
    return not type(part).__module__.startswith("genreclf.")


def _name(part: nn.Module) -> str:
    return type(part).__name__


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Switch all modules to evaluation mode, in which batch normalization keeps its statistics, and back on exit."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, was_training in modes:
            module.training = was_training


@contextmanager
def _failing_named(part: str, given: Tensor) -> Iterator[None]:
    """Turn any exception that the code of a part raises into a `UserError` that names the part."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        what = f"{part} fails on a batch of shape {tuple(given.shape)}"
        raise UserError(f"{what} ({reason_of(error)}); debug=true shows where.") from error


def _check_hyperparameters(model: GenreClassifier) -> None:
    """Raise a `UserError` if an argument of a model could not be loaded from its checkpoint again."""
    for key, value in model.hparams.items():
        kept = io.BytesIO()
        try:
            torch.save(value, kept)
            torch.load(io.BytesIO(kept.getvalue()), weights_only=True)
        except Exception as error:  # Pickling raises many kinds.
            raise UserError(
                f"model: the argument {key} of {_name(model)} is {_shown(value)}, and a checkpoint keeps numbers, "
                "texts, lists and dictionaries: take one of these, and make the object from it in __init__."
            ) from error


def _check_parameters(model: GenreClassifier) -> None:
    """Raise a `UserError` if a parameter would not be trained because it is not part of `network`."""
    kind = type(model)
    if any(getattr(kind, name) is not getattr(GenreClassifier, name) for name in CHOOSING_PARAMETERS):
        return
    trained = {id(each) for part in (model.network, model.loss, model.augment) if part for each in part.parameters()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and id(parameter) not in trained:
            raise UserError(
                f"model: the parameter {name} of {_name(model)} is not part of self.network, so it would not be "
                "trained: make it a part of self.network, or set its requires_grad to False."
            )


def _check_shape(part: str, returned: Any, wanted: str, shape: torch.Size) -> None:
    if not isinstance(returned, Tensor) or returned.shape != shape:
        raise UserError(f"{part} returns {_shown(returned)}; it must return {wanted}, here of shape {tuple(shape)}.")


def _check_batch(part: str, returned: Any, genres: int) -> None:
    """Raise a `UserError` unless an augmentation returns one target per clip; number and length of clips may change."""
    wanted = f"a tuple of clips and targets, of which the targets have the shape (batch, {genres})"
    if not isinstance(returned, tuple | list) or len(returned) != 2:
        raise UserError(f"{part} returns {_shown(returned)}; it must return {wanted}.")
    x, y = returned
    are_tensors = isinstance(x, Tensor) and isinstance(y, Tensor)
    if not are_tensors or y.shape != (len(x), genres):
        raise UserError(f"{part} returns {_shown(x)} and {_shown(y)}; it must return {wanted}.")


def _check_both(part: str, targets: Tensor, genres: int) -> None:
    """Raise a `UserError` unless the true target and the teacher's of each clip still sum to 1 each."""
    sums = torch.stack([half.sum(1) for half in torch.split(targets, genres, 1)])
    if not torch.allclose(sums, torch.ones_like(sums), atol=1e-3):
        raise UserError(
            f"{part} returns targets that do not sum to 1: with loss=distill, they are (batch, {2 * genres}), the true "
            f"ones and the teacher's side by side, each {genres} of which must sum to 1; change both alike."
        )


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
