"""The published networks and their experiments."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from helpers import ROOT, Cli
from PIL import Image

from genreclf.audio.log_mel import FeatureSpec
from genreclf.cli.compose import checked
from genreclf.experiment.corpus import load_corpus
from genreclf.experiment.setup import prepare
from genreclf.models import (
    GenreClassifier,
    LelandCNN,
    LelandFFNN,
    LiangCNN,
    LiangCRNN,
    WuCNN,
    XiplusCNN,
    XiplusCRNN1,
    XiplusCRNN2,
    XiplusRCNN,
)
from genreclf.models.layers import FitTo
from genreclf.models.published.whole_track import Shear
from genreclf.models.published.xiplus import sequence_of
from genreclf.run_directory import RunDirectory
from genreclf.training.schedulers import plateau

IDS = sorted(path.stem for path in (ROOT / "conf/experiment/published").glob("[!_]*.yaml"))
GENRES = [f"genre{number}" for number in range(10)]
STEP = [
    "data.batch_size=2",
    "trainer=cpu",
    "trainer.max_epochs=1",
    "trainer.precision=32-true",
    "trainer.limit_train_batches=1",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1",
    "logger=none",
    "run_dir=run",
]

PARAMETERS = {
    XiplusCNN: 3_914_890,
    XiplusCRNN1: 3_328_650,
    XiplusCRNN2: 3_983_498,
    XiplusRCNN: 68_699_594,
    WuCNN: 1_385_610,
    LelandFFNN: 10_838_986,
    LelandCNN: 2_463_114,
    # Of the layers as assumed, see `genreclf.models.published.liang`; worked out by hand as the sum over the layers.
    LiangCNN: (16 * 16 + 16) + (32 * 16 * 16 + 32) + (64 * 32 * 16 + 64) + (64 * 64 * 16 + 64) + (320 * 64 + 64) + 650,
    LiangCRNN: (64 * 9 + 64)
    + (128 * 64 * 9 + 128)
    + 2 * (128 * 128 * 9 + 128)
    + (4 * 20 * (128 + 20) + 2 * 80)
    + (4 * 20 * (20 + 20) + 2 * 80)
    + (20 * 32 + 32)
    + 330,
}

PROTOCOLS: dict[str, tuple[Any, ...]] = {
    # model, sample rate, hop, mels, scale, split, loss, optimizer, learning rate, batch, epochs
    "wu_cnn": ("WuCNN", 22050, 512, 128, "power", "TrackSplitter", "CrossEntropy", "SGD", 0.02, 64, 20),
    "wu_crnn_mel": ("XiplusCRNN1", 22050, 512, 128, "power", "TrackSplitter", "CrossEntropy", "SGD", 0.02, 64, 20),
    "wu_crnn": ("XiplusCRNN1", 16000, 512, 128, "decibel", "ChunkSplitter", "BCESoftmax", "RMSprop", 1e-5, 20, 45),
    "xiplus_cnn": ("XiplusCNN", 16000, 512, 128, "decibel", "ChunkSplitter", "BCESoftmax", "RMSprop", 1e-4, 16, 20),
    "xiplus_crnn1": ("XiplusCRNN1", 16000, 512, 128, "decibel", "ChunkSplitter", "BCESoftmax", "RMSprop", 1e-5, 16, 60),
    "xiplus_crnn2": ("XiplusCRNN2", 16000, 512, 256, "decibel", "ChunkSplitter", "BCESoftmax", "RMSprop", 1e-5, 20, 60),
    "xiplus_rcnn": ("XiplusRCNN", 16000, 512, 256, "decibel", "ChunkSplitter", "BCESoftmax", "RMSprop", 1e-5, 32, 40),
    "liang_ffnn": (
        "LelandFFNN",
        22050,
        1024,
        128,
        "peak_decibel",
        "TrackSplitter",
        "CrossEntropy",
        "Adam",
        1e-3,
        16,
        40,
    ),
    "liang_cnn": ("LiangCNN", 22050, 1024, 128, "peak_decibel", "TrackSplitter", "CrossEntropy", "Adam", 1e-3, 16, 60),
    "liang_crnn": (
        "LiangCRNN",
        22050,
        1024,
        128,
        "peak_decibel",
        "TrackSplitter",
        "CrossEntropy",
        "Adam",
        1e-3,
        16,
        60,
    ),
    "leland_ffnn": ("LelandFFNN", 22050, 1024, 128, "unit", "TrackSplitter", "CrossEntropy", "Adam", 1e-3, 16, 40),
    "leland_cnn": ("LelandCNN", 22050, 1024, 128, "unit", "TrackSplitter", "CrossEntropy", "Adam", 1e-3, 16, 15),
}

FRACTIONS = {
    "wu_cnn": (0.765, 0.135, 0.1, 1),
    "wu_crnn_mel": (0.765, 0.135, 0.1, 1),
    **{name: (0.8, 0.1, 0.1, 516) for name in ("wu_crnn", "xiplus_cnn", "xiplus_crnn1", "xiplus_crnn2", "xiplus_rcnn")},
    **{name: (0.7, 0.1, 0.2, 42) for name in ("liang_ffnn", "liang_cnn", "liang_crnn", "leland_ffnn", "leland_cnn")},
}


def each(*quick: str) -> list[Any]:
    """Return all ids; those that are not `quick` run with the slow tests."""
    return [pytest.param(name, marks=[] if name in quick else [pytest.mark.slow]) for name in IDS]


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


@pytest.mark.parametrize("name", IDS)
def test_protocol_as_published(name: str, cli: Cli) -> None:
    config = yaml.safe_load(cli(f"experiment=published/{name}", "--cfg", "job").out)
    targets = [config[group]["_target_"].rpartition(".")[2] for group in ("model", "split", "loss", "optimizer")]
    features = config["features"]
    found = (
        targets[0],
        *(features[key] for key in ("sample_rate", "hop_length", "n_mels", "scale")),
        *targets[1:],
        float(config["optimizer"]["lr"]),
        config["data"]["batch_size"],
        config["trainer"]["max_epochs"],
    )
    assert found == PROTOCOLS[name]
    assert tuple(config["split"][key] for key in ("train", "val", "test", "seed")) == FRACTIONS[name]
    assert not any(config["augmentation"].values())
    assert config["data"]["grid_overlap"] == 0
    last = None if name.startswith(("wu", "leland")) else "val/clip_accuracy"
    ties = "last" if name.startswith("xiplus") else "first"
    checkpoint = config["callbacks"]["checkpoint"]
    assert (checkpoint["monitor"], checkpoint["ties"], len(config["callbacks"])) == (last, ties, 3)
    if "crnn" in config["model"]["_target_"].lower() and "Liang" not in config["model"]["_target_"]:
        assert config["model"]["sequence"] == "channels"
    if name.startswith(("liang", "leland")):
        assert config["model"]["resize"] == "shear"
        assert float(config["optimizer"]["eps"]) == 1e-7
    if config["optimizer"]["_target_"] != "torch.optim.RMSprop":
        assert config["scheduler"] == {"_target_": None}
    else:
        assert {key: config["scheduler"][key] for key in ("monitor", "factor", "patience", "threshold")} == {
            "monitor": "train/loss",
            "factor": 0.5,
            "patience": 2,
            "threshold": 0.0,
        }


@pytest.fixture
def like_gtzan(tmp_path: Path) -> Path:
    """Noise in the lengths of GTZAN's tracks: most have the first, the longest has the last."""
    rng = np.random.default_rng(0)
    for genre in ("blues", "rock"):
        for number, samples in enumerate((661_794, 660_000, 675_808)):
            path = tmp_path / "songs" / genre / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.normal(0, 0.1, samples).astype(np.float32), 22050)
    return tmp_path / "songs"


def test_clips_have_the_published_number_of_frames(like_gtzan: Path, stores: Path) -> None:
    overrides = ["data=folder", f"data.root={like_gtzan}", f"data.store_dir={stores}", "logger=none"]
    for name in IDS:
        config = checked([f"experiment=published/{name}", *overrides], run_dir="-")
        corpus = load_corpus(config)
        whole = name.startswith(("liang", "leland"))
        frames = 660 if whole else config.features.n_mels
        assert (corpus.spec.n_mels, corpus.spec.clip_frames) == (config.features.n_mels, frames), name
        if whole:
            assert corpus.store.lengths_frames["blues/0"] == 647
        if config.split["_target_"].endswith("ChunkSplitter"):
            segments = corpus.split(config)
            everything = [segment for subset in segments.subsets.values() for segment in subset]
            of_a_track = [segment for segment in everything if segment.track_id == "blues/1"]
            assert len(of_a_track) == (7 if frames == 128 else 3)
            assert {segment.stop_frame - segment.start_frame for segment in of_a_track} == {frames}


@pytest.mark.parametrize("name", each("xiplus_cnn"))
def test_runs_one_step_on_audio(name: str, cli: Cli, stores: Path, tmp_path: Path) -> None:
    small = ["data.tracks_per_genre=3", "data.artists_per_genre=3", "data.duration_s=1.0"]
    outcome = cli(f"experiment=published/{name}", "data=synthetic", *small, f"data.store_dir={stores}", *STEP)
    assert outcome.code == 0, outcome.err
    metrics = RunDirectory(tmp_path / "run").read_metrics()
    assert metrics["status"] == "finished"
    assert metrics["split"]["leaky"] is ("ChunkSplitter" in PROTOCOLS[name])
    assert ("LEAKY" in outcome.out) is ("ChunkSplitter" in PROTOCOLS[name])
    kinds = {kind.__name__: kind for kind in PARAMETERS}
    assert metrics["parameters"] == PARAMETERS[kinds[PROTOCOLS[name][0]]]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten genres of three pictures of 128 rows and 387 columns, as those of 30 s."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for genre in GENRES:
        for number in range(3):
            (root / genre).mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (128, 387)).astype(np.uint8)).save(root / genre / f"{number}.png")
    return root


ONE_OF_EACH = ("wu_cnn", "xiplus_cnn", "xiplus_crnn1", "leland_ffnn", "leland_cnn", "liang_cnn", "liang_crnn")
"""Systems with all kinds of networks."""


@pytest.mark.parametrize("name", each(*ONE_OF_EACH))
def test_learns_from_pictures_as_it_stands(name: str, pictures: Path, stores: Path) -> None:
    data = ["data=spectrogram_images", f"data.root={pictures}", f"data.store_dir={stores}"]
    prepared = prepare(checked([f"experiment=published/{name}", *data, "logger=none"], run_dir="-"))
    loader = prepared.data.train_dataloader()
    batch = prepared.data.clips("train", next(iter(loader))[:2])
    model = prepared.model
    loss = model.loss(model(batch.stored), torch.eye(10)[batch.genre])
    loss.backward()
    assert torch.isfinite(loss)
    assert all(parameter.grad is not None for parameter in model.network.parameters())
    assert any(notice.startswith(type(model).__name__) for notice in prepared.warnings)


@pytest.mark.parametrize("name", each("wu_crnn", "liang_cnn"))
def test_runs_one_step_on_pictures(name: str, cli: Cli, pictures: Path, stores: Path, tmp_path: Path) -> None:
    data = ["data=spectrogram_images", f"data.root={pictures}", f"data.store_dir={stores}"]
    outcome = cli(f"experiment=published/{name}", *data, *STEP)
    assert outcome.code == 0, outcome.err
    report = (tmp_path / "run/report.md").read_text()
    if name.startswith(("liang", "leland")):
        assert "clips of 128 mels x 387 frames (30.0 s) are stretched to that by linear interpolation" in report
    elif name in ("xiplus_crnn2", "xiplus_rcnn"):
        assert "takes 256 x 256: clips of 128 mels x 128 frames (9.9 s) are stretched to that" in report
    else:
        assert "takes 128 x 128: clips of 128 mels x 128 frames (9.9 s) are taken as they are" in report
    if "ChunkSplitter" in PROTOCOLS[name]:
        split = RunDirectory(tmp_path / "run").read_json(RunDirectory(tmp_path / "run").split)
        assert sum(len(split[subset]) for subset in ("train", "val", "test")) == 3 * 30


def test_another_split_and_other_regularization(cli: Cli, pictures: Path, stores: Path, tmp_path: Path) -> None:
    data = ["data=spectrogram_images", f"data.root={pictures}", f"data.store_dir={stores}"]
    others = ["split=track", "regularization=dropout", "optimizer=adamw", "scheduler=cosine"]
    outcome = cli("experiment=published/wu_crnn_mel", *data, *others, *STEP)
    assert outcome.code == 0, outcome.err
    assert "XiplusCRNN1 has no dropout of its own to set: model.dropout=0.5 has no effect." in outcome.out
    assert RunDirectory(tmp_path / "run").read_metrics()["split"]["name"] == "track"


def test_words_for_the_length_of_a_clip(cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, "data.clip_seconds=round")
    assert outcome.code == 2
    assert "data.clip_seconds=round is neither a number nor one of square, whole." in outcome.err
