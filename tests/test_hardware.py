"""What training asks of the machine."""

import os
import platform
import resource
from pathlib import Path

import pytest
import torch

from genreclf.hardware import cores, memory_bytes, reuse_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's memory alone is told to stay")
def test_freed_memory_is_used_again() -> None:
    def faults_of_a_tensor() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(50_000_000, dtype=torch.uint8)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    reuse_memory()
    faults_of_a_tensor()
    assert min(faults_of_a_tensor() for _ in range(30)) < 100


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
