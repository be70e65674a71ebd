"""How a run shares work and the device with other runs of its process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from genreclf.experiment.corpus import Load, load_corpus
from genreclf.plots.run import draw_all
from genreclf.training.shared_device import SharedDevice


def _draw_here(*arguments: Any) -> Callable[[], object]:
    draw_all(*arguments)
    return lambda: None


@dataclass(frozen=True)
class Sharing:
    """How a run loads data, draws figures and uses the device, so that several runs in one process can share them."""

    load: Load = load_corpus
    """Returns the tracks and spectrograms of a run."""
    draw: Callable[..., Callable[[], object]] = _draw_here
    """Takes the arguments of `genreclf.plots.run.draw_all`, starts to draw, and returns a function that waits for the
    end."""
    device: SharedDevice | None = None
    """The callback of a training beside which others train on the same device; None if none do."""


ALONE = Sharing()
"""For a run that shares nothing."""
