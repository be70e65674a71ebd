"""Calculate when more devices make a training step faster: ``python -m benchmarks.scaling_on_paper``.

A training step takes the longer of two times: the time in which the processor starts the operations one after the
other, which does not depend on the number of clips, and the time in which the device computes them. The operations of a
step, the floating-point operations of a clip, the time steps of recurrent layers and the bytes of the gradients are
counted on tensors without storage. The cost of each is an assumption, which options can change. DDP sums the gradients
over the devices in each step: a ring of n devices sends 2 (n - 1) / n of the gradients over each link, in 2 (n - 1)
consecutive messages (Patarasuk and Yuan, 2009). Synchronized batch normalization does the same with a few numbers,
twice per layer, and makes the processor wait for the device each time.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from genreclf.audio.log_mel import FeatureSpec
from genreclf.cli.compose import checked
from genreclf.config import instantiate
from genreclf.config.config import Config

OTHER_OPERATIONS = 100
"""Operations of a step outside the network: cutting clips, loss, gradient clipping and the update of the weights."""

TRACK_S = 30.0
"""Duration of a GTZAN track in seconds, for clips that are whole tracks."""


@dataclass(frozen=True)
class Link:
    """Connection of two devices.

    Attributes:
        name: Name of the connection.
        bytes_per_s: Bandwidth in one direction as stated by the manufacturer, in bytes per second.
        latency_s: Time of the smallest message in seconds.
    """

    name: str
    bytes_per_s: float
    latency_s: float

    def ring_s(self, gradient_bytes: float, devices: int) -> float:
        """Return the seconds to sum gradients over a ring of devices."""
        return 2 * (devices - 1) * (gradient_bytes / devices / self.bytes_per_s + self.latency_s)


LINKS = (
    Link("NVLink 4, 450 GB/s", 450e9, 3e-6),
    Link("InfiniBand NDR, 400 Gb/s", 50e9, 5e-6),
    Link("Ethernet, 25 Gb/s", 3.125e9, 30e-6),
    Link("Ethernet, 1 Gb/s", 0.125e9, 50e-6),
)

EXPERIMENTS = (
    *("model=ffnn", "model=cnn", "model=crnn"),
    *(f"experiment=published/{name}" for name in ("xiplus_cnn", "xiplus_crnn1", "xiplus_crnn2", "xiplus_rcnn")),
    *(f"experiment=published/{name}" for name in ("wu_cnn", "wu_crnn", "leland_ffnn", "leland_cnn")),
    *(f"experiment=published/{name}" for name in ("liang_ffnn", "liang_cnn", "liang_crnn")),
)


@dataclass(frozen=True)
class Device:
    """Assumed speed of a device, by default an H100, and of the processor that starts its operations.

    Attributes:
        flops_per_s: Floating-point operations per second that the device reaches in a network.
        operation_s: Seconds that the processor needs to start an operation.
        recorded_s: Minimum seconds of an operation if the whole step is recorded as a CUDA graph.
        recurrent_s: Minimum seconds of a time step of a recurrent layer on the device.
    """

    flops_per_s: float = 55e12
    operation_s: float = 24e-6
    recorded_s: float = 5e-6
    recurrent_s: float = 5e-6


@dataclass(frozen=True)
class Cost:
    """Cost of a training step of a network.

    Attributes:
        name: Name of the network or the experiment.
        parameters: Number of parameters.
        flops: Floating-point operations of one clip, forward and backward.
        operations: Operations of a step that the processor starts, forward and backward.
        recurrent: Time steps of all recurrent layers, forward and backward.
        norms: Number of batch normalization layers.
        batch_size: Clips of a step on all devices together.
    """

    name: str
    parameters: int
    flops: float
    operations: int
    recurrent: int
    norms: int
    batch_size: int

    @property
    def gradient_bytes(self) -> float:
        """Bytes of the gradients that devices exchange: float32, even if the network computes in bf16."""
        return 4.0 * self.parameters

    def start_s(self, device: Device) -> float:
        """Return the seconds in which the processor starts the operations of a step."""
        return self.operations * device.operation_s

    def compute_s(self, clips: float, device: Device) -> float:
        """Return the seconds in which the device computes the given number of clips."""
        return clips * self.flops / device.flops_per_s + self.recurrent * device.recurrent_s

    def alone_s(self, device: Device, *, recorded: bool = False) -> float:
        """Return the seconds of a step on one device, with single operations or recorded as one graph."""
        start_s = self.operations * device.recorded_s if recorded else self.start_s(device)
        return max(start_s, self.compute_s(self.batch_size, device))

    def together_s(self, clips: float, devices: int, device: Device, link: Link) -> float:
        """Return the seconds of a step on several devices with `clips` clips each."""
        shared_s = link.ring_s(self.gradient_bytes, devices) + 2 * self.norms * link.ring_s(0, devices)
        # If batch normalization waits for the device, starting and computing do not overlap.
        times = self.start_s(device), self.compute_s(clips, device)
        return (sum(times) if self.norms else max(times)) + shared_s

    def speedup(self, devices: int, device: Device, link: Link) -> float:
        """Return how many times faster a step with the same total batch size is on several devices than on one."""
        return self.alone_s(device) / self.together_s(self.batch_size / devices, devices, device, link)

    def throughput(self, devices: int, device: Device, link: Link) -> float:
        """Return the clips per second relative to one device if each device has a whole batch."""
        return devices * self.alone_s(device) / self.together_s(self.batch_size, devices, device, link)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that compute a result; views start nothing on a device."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@contextmanager
def _recurrent_layers() -> Iterator[list[int]]:
    """Replace recurrent layers by one product, since the processor starts one operation; yield their time steps."""
    steps: list[int] = []

    def forward(layer: nn.RNNBase, x: Tensor) -> tuple[Tensor, None]:
        steps.append(layer.num_layers * x.shape[1 if layer.batch_first else 0])
        return x @ layer.all_weights[0][0][: layer.hidden_size * (2 if layer.bidirectional else 1)].T, None

    with patch.object(nn.GRU, "forward", forward), patch.object(nn.LSTM, "forward", forward):
        yield steps


def cost_of(experiment: str) -> Cost:
    """Count the cost of a training step of the network of an experiment, given as an override."""
    config = checked([experiment], run_dir="nowhere")
    spec = spec_of(config)
    clips = 2  # Batch normalization needs at least two.
    with torch.device("meta"):
        model = instantiate.make("model", config.model, spec=spec, genres=[str(number) for number in range(10)])
        x = torch.zeros(clips, spec.n_mels, spec.clip_frames)
        counter, operations = FlopCounterMode(display=False), _Operations()
        with counter:
            model.network(x).sum().backward()
        with _recurrent_layers() as recurrent, operations:
            model.network(x).sum().backward()
    norms = [layer for layer in model.network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    return Cost(
        name=experiment.rpartition("/")[2].removeprefix("model="),
        parameters=sum(parameter.numel() for parameter in model.network.parameters()),
        flops=counter.get_total_flops() / clips,
        operations=operations.count + OTHER_OPERATIONS,
        recurrent=2 * sum(recurrent),
        norms=len(norms),
        batch_size=config.clips.batch_size,
    )


def spec_of(config: Config) -> FeatureSpec:
    """Return the features of GTZAN clips under a configuration."""
    features, given = config.features, config.clips.clip_seconds
    assert features.sample_rate is not None
    assert features.n_fft is not None
    assert features.hop_length is not None
    assert features.n_mels is not None
    frame_s = features.hop_length / features.sample_rate
    seconds = {"whole": TRACK_S, "square": features.n_mels * frame_s}
    return FeatureSpec.of_audio(
        sample_rate=features.sample_rate,
        n_fft=features.n_fft,
        hop_length=features.hop_length,
        n_mels=features.n_mels,
        clip_seconds=seconds[given] if isinstance(given, str) else given,
    )


def tables(costs: list[Cost], device: Device) -> str:
    """Return two Markdown tables: the cost of a training step, and the speedup with more devices."""
    columns = ("parameters", "MB per step", "GFLOP per clip", "batch", "operations")
    times = ("started, ms", "computed, ms", "recorded step, ms")
    lines = [f"| network | {' | '.join(columns + times)} |", "|" + " --- |" * (1 + len(columns) + len(times))]
    for cost in costs:
        counts = [cost.gradient_bytes / 1e6, cost.flops / 1e9, cost.batch_size, cost.operations]
        start_s, compute_s = cost.start_s(device), cost.compute_s(cost.batch_size, device)
        figures = [*counts, 1e3 * start_s, 1e3 * compute_s, 1e3 * cost.alone_s(device, recorded=True)]
        lines.append(f"| `{cost.name}` | {cost.parameters:,} | {' | '.join(short(figure) for figure in figures)} |")
    lines += ["", f"| network | {' | '.join(link.name for link in LINKS)} |", "|" + " --- |" * (1 + len(LINKS))]
    for cost in costs:
        cells = []
        for link in LINKS:
            same = [short(cost.speedup(devices, device, link)) for devices in (2, 8)]
            more = [short(cost.throughput(devices, device, link)) for devices in (2, 8)]
            cells.append(f"{' / '.join(same)}; {' / '.join(more)}")
        lines.append(f"| `{cost.name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def short(figure: float) -> str:
    """Format a number with two significant digits and no exponent."""
    if figure < 0.01:
        return "< 0.01"
    rounded = float(f"{figure:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def main() -> None:
    """Print the tables for all experiments."""
    command = argparse.ArgumentParser(prog="python -m benchmarks.scaling_on_paper", description=__doc__.split("\n")[0])
    given = Device()
    command.add_argument("--tflops", type=float, default=given.flops_per_s / 1e12, help="what a device reaches")
    command.add_argument("--operation-us", type=float, default=given.operation_s * 1e6, help="to start an operation")
    command.add_argument("--recorded-us", type=float, default=given.recorded_s * 1e6, help="the same in a CUDA graph")
    command.add_argument(
        "--recurrent-us", type=float, default=given.recurrent_s * 1e6, help="for a recurrent time step"
    )
    words = command.parse_args()
    device = Device(words.tflops * 1e12, words.operation_us * 1e-6, words.recorded_us * 1e-6, words.recurrent_us * 1e-6)
    print(tables([cost_of(experiment) for experiment in EXPERIMENTS], device))


if __name__ == "__main__":
    main()
