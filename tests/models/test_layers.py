"""Networks in two steps: an embedding, and a classifier of it."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from genreclf import models
from genreclf.audio.log_mel import FeatureSpec
from genreclf.models.layers import Network, as_embedding

QUICK = [
    name for name in models.__all__ if name not in ("GenreClassifier", "XiplusRCNN")
]  # That has 60 million weights.


@pytest.mark.parametrize("name", QUICK)
def test_every_network_has_an_embedding_and_a_classifier(name: str) -> None:
    kind = getattr(models, name)
    mels, frames = getattr(kind, "mels", 128), getattr(kind, "frames", 64)
    spec = FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=mels, clip_seconds=1)
    network = kind(spec=replace(spec, clip_frames=frames), genres=["blues", "rock"]).eval().network
    x = torch.randn(2, mels, frames)
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
