"""Share work and the device among several runs in one process."""

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
    """How a run loads data, draws plots and uses the device, so that several runs in one process can share them."""

    load: Load = load_corpus
    """Function that returns the tracks and spectrograms of a run."""
    draw: Callable[..., Callable[[], object]] = _draw_here
    """Function that takes the arguments of `genreclf.plots.run.draw_all`, starts drawing, and returns a function that
    waits until the plots are drawn."""
    device: SharedDevice | None = None
    """Callback for training at the same time as other runs on the same device; None if the run trains alone."""


ALONE = Sharing()
"""Settings of a run that shares nothing with other runs."""
