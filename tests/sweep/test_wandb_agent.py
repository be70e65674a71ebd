"""The real agent of W&B drives a sweep of ours, on a server that only looks like W&B."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_wandb import SWEEP, FakeServer, fake_hub, history_of, summary_of
from helpers import ROOT, Cli, wait_until

from genreclf.run_directory import RunDirectory

RATES = (0.001, 0.002, 0.004, 0.008)
KILLED = 1
"""The trial that is killed."""


def command(number: int, run_id: str, kind: str = "run", **more: Any) -> dict[str, Any]:
    values = {"optimizer.lr": RATES[number], "model.dropout": 0.1, **more}
    args = {key: {"value": value} for key, value in values.items()}
    return {"type": kind, "run_id": run_id, "program": "genreclf", "args": args}


def trials_of(agent: int) -> list[int]:
    """Return the processes that an agent has started."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], text=True, capture_output=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return [int(pid) for pid, parent, *words in rows if int(parent) == agent and "trial" in words]


@pytest.mark.slow
def test_an_agent_trains_four_trials_one_of_them_killed(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = ["optimizer.lr=0.001,0.002,0.004,0.008", "model.dropout=interval(0,0.5)"]
    fixed = [*tiny, "logger=wandb", "trainer.max_epochs=8", "hydra.sweep.dir=sweep", "hydra.sweeper.n_trials=4"]
    sweep = ["-m", "hydra/sweeper=wandb", *fixed, *searched]
    whole = {"_wandb": {"cli_version": "0.31.0"}, "model": {"_target_": "CRNN"}, "init_from": None, "seed": 0}
    with fake_hub(tmp_path, monkeypatch):
        outcome = cli(*sweep)
        assert outcome.code == 0, outcome.err
        assert outcome.out.splitlines()[-1] == f"  wandb agent someone/genreclf/{SWEEP}"
        (_, registered) = next(each for each in FakeServer.sent if "upsertSweep" in each[1].get("query", ""))
        assert "run_cap: 4" in registered["variables"]["config"]
        assert f"wandb agent someone/genreclf/{SWEEP}" in cli(*sweep).out
        assert sum("upsertSweep" in asked.get("query", "") for _, asked in FakeServer.sent) == 1

        FakeServer.commands = [command(number, f"trial{number}") for number in range(4)]
        FakeServer.commands.insert(KILLED + 1, command(KILLED, f"trial{KILLED}", "resume", **whole))
        FakeServer.commands.append(command(0, "again"))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
        monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        words = [sys.executable, "-m", "wandb", "agent", f"someone/genreclf/{SWEEP}"]
        with Path("agent.log").open("w") as log:
            agent = subprocess.Popen(words, text=True, stdout=log, stderr=subprocess.STDOUT)
        try:
            killed = wait_until(lambda: list(Path("sweep").glob(f"lr-{RATES[KILLED]}_*/checkpoints/last.ckpt")), agent)[
                0
            ]
            (trial,) = trials_of(agent.pid)
            os.kill(trial, signal.SIGKILL)
            run = RunDirectory(killed.parent.parent)
            epochs = len(run.read_history())
            assert run.status == "running"
            code = agent.wait(timeout=600)
        finally:
            agent.kill()
        assert code == 0, Path("agent.log").read_text()[-3000:]
        begun = {(asked["variables"]["name"], asked["variables"].get("sweep")) for asked in FakeServer.upserted()}
        names = {*(f"trial{number}" for number in range(4)), "again"}
        assert {name for name, _ in begun} == names
        assert {(name, SWEEP) for name in names} <= begun, begun
        folders = {path.parent.name for path in Path("sweep").glob("*/job.json")}
        assert len(folders) == 4
        runs = {path.name.split("_")[0]: RunDirectory(path) for path in Path("sweep").glob("lr-*")}
        objectives = {}
        for number, rate in enumerate(RATES):
            metrics = runs[f"lr-{rate}"].read_metrics()
            assert metrics["status"] == "finished"
            objectives[f"trial{number}"] = metrics["objective"]
        objectives["again"] = objectives["trial0"]
        assert {name: summary_of(name)["objective"] for name in names} == objectives
        lines = [json.loads(line) for line in history_of(FakeServer.sent, f"trial{KILLED}")]
        resumed = [line["epoch"] for line in lines if "val/track_accuracy" in line]
        # What the killed trial had not sent yet is lost, and nothing comes twice.
        assert resumed == list(range(8 - len(resumed), 8)), (resumed, epochs)
        assert len(resumed) >= 8 - epochs
        assert 0 < epochs < 8
    outcome = cli(*sweep)
    assert "4 jobs: 4 finished." in outcome.out
