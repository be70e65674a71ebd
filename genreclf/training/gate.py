"""Let the threads of a process share a device, or let one of them use it exclusively."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Gate:
    """Lock with two modes: held by one thread exclusively, or shared by several threads that work at the same time.

    Recording a CUDA graph, or emptying the memory cache, is not safe while other threads use the device. A thread that
    needs the device exclusively waits until each working thread has reached a `pause` and its work on the device is
    done.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._working: set[int] = set()
        self._alone, self._depth, self._waiting = 0, 0, 0

    def take(self) -> None:
        """Wait until no other thread works, and then hold the device exclusively."""
        thread = threading.get_ident()
        if self._alone != thread:
            self._finish(thread)
        with self._changed:
            if self._alone != thread:
                self._working.discard(thread)
                self._waiting += 1
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._alone and not self._working)
                self._waiting -= 1
                self._alone = thread
            self._depth += 1

    def release(self, *, keeps_working: bool) -> None:
        """Let other threads in after `take`; with `keeps_working`, this thread goes on using the device with them."""
        with self._changed:
            self._depth -= 1
            if not self._depth:
                self._alone = 0
                if keeps_working:
                    self._working.add(threading.get_ident())
                self._changed.notify_all()

    def pause(self) -> None:
        """Let threads that wait for exclusive use go first, if this thread shares the device."""
        thread = threading.get_ident()
        if not self._waiting or thread not in self._working:
            return
        self._finish(thread)
        with self._changed:
            self._working.discard(thread)
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._alone and not self._waiting)
            self._working.add(thread)

    def leave(self) -> None:
        """End the use of the device by this thread, whether shared or exclusive."""
        thread = threading.get_ident()
        self._finish(thread)
        with self._changed:
            self._working.discard(thread)
            if self._alone == thread:
                self._alone = self._depth = 0
            self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the device exclusively within the context, and return to the previous mode afterwards."""
        was_working = threading.get_ident() in self._working
        self.take()
        try:
            yield
        finally:
            self.release(keeps_working=was_working)

    def _finish(self, thread: int) -> None:
        """Wait for the work that this thread has started on the device."""
        if (thread in self._working or thread == self._alone) and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.current_stream().synchronize()


DEVICE_GATE = Gate()
"""Gate of the device that the trainings of this process share."""
