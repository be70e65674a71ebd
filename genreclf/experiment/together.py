"""Several runs in one process and on one device."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from genreclf.config.config import Config
from genreclf.experiment.run import Steps, steps, terminated_by_sigterm


@dataclass
class Member:
    """One of several runs.

    Attributes:
        number: Its place among them.
        steps: What is left of it.
        next: Name of its next step.
        ended: Whether it is finished or has failed.
        error: Why it failed.
        wall_s: How long it took.
    """

    number: int
    steps: Steps
    next: str = ""
    ended: bool = False
    error: Exception | None = None
    wall_s: float = 0.0

    def advance(self) -> None:
        """Take the next step; what goes wrong costs this run only."""
        started_s = time.perf_counter()
        try:
            self.next = next(self.steps)
        except StopIteration:
            self.ended = True
        except Exception as error:
            self.error, self.ended = error, True
        self.wall_s += time.perf_counter() - started_s


def run_together(configs: Sequence[Config]) -> Iterator[Member]:
    """Compute runs one after the other in this process, each with the results that it has alone.

    A run seeds itself before anything is drawn, and opens and closes all that it uses.

    Yields:
        A run when it begins, and again when it has ended.

    Raises:
        Terminated: The process was told to end.
    """
    with terminated_by_sigterm():
        for number, config in enumerate(configs):
            member = Member(number, steps(config))
            yield member
            while not member.ended:
                member.advance()
            yield member
