"""Choose the devices of a run and a precision that they compute fast; record the environment of a run."""

import ctypes
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from genreclf.devices import cuda_versions, gpu_problem
from genreclf.errors import UserError

PACKAGES = ("genreclf", "torch", "torchaudio", "lightning", "torchmetrics", "hydra-core", "omegaconf", "wandb", "numpy")

_MAPS_AT_MOST, _TRIM_NEVER = (-4, 0), (-1, -1)
"""Arguments of glibc's ``mallopt``: the parameters M_MMAP_MAX and M_TRIM_THRESHOLD, each with its new value."""

VOLTA = (7, 0)
"""Compute capability of the first NVIDIA GPUs with tensor cores, which multiply in fp16."""


def cores() -> int:
    """Return the number of CPU cores that this process may use; on a cluster, these may be fewer than the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def resolve_devices(accelerator: str, devices: int | str | list[int], ranks: int = 1) -> int:
    """Return the number of devices of a run, on all machines together.

    Args:
        accelerator: ``auto``, ``cpu``, ``gpu`` or ``mps``.
        devices: Number of devices; ``auto`` for all GPUs, or one process on the CPU; -1 for all GPUs; or a list of the
            indices of the GPUs.
        ranks: Number of processes that torchrun or srun started; if above 1, ``auto`` and -1 mean this number.

    Raises:
        UserError: `devices` is -1 and there is no GPU, or a GPU in the list does not exist.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() and accelerator in ("auto", "gpu") else 0
    if isinstance(devices, list):
        if missing := [number for number in devices if number >= gpus]:
            there = f"GPUs here are numbered from 0 to {gpus - 1}" if gpus else "there is no GPU to choose"
            raise UserError(f"trainer.devices={devices}: there is no GPU {missing[0]}; {there}.")
        return len(devices)
    if isinstance(devices, int) and devices > 0:
        return devices
    if devices == -1 and not gpus and ranks == 1:
        raise UserError(
            "trainer.devices=-1 means all GPUs, but there is none to use; set the number of processes on the CPU, such "
            "as trainer.devices=1."
        )
    return ranks if ranks > 1 else max(1, gpus)


def resolve_accelerator(accelerator: str, devices: int) -> str:
    """Return the accelerator to use, resolving ``auto`` to ``cpu``, ``gpu`` or ``mps``.

    Raises:
        UserError: This machine has fewer than `devices` devices of this kind.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if accelerator == "auto":
        accelerator = "gpu" if gpus else "mps" if mps else "cpu"
    there = {"cpu": devices, "gpu": gpus, "mps": int(mps)}[accelerator]
    if devices > there:
        name = {"gpu": "GPU", "mps": "Apple GPU"}.get(accelerator, accelerator)
        count = f"{there} {name}{'s' if there != 1 else ''}"
        if accelerator == "gpu" and (problem := gpu_problem()):
            count += f" that PyTorch can use ({problem})"
        ways = f"set trainer.devices={there} or trainer.accelerator=cpu" if there else "set trainer.accelerator=cpu"
        raise UserError(f"trainer.devices={devices}, but this machine has {count}; {ways}.")
    return accelerator


def resolve_precision(precision: str, accelerator: str) -> str:
    """Return the precision to train in, resolving ``auto`` to the fastest one that the hardware supports.

    ``auto`` is bf16 where the hardware supports it, else fp16 on GPUs with tensor cores, else float32.

    Raises:
        UserError: The hardware does not support the requested precision.
    """
    has_bf16 = _has_bf16(accelerator)
    if precision == "auto":
        if has_bf16:
            return "bf16-mixed"
        has_tensor_cores = accelerator == "gpu" and torch.cuda.get_device_capability() >= VOLTA
        return "16-mixed" if has_tensor_cores else "32-true"
    if precision == "bf16-mixed" and not has_bf16:
        raise UserError("trainer.precision=bf16-mixed, but this device does not support bf16; use 32-true or auto.")
    if precision == "16-mixed" and accelerator != "gpu":
        raise UserError("trainer.precision=16-mixed is for GPUs; use 32-true or auto.")
    return precision


def reuse_memory() -> None:
    """Make the C library keep freed memory, so that the next training step can reuse it.

    Each training step on a CPU allocates and frees the same large tensors, as does computing the spectrogram of a
    track, and glibc maps each of them anew. The kernel then clears the memory page by page, which takes a third to half
    of a training step of ``crnn``. C libraries other than glibc are not changed.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for setting, value in (_MAPS_AT_MOST, _TRIM_NEVER):
            libc.mallopt(setting, value)


def memory_bytes(root: Path = Path("/")) -> int:
    """Return the memory in bytes that this process may use: the machine's, or less in a container or a cluster job.

    Args:
        root: Root folder below which ``/proc`` and ``/sys`` are read.
    """
    limits = [sys.maxsize]
    if hasattr(os, "sysconf"):  # Not on Windows.
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for file in _limits(root):
        with suppress(OSError, ValueError):  # The file is missing, or contains "max".
            limits.append(int(file.read_text()))
    return min(limits)


def free_bytes(device: torch.device) -> int:
    """Return the free memory in bytes of a device that has memory of its own, such as a GPU."""
    free, _ = torch.get_device_module(device).mem_get_info(device)
    return int(free)


def _limits(root: Path) -> Iterator[Path]:
    """Yield the files in which the Linux control groups of this process, and their parents, limit its memory."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if not controllers:
            mount, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # A container may see its own group at the mount point, while its name is the one outside the container.
        folder = mount / group.lstrip("/")
        yield from (around / name for around in (folder, *folder.parents) if around.is_relative_to(mount))


def _has_bf16(accelerator: str) -> bool:
    if accelerator == "gpu":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities() if accelerator == "cpu" else {}
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def device_name(kind: str) -> str:
    """Return the human-readable name of a device; of several GPUs, that of this process's current one.

    Args:
        kind: Kind of device, as named by Lightning or PyTorch: ``cpu``, ``gpu``, ``cuda`` or ``mps``.
    """
    if kind in ("gpu", "cuda"):
        return torch.cuda.get_device_name()
    if kind == "mps":
        return f"{_processor()} GPU"
    threads = torch.get_num_threads()
    return f"{_processor()} ({threads} thread{'s' if threads != 1 else ''})"


def describe_devices(asked: str, accelerator: str, devices: int, precision: str) -> str:
    """Return a line about the devices and the precision of a run.

    Args:
        asked: Requested accelerator. If it is ``auto`` and a GPU is not used, the line says why.
        accelerator: Accelerator that is used.
        devices: Number of devices.
        precision: Precision of the training.
    """
    line = f"Device: {f'{devices} x ' if devices > 1 else ''}{device_name(accelerator)}, precision {precision}"
    if accelerator == "gpu" and (visible := os.environ.get("CUDA_VISIBLE_DEVICES")):
        line += f", CUDA_VISIBLE_DEVICES={visible}"
    if (asked, accelerator) == ("auto", "cpu") and (problem := gpu_problem()):
        line += f"; PyTorch cannot use the NVIDIA GPU of this machine ({problem})"
    return line


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def environment(accelerator: str, devices: int, precision: str) -> dict[str, Any]:
    """Return the content of ``environment.json`` except for the ranks."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if accelerator == "gpu":
        versions |= cuda_versions()
    return {
        "command": shlex.join(["python", "-m", "genreclf", *sys.argv[1:]]),
        "versions": versions,
        "platform": platform.platform(),
        "device": device_name(accelerator),
        "accelerator": accelerator,
        "devices": devices,
        "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "precision": precision,
        "git": _git_commit(),
    }


def _git_commit() -> str | None:
    """Return the commit of the project's clone, with ``-dirty`` if files were changed; None if this is not a clone."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
