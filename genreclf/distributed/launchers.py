"""Check and prepare the Hydra launchers that optional packages provide: joblib, Ray and Slurm."""

import importlib.metadata
import os
import re
import shutil
from collections.abc import Sequence
from functools import partial

from genreclf.distributed.exit_with_parent import exit_with_parent
from genreclf.errors import UserError, missing_packages

JOBLIB = "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"
"""Full name of the class of Hydra's joblib launcher."""

PACKAGES = {
    "joblib": ("hydra-joblib-launcher", "sweep"),
    "ray": ("hydra-ray-launcher", "ray"),
    "slurm": ("hydra-submitit-launcher", "slurm"),
}
"""Distribution that each option of ``hydra/launcher`` needs, and the extra of this package that installs it."""

NUMBER_OF_JOBS = re.compile(r"""(['"]?)-?0*[1-9]\d*\1""")


class LauncherFailed(UserError):
    """A launcher failed or lost a job; as this is not the user's mistake, the command exits with code 1."""

    exit_code = 1

    def __init__(self, error: Exception) -> None:
        said = " ".join(str(error).split("\n")[:2]).strip()
        super().__init__(
            f"The launcher stopped ({said or type(error).__name__}); jobs that run elsewhere continue. Run the same "
            "command again to repeat only the unfinished ones."
        )


def check_launcher(arguments: Sequence[str]) -> None:
    """Raise a `UserError` if the launcher is not installed or the number of jobs is not valid."""
    for argument in arguments:
        group, _, option = argument.partition("=")
        if group == "hydra.launcher.n_jobs" and "${" not in option and not NUMBER_OF_JOBS.fullmatch(option):
            raise UserError(f"{argument} must be the number of jobs to run at a time, or -1 for one per core.")
        if group == "hydra/launcher" and option in PACKAGES:
            package, extra = PACKAGES[option]
            try:
                importlib.metadata.distribution(package)
            except importlib.metadata.PackageNotFoundError:
                raise missing_packages(argument, extra, package) from None
            if option == "slurm" and shutil.which("srun") is None:
                raise UserError(f"{argument} needs Slurm: there is no srun on this machine.")


def bind_workers() -> None:
    """Make the worker processes of joblib exit together with this process.

    Otherwise a worker would finish its job after the sweep has died, or wait five minutes for another job.
    """
    import joblib
    from joblib.parallel import BACKENDS

    bound = partial(BACKENDS["loky"], initializer=exit_with_parent, initargs=(os.getpid(),))
    joblib.register_parallel_backend("loky", bound)
