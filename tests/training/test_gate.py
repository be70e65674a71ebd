"""A gate keeps threads apart that must be alone."""

import random
import threading
from collections.abc import Callable

from genreclf.training.gate import Gate

THREADS, ROUNDS = 4, 50


def in_threads(work: Callable[[int], None]) -> None:
    """Do something in several threads at a time, each with its number, and wait for all."""
    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()


def test_a_thread_that_is_alone_has_no_other_at_work() -> None:
    gate = Gate()
    at_work: set[int] = set()
    most, seen, alone = 0, [], []

    def train(number: int) -> None:
        nonlocal most
        draws = random.Random(number)
        gate.take()
        seen.append(at_work.copy())
        gate.release(keeps_working=True)
        for _ in range(ROUNDS):
            at_work.add(number)
            most = max(most, len(at_work))
            if draws.random() < 0.2:
                at_work.discard(number)
                with gate.alone(), gate.alone():
                    alone.append(number)
                    seen.append(at_work.copy())
            at_work.discard(number)
            gate.pause()
        gate.take()
        seen.append(at_work.copy())
        gate.leave()

    in_threads(train)
    assert set(alone) == set(range(THREADS))
    assert seen == [set()] * len(seen)


def test_threads_work_beside_each_other() -> None:
    gate, meeting = Gate(), threading.Barrier(THREADS)
    started: list[int] = []

    def train(number: int) -> None:
        gate.take()
        started.append(number)
        gate.release(keeps_working=True)
        while len(started) < THREADS:
            gate.pause()
        meeting.wait(timeout=60)
        gate.leave()

    in_threads(train)
    assert not meeting.broken
