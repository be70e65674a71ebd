"""Launcher chosen by ``hydra/launcher=together``."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hydra._internal.callbacks import Callbacks
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, configure_log, env_override, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from genreclf.errors import UserError

if TYPE_CHECKING:  # genreclf.config.config imports PyTorch.
    from genreclf.config.config import Config
    from genreclf.sweep.job import Job


class TogetherLauncher(Launcher):
    """Launcher whose jobs share a process and a device; ``conf/hydra/launcher/together.yaml`` explains the settings."""

    def __init__(self, *, at_once: int) -> None:
        self.at_once = at_once

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the context and configuration that jobs are composed from; raise `UserError` if a setting is wrong."""
        if type(self.at_once) is not int or self.at_once < 1:
            raise UserError(f"hydra.launcher.at_once={self.at_once} must be a whole number of at least 1.")
        self.context, self.config = hydra_context, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compose all jobs, then compute them.

        Args:
            job_overrides: Overrides of each job.
            initial_job_idx: Number of the first job.

        Returns:
            Result of each job, as returned by Hydra's basic launcher.
        """
        from genreclf.sweep.job import Job
        from genreclf.sweep.process import warm_up
        from genreclf.sweep.start import GRIDS

        warm_up()
        from genreclf.sweep.together import carry_out_together, ready

        setup_globals()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)

        def check(composed: DictConfig) -> "tuple[Job, Config | None]":
            return (job := Job.of(HydraConfig.get())), ready(job, composed)

        configs = [self._compose(number, words) for number, words in enumerate(job_overrides, initial_job_idx)]
        # Hydra's callbacks are called only after the job has been computed.
        quiet = HydraContext(config_loader=self.context.config_loader, callbacks=Callbacks())
        jobs = [_run(quiet, config, check).return_value for config in configs]
        with env_override(self.config.hydra.job.env_set):
            carry_out_together([(job, config) for job, config in jobs if config is not None], at_once=self.at_once)
        searched = self.config.hydra.sweeper._target_ not in GRIDS
        return [
            _run(self.context, config, partial(_result, job, searched))
            for config, (job, _) in zip(configs, jobs, strict=True)
        ]

    def _compose(self, number: int, overrides: Sequence[str]) -> DictConfig:
        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        return config


def _result(job: "Job", searched: bool, composed: DictConfig) -> object:
    """Return the result of a computed job, which Hydra takes as the return value of its task."""
    return job.result(searched=searched)


def _run(context: HydraContext, config: DictConfig, task: TaskFunction) -> JobReturn:
    return run_job(
        hydra_context=context,
        task_function=task,
        config=config,
        job_dir_key="hydra.sweep.dir",
        job_subdir_key="hydra.sweep.subdir",
    )
