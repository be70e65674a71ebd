"""W&B sweeps: register the search once, and define the command that the agents start for each trial."""

import contextlib
import io
import json
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override

from genreclf.errors import UserError
from genreclf.run_directory import atomic_write_text, reason_of
from genreclf.sweep.job import read_object
from genreclf.sweep.space import Interval, Space, values_of
from genreclf.training.loggers import is_wandb_offline

METHODS = ("bayes", "random", "grid")
"""Search methods of W&B."""
OBJECTIVE = "objective"
"""Name of the metric that is known only at the end of a trial."""


class WandbSweep:
    """W&B sweep and the folder of its trials; ``conf/hydra/sweeper/wandb.yaml`` explains the settings.

    Args:
        own: Arguments with which each trial finds the user's own options.
    """

    def __init__(
        self,
        *,
        n_trials: int | None,
        method: str,
        params: Mapping[str, Any] | None,
        metric: str,
        direction: str,
        early_terminate: Mapping[str, Any] | None,
        sweep_dir: str,
        project: str,
        entity: str | None,
        own: Sequence[str],
    ) -> None:
        """Check the settings.

        Raises:
            UserError: A setting is wrong.
        """
        if n_trials is not None and (type(n_trials) is not int or n_trials < 1):
            raise UserError(f"hydra.sweeper.n_trials={n_trials} must be a whole number of at least 1, or null.")
        if method not in METHODS:
            raise UserError(f"hydra.sweeper.method={method} is not one of {', '.join(METHODS)}.")
        if direction not in ("maximize", "minimize"):
            raise UserError(f"hydra.sweeper.direction={direction} must be maximize or minimize.")
        if early_terminate and metric == OBJECTIVE:
            raise UserError(
                "hydra.sweeper.early_terminate needs a metric of each epoch, but objective is known at the end: set "
                "hydra.sweeper.metric=val/track_accuracy."
            )
        self.n_trials, self.method, self.params = n_trials, method, params or {}
        self.metric, self.direction, self.early_terminate = metric, direction, early_terminate
        self.folder, self.project, self.entity, self.own = Path(sweep_dir), project, entity, own
        self.file, self.registered = self.folder / "wandb_sweep.yaml", self.folder / "wandb_sweep.json"

    def run(self, arguments: Sequence[str], config_loader: Any = None) -> None:
        """Write the sweep to a file, register it unless it is registered or W&B is offline, and print what to do next.

        Args:
            arguments: Overrides of the sweep.
            config_loader: Configuration loader of Hydra, see `Space.of`.

        Raises:
            UserError: There is nothing to search, or W&B does not accept the sweep.
        """
        import yaml

        sweep = self.configuration(Space.of(arguments, self.params, config_loader))
        known = read_object(self.registered)
        atomic_write_text(self.file, yaml.safe_dump(sweep, sort_keys=False))
        if known and known["sweep"] != sweep:
            print(f"The sweep was registered with other settings; this updates it:\n  {self._command(known['path'])}")
        elif not known and is_wandb_offline():
            print("W&B is offline here (WANDB_MODE, or no API key). To register the sweep, repeat the command online,")
            print(f"or run this one there, which prints the command that starts agents:\n  {self._command()}")
            return
        elif not known:
            known = {"path": self._register(sweep), "sweep": sweep}
            atomic_write_text(self.registered, json.dumps(known, indent=2) + "\n")
        print(f"Start as many agents as you like, here or on other machines:\n  wandb agent {known['path']}")

    def configuration(self, space: Space) -> dict[str, Any]:
        """Return the sweep configuration in the format of W&B.

        Raises:
            UserError: W&B cannot search the space.
        """
        searched = {key: self._parameter(override) for key, override in space.searched.items()}
        trial = [str(self.folder), *space.fixed, *self.own, "--search", ",".join(searched), "--", "${args_no_hyphens}"]
        return {
            "name": self.folder.name,
            "program": "genreclf",
            "command": ["${env}", "${interpreter}", "-m", "genreclf", "trial", *trial],
            "method": self.method,
            "metric": {"name": self.metric, "goal": self.direction},
            **({"run_cap": self.n_trials} if self.n_trials else {}),
            **({"early_terminate": dict(self.early_terminate)} if self.early_terminate else {}),
            "parameters": searched,
        }

    def _parameter(self, override: Override) -> dict[str, Any]:
        values = values_of(override)
        if not isinstance(values, Interval):
            if not values.values:
                raise UserError(f"{override.input_line} cannot be searched (it has no values).")
            return {"values": list(values.values)}
        low, high = values.low, values.high
        if self.method == "grid":
            raise UserError(f"{override.input_line} is endless in a grid: give a list, or hydra.sweeper.method=random.")
        if low > high or (values.log and low <= 0):
            raise UserError(
                f"{override.input_line} cannot be searched (it must start below its end, above 0 with log)."
            )
        if values.is_whole:
            kind: dict[str, Any] = (
                {"distribution": "q_log_uniform_values", "q": 1} if values.log else {"distribution": "int_uniform"}
            )
        else:
            kind = {"distribution": "log_uniform_values" if values.log else "uniform"}
        return {**kind, "min": low, "max": high}

    def _register(self, sweep: Mapping[str, Any]) -> str:
        """Register the sweep in W&B; return its path in W&B, ``entity/project/id``."""
        import wandb

        before = {name: os.environ.get(name) for name in ("WANDB_ENTITY", "WANDB_PROJECT")}
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                name = wandb.sweep(dict(sweep), entity=self.entity, project=self.project)
            return "/".join(filter(None, (os.environ.get("WANDB_ENTITY"), self.project, name)))
        except Exception as error:  # The client and the network raise errors of many kinds.
            raise UserError(
                f"W&B did not accept the sweep ({reason_of(error)}); run the same command again to register it."
            ) from error
        finally:
            for key, value in before.items():  # The client sets these variables for agents in its own process.
                os.environ.pop(key, None)
                os.environ.update({key: value} if value else {})

    def _command(self, path: str | None = None) -> str:
        """Return the ``wandb`` command that registers the sweep, or that updates the sweep registered as `path`."""
        place = {"update": path} if path else {"project": self.project, "entity": self.entity}
        options = [word for key, value in place.items() if value for word in (f"--{key}", value)]
        return shlex.join(["wandb", "sweep", *options, str(self.file)])


def trial_arguments(handed: Sequence[str], searched: Sequence[str]) -> list[str]:
    """Return the overrides of the searched keys among the arguments that an agent passes to a trial.

    If W&B starts a run again, the agent passes its whole configuration, formatted as Python does, and settings of the
    W&B client (https://github.com/wandb/wandb/issues/9143).

    Args:
        handed: Arguments from the agent, in the form ``key=value``.
        searched: Keys that the sweep searches.

    Raises:
        UserError: A searched key has no value.
    """
    words = {key: value for key, _, value in (word.partition("=") for word in handed)}
    if missing := [key for key in searched if key not in words]:
        raise UserError(f"The agent gave no value for {', '.join(missing)}: does it belong to this sweep?")
    return [f"{key}={words[key]}" for key in searched]
