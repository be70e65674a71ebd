"""From a configuration to the batches and the model of a run."""

from collections.abc import Iterable
from functools import partial

import torch
from lightning.pytorch.utilities.types import LRSchedulerConfigType
from torch import nn
from torch.optim import Optimizer

from genreclf import targets
from genreclf.augment import Augment, Mixup, RandomEqualizer, SpecAugment
from genreclf.checkpoint import load_checkpoint
from genreclf.config import Config
from genreclf.data.datamodule import ClipDataModule
from genreclf.data.split import Assignment
from genreclf.errors import UserError
from genreclf.features import FeatureSpec
from genreclf.material import Material
from genreclf.models import GenreClassifier
from genreclf.rundir import RunDirectory


def build_data(
    config: Config, material: Material, assignment: Assignment, genres: list[str] | None = None
) -> ClipDataModule:
    """Return the batches of a run; `genres` are those of a checkpoint, if it has more than the assignment."""
    return ClipDataModule(
        store=material.store,
        assignment=assignment,
        genre_of=material.genre_of,
        spec=material.spec,
        genres=genres,
        batch_size=config.clips.batch_size,
        crops_per_track=config.clips.crops_per_track,
        grid_overlap=config.clips.grid_overlap,
        short="pad" if config.clips.short == "pad" else "wrap",
        seed=config.seed,
    )


def build_model(config: Config, spec: FeatureSpec, data: ClipDataModule) -> tuple[GenreClassifier, list[str]]:
    """Return the model, ready to be trained on `data`, and what a user should know about it."""
    model: GenreClassifier = targets.make(
        "model",
        config.model,
        spec=spec,
        genres=data.genres,
        scale=config.features.scale,
        loss=make_loss(config, torch.bincount(data.tables["train"].genre, minlength=len(data.genres)).tolist()),
        augment=_augment(config),
        optimizer=partial(make_optimizer, config),
        scheduler=partial(make_scheduler, config) if config.scheduler.get("_target_") else None,
    )
    if not isinstance(getattr(model, "network", None), nn.Module):
        name = config.model["_target_"]
        raise UserError(
            f"model._target_={name} sets no network: its __init__ must set self.network to a torch.nn.Module that maps "
            "spectrograms (batch, mel, frame) to logits (batch, genre)."
        )
    notices = [*_without_effect(config), *model.notices]
    if config.init_from is None:
        model.scaling.fit(data.sample("train"))
    else:
        notices += _start_from(model, RunDirectory(config.init_from))
    return model, notices


def _without_effect(config: Config) -> list[str]:
    """Say what of the regularization neither the model nor the loss has a key for."""
    left = (
        ("dropout", config.regularization.dropout, config.model),
        ("label_smoothing", config.regularization.label_smoothing, config.loss),
    )
    return [
        f"{section['_target_'].rpartition('.')[2]} has no {key} of its own to set: "
        f"regularization.{key}={value} has no effect."
        for key, value, section in left
        if value is not None
    ]


def make_loss(config: Config, genre_counts: list[int]) -> nn.Module:
    """Return the loss; `genre_counts` are the training tracks of each genre, in the order of the logits."""
    given = {"genre_counts": genre_counts} if targets.accepts("loss", config.loss, "genre_counts") else {}
    loss: nn.Module = targets.make("loss", config.loss, **given)
    return loss


def _augment(config: Config) -> Augment | None:
    steps: list[nn.Module] = []
    if (deviation := config.regularization.equalizer) is not None:
        steps.append(RandomEqualizer(deviation=deviation))
    if (fraction := config.regularization.spec_augment) is not None:
        steps.append(SpecAugment(mel_fraction=fraction, frame_fraction=fraction))
    if (alpha := config.regularization.mixup) is not None:
        steps.append(Mixup(alpha=alpha))
    return Augment(*steps) if steps else None


def make_optimizer(config: Config, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return the optimizer of the parameters."""
    optimizer: Optimizer = targets.make("optimizer", config.optimizer, params=parameters)
    return optimizer


def make_scheduler(config: Config, optimizer: Optimizer, steps: int) -> LRSchedulerConfigType:
    """Return the schedule of a training of so many steps."""
    scheduler: LRSchedulerConfigType = targets.make("scheduler", config.scheduler, optimizer=optimizer, steps=steps)
    return scheduler


def _start_from(model: GenreClassifier, run: RunDirectory) -> list[str]:
    """Take the weights of another run, but for those of another shape, such as a classifier of other genres."""
    theirs = load_checkpoint(run.best)["state_dict"]
    ours = model.state_dict()
    fitting = {key: value for key, value in theirs.items() if key in ours and ours[key].shape == value.shape}
    if not any(key.startswith("network.") for key in fitting):
        raise UserError(f"init_from={run.path}: no weight of that run fits this model; choose the model it trained.")
    model.load_state_dict({**ours, **fitting})
    new = sorted(key for key in ours.keys() - fitting.keys())
    return [f"Weights start from {run.path}" + (f", but for {', '.join(new)}." if new else ".")]
