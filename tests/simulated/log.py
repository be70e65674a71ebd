"""What happened between the processor and the simulated devices."""

import traceback
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import lightning
import torch

import genreclf

PACKAGES = tuple(str(Path(str(package.__file__)).parent) for package in (genreclf, lightning, torch))


@dataclass(frozen=True)
class Event:
    """Something between the processor and a device.

    Attributes:
        waits: Whether the processor waits for the device.
        copies: Whether memory is copied from one to the other.
        what: The operation.
        where: The places in the source that led there, the innermost first.
    """

    waits: bool
    copies: bool
    what: str
    where: str


@dataclass
class Log:
    """What was noted.

    Attributes:
        events: In their order.
        devices: The indices of all devices that held a tensor.
    """

    events: list[Event] = field(default_factory=list)
    devices: set[int] = field(default_factory=set)

    def note(self, what: str, *, waits: bool, copies: bool = False) -> None:
        """Add an event."""
        places = ((frame.f_code.co_filename, line) for frame, line in traceback.walk_stack(None))
        ours = islice(((name, line) for name, line in places if name.startswith(PACKAGES)), 6)
        where = " < ".join(f"{Path(name).name}:{line}" for name, line in ours)
        self.events.append(Event(waits, copies, what, where))


LOG = Log()
"""Of the process."""
