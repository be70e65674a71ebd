from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import hydra
import librosa
import pytest
import torch
from omegaconf import OmegaConf
from torch.nn import functional

from genreclf.audio.log_mel import FeatureSpec
from genreclf.audio.scaling import Scale
from genreclf.errors import UserError
from genreclf.models import CNN, CRNN, FFNN, GenreClassifier
from genreclf.training.augment import Augment, BandLimit, FilterAugment, MixStyle, Mixup, SpecAugment
from genreclf.training.losses import BCESoftmax, CrossEntropy
from genreclf.training.schedulers import cosine, onecycle, plateau

GENRES = ["blues", "classical", "rock"]
MODELS = [FFNN, CNN, CRNN]


def spec(n_mels: int = 128, clip_seconds: float = 3) -> FeatureSpec:
    return FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=n_mels, clip_seconds=clip_seconds)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("n_mels", "clip_seconds"), [(128, 3), (256, 1), (160, 10)])
def test_logits_for_any_sensible_clip(kind: type[GenreClassifier], n_mels: int, clip_seconds: float) -> None:
    features = spec(n_mels, clip_seconds)
    model = kind(spec=features, genres=GENRES).eval()
    stored = torch.randint(-20000, 0, (2, n_mels, features.clip_frames), dtype=torch.int16)
    assert model(stored).shape == (2, 3)


@pytest.mark.parametrize("kind", [CNN, CRNN])
def test_clips_too_small_to_pool(kind: type[GenreClassifier]) -> None:
    with pytest.raises(UserError, match=r"set data.clip_seconds to"):
        kind(spec=spec(clip_seconds=0.1), genres=GENRES)
    with pytest.raises(UserError, match=r"raise features.n_mels"):
        kind(spec=spec(n_mels=16), genres=GENRES)


@pytest.mark.parametrize("kind", [FFNN, pytest.param(CNN, marks=pytest.mark.slow), CRNN])
def test_learns_a_handful_of_clips_by_heart(kind: Any) -> None:
    torch.manual_seed(0)
    model = kind(spec=spec(128, 1), genres=GENRES, dropout=0.0)
    stored = torch.randint(-20000, 0, (6, 128, 43), dtype=torch.int16)
    model.scaling.fit(stored)
    target = torch.eye(3).repeat(2, 1)
    optimizer = torch.optim.Adam(model.network.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        model.loss(model(stored), target).backward()
        optimizer.step()
    assert model(stored).argmax(1).tolist() == target.argmax(1).tolist()


@pytest.mark.parametrize("kind", MODELS)
def test_loads_from_its_checkpoint_with_weights_only(kind: Any, tmp_path: Path) -> None:
    from lightning.pytorch import Trainer

    model = kind(spec=spec(128, 1), genres=GENRES, optimizer=partial(torch.optim.SGD, lr=0.1))
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, barebones=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    again = kind.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert again.spec == model.spec
    assert again.genres == GENRES
    for ours, theirs in zip(again.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_loads_with_weights_only_if_hydra_made_it_of_a_list(tmp_path: Path) -> None:
    from lightning.pytorch import Trainer

    section = {"_target_": "genreclf.models.CNN", "_partial_": True, "channels": [4, 4, 4, "${channels}"]}
    config = OmegaConf.create({"model": section, "channels": 8})
    model = hydra.utils.instantiate(config.model)(spec=spec(128, 1), genres=GENRES)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    again = CNN.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert again.hparams["channels"] == [4, 4, 4, 8]


def test_spec_augment_masks_a_share_with_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.randn(64, 40, 100)
    y = torch.eye(3)[torch.arange(64) % 3]
    masked, same = SpecAugment(mel_masks=1, mel_fraction=0.3, frame_masks=0)(x, y)
    assert same is y
    changed = (masked != x).any(2)
    assert (changed.sum(1) <= 13).all()
    assert changed.any()
    clip = int(changed.any(1).nonzero()[0])
    assert torch.allclose(masked[clip][changed[clip]], x[clip].mean())


@pytest.mark.parametrize("key", ["mel_masks", "frame_masks"])
def test_spec_augment_takes_no_negative_number_of_masks(key: str) -> None:
    with pytest.raises(ValueError, match="must not be below 0"):
        SpecAugment(**{key: -1})  # type: ignore[arg-type]


def test_random_equalizer_moves_every_band_by_a_smooth_curve() -> None:
    torch.manual_seed(0)
    x = torch.randn(2000, 61, 4)
    y = torch.eye(3)[torch.arange(2000) % 3]
    changed, same = FilterAugment(deviation=0.5, knots=7)(x, y)
    assert same is y
    curve = (changed - x)[:, :, 0]
    torch.testing.assert_close(changed - x, curve[:, :, None].expand_as(x), atol=1e-5, rtol=0)
    torch.testing.assert_close(curve[:, ::10].std(0), torch.full((7,), 0.5), atol=0.03, rtol=0)
    torch.testing.assert_close(curve[:, 5::10], (curve[:, :-1:10] + curve[:, 10::10]) / 2, atol=1e-5, rtol=0)
    assert (curve[0] - curve[1]).abs().max() > 0.1


@pytest.mark.parametrize("scale", get_args(Scale))
@pytest.mark.parametrize("top_db", [None, 80.0])
def test_band_limit_silences_what_lies_above_a_frequency(scale: Scale, top_db: float | None) -> None:
    torch.manual_seed(0)
    features = replace(spec(64, 1), top_db=top_db)
    stored = torch.randint(-10000, 1000, (400, 64, 43), dtype=torch.int16)
    stored[:, 0, 0] = 2000  # The peak stays.
    model = CNN(spec=features, genres=GENRES, scale=scale, augment=Augment(BandLimit(low_hz=4000, high_hz=8000)))
    model.scaling.fit(stored)
    assert model.augment is not None
    changed, _ = model.augment(x := model.scaling(stored), torch.eye(3)[torch.arange(400) % 3])
    silent = (changed != x).any(2)
    hz = librosa.mel_frequencies(66, fmin=0, fmax=11025)[1:-1]
    assert not silent[:, hz < 4000].any()
    assert 0.4 < silent[:, hz > 8000].any(1).float().mean() < 0.6
    assert (silent.int().diff(dim=1) >= 0).all()
    lowest = stored.amin((1, 2), keepdim=True) if top_db else torch.full((400, 1, 1), features.silence)
    quiet = model.scaling(torch.where(silent[:, :, None], lowest, stored).to(torch.int16))
    torch.testing.assert_close(changed, quiet, atol=1e-5, rtol=1e-4)
    assert not [name for name in model.state_dict() if name.startswith("augment")]


def test_mix_style_gives_a_clip_levels_between_its_own_and_those_of_another() -> None:
    torch.manual_seed(0)
    spread, level = 1 + 4 * torch.rand(2, 400, 5, 1)
    x = level + spread * torch.randn(400, 5, 500)
    x[:, 4] = 0  # A silent band stays so.
    changed, same = MixStyle(alpha=0.5, probability=0.5)(x, y := torch.eye(4)[torch.arange(400) % 4])
    assert same is y
    apart = (changed != x).flatten(1).any(1)
    assert 0.4 < apart.float().mean() < 0.6
    assert torch.equal(changed[~apart], x[~apart])
    assert not changed[:, 4].any()
    shape, own = (
        (values - values.mean(2, keepdim=True)) / (values.std(2, keepdim=True) + 1e-3) for values in (changed, x)
    )
    torch.testing.assert_close(shape, own, atol=0.02, rtol=0)
    (old_mean, old_std), (new_mean, new_std) = ((v[apart, :4].mean(2), v[apart, :4].std(2)) for v in (x, changed))
    assert (new_mean >= old_mean.amin(0) - 0.01).all()
    assert (new_mean <= old_mean.amax(0) + 0.01).all()
    # One share for all bands, and one partner: what moves the means moves the deviations.
    clip = int((new_mean - old_mean).abs().sum(1).argmax())
    moved = torch.cat([new_mean[clip] - old_mean[clip], new_std[clip] - old_std[clip]])
    ways = torch.cat([x[:, :4].mean(2) - old_mean[clip], x[:, :4].std(2) - old_std[clip]], 1)
    assert functional.cosine_similarity(ways, moved[None]).max() > 0.999


def test_mixup_mixes_clips_and_targets_alike() -> None:
    torch.manual_seed(0)
    y = torch.eye(4)
    x = y[:, :, None].repeat(1, 1, 5)
    mixed_x, mixed_y = Augment(Mixup(alpha=1.0))(x, y)
    torch.testing.assert_close(mixed_x[:, :, 0], mixed_y)
    torch.testing.assert_close(mixed_y.sum(1), torch.ones(4))
    assert not torch.equal(mixed_y, y)


def test_losses() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0]])
    target = torch.eye(3)[:2]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1]), label_smoothing=0.1)
    torch.testing.assert_close(CrossEntropy(label_smoothing=0.1)(logits, target), expected)
    balanced = CrossEntropy(class_weights="balanced", genre_counts=[10, 30, 20])
    torch.testing.assert_close(balanced.weight, torch.tensor([2.0, 2 / 3, 1.0]))
    lacking = CrossEntropy(class_weights="balanced", genre_counts=[10, 0, 30, 20])
    torch.testing.assert_close(lacking.weight, torch.tensor([2.0, 0.0, 2 / 3, 1.0]))
    published = torch.nn.functional.binary_cross_entropy(logits.softmax(1), target)
    torch.testing.assert_close(BCESoftmax()(logits, target), published)
    assert BCESoftmax()(logits.bfloat16(), target).dtype == torch.float32
    doubles = torch.nn.functional.binary_cross_entropy(logits.double().softmax(1), target.double())
    torch.testing.assert_close(BCESoftmax()(logits.double(), target.double()), doubles)
    with pytest.raises(ValueError, match="'none' or 'balanced'"):
        CrossEntropy(class_weights="heavy")


def rates(schedule: Any, steps: int = 100) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.9)
    scheduler = schedule(optimizer, steps)["scheduler"]
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


@pytest.mark.parametrize("schedule", [partial(cosine, warmup=0.2), partial(onecycle, warmup=0.2)])
def test_schedules_rise_and_fall(schedule: Any) -> None:
    seen = rates(schedule)
    peak = seen.index(max(seen))
    assert max(seen) == pytest.approx(1.0, abs=1e-3)
    assert 18 <= peak <= 21
    assert seen[-1] < 0.05
    assert seen[: peak + 1] == sorted(seen[: peak + 1])
    assert seen[peak:] == sorted(seen[peak:], reverse=True)


def test_plateau_waits_for_its_column() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    description = plateau(optimizer, 10, monitor="train/loss", factor=0.5, patience=1)
    assert description["monitor"] == "train/loss"
    for _ in range(3):
        description["scheduler"].step(1.0)
    assert optimizer.param_groups[0]["lr"] == 0.5
