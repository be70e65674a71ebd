"""Which epoch was tested and why, in words."""

from collections.abc import Mapping
from typing import Any


def validation_sentence(metrics: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Say how many validation tracks the tested epoch was right for.

    Args:
        metrics: The run's metrics.
        config: Its configuration; with ``early_stopping.monitor`` null the last epoch was tested, not the best.

    Returns:
        A sentence after a space; nothing if the metrics do not tell.
    """
    validation = metrics.get("val", {}).get("track", {}).get("accuracy")
    if validation is None:
        return ""
    kept = "last" if config.get("early_stopping", {}).get("monitor", "") is None else "best"
    return f" On the validation tracks, the {kept} epoch was right for {100 * validation:.1f} %."
