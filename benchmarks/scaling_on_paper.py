"""Work out on paper when more devices make a training step faster: ``python -m benchmarks.scaling_on_paper``.

Of each network it counts the floating-point operations of a clip (forward and backward, by PyTorch's flop counter on
tensors without storage) and the bytes of its gradients, which DDP sums over the devices at each step. A ring of n
devices sends 2 (n - 1) / n of them over each link, in 2 (n - 1) messages in a row (Patarasuk and Yuan, 2009).
Nothing is measured, and nothing overlaps: real steps hide part of the communication behind the backward pass, and small
networks reach a small part of the peak.
"""

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from genreclf.audio.log_mel import FeatureSpec
from genreclf.cli.compose import checked
from genreclf.config import instantiate
from genreclf.config.config import Config

PEAK_FLOPS = 312e12
"""Of one device: an A100's bf16 tensor cores, dense, as its maker states."""

SHARE_OF_PEAK = 0.1
"""What is taken to be reached of it."""

TRACK_S = 30.0
"""Length of a GTZAN track, for clips that are whole tracks."""


@dataclass(frozen=True)
class Link:
    """What connects two devices: one direction of it, as its maker states, and the time of the smallest message."""

    name: str
    bytes_per_s: float
    latency_s: float

    def ring_s(self, gradient_bytes: float, devices: int) -> float:
        """Return the time to sum gradients over a ring of devices."""
        return 2 * (devices - 1) * (gradient_bytes / devices / self.bytes_per_s + self.latency_s)


LINKS = (
    Link("NVLink 3, 300 GB/s", 300e9, 3e-6),
    Link("InfiniBand HDR, 200 Gb/s", 25e9, 5e-6),
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
class Cost:
    """What a training step of a network costs.

    Attributes:
        name: Of the network or the experiment.
        parameters: How many.
        flops: Operations of one clip, forward and backward.
        batch_size: Clips of a step, on all devices together.
    """

    name: str
    parameters: int
    flops: float
    batch_size: int

    @property
    def gradient_bytes(self) -> float:
        """Bytes that every device gives and gets: float32, also where the network computes in bf16."""
        return 4.0 * self.parameters

    def compute_s(self, clips: float) -> float:
        """Return the time of so many clips on one device."""
        return clips * self.flops / (PEAK_FLOPS * SHARE_OF_PEAK)

    def speedup(self, link: Link, devices: int) -> float:
        """Return how many times faster a step of the same whole batch is on so many devices."""
        together_s = self.compute_s(self.batch_size / devices) + link.ring_s(self.gradient_bytes, devices)
        return self.compute_s(self.batch_size) / together_s

    def worthwhile_batch(self, link: Link) -> float:
        """Return the whole batch above which two devices are faster than one."""
        return 2 * link.ring_s(self.gradient_bytes, 2) / self.compute_s(1)


def cost_of(experiment: str) -> Cost:
    """Count what an experiment's network costs."""
    config = checked([experiment], run_dir="nowhere")
    spec = spec_of(config)
    clips = 2  # Batch normalization wants two.
    with torch.device("meta"):
        model = instantiate.make("model", config.model, spec=spec, genres=[str(number) for number in range(10)])
        counter = FlopCounterMode(display=False)
        with counter:
            model.network(torch.zeros(clips, spec.n_mels, spec.clip_frames)).sum().backward()
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    name = experiment.rpartition("/")[2].removeprefix("model=")
    return Cost(name, parameters, counter.get_total_flops() / clips, config.clips.batch_size)


def spec_of(config: Config) -> FeatureSpec:
    """Return what the clips of GTZAN are under a configuration."""
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


def tables(costs: list[Cost]) -> str:
    """Return the figures as two Markdown tables: what a step costs, and what more devices make of it."""
    lines = ["| network | parameters | MB a step | GFLOP a clip | batch | compute, ms |", "|" + " --- |" * 6]
    for cost in costs:
        figures = [cost.gradient_bytes / 1e6, cost.flops / 1e9, cost.batch_size, 1e3 * cost.compute_s(cost.batch_size)]
        lines.append(f"| `{cost.name}` | {cost.parameters:,} | {' | '.join(short(figure) for figure in figures)} |")
    lines += ["", f"| network | {' | '.join(link.name for link in LINKS)} |", "|" + " --- |" * (1 + len(LINKS))]
    for cost in costs:
        cells = []
        for link in LINKS:
            figures = [cost.speedup(link, 2), cost.speedup(link, 8), cost.worthwhile_batch(link)]
            cells.append(" / ".join(short(figure) for figure in figures))
        lines.append(f"| `{cost.name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def short(figure: float) -> str:
    """Return two digits of a figure, without an exponent."""
    if figure < 0.01:
        return "< 0.01"
    rounded = float(f"{figure:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


if __name__ == "__main__":
    print(tables([cost_of(experiment) for experiment in EXPERIMENTS]))
