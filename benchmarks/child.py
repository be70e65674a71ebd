"""``python -m benchmarks.child [first] [overrides]``: the real command, watched.

With ``first`` it ends after its first training step; else its last line is the most memory it held, in MB.
"""

import os
import resource
import sys
from pathlib import Path
from typing import Any

from genreclf.__main__ import main
from genreclf.training.module import GenreClassifier


def _end(*_: Any) -> None:
    os._exit(0)


def peak_mb() -> float:
    """Return the most memory this process held; Linux's own figure would count the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    if sys.argv[1] == "first":
        del sys.argv[1]
        GenreClassifier.on_train_batch_end = _end  # type: ignore[assignment, method-assign]
    main()
    print(round(peak_mb()))
