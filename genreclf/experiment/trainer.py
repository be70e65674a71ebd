"""Build the Lightning trainer of a run from its configuration."""

import itertools
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning.fabric.plugins import CheckpointIO, ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler

from genreclf.checkpoint import SafeCheckpointIO
from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.config.keys import TEST_ARGUMENTS
from genreclf.distributed.batch_norm import CPUSyncBatchNorm
from genreclf.distributed.external_ranks import external_ranks, ranks_here
from genreclf.errors import UserError
from genreclf.hardware import resolve_accelerator, resolve_devices
from genreclf.run_directory import reason_of

PROFILERS: dict[str, type[Profiler]] = {
    "simple": SimpleProfiler,
    "advanced": AdvancedProfiler,
    "pytorch": PyTorchProfiler,
}
"""Lightning's profilers that write a file, by their names in Lightning."""

RUNS_OWN: dict[type, str] = {
    Precision: "choose with trainer.precision",
    CheckpointIO: "checkpoints have a checksum, and are written in the background where trainer.step=graph",
    ClusterEnvironment: "start several ranks with trainer.devices, torchrun or srun",
}
"""Types of Lightning plugins that a run chooses itself, and the alternative to passing one's own."""


def trainer_of(config: Config, *, fits: bool = False, **arguments: Any) -> Trainer:
    """Return a Lightning trainer on the configured devices, whose ranks must already be running.

    Arguments used only in training are taken from the configuration if `fits` is true; `arguments` override all others.

    Raises:
        UserError: Lightning refuses an argument, or the devices do not exist or do not match the ranks.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    noise = "LeafSpec|sync_dist|does not have many workers|`srun` command|exists and is not empty|across ranks is zero"
    warnings.filterwarnings(
        "ignore", f".*({noise}|overriding `LightningModule.optimizer_|callbacks used to create|.*run with no optimizer)"
    )
    settings = config.trainer
    others = {key: value for key, value in settings.others.items() if fits or key in TEST_ARGUMENTS}
    with refusals_named():
        others = instantiate.make_nodes("trainer", others)
    if fits:
        names = ("max_epochs", "gradient_clip_val", "limit_train_batches")
        others |= {key: getattr(settings, key) for key in names}
        if (kind := others.get("profiler")) in PROFILERS:
            others["profiler"] = PROFILERS[kind](dirpath=config.run_dir, filename="profile")
    devices = device_count(config)
    here = ranks_here(devices)
    accelerator = resolve_accelerator(settings.accelerator, here)
    sync_batchnorm = devices > 1 if settings.sync_batchnorm is None else settings.sync_batchnorm
    # Name the environment, because Lightning would take a single rank in a Slurm job for one of several.
    plugins: list[Any] = [TorchElasticEnvironment() if devices > 1 else LightningEnvironment(), SafeCheckpointIO()]
    if sync_batchnorm and accelerator == "cpu":
        plugins.append(CPUSyncBatchNorm())
    own = others.pop("plugins", [])
    own = own if isinstance(own, list) else [own]
    for plugin, (kind, way) in itertools.product(own, RUNS_OWN.items()):
        if isinstance(plugin, kind):
            raise UserError(f"trainer.plugins: a run has a {kind.__name__} of its own, so leave yours out; {way}.")
    given: dict[str, Any] = {
        "accelerator": accelerator,
        "devices": settings.devices if isinstance(settings.devices, list) else here,
        "num_nodes": devices // here,
        "strategy": _strategy(config) if devices > 1 else "auto",
        "sync_batchnorm": sync_batchnorm,
        "plugins": [*plugins, *own],
        "use_distributed_sampler": False,
        "enable_model_summary": False,
        "default_root_dir": config.run_dir,
        "limit_val_batches": settings.limit_val_batches,
    }
    trainer_class = instantiate.find("trainer", {"_target_": settings._target_}, []) or Trainer
    with refusals_named():
        trainer: Trainer = trainer_class(**given | others | arguments)
    # Lightning leaves it out if a clock starts the validations, and its EarlyStopping reads it all the same.
    vars(trainer).setdefault("val_check_interval", None)
    # With max_steps, Lightning would resume a checkpoint of a whole epoch as one written within an epoch.
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]
    return trainer


def _strategy(config: Config) -> str:
    # An encoder of waveforms may have parts that its embedding does not need, such as the layer of its tags.
    has_idle_parts = config.encoder.get("_target_") and instantiate.input_of(config.model, config.encoder) == "waveform"
    return "ddp_find_unused_parameters_true" if has_idle_parts else "ddp"


def device_count(config: Config) -> int:
    """Return the number of devices of a run on all machines; `UserError` if none exist or there is not one per rank."""
    devices, ranks = config.trainer.devices, external_ranks()
    if isinstance(devices, list) and ranks > 1 and not len(devices) == ranks_here(ranks) == ranks:
        raise UserError(
            f"trainer.devices={devices} chooses GPUs of one machine, with a rank for each, but {ranks} ranks were "
            f"started: set trainer.devices={ranks}, and choose GPUs with CUDA_VISIBLE_DEVICES."
        )
    return resolve_devices(config.trainer.accelerator, devices, ranks)


@contextmanager
def refusals_named() -> Iterator[None]:
    """Turn Lightning's errors about settings of the trainer into a `UserError`."""
    try:
        yield
    except (MisconfigurationException, ModuleNotFoundError, TypeError, ValueError) as error:
        raise UserError(f"Lightning refuses a setting of trainer: {reason_of(str(error))}") from error
