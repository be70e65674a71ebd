"""What runs on a simulated device does so in a process of its own: PyTorch must know the device before it trains."""

import subprocess
import sys

import pytest
from helpers import ROOT

FILES = ("rules.py", "runs.py")


@pytest.mark.parametrize(
    "chosen", [pytest.param("not slow", id="fast"), pytest.param("slow", id="slow", marks=pytest.mark.slow)]
)
def test_on_a_simulated_device(chosen: str) -> None:
    files = [str(ROOT / "tests" / "simulated" / name) for name in FILES]
    command = [sys.executable, "-m", "pytest", "-q", "-m", chosen, "--tb=short", "-p", "no:cacheprovider", *files]
    ran = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert ran.returncode == 0, ran.stdout
