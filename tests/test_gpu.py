"""Parts of a training on a GPU; skipped where there is none. Run this file alone, for runs on the CPU hide the GPUs."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from genreclf.audio.log_mel import FeatureSpec
from genreclf.checkpoint import SafeCheckpointIO, load_checkpoint
from genreclf.data.clips import ClipBatch, ClipLoader
from genreclf.data.encoding import store_of
from genreclf.datasets.synthetic import Synthetic
from genreclf.devices import exactly
from genreclf.models import CRNN, StatisticsCRNN
from genreclf.models.pooling import MaxPool2d
from genreclf.training.compilation import compiled

if torch.cuda.is_available():
    torch.cuda.init()  # type: ignore[no-untyped-call]
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

GPU = torch.device("cuda", 0)
SPEC = FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=128, clip_seconds=1)
WORKSPACE_BYTES = 2**26
"""What cuBLAS may keep."""


def test_a_store_is_the_same_to_a_step_and_the_memory_is_given_back(tmp_path: Path) -> None:
    source = Synthetic(tracks_per_genre=2, artists_per_genre=2, duration_s=3.0)
    before_bytes = torch.cuda.memory_reserved()
    on_cpu, on_gpu = (
        store_of(source, source.tracks(), SPEC, directory=tmp_path / device.type, device=device).frames.astype(int)
        for device in (torch.device("cpu"), GPU)
    )
    assert np.abs(on_gpu - on_cpu).max() <= 1
    assert torch.cuda.memory_reserved() <= before_bytes + WORKSPACE_BYTES


def test_clips_arrive_as_they_were_cut() -> None:
    frames = torch.arange(2**20, dtype=torch.int32).reshape(-1, 64)
    rows = torch.arange(300).repeat(3, 1).T

    def clips(share: Tensor) -> ClipBatch:
        segment, _, start = share.unbind(1)
        return ClipBatch(frames[segment[:, None] + torch.arange(16000)].transpose(1, 2), segment, segment, start)

    loader = ClipLoader(lambda: rows, clips=300, batch_size=4, cut=clips, target=GPU)
    factor, sums = torch.ones(2000, 2000, device=GPU), []
    for batch in loader:
        assert isinstance(batch, ClipBatch)
        assert batch.stored.device == GPU
        factor = factor @ factor / 2000  # Something to do meanwhile.
        sums.append(batch.stored.double().sum())
    expected = [clips(share).stored.double().sum() for share in torch.split(rows, 4)]
    assert torch.equal(torch.stack(sums).cpu(), torch.stack(expected))


def test_a_checkpoint_is_that_of_the_cpu(tmp_path: Path) -> None:
    network = CRNN(spec=SPEC, genres=list("abc")).network.to(memory_format=torch.channels_last)
    state = {"state_dict": copy.deepcopy(network).state_dict(), "epoch": 1}
    SafeCheckpointIO().save_checkpoint(state, tmp_path / "here/best.ckpt")
    SafeCheckpointIO().save_checkpoint({**state, "state_dict": network.to(GPU).state_dict()}, tmp_path / "best.ckpt")
    there = load_checkpoint(tmp_path / "best.ckpt")["state_dict"]
    torch.testing.assert_close(there, load_checkpoint(tmp_path / "here/best.ckpt")["state_dict"], rtol=0, atol=0)
    assert {key: values.stride() for key, values in there.items()} == {
        key: values.stride() for key, values in state["state_dict"].items()
    }


def test_autocast_keeps_the_gradients_behind_a_recurrent_layer() -> None:
    torch.manual_seed(0)
    model = CRNN(spec=SPEC, genres=["blues", "rock"], dropout=0.0).to(GPU)
    model.setup("fit")
    x = torch.randn(8, 128, SPEC.clip_frames, device=GPU)

    def gradient(scale: float) -> Tensor:
        model.network.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            logits = model.network(x)
        (logits.float().square().mean() * scale).backward()
        found = model.network.get_submodule("convolutions.0.0").weight.grad
        assert isinstance(found, Tensor)
        return found.double() / scale

    # As small as late in a training; in float16 they would be zero.
    expected, small = gradient(1.0), gradient(2.0**-24)
    assert (small - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_a_compiled_network_computes_the_same(mode: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = StatisticsCRNN(
        spec=SPEC, genres=["blues", "rock"], spec_augment=0.0, dropout=0.0, statistics_dropout=0.0, branch_dropout=0.0
    ).to(GPU)
    model.setup("fit")
    plain, x = copy.deepcopy(model.network), torch.randn(8, 128, SPEC.clip_frames, device=GPU)
    forward = compiled(model.network, mode)
    with exactly():
        for _ in range(3):
            logits, expected = forward(x), plain(x)
            torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)
            for network, output in ((model.network, logits), (plain, expected)):
                network.zero_grad()
                output.square().mean().backward()
    for parameter, same in zip(model.network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, same.grad, atol=1e-3, rtol=1e-2)


WINDOWS = [((4, 32, 128, 431), (2, 2)), ((4, 64, 64, 215), (4, 2)), ((4, 96, 17, 107), (4, 2)), ((4, 5, 9, 53), (3, 3))]
"""Shapes of images, some with rows and columns outside of all windows."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("shape", "window"), WINDOWS, ids=str)
def test_pools_as_pytorch_to_the_last_bit(shape: tuple[int, ...], window: tuple[int, int], dtype: torch.dtype) -> None:
    image = torch.randint(-30, 30, shape, device=GPU).to(dtype).contiguous(memory_format=torch.channels_last)
    image[0, 0, :2, :2] = torch.tensor([[1.0, torch.nan], [torch.nan, torch.inf]])
    ours, theirs = image.clone().requires_grad_(), image.clone().requires_grad_()
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
        maxima = MaxPool2d(window)(ours)
    expected = nn.MaxPool2d(window)(theirs)
    torch.cuda.synchronize()
    assert "MaxPool2DWithIndices" not in str(maxima.grad_fn)
    assert "MaxPool2DWithIndices" in str(MaxPool2d(window)(ours).grad_fn)
    slopes = torch.randn_like(expected)
    maxima.backward(slopes)
    expected.backward(slopes)
    torch.cuda.synchronize()
    torch.testing.assert_close(maxima, expected, rtol=0, atol=0, equal_nan=True)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)
    assert maxima.stride() == expected.stride()
