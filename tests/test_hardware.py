"""What training asks of the machine."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from genreclf.errors import UserError
from genreclf.hardware import cores, memory_bytes, resolve_devices

_TENSORS = """
import resource, statistics, torch
from genreclf.hardware import reuse_memory

def faults():
    for _ in range(15):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(50_000_000, dtype=torch.uint8)
        yield resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(statistics.median(faults()))
reuse_memory()
print(statistics.median(faults()))
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's memory alone is told to stay")
def test_freed_memory_is_used_again() -> None:
    # A process of its own: the heap of this one is in segments. The first few tensors still find their place.
    process = [sys.executable, "-c", _TENSORS]
    faults = subprocess.run(process, check=True, capture_output=True, text=True).stdout.split()
    as_it_was, reused = map(float, faults)
    assert as_it_was > 1_000
    assert reused < 100


def test_memory_is_the_machines_where_nothing_limits_it(tmp_path: Path) -> None:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory_bytes(tmp_path) == memory
    assert 0 < memory_bytes() <= memory


@pytest.mark.parametrize(
    ("group", "limited", "limit_bytes"),
    [
        pytest.param("0::/", "memory.max", 5_000_000, id="container"),
        pytest.param("0::/slurm/job_7/step_0", "slurm/job_7/memory.max", 5_000_000, id="job"),
        pytest.param("1:cpu:/\n4:memory:/job/7", "memory/job/7/memory.limit_in_bytes", 5_000_000, id="v1"),
        pytest.param("4:memory:/docker/3f", "memory/memory.limit_in_bytes", 5_000_000, id="v1-container"),
        pytest.param("0::/job", "other/memory.max", None, id="another's"),
        pytest.param("4:memory:/", "memory/memory.limit_in_bytes", 2**63 - 4096, id="v1-unlimited"),
    ],
)
def test_memory_is_that_of_the_control_group(tmp_path: Path, group: str, limited: str, limit_bytes: int | None) -> None:
    groups = tmp_path / "sys/fs/cgroup"
    for path, text in {
        tmp_path / "proc/self/cgroup": group,
        groups / "memory.max": "max",
        groups / "slurm/job_7/step_0/memory.max": "max",
        groups / limited: str(limit_bytes or 5_000_000),
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory_bytes(tmp_path) == min(machine, limit_bytes or machine)


def test_cores_are_those_of_this_process() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("devices", "ranks", "count"), [("auto", 1, 3), (-1, 1, 3), ([0, 2], 1, 2), (2, 1, 2), ("auto", 8, 8), (-1, 8, 8)]
)
def test_devices_are_counted(
    devices: int | str | list[int], ranks: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert resolve_devices("auto", devices, ranks) == count
    assert resolve_devices("cpu", "auto") == 1


def test_gpus_that_are_chosen_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    with pytest.raises(UserError, match="there is no GPU 3; GPUs here are numbered from 0 to 2"):
        resolve_devices("gpu", [1, 3])
