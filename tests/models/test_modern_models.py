"""The models of today: short-chunk CNN, musicnn, attention CRNN, patch transformer."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from genreclf.audio.log_mel import FeatureSpec
from genreclf.cli.compose import checked
from genreclf.config import instantiate
from genreclf.errors import UserError
from genreclf.models import AttentionCRNN, GenreClassifier, Musicnn, PatchTransformer, ShortChunkCNN
from genreclf.models.attention_crnn import AttentionOverTime
from genreclf.models.patch_transformer import PlaceOfPatch

GENRES = [f"genre{number}" for number in range(10)]
PARAMETERS = {
    # Of the defaults, 128 mels, 10 genres; at the frame rate of the tests' `spec`.
    ShortChunkCNN: 758_474,
    Musicnn: 205_402,
    AttentionCRNN: 278_058,
    PatchTransformer: 549_258,
}
MODELS = list(PARAMETERS)
NAMES = {ShortChunkCNN: "short_chunk_cnn", Musicnn: "musicnn"} | {
    AttentionCRNN: "attention_crnn",
    PatchTransformer: "patch_transformer",
}


def spec(n_mels: int = 128, clip_frames: int = 64) -> FeatureSpec:
    """Return what clips of pictures are: 12.9 frames a second."""
    return FeatureSpec.of_pictures(n_mels=n_mels, frames_per_second=12.9, clip_seconds=clip_frames / 12.9)


def stored(n_mels: int = 128, frames: int = 64, *, batch: int = 2) -> Tensor:
    return torch.randint(0, 256, (batch, n_mels, frames), dtype=torch.uint8)


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> GenreClassifier:
    torch.manual_seed(0)
    made: GenreClassifier = request.param(spec=spec(), genres=GENRES)
    return made


def test_parameters_are_those_written_down(model: GenreClassifier) -> None:
    assert sum(values.numel() for values in model.network.parameters()) == PARAMETERS[type(model)]
    assert isinstance(model.network, nn.Sequential)
    assert isinstance(model.network.classifier, nn.Linear)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize(("n_mels", "frames"), [(64, 16), (128, 40), (130, 129)])
def test_logits_for_any_sensible_clip(kind: type[GenreClassifier], n_mels: int, frames: int) -> None:
    own = {"pools": [[2, 2], [2, 2], [4, 2], [4, 1]]} if kind is AttentionCRNN else {}
    made = kind(spec=spec(n_mels, frames), genres=GENRES, **own).eval()
    with torch.inference_mode():
        logits = made(stored(n_mels, frames))
        assert logits.shape == (2, 10)
        # A clip of another length than the network was made for.
        assert made(stored(n_mels, 2 * frames + 1)).shape == (2, 10)
        assert not torch.allclose(logits, made(stored(n_mels, frames)))


def test_every_parameter_learns_in_bf16_and_channels_last(model: GenreClassifier) -> None:
    model.setup("fit")
    images = [weights for weights in model.network.parameters() if weights.dim() == 4 and weights.shape[1] > 1]
    assert all(weights.is_contiguous(memory_format=torch.channels_last) for weights in images)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(model(stored(batch=6)), torch.eye(10)[:6])
    loss.backward()
    for name, values in model.network.named_parameters():
        assert values.grad is not None, name
        assert values.grad.isfinite().all(), name
        assert values.grad.any(), name


@pytest.mark.slow
def test_exports_with_any_batch_to_the_same_logits(model: GenreClassifier) -> None:
    network = model.eval().network
    x = torch.randn(2, 128, 64)
    with torch.no_grad():
        exported = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
        more = torch.randn(5, 128, 64)
        torch.testing.assert_close(exported.module()(more), network(more), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", MODELS)
def test_its_yaml_states_the_defaults_and_takes_the_regularization(kind: Any) -> None:
    section = checked([f"model={NAMES[kind]}", "data=synthetic"], run_dir="-").model
    made = instantiate.make("model", section, spec=spec(), genres=GENRES)
    plain = kind(spec=spec(), genres=GENRES)
    assert json.dumps(made.hparams, sort_keys=True) == json.dumps(plain.hparams, sort_keys=True)
    dropped = instantiate.make("model", {**section, "dropout": 0.9}, spec=spec(), genres=GENRES)
    assert {stage.p for stage in dropped.network.modules() if isinstance(stage, nn.Dropout)} == {0.9}


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_learns_a_handful_of_clips_by_heart(kind: Any) -> None:
    torch.manual_seed(0)
    made = kind(spec=spec(), genres=GENRES[:3], dropout=0.0)
    clips = torch.randint(0, 256, (6, 128, 64), dtype=torch.uint8)
    made.scaling.fit(clips)
    target = torch.eye(3).repeat(2, 1)
    optimizer = torch.optim.Adam(made.network.parameters(), lr=3e-3)
    for _ in range(20):
        optimizer.zero_grad()
        made.loss(made(clips), target).backward()
        optimizer.step()
    assert made(clips).argmax(1).tolist() == target.argmax(1).tolist()


def test_widths_of_musicnn_are_seconds() -> None:
    def widths(frames_per_second: float) -> list[int]:
        features = FeatureSpec.of_pictures(n_mels=128, frames_per_second=frames_per_second, clip_seconds=3)
        front = Musicnn(spec=features, genres=GENRES).network.get_submodule("front_end.layers")
        return [layer.filters[0].kernel_size[-1] for layer in front.children()]

    assert widths(62.5) == [7, 7, 129, 65, 33]
    assert widths(12.9) == [3, 3, 27, 13, 7]


def test_attention_is_a_mean_with_weights_of_each_head() -> None:
    torch.manual_seed(0)
    attention = AttentionOverTime(8, 2)
    frame = torch.randn(1, 1, 8)
    torch.testing.assert_close(attention(frame.repeat(1, 5, 1)), frame[:, 0])
    with torch.no_grad():
        attention.score[2].weight.zero_()
    x = torch.randn(3, 7, 8)
    torch.testing.assert_close(attention(x), x.mean(1))
    with pytest.raises(ValueError, match="heads=3 does not divide 8"):
        AttentionOverTime(8, 3)


def test_a_place_is_told_from_every_other_whatever_the_length() -> None:
    place = PlaceOfPatch(3, 16)
    short, long = (place(torch.zeros(1, 16, 3, columns))[0] for columns in (4, 40))
    torch.testing.assert_close(short, long[:, :, :4])
    apart = torch.cdist(*[long.flatten(1).T] * 2).fill_diagonal_(torch.inf)
    assert apart.min() > 1e-3


def test_a_patch_larger_than_a_clip() -> None:
    with pytest.raises(UserError, match=r"A patch is 16 mels x 8 frames, a clip only 128 x 6"):
        PatchTransformer(spec=spec(128, 6), genres=GENRES)
    with pytest.raises(ValueError, match="heads=5 must divide"):
        PatchTransformer(spec=spec(), genres=GENRES, heads=5)
