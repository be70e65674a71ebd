"""The door itself: what it imports, where it works from, what the loggers leave."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from helpers import ROOT, Cli
from omegaconf import OmegaConf

from genreclf.cli import COMMANDS
from genreclf.cli.directories import fixed_keys, job_folder, sweep_folder
from genreclf.run_directory import RunDirectory


def test_the_configuration_is_shown_without_torch() -> None:
    code = (
        "import sys; sys.argv[1:] = ['--cfg', 'job']; from genreclf.__main__ import main; main(); print(*sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    modules = set(shown.stdout.splitlines()[-1].split())
    assert not modules & {"torch", "lightning", "torchaudio", "wandb", "numpy", "librosa", "matplotlib"}


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_the_overview_has_every_command(arguments: list[str], cli: Cli) -> None:
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.err
    assert all(f"  {command} " in outcome.out and line in outcome.out for command, line in COMMANDS.items())


def test_help_of_a_training_has_the_settings(cli: Cli) -> None:
    outcome = cli("--help", "train")
    assert outcome.code == 0, outcome.err
    assert outcome.out.lstrip().startswith("usage: python -m genreclf [train] [KEY=VALUE ...]")
    assert "regularization: " in outcome.out
    assert outcome == cli("train", "--help")


def test_train_is_the_default_command(cli: Cli) -> None:
    outcome = cli("train", "model=cnn", "--cfg", "job")
    assert (outcome.code, outcome) == (0, cli("model=cnn", "--cfg", "job"))
    assert "genreclf.models.CNN" in outcome.out


def test_job_folders_are_readable_and_differ() -> None:
    composed = [OmegaConf.create({"lr": lr, "run_dir": None}) for lr in (1e-3, 1e-4)]
    names = [job_folder(["data=gtzan", "model=crnn", f"optimizer.lr={c.lr}"], ["data"], _root_=c) for c in composed]
    assert names[0].startswith("model-crnn_lr-0.001_")
    assert len({name.rpartition("_")[2] for name in names}) == 2
    assert "=" not in names[0]
    given = ["seed=5", "seed=1,2", "lr=1,2", "lr=3"]
    assert fixed_keys(given) == ["lr"]
    assert job_folder(["seed=5", "seed=2", "lr=1", "lr=3"], fixed_keys(given), _root_=composed[0]).startswith("seed-2_")
    assert "/" not in job_folder(["data.root=/some/where"], [], _root_=composed[0])
    elsewhere = OmegaConf.create({"lr": 1e-3, "run_dir": "x", "logger": {"csv": True}})
    assert job_folder([], [], _root_=elsewhere) == names[0].rpartition("_")[2]


def test_a_sweep_is_found_again_however_it_is_run() -> None:
    def place(*more: str) -> str:
        return sweep_folder(["model=cnn,crnn", *more])

    assert place().startswith("model_")
    for passing in ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.n_jobs=2", "debug=true"):
        assert place(passing) == place()
    assert place("seed=1") != place()


def test_the_folder_of_a_sweep_is_not_taken_for_an_option() -> None:
    assert sweep_folder(["sweep=[learning_curve,optuna]"]).startswith("learning_curve-optuna_")


def test_two_runs_in_one_second_have_two_directories(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    for _ in range(2):
        assert cli(*tiny, "trainer.limit_train_batches=1").code == 0
    assert len(list(tmp_path.glob("outputs/runs/*/metrics.json"))) == 2


@pytest.mark.slow
def test_an_installed_wheel_works_from_anywhere(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(ROOT)], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    code = "import genreclf.config.keys; print(genreclf.config.keys.CONFIG_DIR)"
    for command in (["-c", code], ["-m", "genreclf", "model=cnn", "--cfg", "job"]):
        shown = subprocess.run(
            [sys.executable, *command], capture_output=True, text=True, check=True, cwd=tmp_path, env=environment
        )
        assert str(tmp_path / "site/genreclf/conf") in shown.stdout or "genreclf.models.CNN" in shown.stdout


def test_the_record_of_the_environment(finished: RunDirectory) -> None:
    environment = finished.read_json(finished.environment)
    assert environment["versions"]["torch"].startswith("2.")
    assert environment["command"].startswith("python -m genreclf data=synthetic")
    assert environment["device"]
