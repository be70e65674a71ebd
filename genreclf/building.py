"""From a configuration to the batches and the model of a run."""

from functools import partial
from typing import Any

import torch
from torch import nn

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
from genreclf.models.base import MakeOptimizer, MakeScheduler
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
    notices: list[str] = []
    regularization = config.regularization
    model: GenreClassifier = targets.make(
        "model",
        _with_own("model", config.model, "dropout", regularization.dropout, notices),
        spec=spec,
        genres=data.genres,
        scale=config.features.scale,
        loss=_loss(config, data, notices),
        augment=_augment(config),
        optimizer=_optimizer(config),
        scheduler=_scheduler(config),
    )
    if not isinstance(getattr(model, "network", None), nn.Module):
        name = config.model["_target_"]
        raise UserError(
            f"model._target_={name} sets no network: its __init__ must set self.network to a torch.nn.Module that maps "
            "spectrograms (batch, mel, frame) to logits (batch, genre)."
        )
    notices += model.notices
    if config.init_from is None:
        model.scaling.fit(data.sample("train"))
    else:
        notices += _start_from(model, RunDirectory(config.init_from))
    return model, notices


def _with_own(group: str, section: dict[str, Any], key: str, value: Any, notices: list[str]) -> dict[str, Any]:
    """Return the section with `key` set by the regularization, if there is such a key and a value."""
    if value is None:
        return section
    if targets.accepts(group, section, key):
        return {**section, key: value}
    name = section["_target_"].rpartition(".")[2]
    notices.append(f"{name} has no {key} of its own to set: regularization.{key}={value} has no effect.")
    return section


def _loss(config: Config, data: ClipDataModule, notices: list[str]) -> nn.Module:
    given: dict[str, Any] = {}
    if targets.accepts("loss", config.loss, "genre_counts"):
        given["genre_counts"] = torch.bincount(data.tables["train"].genre, minlength=len(data.genres)).tolist()
    smoothing = _with_own("loss", config.loss, "label_smoothing", config.regularization.label_smoothing, notices)
    given |= {key: smoothing[key] for key in smoothing.keys() - config.loss.keys()}
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


def _optimizer(config: Config) -> MakeOptimizer:
    # Made once for nothing, so that an impossible value is found before any work.
    targets.make("optimizer", config.optimizer, params=[nn.Parameter(torch.zeros(1))])
    return partial(_make_optimizer, config.optimizer)


def _make_optimizer(section: dict[str, Any], parameters: Any) -> torch.optim.Optimizer:
    optimizer: torch.optim.Optimizer = targets.make("optimizer", section, params=parameters)
    return optimizer


def _scheduler(config: Config) -> MakeScheduler | None:
    if config.scheduler.get("_target_") is None:
        return None
    optimizer = _make_optimizer(config.optimizer, [nn.Parameter(torch.zeros(1))])
    targets.make("scheduler", config.scheduler, optimizer=optimizer, steps=100)
    return lambda optimizer, steps: targets.make("scheduler", config.scheduler, optimizer=optimizer, steps=steps)


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
