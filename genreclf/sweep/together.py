"""Compute similar jobs of a sweep in one process, which opens the store once and uses one device."""

from collections.abc import Sequence
from numbers import Number

from omegaconf import DictConfig

from genreclf.config.config import Config
from genreclf.config.identity import digest, identity, within
from genreclf.errors import UserError
from genreclf.experiment.run import finished
from genreclf.experiment.trainer import device_count
from genreclf.sweep.job import Job
from genreclf.sweep.process import compute_together

VARYING = (
    *("seed", "split.seed", "split.fold", "split.inner_fold"),
    *("split.subset_seed", "split.train_fraction", "split.artists_per_genre"),
)
"""Keys whose values may differ between the jobs of a group, besides numbers in the sections `OF_TRAINING`."""

OF_TRAINING = ("optimizer", "scheduler", "loss")
"""Sections whose numbers may differ between the jobs of a group."""


def ready(job: Job, composed: DictConfig) -> Config | None:
    """Open a job and return its checked configuration; close it and return None if it is finished or invalid."""
    job.open()
    try:
        config = job.check(composed)
        if device_count(config) != 1:
            raise UserError(
                f"trainer.devices={config.trainer.devices}, but the jobs of hydra/launcher=together share one device: "
                "set trainer.devices=1, or remove the launcher."
            )
        if not finished(config):
            return config
        job.close(0)
    except Exception as error:  # Any error fails only this job, not the sweep.
        job.close(error)
    return None


def carry_out_together(jobs: Sequence[tuple[Job, Config]], *, at_once: int) -> None:
    """Compute jobs that are `ready`, each group of jobs in one process, and close them.

    Args:
        jobs: Jobs with their configurations.
        at_once: Number of jobs that train at the same time, on a device that supports it.
    """
    groups: dict[str, list[tuple[Job, Config]]] = {}
    for job, config in jobs:
        groups.setdefault(group_of(config), []).append((job, config))
    for group in groups.values():
        _compute(group, at_once)


def group_of(config: Config) -> str:
    """Return a hash that is equal for jobs that differ only in `VARYING` and in the numbers of `OF_TRAINING`."""

    def varies(key: str, value: object) -> bool:
        is_number = isinstance(value, Number) and not isinstance(value, bool)
        return key in VARYING or (is_number and within(key, OF_TRAINING))

    return digest({key: value for key, value in identity(config.plain).items() if not varies(key, value)})


def _compute(group: Sequence[tuple[Job, Config]], at_once: int) -> None:
    """Compute the jobs of a group; jobs that had not begun when their process died are computed in another process."""
    left = dict(enumerate(group))
    while left:
        numbers = list(left)

        def tell(place: int, code: int | None, wall_s: float, numbers: list[int] = numbers) -> None:
            job, config = group[numbers[place]]
            if code is None:
                job.say_start(config)
            else:
                job.close(code, wall_s)
                del left[numbers[place]]

        compute_together([config.plain for _, config in left.values()], tell, at_once=at_once)
