"""What whole commands cost: the time to the first step, and memory."""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any


def measure_command(overrides: Sequence[str]) -> dict[str, Any]:
    """Run the real command to its first step, and for one epoch; the store is there already.

    Returns:
        ``first_step_s`` from the start of Python to the end of the first training step, ``imports_s`` of importing
        Lightning, torchaudio and torchmetrics alone, and ``memory_mb``, the most that the run of one epoch held.
    """
    imports_s = _child_s("-c", "import lightning, torchaudio, torchmetrics")
    with tempfile.TemporaryDirectory() as directory:
        first_step_s = _child_s("-m", "genreclf.benchmark.first_step", *overrides, f"run_dir={directory}/first")
        _child_s("-m", "genreclf", *overrides, "trainer.max_epochs=1", f"run_dir={directory}/epoch")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return {
        "first_step_s": round(first_step_s, 2),
        "imports_s": round(imports_s, 2),
        "memory_mb": round(peak / (1e6 if sys.platform == "darwin" else 1e3)),
    }


def _child_s(*arguments: str) -> float:
    started_s = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"python {' '.join(arguments)} failed: {done.stderr[-2000:]}")
    return time.perf_counter() - started_s
