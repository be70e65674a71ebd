"""Batch normalization over the clips of all ranks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn

from genreclf.distributed import external_ranks
from genreclf.distributed.batch_norm import CPUSyncBatchNorm
from genreclf.distributed.external_ranks import ExternalRanks


@pytest.fixture
def _alone(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def step(layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Return what a layer makes of a batch in training, its gradients, and its state afterward."""
    x = x.clone().requires_grad_()
    out = layer(x)
    (out * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
    assert x.grad is not None
    gradients = [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]
    return [out.detach(), x.grad, *gradients, *layer.state_dict().values()]


@pytest.mark.usefixtures("_alone")
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.BatchNorm2d(3), (4, 3, 5, 6)),
        (nn.BatchNorm1d(3, momentum=None), (4, 3, 7)),
        (nn.BatchNorm1d(3, affine=False), (4, 3)),
        (nn.BatchNorm1d(3, track_running_stats=False), (4, 3)),
    ],
    ids=str,
)
def test_one_rank_computes_what_pytorch_does(layer: nn.Module, shape: tuple[int, ...]) -> None:
    model = nn.Sequential(layer)
    x = 3 + 2 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    state = {key: value.clone() for key, value in model.state_dict().items()}
    wanted = step(model, x)
    model.load_state_dict(state)
    model.zero_grad()
    plugin = CPUSyncBatchNorm()
    plugin.apply(model)
    for ours, theirs in zip(step(model, x), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=1e-5)
    plugin.revert(model)
    torch.testing.assert_close(model.eval()(x), type(layer).forward(layer, x), atol=0, rtol=0)
    assert "forward" not in vars(layer)


def test_ranks_that_share_a_gpu_have_a_group_of_gloo_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`SyncBatchNorm` takes a group of several backends for one that gathers into one tensor, as NCCL does."""

    class Asked(Exception):
        """What would be initialized."""

    def initialize(backend: str) -> None:
        raise Asked(backend)

    monkeypatch.setattr(external_ranks, "exit_with_parent", lambda parent: None)
    monkeypatch.setattr(torch.distributed, "init_process_group", initialize)
    for gpu_backend, expected in (("gloo", "gloo"), ("nccl", "cpu:gloo,cuda:nccl")):
        with pytest.raises(Asked, match=f"^{expected}$"):
            ExternalRanks("gpu", gpu_backend)
