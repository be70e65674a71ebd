"""What training asks of the machine."""

import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers import Cli, Trained
from torch.backends import cudnn

import genreclf
from genreclf.hardware import cores, exactly, memory_bytes
from genreclf.models import GenreClassifier

_TENSORS = """
import resource, sys, torch
from genreclf.hardware import reuse_memory
if sys.argv[1] == "reuse":
    reuse_memory()
for _ in range(30):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(50_000_000, dtype=torch.uint8)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's memory alone is told to stay")
def test_freed_memory_is_used_again() -> None:
    def page_faults(argument: str) -> float:
        # A process of its own: the heap of this one is in segments. The first few tensors still find their place.
        process = [sys.executable, "-c", _TENSORS, argument]
        faults = subprocess.run(process, check=True, capture_output=True, text=True).stdout.split()
        return statistics.median(map(int, faults))

    assert page_faults("reuse") < 100
    assert page_faults("as it was") > 1_000


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


def switches() -> tuple[object, ...]:
    """Return how float32 is computed: by cuDNN, the same each time, its TF32, and the precision of products."""
    return cudnn.enabled, cudnn.deterministic, cudnn.allow_tf32, torch.get_float32_matmul_precision()


EXACT = (True, True, False, "highest")


@pytest.fixture
def rounded() -> Iterator[tuple[object, ...]]:
    """Let products be rounded, as a program may that calls this package."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield switches()
    torch.set_float32_matmul_precision(before)


def test_computes_exactly_until_the_last_is_done(rounded: tuple[object, ...]) -> None:
    first, second = exactly(), exactly()
    first.__enter__()
    assert switches() == EXACT
    second.__enter__()
    first.__exit__(None, None, None)
    assert switches() == EXACT
    second.__exit__(None, None, None)
    assert switches() == rounded != EXACT


def test_the_test_and_predictions_are_exact_and_training_is_not(
    cli: Cli, tiny: list[str], trained: Trained, rounded: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def watch(name: str) -> None:
        method = getattr(GenreClassifier, name)

        def watched(*arguments: object) -> object:
            seen[name] = switches()
            return method(*arguments)

        monkeypatch.setattr(GenreClassifier, name, watched)

    watch("training_step")
    watch("test_step")
    assert cli(*tiny, "run_dir=run").code == 0
    assert seen == {"training_step": rounded, "test_step": EXACT}
    predictor = genreclf.load(trained.run.path)
    predictor.model.scaling.register_forward_hook(lambda *_: seen.update(predict=switches()))
    predictor.predict(trained.music / "metal/0.wav")
    assert seen["predict"] == EXACT
    assert switches() == rounded
