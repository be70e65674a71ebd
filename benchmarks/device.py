"""Description of the device that the results were measured on."""

import platform
from pathlib import Path

import torch

from benchmarks.bare_loop import device_of
from genreclf.config.config import Config
from genreclf.hardware import cores


def describe(config: Config) -> str:
    """Return the device, the precision and the version of PyTorch in one line."""
    device, precision = device_of(config)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{_processor()}, {cores()} cores"
    return f"{name}, {precision}, torch {torch.__version__}"


def _processor() -> str:
    """Return the name of the processor and its best vector or matrix unit, which decides how fast bf16 is."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    units = [unit for unit in ("amx_bf16", "avx512_bf16", "avx512", "avx2") if torch.cpu.get_capabilities().get(unit)]
    return f"{name or platform.processor() or platform.machine()} ({units[0] if units else 'no vector units known'})"
