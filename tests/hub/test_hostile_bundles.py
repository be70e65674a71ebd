"""Bundles that somebody tampered with, and a hub that refuses."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_hub import REPO, TOKEN, Hub
from helpers import Cli, Trained
from safetensors.torch import load, save

from genreclf.run_directory import RunDirectory


def changed(content: bytes, change: Callable[[Any], None]) -> bytes:
    value = json.loads(content)
    change(value)
    return json.dumps(value).encode()


def spoil(name: str, change: Callable[[Any], None]) -> Callable[[dict[str, bytes]], None]:
    return lambda files: files.update({name: changed(files[name], change)})


def giant(**arguments: Any) -> dict[str, Any]:
    return {"_target_": "genreclf.models.PatchTransformer", **arguments}


def weights(change: Callable[[dict[str, torch.Tensor]], None]) -> Callable[[dict[str, bytes]], None]:
    def spoiled(files: dict[str, bytes]) -> None:
        state = load(files["model.safetensors"])
        change(state)
        files["model.safetensors"] = save(state)

    return spoiled


HOSTILE: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "code": (spoil("config.json", lambda c: c["config"]["model"].update(_target_="evil.Model")), "--trust evil"),
    "code of torch": (
        spoil("config.json", lambda c: c["config"]["loss"].update(_target_="torch.hub.load")),
        "names 'torch.hub.load' as loss",
    ),
    "no classifier": (
        spoil("config.json", lambda c: c["config"]["model"].update(_target_="torch.nn.Linear")),
        "names 'torch.nn.Linear' as model, which neither genreclf nor PyTorch has",
    ),
    "nested": (lambda files: files.update({"config.json": b"[" * 50_000}), "not readable as JSON"),
    "terminal codes": (spoil("metrics.json", lambda m: m.update(note="\x1b[2J")), "unprintable"),
    "many giants": (
        spoil("config.json", lambda c: c["config"].update(model=giant(depth=100))),
        "it has more layers than there are weights",
    ),
    "an interpolation": (
        spoil("config.json", lambda c: c["config"]["data"].update(root="${oc.env:HF_TOKEN}")),
        "data.root contains an interpolation",
    ),
    "an interpolation of Hydra's": (
        spoil("config.json", lambda c: c["config"].update(hydra={"run": {"dir": "${oc.env:HOME}"}})),
        "hydra.run.dir contains an interpolation",
    ),
    "a giant batch": (
        spoil("config.json", lambda c: c["config"]["data"].update(batch_size=2**40)),
        "data.batch_size of 1099511627776",
    ),
    "giant features": (
        spoil("config.json", lambda c: c["config"]["features"].update(n_fft=2**40)),
        "features.n_fft of 1099511627776",
    ),
    "an endless number": (
        spoil("config.json", lambda c: c["config"]["optimizer"].update(lr=float("inf"))),
        "optimizer.lr of inf",
    ),
    "a long text": (
        spoil("config.json", lambda c: c["config"]["features"].update(scale="x" * 1000)),
        "features.scale of 1000 letters",
    ),
    "many genres": (
        spoil("config.json", lambda c: c["config"]["data"].update(genre_map=dict.fromkeys(map(str, range(1001)), "a"))),
        "data.genre_map of 1001 genres",
    ),
    "a long genre": (
        spoil("config.json", lambda c: c["config"]["data"].update(genre_map={"x" * 201: "a"})),
        "a genre of 201 letters in data.genre_map",
    ),
    "a genre of code": (
        spoil("config.json", lambda c: c["config"]["data"].update(genre_map={"_target_": "evil.Genre"})),
        "--trust evil",
    ),
    "no genre": (
        spoil("config.json", lambda c: c["config"]["data"].update(genre_map={"a": ["b"]})),
        "a new name in data.genre_map that is not a genre",
    ),
    "a missing genre": (
        spoil("config.json", lambda c: c["config"]["data"].update(genre_map={"a": "???"})),
        "a new name in data.genre_map that is not a genre",
    ),
    "much": (spoil("config.json", lambda c: c["config"]["model"].update(channels=[1] * 20_000)), "settings of more"),
    "no section": (spoil("config.json", lambda c: c["config"].update(trainer=[])), "trainer is not a section"),
    "no model": (spoil("config.json", lambda c: c["config"].pop("model")), "there is no model"),
    "an unknown key": (
        spoil("config.json", lambda c: c["config"]["model"].update(evil=1)),
        "model.evil is not a key of CRNN",
    ),
    "too good": (
        spoil("metrics.json", lambda m: m["test"]["track"].update(accuracy=1.01)),
        "test.track.accuracy of 1.01",
    ),
    "worse than nothing": (
        spoil("metrics.json", lambda m: m["test"]["track"].update(accuracy_ci95=[-0.5, 1])),
        "test.track.accuracy_ci95 of -0.5",
    ),
    "no figure": (
        spoil("metrics.json", lambda m: m["test"]["clip"].update(f1_macro=float("nan"))),
        "test.clip.f1_macro of nan",
    ),
    "an endless loss": (
        spoil("metrics.json", lambda m: m["test"]["clip"].update(loss=float("inf"))),
        "test.clip.loss of inf",
    ),
    "a part of a track": (spoil("metrics.json", lambda m: m["test"]["track"].update(n=1.5)), "test.track.n of 1.5"),
    "no seed": (spoil("metrics.json", lambda m: m.pop("seed")), "there is no seed"),
    "a giant": (
        spoil("config.json", lambda c: c["config"]["model"].update(hidden=10**7)),
        "does not contain the weights",
    ),
    "a giant window": (spoil("config.json", lambda c: c["spec"].update(n_fft=2**40)), "n_fft of 1099511627776"),
    "a better figure": (spoil("metrics.json", lambda m: m["split"].update(hash="0" * 16)), "is about another split"),
    "a figure of words": (
        spoil("metrics.json", lambda m: m["test"]["track"].update(accuracy="all")),
        "is not what push writes",
    ),
    "other tracks": (spoil("split.json", lambda s: s["test"].pop()), "was changed by hand"),
    "tracks of two kinds": (spoil("split.json", lambda s: s["test"].append(1)), "split.json"),
    "a missing tensor": (weights(lambda s: s.pop("network.classifier.bias")), "does not contain the weights"),
    "no numbers": (weights(lambda s: s["network.classifier.bias"].fill_(torch.nan)), "NaN or infinity"),
    "a pickle": (lambda files: files.update({"model.safetensors": b"\x80\x04."}), "do not make a model"),
    "no split": (lambda files: files.pop("split.json"), "has no split.json"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused(kind: str, hub: Hub, bundle: dict[str, bytes], cli: Cli, tmp_path: Path) -> None:
    spoiled, sentence = HOSTILE[kind]
    hub.files[REPO] = dict(bundle)
    spoiled(hub.files[REPO])
    outcome = cli("pull", REPO, "--to", "pulled")
    assert outcome.code == 2
    assert sentence in outcome.err
    assert "Traceback" not in outcome.err
    assert "evil" not in sys.modules
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []


def test_what_claims_to_be_huge_is_not_fetched(hub: Hub, bundle: dict[str, bytes], cli: Cli) -> None:
    hub.files[REPO] = dict(bundle)
    hub.claimed_sizes["model.safetensors"] = 2**40
    outcome = cli("pull", REPO)
    assert outcome.code == 2
    assert "is not fetched" in outcome.err
    assert hub.fetched == []


def test_what_the_hub_refuses_is_a_sentence(
    hub: Hub, cli: Cli, trained: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = str(trained.run.path)
    for words, sentence in (
        (("pull", "someone/nothing"), "someone/nothing is not on the hub"),
        (("pull", "a/b/c"), "give it as USER/NAME"),
        (("push", run), "the following arguments are required: --repo"),
        (("push", "nowhere", "--repo", REPO), "nowhere/metrics.json cannot be read"),
    ):
        outcome = cli(*words)
        assert outcome.code == 2
        assert sentence in outcome.err
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "the hub could not be reached, or it refused" in cli("push", run, "--repo", REPO).err
    monkeypatch.delenv("HF_TOKEN")
    assert "model is not a name of a repository; give it as USER/NAME" in cli("push", run, "--repo", "model").err
    assert "There is no Hugging Face token" in cli("push", run, "--repo", REPO).err
    shutil.copytree(run, "running")
    (tmp_path / "running/metrics.json").write_text('{"status": "running"}')
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "running is not finished" in cli("push", "running", "--repo", REPO).err


def test_only_what_is_known_is_kept_of_what_is_pulled(hub: Hub, bundle: dict[str, bytes], cli: Cli) -> None:
    hub.files[REPO] = dict(bundle)
    Path("evil.yaml").write_text("evil: evil")

    def more(content: Any) -> None:
        content["config"] |= {"hydra": {"run": {"dir": "/tmp"}, "callbacks": {"evil": {"x": 1}}}, "callbacks": {"y": 1}}
        content["config"]["logger"] |= {"name": "wandb", "entity": "evil", "project": "evil"}
        content["config"]["data"] |= {"root": "/home/me/music", "store_dir": "/home/me", "artists": "evil"}
        content["config"]["data"]["genre_map"] = "evil.yaml"
        content["config"]["trainer"] |= {"devices": 10**6, "limit_test_batches": 0.01}
        content["config"] |= {"init_from": "/home/me/run", "run_dir": "/home/me/run", "debug": True}

    spoil("config.json", more)(hub.files[REPO])
    spoil("metrics.json", lambda m: m.update(timing={"fit_s": "evil"}, evil=1))(hub.files[REPO])
    outcome = cli("pull", REPO, "--to", "pulled")
    assert outcome.code == 0, outcome.err
    run = RunDirectory("pulled")
    config, metrics = run.read_config(), run.read_metrics()
    for word in ("evil", "/home", "hydra", '"y"'):
        assert word not in json.dumps([config, metrics])
    assert not config["logger"].get("wandb")
    assert config["trainer"]["devices"] == 1
    assert config["run_dir"] == "pulled"
    assert "timing" not in metrics


@pytest.fixture(scope="module")
def bundle(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    from genreclf.hub.bundle import write_bundle

    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(trained.run, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}
