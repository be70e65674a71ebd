"""Pretrained encoders: their weights, their embeddings, and probes on them."""

import hashlib
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from helpers import ROOT, Cli, fork_ranks, write_music
from torch import Tensor, nn

import genreclf
from genreclf.cli.compose import checked_refit
from genreclf.config import instantiate
from genreclf.evaluation.predictions import read_track_csv
from genreclf.experiment.refit import Refit
from genreclf.models.encoders.musicnn import MusicTagger
from genreclf.models.encoders.musicnn_networks import HighestMel
from genreclf.models.encoders.store import windows_of
from genreclf.models.encoders.tensorflow import read_checkpoint
from genreclf.models.probe import ProbeNetwork
from genreclf.run_directory import RunDirectory


def varint(number: int) -> bytes:
    part, rest = number & 127, number >> 7
    return bytes([part | 128]) + varint(rest) if rest else bytes([part])


def write_checkpoint(tensors: Mapping[str, Tensor]) -> tuple[bytes, bytes]:
    """Return the index and the data of a checkpoint as TensorFlow writes it."""
    data, entries = b"", [(b"", b"\x08\x01")]
    for name in sorted(tensors):
        values = tensors[name].detach().contiguous().numpy().tobytes()
        sizes = (b"\x08" + varint(size) for size in tensors[name].shape)
        shape = b"".join(b"\x12" + varint(len(size)) + size for size in sizes)
        place = b"\x20" + varint(len(data)) + b"\x28" + varint(len(values)) + b"\x35" + bytes(4)
        entries.append((name.encode(), b"\x08\x01\x12" + varint(len(shape)) + shape + place))
        data += values

    def block(pairs: list[tuple[bytes, bytes]]) -> bytes:
        content, before = b"", b""
        for key, value in pairs:
            shared = next((i for i, (a, b) in enumerate(zip(key, before, strict=False)) if a != b), len(before))
            shared = min(shared, len(key))
            content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
            before = key
        return content + struct.pack("<II", 0, 1)

    first = block(entries)
    handles = block([(b"~", varint(0) + varint(len(first)))])
    index = first + bytes(5) + handles + bytes(5)
    footer = varint(0) + varint(0) + varint(len(first) + 5) + varint(len(handles))
    return index + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57), data


def theirs_of(network: nn.Module) -> dict[str, Tensor]:
    """Return the weights of a VGG by TensorFlow's names, and what an optimizer leaves."""
    theirs: dict[str, Tensor] = {"dense/kernel/Adam": torch.zeros(3)}
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for number, norm in enumerate(norms):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        theirs |= {f"{name}/gamma": norm.weight, f"{name}/beta": norm.bias}
        theirs |= {f"{name}/moving_mean": norm.running_mean, f"{name}/moving_variance": norm.running_var}
    for number, layer in enumerate(module for module in network.modules() if isinstance(module, nn.Conv2d)):
        theirs |= {f"{number + 1}CNN/kernel": layer.weight.permute(3, 2, 1, 0), f"{number + 1}CNN/bias": layer.bias}
    dense = network.get_submodule("tags")
    return theirs | {"dense/kernel": dense.weight.T, "dense/bias": dense.bias}


@pytest.fixture(scope="module")
def tagger() -> MusicTagger:
    section = yaml.safe_load((ROOT / "conf/encoder/vgg_mtt.yaml").read_text())
    torch.manual_seed(0)
    encoder: MusicTagger = instantiate.make("encoder", section)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return encoder.eval()


@pytest.fixture(scope="module")
def weights(tagger: MusicTagger, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Overrides that choose an encoder of weights drawn here, in a wheel as the package's."""
    index, data = write_checkpoint(theirs_of(tagger.network))
    wheel = tmp_path_factory.mktemp("wheel") / "musicnn.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("musicnn/MTT_vgg/.index", index)
        file.writestr("musicnn/MTT_vgg/.data-00000-of-00001", data)
    return ["encoder=vgg_mtt", f"encoder.weights={wheel}", f"encoder.sha256={hashlib.sha256(data).hexdigest()}"]


def test_reads_a_checkpoint_and_refuses_damage() -> None:
    tensors = {"a/b": torch.arange(6.0).view(2, 3), "a/c": torch.tensor(7.0), "b": torch.ones(2, 1)}
    index, data = write_checkpoint(tensors)
    found = read_checkpoint(index, data)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    for spoiled in ((index[:-1], data), (index, data[:-1]), (b"", b"")):
        with pytest.raises(ValueError, match="checkpoint"):
            read_checkpoint(*spoiled)


def test_weights_are_converted_and_kept(tagger: MusicTagger, weights: list[str]) -> None:
    section = yaml.safe_load((ROOT / "conf/encoder/vgg_mtt.yaml").read_text())
    section |= dict(word.removeprefix("encoder.").split("=") for word in weights[1:])
    first: MusicTagger = instantiate.make("encoder", section)
    first.load()
    waveforms = 0.1 * torch.randn(2, 16000 * 7)
    with torch.inference_mode():
        embeddings, wanted = first.eval().embed(waveforms), tagger.embed(waveforms)
        assert first.network(first.images(waveforms))[1].shape == (4, 50)
    assert torch.equal(embeddings, wanted)
    assert embeddings.shape == (2, 5, 2, 128)
    again: MusicTagger = instantiate.make("encoder", section | {"weights": None})
    again.load()  # Of the user's cache.
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert again.eval().double().embed(waveforms.double()).dtype == torch.float64


def test_the_highest_mel_is_that_of_all_mels() -> None:
    layer = HighestMel(4, 3, 4)
    nn.init.normal_(layer.norm.weight)
    image = torch.randn(2, 1, 9, 11)
    layer.norm.eval()
    assert torch.equal(layer.train(False)(image), layer.norm(layer.filters(layer.around(image)).relu()).amax(2))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["encoder.license=null"], "license is missing"),
        (["encoder.overlap=some"], "overlap=some is not one of none, unknown, and known (n)"),
        (["encoder.sha256=" + "0" * 64], "but encoder.sha256 is 0000"),
        (["encoder.weights=nowhere.whl"], "encoder.weights=nowhere.whl is not there"),
        (["encoder.weights=null"], "python -m pip download --no-deps musicnn==0.1.0"),
        (["model=cnn"], "CNN does not use encoder"),
        (["encoder=none"], "choose one with encoder=NAME"),
        (["model.layer=pool6"], "layer=pool6 must be one of all, pool1"),
        (["features.n_mels=64"], "leave out features.n_mels=64"),
    ],
)
def test_mistakes_are_sentences(
    overrides: list[str], sentence: str, cli: Cli, weights: list[str], tiny: list[str], tmp_path: Path
) -> None:
    kept = [word for word in tiny if not word.startswith(("model", "data.store_dir"))]
    names = {word.partition("=")[0] for word in overrides}
    chosen = [word for word in ["model=probe", *weights] if word.partition("=")[0] not in names]
    if "encoder" in names:
        chosen = ["model=probe"]
    outcome = cli(*kept, *chosen, *overrides, "data.store_dir=stores", "run_dir=run")
    assert outcome.code == 2
    assert sentence in outcome.err
    assert not (tmp_path / "stores").exists()


def test_a_probe_trains_and_predicts_as_it_was_tested(cli: Cli, weights: list[str], tmp_path: Path) -> None:
    write_music(tmp_path / "music")
    few = ["split=track", "split.train=0.2", "split.val=0.2", "split.test=0.6"]
    data = ["data=folder", f"data.root={tmp_path}/music", "data.store_dir=stores", "data.batch_size=4"]
    trainer = ["trainer=cpu", "trainer.max_epochs=3", "logger=none", "callbacks.ema._target_=genreclf.training.ema.EMA"]
    outcome = cli(
        "model=probe",
        *weights,
        *few,
        *data,
        *(f"+{word}" if "ema" in word else word for word in trainer),
        "run_dir=run",
    )
    assert outcome.code == 0, outcome.err
    run = RunDirectory("run")
    metrics = run.read_metrics()
    assert metrics["pretrained"]["name"] == "vgg_mtt"
    assert metrics["pretrained"]["overlap"] == "unknown"
    assert "PRETRAINED" in outcome.out
    assert run.report.read_text().splitlines()[0].endswith("(PRETRAINED)")
    found: dict[str, Any] = metrics["probe"]
    assert len(found["search"]) == 12
    assert found["chosen"] in found["search"]
    assert sum(found["layer_weights"].values()) == pytest.approx(1, abs=1e-4)
    assert torch.load(run.best, weights_only=True)["state_dict"]["network.search"].shape == (12, 5)
    tested = read_track_csv(run.predictions)
    predictor = genreclf.load("run")
    for track_id, row in zip(tested.track_ids, tested.probabilities, strict=True):
        (path,) = (tmp_path / "music").glob(f"{track_id}.*")
        np.testing.assert_allclose(predictor.predict(path).probabilities, row, atol=1e-5)
    assert cli("index", "run", "music").code == 0
    assert "(PRETRAINED)" in cli("compare", "run", "--out", "compared", "--format", "markdown").out
    assert cli("evaluate", "run", "run_dir=again", "encoder.sha256=" + "0" * 64).code == 2


def test_a_search_that_is_validated_later_is_recorded(cli: Cli, weights: list[str], tiny: list[str]) -> None:
    settings = [word for word in tiny if not word.startswith("model")]
    epochs = ["trainer.max_epochs=2", "trainer.check_val_every_n_epoch=2"]
    outcome = cli(*settings, *weights, "model=probe", *epochs, "run_dir=run")
    assert outcome.code == 0, outcome.err
    search = RunDirectory("run").read_metrics()["probe"]["search"]
    assert all(row["val_track_loss"] > 0 and row["epoch"] == 1 for row in search)


@pytest.mark.parametrize("sizes", [{"a": 3, "b": 3}, {"a": 3, "b": 5}])
def test_all_layers_start_with_equal_weights(sizes: dict[str, int]) -> None:
    network = ProbeNetwork(sizes, 2, layer="all", deviation=True, hidden=None, dropout=0.0, heads=1).eval()
    x = torch.randn(4, sum(sizes.values()), 6)
    parts = [torch.cat([part.mean(2), part.std(2, correction=0)], 1) for part in x.split(list(sizes.values()), 1)]
    even = len(set(sizes.values())) == 1
    torch.testing.assert_close(network.embed(x), torch.stack(parts).mean(0) if even else torch.cat(parts, 1))


@pytest.mark.parametrize("samples", [3, 10, 23])
def test_windows_are_the_same_whatever_the_blocks(samples: int) -> None:
    signal = torch.arange(float(samples))
    whole = torch.cat(list(windows_of([signal], 7, 5)))
    blocks = torch.cat(list(windows_of(signal.split(2), 7, 5)))
    assert torch.equal(whole, blocks)
    assert len(whole) == max(1, (samples - 7) // 5 + 1)


def test_a_network_of_waveforms_is_trained_on(cli: Cli, weights: list[str], tiny: list[str]) -> None:
    kept = [word for word in tiny if not word.startswith("model")]
    step = ["trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]
    outcome = cli(*kept, *weights, "model=finetune", "model.train_blocks=1", *step, "data.batch_size=4", "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert RunDirectory("run").read_metrics()["pretrained"]["name"] == "vgg_mtt"
    predictor = genreclf.load("run")
    assert (predictor.spec.kind, predictor.spec.sample_rate) == ("waveform", 16000)
    prediction = predictor.predict(0.1 * np.sin(np.arange(16000.0)), sample_rate=16000)
    assert prediction.probabilities.sum() == pytest.approx(1)


@pytest.mark.slow
def test_a_network_with_idle_parts_is_trained_on_several_devices(
    cli: Cli, weights: list[str], tiny: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fork_ranks(monkeypatch)
    kept = [word for word in tiny if not word.startswith("model")]
    step = ["trainer.limit_train_batches=2", "trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]
    outcome = cli(*kept, *weights, "model=finetune", *step, "data.batch_size=4", "trainer.devices=2", "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert RunDirectory("run").status == "finished"


def test_a_search_needs_validation_tracks(cli: Cli, weights: list[str], tiny: list[str], no_val: list[str]) -> None:
    kept = [word for word in tiny if not word.startswith("model")]
    outcome = cli(*kept, *no_val, *weights, "model=probe", "run_dir=run")
    assert outcome.code == 2
    assert "model.lr_factors=[1]" in outcome.err
    factors = ["model.lr_factors=[1]", "model.weight_decay_factors=[1]"]
    outcome = cli(*kept, *no_val, *weights, "model=probe", *factors, "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert RunDirectory("run").read_metrics()["probe"]["chosen"] is None


def test_a_refit_takes_what_the_search_chose(
    cli: Cli, weights: list[str], tiny: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    probe = [*(word for word in tiny if not word.startswith("model")), *weights, "model=probe"]
    outcome = cli(*probe, "model.lr_factors=[0.3]", "run_dir=run")
    assert outcome.code == 0, outcome.err
    run = RunDirectory("run")
    decay = run.read_metrics()["probe"]["chosen"]["weight_decay"]
    config = checked_refit(run, ["seed=1"], run_dir="again", trust=[], config_dir=None)
    assert config.optimizer["lr"] == 0.0003
    assert config.optimizer["weight_decay"] == pytest.approx(decay)
    values = f"optimizer.lr=0.0003 and optimizer.weight_decay={config.optimizer['weight_decay']}"
    assert f"Note: a refit does not search: the search of run chose {values}." in capsys.readouterr().out
    refit = Refit.of(config)
    assert refit is not None
    assert refit.differs == "seed=0 in run, 1 here"
    assert config.model["weight_decay_factors"] == [1]
    outcome = cli(*probe, "refit=run", "run_dir=other")
    assert outcome.code == 2
    assert f"refit=run does not search again: set {values}, which this run chose, with model.lr" in outcome.err
