"""Keys that are set elsewhere: those of earlier versions, and arguments of Lightning's that a run sets itself."""

from typing import Any

OF_A_RUN: dict[str, tuple[Any, str]] = {
    "callbacks": (None, "choose callbacks with callbacks=NAME"),
    "logger": (None, "choose loggers with logger=NAME"),
    "default_root_dir": (None, "set run_dir"),
    "num_nodes": (1, "trainer.devices counts the devices of all machines"),
    "use_distributed_sampler": (False, "each device reads clips of its own already"),
    "enable_checkpointing": (True, "a run needs its checkpoints to be tested and to go on"),
    "barebones": (False, "a run needs its checkpoints and its history"),
    "limit_predict_batches": (None, "a run predicts nothing; give the command predict fewer files"),
}
"""Arguments of Lightning's Trainer that a run sets itself, the one value each may have, and what to do instead."""


def hint(key: str) -> str | None:
    """Return what to do about a dotted key that is set elsewhere; None if it is no such key."""
    group, _, name = key.partition(".")
    if group == "trainer" and name in OF_A_RUN:
        return f"{OF_A_RUN[name][1]}."
    return None
