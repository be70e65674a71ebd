"""Sharing: what is pushed, what comes back, and what is refused, against a hub on the loopback."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from fake_hub import REPO, Hub
from helpers import ARCHITECTURES, Cli, Trained

import genreclf
from genreclf import models
from genreclf.audio.log_mel import FeatureSpec
from genreclf.config.config import Config
from genreclf.hub.contents import shareable, shareable_metrics
from genreclf.recommend.searching import weighting_of
from genreclf.run_directory import RunDirectory


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
    assert (again.code, "already exists" in again.err) == (2, True)
    Path("file").touch()
    nowhere = cli("pull", REPO, "--to", "file/pulled")
    assert (nowhere.code, "--to file/pulled cannot be created" in nowhere.err) == (2, True)


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


@pytest.mark.parametrize(
    ("place", "kept"),
    [
        ("../private/outputs/big", "big"),
        ("~/private/big/", "big"),
        (r"private\big", "big"),
        ("wandb:private/private/big:v0", "big"),
        ("big", "big"),
        (None, None),
    ],
)
def test_of_other_runs_and_files_only_the_names_are_shared(
    place: str | None, kept: str | None, trained: Trained
) -> None:
    config = trained.run.read_config()
    config["loss"] |= {"_target_": "genreclf.training.losses.Distillation", "teacher": place}
    config["encoder"] = {"_target_": "genreclf.models.encoders.Musicnn", "weights": place}
    config["model"] |= {"runs": [place, place], "weights": [0.25, 0.75]}
    shared = shareable(config)
    assert (shared["loss"]["teacher"], shared["encoder"]["weights"], shared["model"]["runs"]) == (
        kept,
        kept,
        [kept] * 2,
    )
    assert shared["model"]["weights"] == [0.25, 0.75]
    assert shareable(shared) == shared


@pytest.mark.parametrize("given", [{"heavy": "metal", "Soul": "blues", "polka": None, 7: "blues"}, "genres.yaml"])
def test_new_names_of_genres_are_shared(given: object, hub: Hub, cli: Cli, finished: RunDirectory) -> None:
    Path("genres.yaml").write_text("heavy: metal\nSoul: blues\npolka: null\n7: blues\n")
    config = finished.read_config()
    config["data"]["genre_map"] = given
    finished.write_config(config)
    assert cli("push", "run", "--repo", REPO).code == 0
    outcome = cli("pull", REPO, "--to", "pulled")
    assert outcome.code == 0, outcome.err
    names = {"heavy": "metal", "Soul": "blues", "polka": None, "7": "blues"}
    assert RunDirectory("pulled").read_config()["data"]["genre_map"] == names
    Path("genres.yaml").unlink()
    outcome = cli("push", "run", "--repo", REPO)
    wanted = (2, "run/config.yaml: data.genre_map=genres.yaml cannot be read") if given == "genres.yaml" else (0, "")
    assert (outcome.code, outcome.err[: len(wanted[1])]) == wanted


def test_settings_of_a_refit_are_shared_without_folders_and_cut_short(trained: Trained) -> None:
    def shared(**record: object) -> dict[str, object]:
        refit: dict[str, object] = shareable_metrics(trained.run.read_metrics() | {"refit": record})["refit"]
        return refit

    told = "loss.teacher=both here, " + "a" * 200
    assert shared(run="r" * 300, epochs=3, differs=told) == {
        **{"run": "r" * 197 + "...", "epochs": 3, "differs": told[:197] + "..."}
    }
    paths = ["/home/Alice Smith/index.txt", r"C:\Users\Alice\index.txt", "~/index.txt", r"\\server\index.txt"]
    for path in (*paths, "Alice Smith/index.txt", "wandb:alice/secret/model:v0"):
        kept = shared(run="run", epochs=3, differs=f"data.artists=None in run, {path} here")
        assert kept["differs"] == "not shared, since it may hold paths"
    assert shared(run="one, two", epochs=[3, 4]) == {"run": "one, two", "epochs": [3, 4]}  # Of an ensemble.


def test_warnings_of_a_split_are_shared_without_paths(hub: Hub, cli: Cli, finished: RunDirectory) -> None:
    split = finished.read_json(finished.split)
    warnings = [
        "LEAKY: private/wandb/me/project/run/v0 has seen 2 of the 4 test tracks",
        "in split=track rock is small",
    ]
    finished.write_json(finished.split, {**split, "warnings": warnings})
    assert cli("push", "run", "--repo", REPO).code == 0
    shared = json.loads(hub.files[REPO]["split.json"])
    assert shared == {**split, "warnings": ["not shared, since it may hold paths", warnings[1]]}


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


def test_a_private_model_is_not_pushed_to_a_public_repository(hub: Hub, cli: Cli, trained: Trained) -> None:
    hub.files[REPO], hub.private[REPO] = {}, False
    outcome = cli("push", str(trained.run.path), "--repo", REPO, "--private")
    assert outcome.code == 2
    assert outcome.err.startswith(f"{REPO} exists and is public: choose another --repo, or make it private")
    assert hub.files[REPO] == {}
