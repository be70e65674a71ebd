"""Train a finished run again with the settings that it chose, on its training and validation tracks together."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from genreclf.config.config import Config
from genreclf.config.identity import difference
from genreclf.errors import UserError
from genreclf.evaluation.metrics import get_metric
from genreclf.experiment.build import may_end_training
from genreclf.run_directory import RunDirectory
from genreclf.splits.base import Split
from genreclf.training.artifacts import local_run

LIMITS = ("min_epochs", "min_steps", "max_steps", "max_time")
"""Arguments of the Trainer that, beside the number of epochs, decide when training ends; the command omits them."""

MAY_DIFFER = (
    *("refit", "callbacks.early_stopping", "data.root", "trainer.max_epochs"),
    *(f"trainer.{limit}" for limit in LIMITS),
)
"""Keys in which a refit may differ from its run without being reported as a difference."""


def chosen_epochs(run: RunDirectory) -> int | None:
    """Return the number of epochs that a run chose by its validation tracks, None if its model was fitted at once.

    Raises:
        UserError: The run is not finished, is an ensemble or an evaluation, continued the training of another run, or
            had no validation tracks.
    """
    metrics = run.read_metrics()
    if metrics.get("status") != "finished":
        raise UserError(f"{run.path} is not finished, so it has chosen no epoch; let it end first.")
    if metrics.get("ensemble"):
        raise UserError(f"{run.path} is an ensemble: refit its runs, and combine those.")
    if metrics.get("refit") or get_metric(metrics, "val.track.accuracy") is None:
        raise UserError(f"{run.path} had no validation tracks: there is nothing more to train on.")
    if metrics.get("epochs") and not run.history.exists():
        raise UserError(f"{run.path} was not trained but evaluated; give the run itself.")
    if earlier := run.read_config().get("ckpt_path"):
        raise UserError(
            f"{run.path} continued the training of {earlier}, which a refit cannot repeat: train all epochs in one "
            "run, and refit that."
        )
    return None if metrics.get("best_epoch") is None else int(metrics["best_epoch"]) + 1


def chosen_settings(run: RunDirectory) -> dict[str, dict[str, Any]]:
    """Return the sections ``model`` and ``optimizer`` with what the search of a probe chose; none without a search."""
    chosen = (run.read_metrics().get("probe") or {}).get("chosen")
    if chosen is None:
        return {}
    before = run.read_config()
    # Stored as float32: without its digits beyond the seventh, 0.001 is 0.001 again.
    rate, decay = (float(f"{chosen[key]:.7g}") for key in ("lr", "weight_decay"))
    # An optimizer without weight decay may not have the argument.
    with_decay = {"weight_decay": decay} if decay or "weight_decay" in before["optimizer"] else {}
    return {
        "model": {**before["model"], "lr_factors": [1], "weight_decay_factors": [1]},
        "optimizer": {**before["optimizer"], "lr": rate, **with_decay},
    }


def searched(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the learning rate and weight decay of `chosen_settings` as a user would set them."""
    optimizer = settings["optimizer"]
    return " and ".join(f"optimizer.{key}={optimizer[key]}" for key in ("lr", "weight_decay") if key in optimizer)


@dataclass(frozen=True)
class Refit:
    """A refit: the run that chose its settings, and the number of epochs that this run chose."""

    run: RunDirectory
    """Run that chose the settings."""
    epochs: int | None
    """Number of epochs that the run chose, see `chosen_epochs`."""
    differs: str
    """Description of the settings that differ from those of the run; empty if there are none."""

    @classmethod
    def of(cls, config: Config) -> "Refit | None":
        """Return the refit of the run that ``refit`` of a configuration names; None if ``refit`` is not set.

        Raises:
            UserError: The run chose no epoch, its split or number of epochs differs from the configuration, or the
                configuration limits the training in another way than by epochs, or would search settings again.
        """
        if config.refit is None:
            return None
        run = local_run(config.refit)
        epochs, chosen = chosen_epochs(run), chosen_settings(run)
        before = {**run.read_config(), **chosen}
        if epochs not in (None, config.trainer.max_epochs):
            raise UserError(
                f"refit={config.refit} trains for the {epochs} epochs that this run chose, and trainer.max_epochs is "
                f"{config.trainer.max_epochs}: set trainer.max_epochs={epochs}, or use the command refit."
            )
        if chosen and any(len(config.model.get(key) or ()) > 1 for key in ("lr_factors", "weight_decay_factors")):
            raise UserError(
                f"refit={config.refit} does not search again: set {searched(chosen)}, which this run chose, with "
                "model.lr_factors=[1] and model.weight_decay_factors=[1], or use the command refit."
            )
        others, callbacks = (config.trainer.others, config.callbacks) if epochs is not None else ({}, {})
        limits = [f"trainer.{limit}={others[limit]}" for limit in ("max_steps", "max_time") if limit in others]
        limits += [f"callbacks.{name}" for name, node in callbacks.items() if may_end_training(name, node)]
        if limits:
            raise UserError(
                f"{limits[0]} could end the refit before the {epochs} epochs that {run.path} chose; leave it out."
            )
        here = config.plain
        if changed := difference({"split": before.get("split")}, {"split": here["split"]}):
            raise UserError(f"refit={config.refit} chose its epochs on another split ({changed}); leave it as it was.")
        return cls(run, epochs, difference(before, here, there=f"in {run.path.resolve().name}", ignore=MAY_DIFFER))

    def check_split(self, split: Split) -> None:
        """Raise a `UserError` if the tracks differ from those of the run, which then may have seen test tracks."""
        if split.hash != self.run.split_hash:
            raise UserError(
                f"refit={self.run.path} was trained on other tracks, as those of data have changed since; restore "
                "them, or train anew."
            )

    @property
    def record(self) -> dict[str, Any]:
        """Entry of ``metrics.json`` that describes the refit."""
        return {"run": self.run.path.resolve().name, "epochs": self.epochs, "differs": self.differs}


def with_validation(split: Split) -> Split:
    """Return the split with its validation tracks moved to the training tracks."""
    return replace(split, train=tuple(sorted(split.train + split.val)), val=())
