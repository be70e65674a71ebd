"""What a run shares with others of its process."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from genreclf.config.config import Config
from genreclf.experiment.corpus import Corpus, load_corpus
from genreclf.plots.run import draw_all
from genreclf.training.turns import Turns


def _draw_here(*arguments: Any) -> Callable[[], object]:
    draw_all(*arguments)
    return lambda: None


@dataclass(frozen=True)
class Company:
    """How a run goes about what others of its process do as well.

    Attributes:
        load: Returns what the run is made of.
        draw: Takes the arguments of `genreclf.plots.run.draw_all`, starts to draw, and returns a function that waits
            for the end.
        turns: Of its training, if others train at the same time.
    """

    load: Callable[[Config], Corpus] = load_corpus
    draw: Callable[..., Callable[[], object]] = _draw_here
    turns: Turns | None = None


ALONE = Company()
"""Of a run without others."""
