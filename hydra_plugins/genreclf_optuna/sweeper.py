"""Sweeper chosen by ``hydra/sweeper=optuna``; Optuna is imported only when the sweeper is set up."""

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from genreclf.errors import missing_packages
from genreclf.escaping import say
from genreclf.sweep.start import BASIC


class OptunaSweeper(Sweeper):
    """Sweeper that searches with Optuna; ``conf/hydra/sweeper/optuna.yaml`` explains the settings."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Create the search and its launcher; raise `UserError` if Optuna is not installed or a setting is wrong."""
        try:
            from hydra_plugins.genreclf_optuna._study import Search
        except ModuleNotFoundError as error:
            raise missing_packages("A search", "optuna", str(error.name)) from error
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.search = Search(**self.settings, sweep_dir=config.hydra.sweep.dir, launcher=launcher)
        n_jobs, one_by_one = self.search.n_jobs, config.hydra.launcher._target_ == BASIC
        if one_by_one and n_jobs > 1:
            say(f"Note: hydra.sweeper.n_jobs={n_jobs}, but without a hydra/launcher trials run one after another.")
        elif not one_by_one and n_jobs == 1:
            say("Note: hydra.sweeper.n_jobs=1 starts one trial at a time, whatever hydra/launcher could run.")
        self.config_loader, self.config = hydra_context.config_loader, config

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials that are missing from the study."""
        self.search.run(arguments, self.config_loader, self.config)
