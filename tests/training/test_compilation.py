"""What of a network is compiled for training."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from genreclf import models
from genreclf.audio.log_mel import FeatureSpec
from genreclf.models import GenreClassifier
from genreclf.training.compilation import compiled

Operations = Counter[str]


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Operations]]:
    """Collect the operations of each graph that the compiler is given, and compile none of them."""
    found: list[Operations] = []
    compile_module = torch.compile

    def backend(graph: fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        targets = (node.target for node in graph.graph.nodes if node.op.startswith("call"))
        found.append(Counter(str(getattr(target, "__name__", target)) for target in targets))
        return graph.forward

    def counted(module: nn.Module, mode: str) -> nn.Module:
        return compile_module(module, backend=backend)

    monkeypatch.setattr(torch, "compile", counted)
    torch._dynamo.reset()
    yield found
    torch._dynamo.reset()


def made(name: str) -> GenreClassifier:
    kind = getattr(models, name)
    mels, frames = getattr(kind, "mels", 128), getattr(kind, "frames", 64)
    spec = FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=mels, clip_seconds=1)
    torch.manual_seed(0)
    model: GenreClassifier = kind(spec=replace(spec, clip_frames=frames), genres=["blues", "rock"])
    return model


@pytest.mark.parametrize(
    ("name", "parts", "convolutions"),
    [
        pytest.param("CRNN", 2, 4, marks=pytest.mark.slow),
        pytest.param("StatisticsCRNN", 4, 4, marks=pytest.mark.slow),
        pytest.param("CNN", 1, 4, marks=pytest.mark.slow),
        pytest.param("LiangCRNN", 2, 4, marks=pytest.mark.slow),
    ],
)
def test_all_but_recurrent_layers_is_compiled(
    name: str, parts: int, convolutions: int, graphs: list[Operations]
) -> None:
    model = made(name)
    network, x = model.network, torch.randn(2, model.spec.n_mels, model.spec.clip_frames)
    kept = set(model.state_dict())
    model.compile_training("default")
    assert set(model.state_dict()) == kept
    forward = model._train_network
    assert forward is not None
    torch.manual_seed(1)
    logits = forward(x)
    logits.sum().backward()  # type: ignore[no-untyped-call]
    assert len(graphs) == parts
    assert sum(graph["conv2d"] for graph in graphs) == convolutions
    gradients = [parameter.grad for parameter in network.parameters()]
    network.zero_grad()
    # Batch norm has counted a batch more, which does not matter in training.
    torch.manual_seed(1)
    expected = network(x)
    expected.sum().backward()
    torch.testing.assert_close(logits, expected, rtol=0, atol=0)
    torch.testing.assert_close(gradients, [parameter.grad for parameter in network.parameters()], rtol=0, atol=0)
    assert len(graphs) == parts


class Own(nn.Module):
    """A network of the user's own, which is not a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.before = nn.Sequential(nn.Linear(3, 5), nn.Tanh())
        self.gru = nn.GRU(5, 4, batch_first=True)
        self.after = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.gru(self.before(x.transpose(1, 2) * self.scale))
        logits: Tensor = self.after(outputs[:, -1])
        return logits if self.training else -logits


def test_the_parts_of_a_network_of_ones_own_are_compiled(graphs: list[Operations]) -> None:
    network, x = Own().eval(), torch.randn(2, 3, 7)
    forward = compiled(network, "default")
    network.after = nn.Linear(4, 2)  # As Lightning replaces batch norms for several devices.
    with torch.no_grad():
        network.scale.mul_(2)
        assert torch.equal(forward(x), -network(x))
    assert [sum(graph.values()) for graph in graphs] == [2, 1]
