import gc
import os

# Nothing that is imported or collected is freed: see `pytest_collection_finish`.
gc.disable()
# Before torch is imported: several test processes share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["WANDB_MODE"] = "offline"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ.pop("WANDB_API_KEY", None)

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Import the fixtures, and PyTorch with them, but not into the process that only hands out the tests."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        config.pluginmanager.import_plugin("shared_fixtures")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, so that no process is left with one when the others have nothing more to do."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_collection_finish() -> None:
    """Leave all that is imported and collected out of garbage collection."""
    gc.freeze()
    gc.enable()
