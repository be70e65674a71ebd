"""Find the devices that PyTorch can use, explain why one cannot be used, and compute exactly on them."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch.backends import cudnn

from genreclf.errors import UserError
from genreclf.escaping import say

NVIDIA, DISPLAY = "0x10de", "0x03"
"""PCI vendor ID of NVIDIA, and the prefix of the PCI class codes of display controllers."""

NO_MEMORY = ("out of memory", "ALLOC_FAILED", "can't allocate memory", "not enough memory")
"""Parts of the error messages of devices and their libraries when no memory is left."""

UNUSABLE = ("no kernel image is available", "busy or unavailable", "not compatible with devices")
"""Parts of the error messages for a GPU that PyTorch was not built for, or that another process uses exclusively."""

DEVICE_TYPES = {"cpu", "cuda", "mps"}
"""Types of devices that a network can run on."""


def first_device(accelerator: str) -> torch.device:
    """Return the first available device of a Lightning accelerator; the CPU if there is none.

    Of several GPUs, the current device of this thread is returned.

    Args:
        accelerator: ``cpu``, ``gpu`` or ``mps``, or ``auto`` for the best one that is available.
    """
    if accelerator in ("auto", "gpu") and torch.cuda.is_available():
        is_chosen = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        return torch.device("cuda", torch.cuda.current_device() if is_chosen else 0)
    if accelerator in ("auto", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def find_device(name: str) -> torch.device:
    """Return a device of this machine.

    Args:
        name: Name of the device in PyTorch, such as ``cpu``, ``cuda``, ``cuda:1`` or ``mps``; or ``auto`` for a GPU if
            there is one and the CPU otherwise. A note is printed if there is a GPU that PyTorch cannot use.

    Raises:
        UserError: There is no device of this name.
    """
    if name == "auto":
        device = first_device("auto")
        if device.type == "cpu" and (problem := gpu_problem()):
            say(f"Note: PyTorch cannot use the NVIDIA GPU of this machine ({problem}).")
        return device
    refusal = UserError(f"{name} is not a device; choose auto, cpu, cuda, cuda:1 or mps.")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise refusal from None
    if device.type not in DEVICE_TYPES:
        raise refusal
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        gpus = f"{count} NVIDIA GPU{'s' if count != 1 else ''}"
        reason = f" ({problem})" if (problem := gpu_problem()) else ""
        raise UserError(f"There is no device {name}: PyTorch can use {gpus} here{reason}; choose auto or cpu.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("There is no device mps: PyTorch cannot use an Apple GPU here; choose auto or cpu.")
    return device


def gpu_problem(devices: Path = Path("/sys/bus/pci/devices")) -> str | None:
    """Return why PyTorch cannot use the NVIDIA GPU of this machine; None if it can, or if Linux lists no such GPU.

    Args:
        devices: Folder in which Linux lists the PCI devices.
    """
    if torch.cuda.is_available() or not any(_is_nvidia_gpu(device) for device in devices.glob("*")):
        return None
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES={visible} hides it"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return str(error).partition(". ")[0].splitlines()[0]
    return "this process cannot access its GPUs"


def _is_nvidia_gpu(device: Path) -> bool:
    with suppress(OSError):
        kind = (device / "class").read_text()
        return (device / "vendor").read_text().strip() == NVIDIA and kind.startswith(DISPLAY)
    return False


def cuda_versions() -> dict[str, Any]:
    """Return the versions of CUDA and cuDNN, and those of NCCL and the NVIDIA driver if they can be found.

    Raises:
        UserError: cuDNN cannot use the GPU.
    """
    with device_errors(""):
        versions = {"cuda": torch.version.cuda, "cudnn": cudnn.version()}  # type: ignore[no-untyped-call]
    if torch.distributed.is_available() and torch.distributed.is_nccl_available():
        versions["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))  # type: ignore[no-untyped-call]
    with suppress(OSError, subprocess.SubprocessError):
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()
        versions["nvidia driver"] = found[0] if found else "unknown"
    return versions


@contextmanager
def device_errors(way_out: str) -> Iterator[None]:
    """Turn PyTorch's device errors, such as too little memory, into a `UserError` that says what to do.

    Args:
        way_out: What the user can do if the device is out of memory, for the message.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if isinstance(error, torch.OutOfMemoryError) or any(words in text for words in NO_MEMORY):
            # The first sentences say how much memory was needed; the rest is advice on PyTorch's allocator.
            found = "; ".join(text.splitlines()[0].split(". ")[:3])
            raise UserError(f"The device is out of memory ({found}): {way_out}.") from error
        if any(words in text for words in UNUSABLE):
            reason = text.splitlines()[0]
            raise UserError(f"The GPU cannot be used ({reason}); choose another device, such as the CPU.") from error
        if operation := re.search(r"(\S+) does not have a deterministic implementation", text):
            raise UserError(
                f"trainer.deterministic=true is not possible here: {operation[1]} has no deterministic implementation "
                "in PyTorch. trainer.deterministic=warn makes everything else deterministic."
            ) from error
        raise


class _Exactly:
    """Number of threads inside `exactly`, and the settings to restore when the last one leaves."""

    lock = Lock()
    threads = 0
    switches = ExitStack()


@contextmanager
def exactly() -> Iterator[None]:
    """Compute in full float32 precision, without shortcuts such as TF32, and with deterministic algorithms on GPUs.

    PyTorch's settings for this apply to the whole process; they are restored when the last of several threads leaves.
    """
    with _Exactly.lock:
        if not _Exactly.threads:
            # The default for `enabled` would turn cuDNN off.
            flags = cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
            _Exactly.switches.enter_context(flags)
            _Exactly.switches.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("highest")
        _Exactly.threads += 1
    try:
        yield
    finally:
        with _Exactly.lock:
            _Exactly.threads -= 1
            if not _Exactly.threads:
                _Exactly.switches.close()
