"""Continue the training of another run for more epochs, in a new run directory."""

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, Timer, WeightAveraging
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from genreclf.audio.log_mel import FeatureSpec
from genreclf.checkpoint import load_checkpoint, run_of
from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.config.identity import difference
from genreclf.errors import UserError
from genreclf.experiment.build import make_optimizer, make_scheduler
from genreclf.experiment.checks import check_spectrograms, spec_of
from genreclf.run_directory import RunDirectory, atomic_path
from genreclf.splits.base import Split
from genreclf.training.best_epoch import BestCheckpoint, stays_stopped
from genreclf.training.schedulers import OneCycle

MAY_DIFFER = ("init_from", "ckpt_path", "trainer", "scheduler", "callbacks", "data.root")
"""Keys in which a run and its continuation may differ, except for the parts of them that ``_kept`` returns."""

LENGTHS = ("max_epochs", "max_steps", "limit_train_batches", "accumulate_grad_batches", "overfit_batches")
"""Arguments of the Trainer that decide how many steps a training has, and with it the length of a schedule."""


@dataclass(frozen=True)
class Start:
    """The checkpoint from which a longer training continues."""

    path: Path
    """Path of the checkpoint file."""
    run: RunDirectory
    """Run that wrote the checkpoint."""
    epochs: int
    """Number of epochs that the checkpoint has been trained for."""
    spec: FeatureSpec
    """Parameters of the spectrograms that the network was trained on."""
    genres: tuple[str, ...]
    """Genres that the network knows, in the order of its logits."""
    warnings: tuple[str, ...]
    """Warnings for the user, such as a learning rate that jumps."""

    @classmethod
    def of(cls, config: Config) -> "Start | None":
        """Return the checkpoint that ``ckpt_path`` of a configuration names; None if ``ckpt_path`` is not set.

        Raises:
            UserError: Training cannot continue from this checkpoint, for example because it holds only weights, belongs
                to another experiment, or leaves nothing to train.
        """
        if config.ckpt_path is None:
            return None
        path = Path(config.ckpt_path)
        if path.is_dir():
            raise UserError(f"ckpt_path={path} is a folder; name the checkpoint: {path}/checkpoints/last.ckpt.")
        run, checkpoint = run_of(path), load_checkpoint(path)
        before = run.read_config()
        now = config.plain
        kept = (_kept(before, before, now), _kept(now, before, now))
        if changed := difference(before, now, ignore=MAY_DIFFER) or difference(*kept):
            raise UserError(
                f"ckpt_path continues the experiment of {run.path} for more epochs, and this is another one "
                f"({changed}); set it as it was, or fine-tune with init_from={run.path}."
            )
        spec = spec_of(path, checkpoint, config)
        begun, epochs = _epochs(path, checkpoint)
        if begun != epochs:
            raise UserError(f"{path} was written within an epoch; choose {run.last}.")
        _check_end(config, run, epochs, checkpoint)
        if len(run.read_history()) < epochs:
            raise UserError(f"{run.history} lacks epochs that {path} has trained; choose another run's checkpoint.")
        if _epochs(run.best, load_checkpoint(run.best))[0] > epochs:
            raise UserError(
                f"{run.best} is from a later epoch than ckpt_path={path}; choose {run.last}, and let the run end first."
            )
        genres = tuple(map(str, checkpoint["hyper_parameters"]["genres"]))
        warnings = [f"Training continues from {path}, after {epochs} epochs."]
        if not checkpoint["loops"]["fit_loop"].get("epoch_loop.batch_progress", {}).get("is_last_batch", True):
            warnings.append(
                f"{run.path} ended within an epoch, and the rest of this epoch is not trained, so the result is not "
                "that of a single run."
            )
        return cls(path, run, epochs, spec, genres, (*warnings, *_schedule_warnings(config, before)))

    def check_data(self, split: Split, spec: FeatureSpec) -> None:
        """Check that the tracks and spectrograms are the ones that the run was trained on.

        With others, the best score of the run could not be compared with those of further epochs.

        Raises:
            UserError: Tracks, genres or spectrograms differ.
        """
        check_spectrograms(self.run.path, self.spec, spec)
        if split.hash != self.run.split_hash or split.genres != self.genres:
            raise UserError(
                f"{self.run.path} was trained on another split, as the tracks of data have changed since; restore "
                f"them, or fine-tune with init_from={self.run.path}."
            )

    def bring_to(self, run: RunDirectory) -> None:
        """Copy history and checkpoints into another run directory, where training resumes as after an interruption."""
        run.write_history(self.run.read_history()[: self.epochs])
        # The last checkpoint is copied at the end, as its presence marks the copy as complete.
        for source, target in ((self.run.best, run.best), (self.path, run.last)):
            with atomic_path(target) as partial:
                shutil.copyfile(source, partial)


def _kept(settings: Mapping[str, Any], before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that must not change despite `MAY_DIFFER`: checkpoint, averages, any scheduler that is set now.

    Args:
        settings: Configuration of which the settings are returned.
        before: Configuration of the run.
        now: Configuration of its continuation.
    """
    # The run may come from somebody else, so no further module that it names is imported.
    names = {*_named(now, WeightAveraging, BestCheckpoint), *_named(_known(before), WeightAveraging, BestCheckpoint)}
    callbacks = settings.get("callbacks") or {}
    kept: dict[str, Any] = {"callbacks": {name: callbacks.get(name) or {} for name in names}}
    return kept | ({"scheduler": settings.get("scheduler") or {}} if now["scheduler"].get("_target_") else {})


def _known(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the callbacks of genreclf and those whose module has been imported."""

    def is_known(node: Any) -> bool:
        module = str(node.get("_target_")).rpartition(".")[0] if isinstance(node, dict) else ""
        return module.startswith("genreclf.") or module in sys.modules

    callbacks = settings.get("callbacks") or {}
    return {"callbacks": {name: node for name, node in callbacks.items() if is_known(node)}}


def _named(settings: Mapping[str, Any], *kinds: type[Callback]) -> list[str]:
    """Return the names of the callbacks of some kinds."""
    found = {name: instantiate.find(f"callbacks.{name}", node, []) for name, node in settings["callbacks"].items()}
    return [name for name, target in found.items() if isinstance(target, type) and issubclass(target, kinds)]


def _epochs(path: Path, checkpoint: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many epochs a checkpoint has begun and trained; raise `UserError` if training cannot continue from it.

    The numbers differ for a checkpoint that was written within an epoch.
    """
    try:
        progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
        begun, processed = int(progress["ready"]), int(progress["processed"])
        states = [state for name, state in checkpoint["callbacks"].items() if "EarlyStopping" in name]
        numbers = [checkpoint["global_step"], *(state["wait_count"] for state in states)]
        whole = "optimizer_states" in checkpoint and all(isinstance(number, int) for number in numbers)
    except (AttributeError, KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise UserError(f"{path} holds weights alone, from which training cannot continue; fine-tune with init_from.")
    return begun, processed


def _check_end(config: Config, run: RunDirectory, epochs: int, checkpoint: Mapping[str, Any]) -> None:
    """Raise a `UserError` if nothing is left to train, or a timer or early stopping would end the training at once."""
    others, steps_done = config.trainer.others, int(checkpoint["global_step"])
    limits = {"max_epochs": (config.trainer.max_epochs, epochs)}
    if (steps := int(others.get("max_steps", -1))) >= 0:
        limits["max_steps"] = steps, steps_done
    for name, (limit, done) in limits.items():
        if limit <= done:
            raise UserError(
                f"trainer.{name}={limit} leaves nothing to train, as {config.ckpt_path} has trained {done} "
                f"{name.removeprefix('max_')}; set more."
            )
    if int(others.get("min_epochs") or 0) > epochs or int(others.get("min_steps") or 0) > steps_done:
        return  # Until then, Lightning trains on.
    for name, limit, timer in _timers(config):
        timer.load_state_dict(checkpoint["callbacks"].get(timer.state_key, {}))
        if (left := timer.time_remaining()) is not None and left <= 0:
            raise UserError(
                f"{name}={limit} leaves nothing to train, as {config.ckpt_path} has trained for "
                f"{timer.time_elapsed():.1f} s; set more."
            )
    for name in _named({"callbacks": config.callbacks}, EarlyStopping):
        stopping = instantiate.make(f"callbacks.{name}", config.callbacks[name])
        if (state := checkpoint["callbacks"].get(stopping.state_key)) is None:
            continue
        if (waited := int(state["wait_count"])) >= stopping.patience:
            raise UserError(
                f"callbacks.{name}.patience={stopping.patience} stops the training at once, as {run.path} ended with "
                f"{waited} epochs without a better one; set more, or callbacks.{name}=null."
            )
        if stays_stopped(state, stopping.patience):
            raise UserError(
                f"{run.path} was ended by its early stopping, which would also end its continuation at once; set "
                f"callbacks.{name}=null."
            )


def _timers(config: Config) -> Iterator[tuple[str, Any, Timer]]:
    """Yield key, value and timer of each setting that limits the time of the training."""
    if (limit := config.trainer.others.get("max_time")) is not None:
        yield "trainer.max_time", limit, Timer(**instantiate.make_nodes("trainer", {"duration": limit}))
    for name in _named({"callbacks": config.callbacks}, Timer):
        node = config.callbacks[name]
        yield f"callbacks.{name}.duration", node.get("duration"), instantiate.make(f"callbacks.{name}", node)


def _schedule_warnings(config: Config, before: Mapping[str, Any]) -> list[str]:
    """Return warnings about how the learning rate continues."""
    if config.scheduler.get("_target_") is None:
        changed = (before.get("scheduler") or {}).get("_target_") is not None
        return ["scheduler=constant keeps the learning rate that the checkpoint ended with."] if changed else []
    schedule = make_scheduler(config, make_optimizer(config, [nn.Parameter(torch.zeros(1))]), steps=100)
    was, now = before.get("trainer") or {}, config.plain["trainer"]
    differing = [key for key in LENGTHS if was.get(key) != now.get(key)]
    if schedule.get("interval") != "step" or not differing:
        return []
    if not isinstance(schedule["scheduler"], LambdaLR | OneCycle):
        return [
            f"The scheduler restores its own state, so the schedule with {_settings(was, differing)} goes on; "
            "scheduler=constant keeps the learning rate that the checkpoint ended with."
        ]
    return [
        f"The learning rate follows the schedule with {_settings(now, differing)} from here on and that with "
        f"{_settings(was, differing)} before, so it may jump; scheduler=constant keeps the one that the checkpoint "
        "ended with."
    ]


def _settings(trainer: Mapping[str, Any], keys: Sequence[str]) -> str:
    named = (f"no trainer.{key}" if trainer.get(key) is None else f"trainer.{key}={trainer[key]}" for key in keys)
    return " and ".join(named)
