"""The published networks themselves: their sizes, their views, their weights."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from published_facts import PARAMETERS

from genreclf.audio.log_mel import FeatureSpec
from genreclf.models import (
    GenreClassifier,
    LelandCNN,
    LiangCRNN,
    XiplusCRNN1,
    XiplusCRNN2,
    XiplusRCNN,
)
from genreclf.models.layers import FitTo
from genreclf.models.published.whole_track import Shear
from genreclf.models.published.xiplus import sequence_of
from genreclf.training.schedulers import plateau

GENRES = [f"genre{number}" for number in range(10)]


def build(kind: Any, *, mels: int | None = None, frames: int | None = None, **arguments: Any) -> GenreClassifier:
    mels, frames = mels or kind.mels, frames or kind.frames
    spec = FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=mels, clip_seconds=1)
    model: GenreClassifier = kind(spec=replace(spec, clip_frames=frames), genres=GENRES, **arguments)
    return model.eval()


@pytest.mark.parametrize("kind", PARAMETERS)
def test_parameters_to_the_number(kind: Any) -> None:
    model = build(kind)
    assert sum(parameter.numel() for parameter in model.network.parameters()) == PARAMETERS[kind]
    assert isinstance(model.network, torch.nn.Sequential)
    assert "taken as they are" in model.warnings[0]


@pytest.mark.parametrize("kind", [kind for kind in PARAMETERS if kind is not XiplusRCNN])
@pytest.mark.parametrize(("mels", "frames"), [(None, None), (128, 387)])
def test_logits_for_clips_of_any_size(kind: Any, mels: int | None, frames: int | None) -> None:
    model = build(kind, mels=mels, frames=frames)
    stored = torch.randint(-20000, 0, (2, model.spec.n_mels, model.spec.clip_frames), dtype=torch.int16)
    assert model(stored).shape == (2, 10)
    assert ("stretched" in model.warnings[0]) is (mels is not None)


def test_stretches_by_linear_interpolation() -> None:
    x = torch.rand(2, 128, 387)
    assert FitTo(mels=128, frames=387)(x) is x
    stretched = FitTo(mels=256, frames=660)(x)

    def line(values: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
        centers = (np.arange(size) + 0.5) * len(values) / size - 0.5
        return np.interp(centers, np.arange(len(values)), values)

    expected = np.apply_along_axis(line, 1, np.apply_along_axis(line, 0, x[0].numpy(), 256), 660)
    np.testing.assert_allclose(stretched[0].numpy(), expected, atol=1e-4)


def test_the_published_view_never_reads_time() -> None:
    x = torch.randn(3, 256, 8, 8)
    for values in (x, x.to(memory_format=torch.channels_last)):
        torch.testing.assert_close(sequence_of("channels")(values), x.view(3, 8, 2048), rtol=0, atol=0)
        assert not torch.equal(sequence_of("time")(values), x.view(3, 8, 2048))
    one_frame, one_group = torch.zeros_like(x), torch.zeros_like(x)
    one_frame[:, :, :, 5] = 1
    one_group[:, 64:96] = 1  # the third 32 of 256 channels
    steps = {
        kind: [
            sequence_of(kind)(values).any(2).any(0).nonzero().flatten().tolist() for values in (one_frame, one_group)
        ]
        for kind in ("time", "channels")
    }
    assert steps == {"time": [[5], list(range(8))], "channels": [list(range(8)), [2]]}
    with pytest.raises(ValueError, match="time or channels"):
        sequence_of("frames")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [XiplusCRNN1, XiplusCRNN2])
def test_the_repair_costs_no_parameter(kind: Any) -> None:
    models = [build(kind, sequence=sequence) for sequence in ("time", "channels")]
    assert {key: value.shape for key, value in models[0].state_dict().items()} == {
        key: value.shape for key, value in models[1].state_dict().items()
    }
    models[1].load_state_dict(models[0].state_dict())
    stored = torch.randint(-20000, 0, (2, kind.mels, kind.frames), dtype=torch.int16)
    assert not torch.allclose(models[0](stored), models[1](stored))
    assert models[1].hparams["sequence"] == "channels"


def test_shears_as_numpy_resizes() -> None:
    track = 10 * torch.randn(128, 647)
    track -= track.max()  # dB below the peak, as published
    resized = track.numpy().copy()
    resized.resize((128, 660), refcheck=False)
    clip = torch.nn.functional.pad(track, (0, 13), value=-80.0)
    np.testing.assert_array_equal(Shear(track_frames=647)(clip[None])[0].numpy(), resized)
    stage = build(LelandCNN, resize="shear").network.input
    np.testing.assert_array_equal(stage(clip[None])[0].numpy(), resized)
    torch.testing.assert_close(stage(1 + clip[None] / 80), 1 + stage(clip[None]) / 80)  # The peak is 1 there.
    torch.testing.assert_close(build(LelandCNN).network.input(clip[None])[0], clip)
    with pytest.raises(ValueError, match="pad or shear"):
        build(LelandCNN, resize="cut")


def test_starts_from_the_published_weights() -> None:
    convolutions = build(XiplusRCNN).network.convolutions
    for layer in (block[0] for block in convolutions):
        bound = (6 / (layer.weight[0, 0].numel() * (layer.in_channels + layer.out_channels))) ** 0.5
        assert 0.95 * bound < layer.weight.abs().max() <= bound
    for lstm in (stage.layer for stage in build(LiangCRNN).network.recurrence):
        assert (lstm.weight_hh_l0.T @ lstm.weight_hh_l0 - torch.eye(20)).abs().max() < 1e-5
        bound = (6 / (lstm.input_size + 80)) ** 0.5
        assert 0.95 * bound < lstm.weight_ih_l0.abs().max() <= bound
        # The gates stand in the order input, forget, cell, output.
        assert (lstm.bias_ih_l0 + lstm.bias_hh_l0).view(4, 20).unique(dim=1).flatten().tolist() == [0, 1, 0, 0]


def test_plateau_is_the_published_rule() -> None:
    """Halve when the lowest loss is not among the last 3 and the last halving is more than 2 epochs ago."""
    for seed in range(20):
        losses = np.random.default_rng(seed).normal(size=60).cumsum()
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        ours = plateau(optimizer, 60, monitor="train/loss", factor=0.5, patience=2, threshold=0.0)["scheduler"]
        rate, since = 1.0, 0
        for epoch, loss in enumerate(losses):
            since += 1
            if losses[: epoch + 1].min() not in losses[max(0, epoch - 2) : epoch + 1] and since > 2:
                rate, since = rate / 2, 0
            ours.step(loss)
            assert optimizer.param_groups[0]["lr"] == rate
