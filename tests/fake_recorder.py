"""A recorder of training steps for devices that cannot record."""

from typing import ClassVar

import torch

from genreclf.training.recorder import Work


class Repeater:
    """Does the same work anew, with the tensors it was recorded with.

    Attributes:
        made: All of them, to be emptied by the test.
    """

    made: ClassVar[list["Repeater"]] = []

    def __init__(self, device: torch.device) -> None:
        """Count what is recorded and replayed, steps and passes forward, over all trainings of a test."""
        self.seeds: list[int] = []
        Repeater.made.append(self)
        self.recorded = self.replayed = self.forwards_recorded = self.forwards_replayed = 0

    def seed(self, seed: int) -> None:
        """Keep the seed; the work draws from the generator of the process, which is seeded already."""
        self.seeds.append(seed)

    def run(self, work: Work) -> None:
        """Do `work`."""
        work()

    def record(self, work: Work) -> Work:
        """Return `work`, counted."""
        is_step = torch.is_grad_enabled()
        self.recorded += is_step
        self.forwards_recorded += not is_step

        def replay() -> None:
            self.replayed += is_step
            self.forwards_replayed += not is_step
            work()

        return replay
