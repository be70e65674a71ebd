"""What runs on a simulated device does so in a process of its own: PyTorch must know the device before it trains."""

import os
import sys
from pathlib import Path

import pytest
from helpers import ROOT, forked

FILES = ("rules.py", "runs.py")


def run_tests(arguments: list[str], log: Path) -> None:
    """Run tests in this process, and write into a file what they say."""
    os.chdir(ROOT)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.exit(pytest.main(arguments))


@pytest.mark.long
@pytest.mark.parametrize(
    "chosen", [pytest.param("not slow", id="fast"), pytest.param("slow", id="slow", marks=pytest.mark.slow)]
)
def test_on_a_simulated_device(chosen: str, tmp_path: Path) -> None:
    files = [str(ROOT / "tests" / "simulated" / name) for name in FILES]
    log = tmp_path / "log.txt"
    tests = forked(run_tests, ["-q", "-m", chosen, "--tb=short", "-p", "no:cacheprovider", *files], log)
    tests.join()
    assert tests.exitcode == 0, log.read_text()
