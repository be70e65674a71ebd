"""Choose the GPUs of a machine for each job of a sweep."""

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from hydra.core.utils import env_override

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""Name of the environment variable that lists the GPUs that a process may use."""


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as named in ``CUDA_VISIBLE_DEVICES`` or else by number."""
    if (named := os.environ.get(VISIBLE)) is None:
        import torch

        return [str(number) for number in range(torch.cuda.device_count())]
    return list(itertools.takewhile(lambda name: name not in ("", "-1"), map(str.strip, named.split(","))))


def gpus_of_job(accelerator: str, devices: int | str | Sequence[int]) -> int:
    """Return the number of GPUs that a job on this machine takes: one per device, or 0 if it uses no GPUs."""
    if accelerator not in ("auto", "gpu") or not (gpus := visible_gpus()):
        return 0
    if devices in ("auto", -1):
        return len(gpus)
    return int(devices) if isinstance(devices, int | str) else len(devices)


@contextmanager
def least_used_gpus(folder: Path, devices: int) -> Iterator[Sequence[str]]:
    """Let this process see only the GPUs that the fewest other jobs of a sweep on this machine use; yield their names.

    Jobs find each other through lock files in the sweep's folder. Nothing is chosen, and an empty sequence is yielded,
    if the machine has too few GPUs.
    """
    gpus = visible_gpus()
    choices = [gpus[first : first + devices] for first in range(0, len(gpus) - devices + 1, devices)]
    if not choices:
        yield ()
        return
    with ExitStack() as held:
        chosen = _take(held, folder, choices)
        held.enter_context(env_override({VISIBLE: ",".join(chosen)}))
        yield chosen


def _take(held: ExitStack, folder: Path, choices: Sequence[Sequence[str]]) -> Sequence[str]:
    """Take the first free lock and return its choice: try one lock file per choice, then a second one, and so on."""
    for share in itertools.count():
        for number, choice in enumerate(choices):
            try:
                held.enter_context(FileLock(folder / f".gpu-{number}-{share}.lock", timeout=0))
            except Timeout:
                continue
            except (NotImplementedError, OSError):  # Such as on network file systems without locks.
                pass
            return choice
    raise AssertionError
