"""The figures of CLUSTERS.md are those that its script gives."""

import subprocess
import sys

import pytest
from helpers import ROOT


@pytest.mark.slow
def test_the_tables_are_the_script_s() -> None:
    command = [sys.executable, "-m", "benchmarks.scaling_on_paper"]
    printed = subprocess.run(command, text=True, capture_output=True, check=True, cwd=ROOT).stdout
    assert printed.count("\n") > 30
    assert printed in (ROOT / "CLUSTERS.md").read_text(encoding="utf-8")
