"""The sweeper that `hydra/sweeper=optuna` chooses; Optuna is imported only once it is set up."""

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from genreclf.errors import missing_packages


class OptunaSweeper(Sweeper):
    """A sweeper that searches with Optuna; `conf/hydra/sweeper/optuna.yaml` explains its settings."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the search and its launcher; raise `UserError` if Optuna is missing or a setting is wrong."""
        try:
            from hydra_plugins.genreclf_optuna._study import Search
        except ModuleNotFoundError as error:
            raise missing_packages("A search", "optuna", str(error.name)) from error
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.search = Search(**self.settings, sweep_dir=config.hydra.sweep.dir, launcher=launcher)
        self.config_loader = hydra_context.config_loader

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials that the study lacks."""
        self.search.run(arguments, self.config_loader)
