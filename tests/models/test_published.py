"""The published networks and their experiments."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from helpers import ROOT, Cli
from PIL import Image
from published_facts import FRACTIONS, PARAMETERS, PROTOCOLS

from genreclf.cli.compose import checked
from genreclf.experiment.corpus import load_corpus
from genreclf.experiment.setup import prepare
from genreclf.run_directory import RunDirectory

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


def each(*quick: str) -> list[Any]:
    """Return all ids; those that are not `quick` run with the slow tests."""
    return [pytest.param(name, marks=[] if name in quick else [pytest.mark.slow]) for name in IDS]


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
    if "ChunkSplitter" in PROTOCOLS[name] or name in ("wu_cnn", "wu_crnn_mel"):  # Pieces of tracks.
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
