"""Check the loggers of a run before anything is computed."""

import inspect
import os
import ssl
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning_utilities.core.imports import RequirementCache

from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.errors import UserError, require
from genreclf.experiment.build import LOGGERS_ARE_GIVEN
from genreclf.training.artifacts import KeptModel
from genreclf.training.loggers import PatientWandbLogger
from genreclf.values import shown

WANDB_MODES = ("online", "offline", "shared", "disabled", "dryrun", "run")
"""Valid values of the environment variable ``WANDB_MODE`` of W&B."""

LONGEST_PROJECT, LONGEST_TAG = 128, 64
"""Maximum number of characters that W&B accepts in the name of a project and in a tag."""

ANSWER_WITHIN_S = 10
"""Time in seconds within which a server must answer."""


def check_loggers(config: Config) -> None:
    """Check the configured loggers without creating them.

    Raises:
        UserError: A logger cannot be created, for example because a package is missing or a setting is invalid.
    """
    of_wandb: dict[str, Any] = {}
    for name, node in config.logger.items():
        group = f"logger.{name}"
        kind = instantiate.find(group, node, [])
        if kind is None:
            continue
        if kind is TensorBoardLogger and find_spec("tensorboardX") is None:
            require("logger=tensorboard", "tensorboard", "tensorboard")
        if kind is MLFlowLogger:
            require("logger=mlflow", "mlflow", "mlflow")
            _check_server(group, node)
        of_module = vars(sys.modules[kind.__module__]).values()
        needed = next((each for each in of_module if isinstance(each, RequirementCache)), None)
        if needed is not None and not needed:
            raise UserError(f"{group}: {kind.__name__} needs another package. {needed}")
        if inspect.isabstract(kind):
            methods = ", ".join(sorted(getattr(kind, "__abstractmethods__", ())))
            raise UserError(f"{group}: {kind.__name__} is abstract: a logger must define {methods}.")
        if lacking := instantiate.lacking(group, node, ("save_dir", *LOGGERS_ARE_GIVEN)):
            raise UserError(f"{group}: {kind.__name__} needs {' and '.join(lacking)}; set {group}.{lacking[0]}.")
        is_csv = isinstance(kind, type) and issubclass(kind, CSVLogger)
        if is_csv and (steps := node.get("flush_logs_every_n_steps", 1)) < 1:
            raise UserError(f"{group}.flush_logs_every_n_steps={steps} must be at least 1.")
        if kind is PatientWandbLogger:
            KeptModel(node.get("log_model", "none"), node.get("model_days"), node.get("registry"))
        wandb = isinstance(kind, type) and issubclass(kind, WandbLogger)
        if wandb:
            of_wandb[group] = kind
            _check_names(group, node)
        if wandb and (mode := os.environ.get("WANDB_MODE", "online")) not in WANDB_MODES:
            raise UserError(f"WANDB_MODE={mode} is not one of {', '.join(WANDB_MODES)}.")
    for group, kind in of_wandb.items():
        if len(of_wandb) > 1 and kind is not PatientWandbLogger:
            raise UserError(
                f"{group}: beside another W&B logger, {kind.__name__} writes into the W&B run of that one: set "
                f"{group}._target_={PatientWandbLogger.__module__}.{PatientWandbLogger.__name__}."
            )


def _check_server(group: str, node: Mapping[str, Any]) -> None:
    """Raise a `UserError` if no server answers at the configured address, where MLflow would retry for minutes."""
    address = str(node.get("tracking_uri") or "")
    if not address.startswith(("http://", "https://")):
        return
    try:
        with urlopen(address, timeout=ANSWER_WITHIN_S):
            pass
    except HTTPError:
        pass
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        if not isinstance(reason, ssl.SSLError):  # MLflow can be set to trust the server nevertheless.
            found = getattr(reason, "strerror", None) or reason
            raise UserError(
                f"No server answers at {group}.tracking_uri={address} ({found}): start it, or correct the address."
            ) from error


def _check_names(group: str, node: Mapping[str, Any]) -> None:
    """Raise a `UserError` for a project name or a tag that W&B would reject when the run starts."""
    project = str(node.get("project") or "")
    entity, _, name = project.partition("/")
    if entity and name and "/" not in name:
        raise UserError(
            f"{group}.project={shown(project)} names an entity too: set {group}.entity={entity} {group}.project={name}."
        )
    if len(project) > LONGEST_PROJECT or any(sign in project for sign in "/\\#?%:"):
        limits = f"at most {LONGEST_PROJECT} characters, none of them one of / \\ # ? % :"
        raise UserError(f"{group}.project={shown(project)} is no project of W&B: choose {limits}")
    for tag in node.get("tags") or ():
        if not 1 <= len(str(tag)) <= LONGEST_TAG:
            raise UserError(
                f"{group}.tags: {shown(tag)} has {len(str(tag))} characters; W&B takes 1 to {LONGEST_TAG} for a tag."
            )
