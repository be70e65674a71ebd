"""Networks in two steps: an embedding, and a classifier of it."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import ARCHITECTURES
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from genreclf import models
from genreclf.audio.log_mel import FeatureSpec
from genreclf.models import GenreClassifier
from genreclf.models.crnn import BidirectionalGRU
from genreclf.models.layers import Network, OutputsOf, as_embedding, outputs_of

QUICK = [name for name in ARCHITECTURES if name not in ("Constant", "XiplusRCNN")]
"""The former has no weights that a clip meets, the latter 60 million."""


def made(name: str, **training: Any) -> GenreClassifier:
    """Return a model of two genres."""
    kind = getattr(models, name)
    mels, frames = getattr(kind, "mels", 128), getattr(kind, "frames", 64)
    spec = FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=mels, clip_seconds=1)
    model: GenreClassifier = kind(spec=replace(spec, clip_frames=frames), genres=["blues", "rock"], **training)
    return model


@pytest.mark.parametrize("name", QUICK)
def test_every_network_has_an_embedding_and_a_classifier(name: str) -> None:
    model = made(name).eval()
    network: Network = model.network  # type: ignore[assignment]
    x = torch.randn(2, model.spec.n_mels, model.spec.clip_frames)
    with torch.inference_mode():
        embedding = network.embed(x)
        assert embedding.shape == (2, network.classifier.in_features)
        assert torch.equal(network.classifier(embedding), network(x))


def test_a_sequential_that_ends_in_a_linear_layer_has_an_embedding() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(12, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 2))))
    x = torch.randn(5, 3, 4)
    network = as_embedding(plain)
    assert network is not None
    assert network.embed(x).shape == (5, 3)
    assert torch.equal(network.classifier(network.embed(x)), plain(x))


class Own(nn.Sequential):
    """A sequence that is more than its layers."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -super().forward(x)


@pytest.mark.parametrize("network", [nn.Linear(3, 2), nn.Sequential(), Own(nn.Flatten(), nn.Linear(12, 2))])
def test_other_networks_have_none(network: nn.Module) -> None:
    assert as_embedding(network) is None


def test_the_classifier_comes_last() -> None:
    with pytest.raises(ValueError, match="the last stage must be the classifier, not one of classifier, more"):
        Network(classifier=nn.Linear(3, 2), more=nn.ReLU())


@pytest.mark.parametrize("name", QUICK)
def test_every_network_computes_in_double_precision(name: str) -> None:
    model = made(name, scale="decibel").double()
    stored = torch.randint(-20000, 0, (2, model.spec.n_mels, model.spec.clip_frames), dtype=torch.int16)
    with torch.inference_mode():
        assert model(stored).dtype == torch.float64


def test_on_a_gpu_autocast_leaves_a_recurrent_layer_alone() -> None:
    seen: list[tuple[bool, torch.dtype]] = []

    def layer(x: Tensor) -> tuple[Tensor, None]:
        seen.append((torch.is_autocast_enabled("cuda"), x.dtype))
        return x, None

    before = torch.is_autocast_enabled("cuda")
    torch.set_autocast_enabled("cuda", True)
    try:
        with FakeTensorMode():
            x = torch.empty(2, 3, 4, dtype=torch.bfloat16, device="cuda")
            assert outputs_of(layer, x).dtype == torch.float32
        assert torch.is_autocast_enabled("cuda")
    finally:
        torch.set_autocast_enabled("cuda", before)
    assert seen == [(False, torch.float32)]


def test_every_recurrent_layer_is_computed_so() -> None:
    with torch.device("meta"):
        networks = {name: made(name).network for name in ARCHITECTURES}
    for name, network in networks.items():
        wrapped = {part.layer for part in network.modules() if isinstance(part, OutputsOf)}
        layers = {part for part in network.modules() if isinstance(part, nn.RNNBase)}
        assert all(part in wrapped or isinstance(part, BidirectionalGRU) for part in layers), name
