"""Cost of whole commands: time to the first training step, and memory."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.measuring import ROOT

WATCHED = ("-m", "benchmarks.child")


def measure_command(overrides: Sequence[str]) -> dict[str, Any]:
    """Run the real command to its first training step, and for one epoch; the store must exist already.

    Returns:
        ``first_step_s``, seconds from the start of Python to the end of the first training step; ``imports_s``, seconds
        to import only Lightning, torchaudio and torchmetrics; and ``memory_mb``, peak memory of the run of one epoch.
    """
    imports_s, _ = _child("-c", "import lightning, torchaudio, torchmetrics")
    with tempfile.TemporaryDirectory() as directory:
        first_step_s, _ = _child(*WATCHED, "first", *overrides, f"run_dir={directory}/first")
        memory_mb = peak_mb(*overrides, "trainer.max_epochs=1", f"run_dir={directory}/epoch")
    return {"first_step_s": round(first_step_s, 2), "imports_s": round(imports_s, 2), "memory_mb": memory_mb}


def peak_mb(*arguments: str) -> int:
    """Return the peak memory of ``python -m genreclf`` with the given arguments in MB."""
    _, printed = _child(*WATCHED, *arguments)
    return int(printed.split()[-1])


def _child(*arguments: str) -> tuple[float, str]:
    """Return the duration of a Python command in seconds, and its standard output."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    started_s = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, env=variables)
    if done.returncode:
        raise RuntimeError(f"python {' '.join(arguments)} failed: {done.stderr[-2000:]}")
    return time.perf_counter() - started_s, done.stdout
