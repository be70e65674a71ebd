"""Sharing: what is pushed, what comes back, and what is refused, against a hub on the loopback."""

import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from fake_hub import TOKEN, Hub
from helpers import ARCHITECTURES, Cli, Trained
from safetensors.torch import load, save

import genreclf
from genreclf import models
from genreclf.audio.log_mel import FeatureSpec
from genreclf.config.config import Config
from genreclf.hub.contents import shareable
from genreclf.recommend.searching import weighting_of
from genreclf.run_directory import RunDirectory

REPO = "someone/metal-or-not"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no_token"))
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def pushed(hub: Hub, cli: Cli, trained: Trained) -> dict[str, bytes]:
    outcome = cli("push", str(trained.run.path), "--repo", REPO, "--license", "cc-by-4.0")
    assert outcome.code == 0, outcome.err
    assert outcome.out == f"{hub.address}/{REPO}\n"
    return hub.files[REPO]


def test_a_pulled_model_predicts_as_the_run_does(
    hub: Hub, pushed: dict[str, bytes], cli: Cli, trained: Trained, tmp_path: Path
) -> None:
    assert set(pushed) == {"README.md", "config.json", "metrics.json", "model.safetensors", "split.json"}
    pushed["evil.py"] = b"raise SystemExit"
    outcome = cli("pull", REPO, "--to", "pulled")
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "pulled"
    assert not Path("pulled/similarity.json").exists()
    assert "test tracks right, 95 % interval" in outcome.out
    assert "evil.py" not in hub.fetched
    found = {str(path.relative_to("pulled")) for path in Path("pulled").rglob("*") if path.is_file()}
    assert found == {"config.yaml", "metrics.json", "split.json", "checkpoints/best.ckpt"}
    song = next((trained.music / "metal").glob("0.*"))
    ours, theirs = (genreclf.load(run).predict(song) for run in (trained.run.path, tmp_path / "pulled"))
    np.testing.assert_array_equal(ours.probabilities, theirs.probabilities)
    assert ours.calibration == theirs.calibration is not None
    assert cli("predict", "pulled", str(song), "--format", "jsonl").code == 0
    again = cli("pull", REPO, "--to", "pulled")
    assert (again.code, "is there already" in again.err) == (2, True)


def test_a_pulled_model_recommends_as_the_run_does(hub: Hub, cli: Cli, finished: RunDirectory) -> None:
    kept = finished.path / "similarity.json"
    kept.write_text('{"sizes": [4], "weights": [0.25, 0.75], "more": "of nobody\'s concern"}')
    assert cli("push", str(finished.path), "--repo", REPO).code == 0
    assert json.loads(hub.files[REPO]["similarity.json"]) == {"sizes": [4], "weights": [0.25, 0.75]}
    assert cli("pull", REPO, "--to", "pulled").code == 0
    assert weighting_of(RunDirectory("pulled"), (4,)) == ((4,), (0.25, 0.75))
    for damaged in (b'{"sizes": [4], "weights": [0.5, 0.75]}', b'{"sizes": 4}', b"[]"):
        hub.files[REPO]["similarity.json"] = damaged
        outcome = cli("pull", REPO, "--to", "refused")
        assert (outcome.code, "similarity.json is not what push writes" in outcome.err) == (2, True)
    kept.write_text("{}")
    outcome = cli("push", str(finished.path), "--repo", REPO)
    assert (outcome.code, "similarity.json holds no weights" in outcome.err) == (2, True)


@pytest.mark.slow
def test_a_pulled_model_is_a_run_for_the_other_commands(
    pushed: dict[str, bytes], cli: Cli, trained: Trained, tmp_path: Path
) -> None:
    assert cli("pull", REPO, "--to", "pulled").code == 0
    outcome = cli("evaluate", "pulled", "run_dir=again")
    assert outcome.code == 2
    assert "data.root is missing" in outcome.err
    data = (f"data.root={trained.music}", f"data.store_dir={tmp_path}")
    outcome = cli("evaluate", "pulled", *data, "run_dir=again")
    assert outcome.code == 0, outcome.err
    assert RunDirectory("again").predictions.read_text() == trained.run.predictions.read_text()
    outcome = cli("index", "pulled", str(trained.music))
    assert outcome.out.startswith("15 indexed"), outcome.err
    assert "metal" in cli("recommend", "pulled", "metal/0.wav", "--format", "csv").out
    outcome = cli("export", "pulled", "--format", "torch-export")
    assert outcome.code == 0, outcome.err
    assert Path("pulled/model.pt2").is_file()
    assert "not finished" not in cli("push", "pulled", "--repo", REPO).err


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_shape_of_a_model_is_known_without_memory_for_it(name: str) -> None:
    spec = FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=128, clip_seconds=1)
    with torch.device("meta"):
        model = getattr(models, name)(spec=spec, genres=["a", "b"])
    assert all(values.is_meta for values in model.network.parameters())


def test_the_card_is_honest_and_names_no_folder_of_ours(pushed: dict[str, bytes], trained: Trained) -> None:
    card = pushed["README.md"].decode()
    metrics, split = trained.run.read_metrics(), trained.run.read_json(trained.run.split)
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["license"] == "cc-by-4.0"
    (result,) = front["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == metrics["test"]["track"]["accuracy"]
    low, high = metrics["test"]["track"]["accuracy_ci95"]
    assert f"95 % interval {100 * low:.1f}-{100 * high:.1f} %" in card
    assert split["hash"] in card
    assert "LEAKY" not in card
    for genre in split["genres"]:
        assert f"\n| {genre} |" in card
    assert f"python -m genreclf pull {REPO}" in card
    for content in pushed.values():
        assert str(trained.music.parent).encode() not in content


def test_places_accounts_and_devices_stay_at_home(trained: Trained) -> None:
    config = trained.run.read_config()
    config["data"] |= {"root": "../private/music", "artists": "~\\private\\artists.txt", "store_dir": "private"}
    config["split"] |= {"_target_": "genreclf.splits.lists.ListSplitter", "train": "private/train.txt"}
    config["logger"] |= {"wandb": {"_target_": "private.Logger", "project": "private", "tags": ["private"]}}
    config["callbacks"] |= {"mine": {"_target_": "private.Callback"}}
    config["trainer"] |= {"devices": 7, "accelerator": "gpu", "limit_test_batches": 0.5}
    config |= {"init_from": "/private/run", "hydra": {"run": {"dir": "private"}}, "private": 1}
    shared = shareable(config)
    assert "private" not in json.dumps(shared)
    assert shared.keys() <= {*Config.from_plain(trained.run.read_config()).plain, "robustness"}
    assert (shared["data"]["root"], shared["data"]["artists"], shared["split"]["train"]) == (None, None, None)
    assert shared["data"]["_target_"] == config["data"]["_target_"]
    assert shared["data"]["clip_seconds"] == config["data"]["clip_seconds"]
    assert [shared["trainer"][key] for key in ("devices", "accelerator", "limit_test_batches")] == [1, "auto", None]
    for same in ("model", "features", "loss", "optimizer", "scheduler", "augmentation", "callbacks", "seed"):
        assert shared[same] == {**config, "callbacks": trained.run.read_config()["callbacks"]}[same]
    assert shared["trainer"]["max_epochs"] == config["trainer"]["max_epochs"]


def test_only_what_is_known_is_kept_of_what_is_pulled(hub: Hub, bundle: dict[str, bytes], cli: Cli) -> None:
    hub.files[REPO] = dict(bundle)

    def more(content: Any) -> None:
        content["config"] |= {"hydra": {"run": {"dir": "/tmp"}, "callbacks": {"evil": {"x": 1}}}, "callbacks": {"y": 1}}
        content["config"]["logger"] |= {"name": "wandb", "entity": "evil", "project": "evil"}
        content["config"]["data"] |= {"root": "/home/me/music", "store_dir": "/home/me", "artists": "evil"}
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


def test_a_leaky_run_says_so_on_its_card(hub: Hub, cli: Cli, trained: Trained, tmp_path: Path) -> None:
    run = RunDirectory(shutil.copytree(trained.run.path, tmp_path / "run"))
    metrics, split = run.read_metrics(), run.read_json(run.split)
    metrics["split"]["leaky"] = split["leaky"] = True
    run.write_json(run.metrics, metrics)
    run.write_json(run.split, split)
    assert cli("push", "run", "--repo", REPO, "--private").code == 0
    card = hub.files[REPO]["README.md"].decode()
    assert "(LEAKY)\n" in card
    assert "LEAKY SPLIT" in card
    assert "model-index" not in card
    assert hub.private[REPO]
    assert "LEAKY" in cli("pull", REPO, "--to", "pulled").out


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
    "terminal codes": (spoil("metrics.json", lambda m: m.update(note="\x1b[2J")), "cannot be printed"),
    "many giants": (
        spoil("config.json", lambda c: c["config"].update(model=giant(depth=100))),
        "it has more layers than there are weights",
    ),
    "an interpolation": (
        spoil("config.json", lambda c: c["config"]["data"].update(root="${oc.env:HF_TOKEN}")),
        "data.root holds an interpolation",
    ),
    "an interpolation of Hydra's": (
        spoil("config.json", lambda c: c["config"].update(hydra={"run": {"dir": "${oc.env:HOME}"}})),
        "hydra.run.dir holds an interpolation",
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
    "much": (spoil("config.json", lambda c: c["config"]["model"].update(channels=[1] * 20_000)), "settings of more"),
    "no section": (spoil("config.json", lambda c: c["config"].update(trainer=[])), "trainer is no section"),
    "no model": (spoil("config.json", lambda c: c["config"].pop("model")), "there is no model"),
    "an unknown key": (
        spoil("config.json", lambda c: c["config"]["model"].update(evil=1)),
        "model.evil is no key of CRNN",
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
    "a giant": (spoil("config.json", lambda c: c["config"]["model"].update(hidden=10**7)), "does not hold the weights"),
    "a giant window": (spoil("config.json", lambda c: c["spec"].update(n_fft=2**40)), "n_fft of 1099511627776"),
    "a better figure": (spoil("metrics.json", lambda m: m["split"].update(hash="0" * 16)), "tells of another split"),
    "a figure of words": (
        spoil("metrics.json", lambda m: m["test"]["track"].update(accuracy="all")),
        "is not what push writes",
    ),
    "other tracks": (spoil("split.json", lambda s: s["test"].pop()), "was changed by hand"),
    "tracks of two kinds": (spoil("split.json", lambda s: s["test"].append(1)), "split.json"),
    "a missing tensor": (weights(lambda s: s.pop("network.classifier.bias")), "does not hold the weights"),
    "no numbers": (weights(lambda s: s["network.classifier.bias"].fill_(torch.nan)), "no numbers"),
    "a pickle": (lambda files: files.update({"model.safetensors": b"\x80\x04."}), "make no model"),
    "no split": (lambda files: files.pop("split.json"), "holds no split.json"),
}


@pytest.fixture(scope="module")
def bundle(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    from genreclf.hub.bundle import write_bundle

    folder = tmp_path_factory.mktemp("bundle")
    write_bundle(trained.run, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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
    assert "the hub could not be asked, or refused" in cli("push", run, "--repo", REPO).err
    monkeypatch.delenv("HF_TOKEN")
    assert "There is no Hugging Face token" in cli("push", run, "--repo", REPO).err
    shutil.copytree(run, "running")
    (tmp_path / "running/metrics.json").write_text('{"status": "running"}')
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "running is not finished" in cli("push", "running", "--repo", REPO).err
