"""The sweeper that `hydra/sweeper=study` chooses; optuna is imported only once it is set up."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from hydra.utils import instantiate
from omegaconf import DictConfig

from genreclf.errors import UserError


class StudySweeper(Sweeper):
    """Hydra's Optuna sweeper over a study on disk that continues; see `conf/hydra/sweeper/study.yaml` for its keys."""

    def __init__(self, **settings: Any) -> None:
        """Keep the settings."""
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the study's driver.

        Raises:
            UserError: Optuna is not installed, or there is nothing to do.
        """
        try:
            from hydra_plugins.genreclf_optuna._study import Study
        except ModuleNotFoundError as error:
            sentence = f"A search needs {error.name}: python -m pip install -e '.[optuna]' (or 'genreclf[optuna]')."
            raise UserError(sentence) from error
        for name in ("n_trials", "n_jobs"):
            if not isinstance(number := self.settings[name], int) or number < 1:
                raise UserError(f"hydra.sweeper.{name}={number} must be a whole number of at least 1.")
        settings = {**self.settings, "sampler": instantiate(self.settings["sampler"])}
        self.study = Study(**settings, search_space=None, custom_search_space=None)
        self.study.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Run the trials that the study lacks."""
        self.study.sweep(arguments)
