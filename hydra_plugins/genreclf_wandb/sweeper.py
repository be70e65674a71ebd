"""Sweeper chosen by ``hydra/sweeper=wandb``: it registers a sweep in W&B, whose agents then train the trials."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from genreclf.errors import UserError


class WandbSweeper(Sweeper):
    """Sweeper that leaves the search to W&B; ``conf/hydra/sweeper/wandb.yaml`` explains the settings."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Prepare the W&B sweep; raise `UserError` if a setting is wrong or trials would not log to W&B."""
        from genreclf.config.keys import CONFIG_DIR
        from genreclf.config.overrides import search_path, typed_overrides
        from genreclf.sweep.start import BASIC
        from genreclf.sweep.wandb import WandbSweep

        if config.hydra.launcher._target_ != BASIC:
            raise UserError("The trials of sweep=wandb are started by its agents: leave hydra/launcher out.")
        logger = config.logger.get("wandb")
        if not logger:
            raise UserError("sweep=wandb needs the record of each trial in W&B: set logger=wandb.")
        sources = config.hydra.runtime.config_sources
        found = (config.hydra.job.config_name, *(source.path for source in sources if source.provider == "main"))
        if found != ("train", CONFIG_DIR):
            raise UserError(
                "The trials of sweep=wandb use genreclf's own configuration: leave --config-name and --config-path "
                "out, and put the settings into an option, such as experiment=NAME in a folder named with --config-dir."
            )
        settings: dict[str, Any] = {
            key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            for key, value in self.settings.items()
        }
        own = [f"--config-dir={source.path}" for source in sources if source.provider == "command-line"]
        self.wandb_sweep = WandbSweep(
            **settings,
            sweep_dir=config.hydra.sweep.dir,
            project=logger.project,
            entity=logger.entity,
            own=[*own, *search_path(typed_overrides(config.hydra, "hydra"))],
        )
        self.config_loader = hydra_context.config_loader

    def sweep(self, arguments: list[str]) -> None:
        """Register the sweep unless it is already registered, and print the command that starts agents."""
        self.wandb_sweep.run(arguments, self.config_loader)
