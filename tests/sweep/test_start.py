"""Sweeps that a file of options starts, without ``-m``: they are checked and end as those of the command line."""

import signal
from pathlib import Path

import pytest
from helpers import Cli

SWEEP = "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {seed: '0,1'}}}\n"


@pytest.fixture
def sweep(tmp_path: Path, tiny: list[str]) -> list[str]:
    """Write an option that starts a sweep; return the arguments of the command."""
    folder = tmp_path / "own/experiment"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(SWEEP)
    return ["--config-dir", "own", *tiny, "experiment=mine"]


def test_it_has_a_folder_and_ends_on_sigterm(
    sweep: list[str], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Launcher:
        def launch(self, *_: object, **__: object) -> None:
            assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("hydra.core.plugins.Plugins.instantiate_launcher", lambda *_, **__: Launcher())
    outcome = cli(*sweep, "hydra.sweep.dir=sweep")
    assert (outcome.code, outcome.err) == (
        143,
        "Terminated. Jobs finished so far: 0. Run the same command again to continue.\n",
    )
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert (tmp_path / "sweep/sweep.json").exists()


@pytest.mark.parametrize("key", ["run_dir", "hydra.run.dir"])
def test_a_run_directory_is_refused(key: str, sweep: list[str], cli: Cli, tmp_path: Path) -> None:
    outcome = cli(*sweep, f"{key}=there")
    sentence = f"{key} is for one run; a sweep gives each job its own directory in hydra.sweep.dir.\n"
    assert (outcome.code, outcome.err) == (2, sentence)
    assert [path.name for path in tmp_path.iterdir()] == ["own"]


def test_ranks_started_outside_are_refused(sweep: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    outcome = cli(*sweep)
    assert outcome.err == "A sweep starts the ranks of its jobs: leave torchrun or srun out, set trainer.devices.\n"


def test_a_launcher_that_is_missing_is_named(
    sweep: list[str], cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    outcome = cli(*sweep, "hydra/launcher=slurm")
    assert (outcome.code, outcome.err) == (2, "hydra/launcher=slurm needs Slurm: there is no srun on this machine.\n")
