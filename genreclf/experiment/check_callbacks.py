"""Check the callbacks of a run before any data are downloaded or spectrograms computed."""

from collections.abc import Mapping
from importlib.util import find_spec

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    DeviceStatsMonitor,
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    LearningRateFinder,
    LearningRateMonitor,
    ModelPruning,
    OnExceptionCheckpoint,
    StochasticWeightAveraging,
    Timer,
    WeightAveraging,
)

from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.errors import UserError
from genreclf.training.best_epoch import LOGGED, RunCheckpoint

CHANGES = "would change what config.yaml says of the experiment"
"""Reason to refuse a callback whose choices ``config.yaml`` would not repeat."""

REFUSED: dict[type[Callback], str] = {
    BatchSizeFinder: f"{CHANGES}: set data.batch_size",
    LearningRateFinder: f"{CHANGES}: search optimizer.lr with a sweep",
    BackboneFinetuning: f"{CHANGES}: use model=finetune with model.frozen_epochs",
    StochasticWeightAveraging: (
        "averages the weights after the last checkpoint, which is what is tested: use callbacks=[default,ema], which "
        "tests the averaged weights"
    ),
    ModelPruning: (
        "prunes the weights after they are validated, so other weights than the validated ones would be tested: leave "
        "it out"
    ),
    OnExceptionCheckpoint: (
        "would start a repeated run from what an earlier attempt left, and every run keeps its last complete epoch in "
        "last.ckpt: leave it out"
    ),
}
"""Lightning callbacks that a run refuses, each with the reason and a way out."""

AVERAGED_LATE = {
    "update_starting_at_step": "validates and tests the initial weights until then",
    "update_starting_at_epoch": (
        "averages once more after the validation, so other weights than the validated ones would be tested"
    ),
}
"""Arguments of Lightning's ``EMAWeightAveraging`` that a run refuses, each with the reason."""


def check_callbacks(config: Config, accelerator: str) -> None:
    """Check that callbacks suit a run and each other, and that what they need is there.

    Args:
        config: Configuration of the run.
        accelerator: Accelerator of the run.

    Raises:
        UserError: A callback cannot be created or is refused, or lacks a logger or a package that it needs.
    """
    callbacks = {
        f"callbacks.{name}": instantiate.make(f"callbacks.{name}", node) for name, node in config.callbacks.items()
    }
    for callback in callbacks.values():
        for kind, reason in REFUSED.items():
            if isinstance(callback, kind):
                raise UserError(f"{kind.__name__} of callbacks {reason}.")
    _check_averages(callbacks)
    _check_states(callbacks)
    _check_trainer_arguments(config, callbacks)
    needing = [each for each in callbacks.values() if isinstance(each, LearningRateMonitor | DeviceStatsMonitor)]
    if needing and not config.logger:
        raise UserError(f"{type(needing[0]).__name__} of callbacks needs a logger: choose one, such as logger=csv.")
    if find_spec("psutil") is None and any(_watches_cpu(callback, accelerator) for callback in needing):
        raise UserError("DeviceStatsMonitor of callbacks reads the CPU with psutil: python -m pip install psutil.")


def check_monitors(config: Config) -> None:
    """Check that the metrics monitored by callbacks are logged, if model and callbacks are of genreclf or Lightning.

    Raises:
        UserError: A monitored metric is not logged.
    """
    targets = [config.model["_target_"], *(node.get("_target_") for node in config.callbacks.values())]
    if not all(str(target).startswith(("genreclf.", "lightning.")) for target in targets):
        return  # Custom models and callbacks may log further metrics.
    for name, node in config.callbacks.items():
        monitor = node.get("monitor")
        if monitor is not None and monitor not in LOGGED:
            raise UserError(f"callbacks.{name}.monitor={monitor} is not one of {', '.join(LOGGED)}.")


def _check_averages(callbacks: Mapping[str, Callback]) -> None:
    averages = [name for name, callback in callbacks.items() if isinstance(callback, WeightAveraging)]
    if len(averages) > 1:
        raise UserError(
            f"{' and '.join(averages)} each exchange the weights for their average in a validation, which spoils the "
            "training where both do: keep one."
        )
    for name in averages:
        for key, reason in AVERAGED_LATE.items():
            start = getattr(callbacks[name], key, None)
            is_late = start is not None and (start > 0 or key != "update_starting_at_step")
            if type(callbacks[name]) is EMAWeightAveraging and is_late:
                raise UserError(
                    f"{name}.{key}={start}: Lightning's EMAWeightAveraging {reason}; use callbacks=[default,ema] with "
                    f"+callbacks.ema.{key}={start}."
                )


def _check_states(callbacks: Mapping[str, Callback]) -> None:
    """Raise a `UserError` if a checkpoint could not tell the states of two callbacks apart."""
    owners = {RunCheckpoint().state_key: "last.ckpt of every run"}
    for name, callback in callbacks.items():
        if type(callback).state_dict is Callback.state_dict:
            continue
        if (key := callback.state_key) in owners:
            more = ", or make these settings differ" if "{" in key else ""
            raise UserError(
                f"{owners[key]} and {name} would share one state in a checkpoint, that of {key}: leave {name} "
                f"out{more}."
            )
        owners[key] = name


def _check_trainer_arguments(config: Config, callbacks: Mapping[str, Callback]) -> None:
    given = config.trainer.others
    for name, callback in callbacks.items():
        batches, limit = given.get("accumulate_grad_batches", 1), given.get("max_time")
        if isinstance(callback, GradientAccumulationScheduler) and batches != 1:
            raise UserError(
                f"trainer.accumulate_grad_batches={batches} and {name} both choose how many batches make a step: keep "
                "one."
            )
        if isinstance(callback, Timer) and limit is not None:
            raise UserError(
                f"Lightning ignores trainer.max_time={limit} beside {name}, a Timer: set {name}.duration instead."
            )


def _watches_cpu(callback: Callback, accelerator: str) -> bool:
    cpu_stats = callback._cpu_stats if isinstance(callback, DeviceStatsMonitor) else False
    return cpu_stats is True or (cpu_stats is None and accelerator == "cpu")
