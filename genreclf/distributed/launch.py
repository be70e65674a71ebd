"""Launch the ranks of a run as child processes."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.utils import env_override

from genreclf.errors import DIVERGED, Terminated, TrainingDiverged, UserError
from genreclf.run_directory import RunDirectory

GRACE_S = 5
"""Seconds that ranks may take to end after a rank has died or a signal was sent."""

TAKEN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Signals that PyTorch forwards to the ranks."""


class RankDied(UserError):
    """A rank crashed or was killed; as this is not the user's mistake, the command exits with code 1."""

    exit_code = 1


def launch(task: str, run_dir: Path, *, ranks: int) -> None:
    """Run ``python -m genreclf.experiment.rank TASK RUN_DIR PARENT`` once per rank, and wait for all ranks.

    The child processes read the run's own ``config.yaml``, not the command line of this process, which may be that of a
    sweep.

    Raises:
        UserError: A rank raised a `UserError`; the message is empty if the first rank has already printed it.
        TrainingDiverged: The training diverged.
        RankDied: A rank was killed or crashed.
        KeyboardInterrupt: This process was interrupted, as by Ctrl-C.
        Terminated: This process was sent SIGTERM.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from genreclf.hardware import cores

    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // ranks)))
    with env_override({"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(GRACE_S)}):  # PyTorch 2.11 waits 30 s.
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=ranks,
            run_id=run_dir.name,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            monitor_interval=0.1,
        )
    command = ["-m", "genreclf.experiment.rank", task, str(run_dir), str(os.getpid())]
    try:
        with _handlers_kept(), env_override({"OMP_NUM_THREADS": threads}):
            elastic_launch(config, sys.executable)(*command)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        reason = RunDirectory(run_dir).reason
        if failure.exitcode == UserError.exit_code:
            raise UserError(reason or "" if rank else "") from None
        if failure.exitcode == DIVERGED:
            raise TrainingDiverged(reason) from None
        cause = failure.signal_name() if failure.exitcode < 0 else reason or failure.exitcode
        raise RankDied(
            f"Rank {rank} of {run_dir} died ({cause}); "
            f"run the same command with run_dir={run_dir} to continue from the last epoch."
        ) from None
    except SignalException as end:
        raise (Terminated if end.sigval == signal.SIGTERM else KeyboardInterrupt) from None


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Restore the signal handlers afterwards, such as the one for Ctrl-C, which PyTorch replaces."""
    handlers = {number: signal.getsignal(number) for number in TAKEN}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            if handler is not None and threading.current_thread() is threading.main_thread():
                signal.signal(number, handler)
