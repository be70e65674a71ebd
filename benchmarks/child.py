"""``python -m benchmarks.child [first] [overrides]``: run the real command and watch it.

With ``first``, the process ends after its first training step; otherwise the last line that it prints is its peak
memory in MB.
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
    """Return the peak memory of this process in MB; ``ru_maxrss`` of Linux would include the parent process."""
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
