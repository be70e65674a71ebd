"""Statistics of the bands, alone and beside a CRNN."""

import numpy as np
import pytest
import torch
from scipy.fft import dct
from torch import Tensor, nn

from genreclf.audio.log_mel import FeatureSpec
from genreclf.models import CRNN, BandStatisticsClassifier, GenreClassifier, StatisticsCRNN
from genreclf.models.band_statistics import BandStatistics
from genreclf.models.statistics_crnn import Beside, Masks

SPEC = FeatureSpec.of_pictures(n_mels=64, frames_per_second=12.9, clip_seconds=10)
GENRES = ["blues", "jazz", "rock"]


def clips(count: int = 3) -> Tensor:
    """Return scaled clips whose bands rise and fall together."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, 64, SPEC.clip_frames, generator=generator)
    return x + x.roll(1, 1) + x.roll(2, 1)


def test_levels_correlations_and_covariances_are_numpy_s() -> None:
    statistics = BandStatistics(spec=SPEC)
    x = clips()
    found = statistics(x)
    assert found.shape == (3, statistics.count)
    clip = x[1].double().numpy()
    change = np.diff(clip, axis=1)
    levels = [clip.mean(1), clip.std(1), change.std(1), change.clip(0).mean(1)]
    np.testing.assert_allclose(found[1, : 4 * 64], np.concatenate(levels), atol=1e-5)
    correlation = np.corrcoef(clip.reshape(16, 4, -1).mean(1))[np.triu_indices(16, 1)]
    np.testing.assert_allclose(statistics.correlation(x)[1], correlation, atol=1e-4)
    cepstra = dct(clip, axis=0, norm="ortho")[:20]
    cepstra[0] *= 2**0.5  # Ours leaves the first coefficient as large as the others.
    covariance = np.cov(cepstra, bias=True)[np.triu_indices(20)]
    np.testing.assert_allclose(
        statistics.covariance(x)[1], np.sign(covariance) * np.sqrt(np.abs(covariance) + 1e-4), atol=1e-3
    )


@pytest.mark.parametrize(("rate_hz", "place"), [(0.8, 1), (2.0, 3), (5.5, 6)])
def test_a_band_that_pulses_is_found_at_its_rate(rate_hz: float, place: int) -> None:
    time_s = torch.arange(SPEC.clip_frames) / SPEC.frames_per_second
    x = torch.zeros(1, 64, SPEC.clip_frames)
    x[0, 16:24] = (2 * torch.pi * rate_hz * time_s).sin()
    strength = BandStatistics(spec=SPEC).modulation(x).reshape(8, 7)
    assert strength[2].argmax() == place
    assert strength.max(1).values.argmax() == 2
    assert strength[5].max() < strength[2, place] - 2


def test_silence_has_finite_statistics_and_gradients() -> None:
    x = torch.zeros(2, 64, SPEC.clip_frames, requires_grad=True)
    found = BandStatistics(spec=SPEC)(x)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert found.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("center_bands", [False, True])
def test_the_crnn_of_centered_bands_does_not_see_their_levels(center_bands: bool) -> None:
    torch.manual_seed(0)
    pools = [[2, 2], [2, 2], [4, 2], [4, 1]]
    network = StatisticsCRNN(spec=SPEC, genres=GENRES, pools=pools, center_bands=center_bands).eval().network
    assert isinstance(network, nn.Sequential)
    sequence, statistics = network.branches.values()
    x = clips()
    louder = x + torch.randn(3, 64, 1)
    with torch.no_grad():
        assert torch.allclose(sequence(louder), sequence(x), atol=1e-4) is center_bands
        assert not torch.allclose(statistics(louder), statistics(x), atol=1e-2)


@pytest.mark.parametrize("center_bands", [False, True])
def test_a_crnn_alone_does_not_see_the_levels_of_centered_bands(center_bands: bool) -> None:
    torch.manual_seed(0)
    pools = [[2, 2], [2, 2], [4, 2], [4, 1]]
    network = CRNN(spec=SPEC, genres=GENRES, pools=pools, center_bands=center_bands).eval().network
    x = clips()
    with torch.no_grad():
        assert torch.allclose(network(x + torch.randn(3, 64, 1)), network(x), atol=1e-4) is center_bands


@pytest.mark.parametrize("kind", [BandStatisticsClassifier, StatisticsCRNN])
def test_every_parameter_learns_in_bf16(kind: type[GenreClassifier]) -> None:
    torch.manual_seed(0)
    model = kind(spec=SPEC, genres=GENRES, pools=[[2, 2], [2, 2], [4, 2], [4, 1]]) if kind is StatisticsCRNN else None
    model = model or kind(spec=SPEC, genres=GENRES)
    assert isinstance(model.network, nn.Sequential)
    assert isinstance(model.network.classifier, nn.Linear)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model.network(clips(6))
        model.loss(logits, torch.eye(3)[[0, 1, 2, 0, 1, 2]]).backward()
    assert logits.shape == (6, 3)
    for name, values in model.network.named_parameters():
        assert values.grad is not None, name
        assert values.grad.any(), name


def test_statistics_are_the_same_in_bf16() -> None:
    statistics, x = BandStatistics(spec=SPEC), clips()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = statistics(x)
    torch.testing.assert_close(mixed, statistics(x), rtol=0, atol=0)


def test_one_of_two_branches_is_left_out_in_training_alone() -> None:
    beside = Beside({"first": nn.Flatten(), "second": nn.Flatten()}, branch_dropout=0.6)
    x = torch.ones(2000, 1, 1)
    torch.manual_seed(0)
    kept = beside(x)
    both, neither = (kept == 1).all(1), (kept == 0).all(1)
    assert both.float().mean() == pytest.approx(0.4, abs=0.05)
    assert not neither.any()
    assert kept.mean(0).tolist() == pytest.approx([0.7, 0.7], abs=0.05)
    assert (beside.eval()(x) == 1).all()


def test_only_the_crnn_is_masked_and_only_in_training() -> None:
    spec_augment, x = Masks(0.5), clips()
    torch.manual_seed(0)
    assert not torch.equal(spec_augment(x), x)
    assert torch.equal(spec_augment.eval()(x), x)
    model = StatisticsCRNN(spec=SPEC, genres=GENRES, pools=[[2, 2], [2, 2], [4, 2], [4, 1]])
    assert [type(layer) for layer in model.network.modules()].count(Masks) == 1
