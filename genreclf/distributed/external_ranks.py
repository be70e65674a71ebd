"""Ranks started by torchrun or srun: the first leads a run, and the others wait for its broadcast to take part."""

import os
import re
from datetime import timedelta
from typing import Any, Self

from genreclf.distributed.exit_with_parent import exit_with_parent
from genreclf.errors import UserError


def external_ranks() -> int:
    """Return the number of ranks that torchrun or srun started, including this process; 1 if neither was used.

    Raises:
        UserError: ``RANK`` is set to a rank other than the first, but neither torchrun nor srun started this process.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    if "SLURM_STEP_NUM_TASKS" in os.environ:
        return int(os.environ["SLURM_STEP_NUM_TASKS"])
    if (rank := os.environ.get("RANK", "0")) != "0":
        raise UserError(
            f"RANK={rank} is set in the environment, but neither torchrun nor srun started this process: start the "
            "ranks with one of them, or unset RANK and WORLD_SIZE."
        )
    return 1


def ranks_here(ranks: int) -> int:
    """Return how many of the given total number of `ranks` run on this machine."""
    return min(ranks, int(os.environ.get("LOCAL_WORLD_SIZE", ranks)))


class ExternalRanks:
    """Process group of the ranks that torchrun or srun started.

    Objects are sent through a second group with a timeout of days: the first rank may have a large store to build.

    Args:
        accelerator: Accelerator of the ranks: ``cpu``, ``gpu`` or ``mps``.
        gpu_backend: Communication backend for tensors on GPUs; NCCL does not allow several ranks on one GPU.
    """

    def __init__(self, accelerator: str, gpu_backend: str = "nccl") -> None:
        from torch import distributed

        exit_with_parent(os.getppid())
        # Gloo alone, not as one of two backends, so that batch normalization recognizes it.
        shares_gloo = accelerator != "gpu" or gpu_backend == "gloo"
        distributed.init_process_group("gloo" if shares_gloo else f"cpu:gloo,cuda:{gpu_backend}")
        self.rank = distributed.get_rank()
        self.sent = False
        """Whether this rank has broadcast anything."""
        group = distributed.new_group(backend="gloo", timeout=timedelta(days=7))
        assert isinstance(group, distributed.ProcessGroup)
        self._group = group

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks, in rank order."""
        from torch import distributed

        values = [None] * distributed.get_world_size()
        distributed.all_gather_object(values, value, group=self._group)
        return values

    def broadcast(self, value: Any) -> None:
        """Send a value to the other ranks, which wait in `receive`; for the first rank only."""
        from torch import distributed

        self.sent = True
        distributed.broadcast_object_list([value], src=0, group=self._group)

    def receive(self) -> Any:
        """Wait for a value that the first rank broadcasts, and return it."""
        from torch import distributed

        values = [None]
        distributed.broadcast_object_list(values, src=0, group=self._group)
        return values[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        """Destroy the group unless there was an error: this rank would wait for ranks that may have ended."""
        from torch import distributed

        if kind is None:
            distributed.destroy_process_group()


def adopt_slurm() -> None:
    """Set torchrun's variables if srun started this process; `UserError` if numbers of ranks per machine differ."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    tasks = os.environ["SLURM_STEP_TASKS_PER_NODE"]
    here = re.fullmatch(r"(\d+)(\(x\d+\))?", tasks)
    if here is None:
        sentence = f"srun started {tasks} ranks on the machines; start as many on each, with --ntasks-per-node."
        raise UserError(sentence if os.environ["SLURM_PROCID"] == "0" else "")
    slurm = SLURMEnvironment(auto_requeue=False)
    first = slurm.resolve_root_node_address(os.environ["SLURM_STEP_NODELIST"])
    os.environ |= {
        "RANK": os.environ["SLURM_PROCID"],
        "LOCAL_RANK": os.environ["SLURM_LOCALID"],
        "GROUP_RANK": os.environ["SLURM_NODEID"],
        "WORLD_SIZE": os.environ["SLURM_STEP_NUM_TASKS"],
        "LOCAL_WORLD_SIZE": here[1],
        "MASTER_ADDR": os.environ.get("MASTER_ADDR", first),
        "MASTER_PORT": str(slurm.main_port),
    }
