"""A training with the real W&B client against servers that are down, hang, or answer with errors."""

import contextlib
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import wandb
from fake_wandb import FakeServer, fake_hub, history_of, online
from helpers import PAGES, Cli, python_m, wait_until

from genreclf.errors import UserError
from genreclf.run_directory import RunDirectory
from genreclf.training.artifacts import fetch, source_of
from genreclf.training.loggers import PatientWandbLogger
from genreclf.training.tracking import Tracking


@contextlib.contextmanager
def server(kind: str) -> Iterator[str]:
    """Yield the address of a server that refuses connections, never answers, or answers with status 500."""
    if kind == "errors":

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.send_error(500)

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as answering:
            threading.Thread(target=answering.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{answering.server_port}"
            answering.shutdown()
        return
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        if kind == "hangs":
            yield address
            return
    yield address


@pytest.mark.slow
def test_the_real_client_sends_the_record_and_outlives_its_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genreclf.training.loggers.FINISH_TIMEOUT_S", 5.0)
    run = RunDirectory(tmp_path / "run")
    run.make()

    def history() -> str:
        return json.dumps([asked for path, asked in FakeServer.sent if path.endswith("file_stream")])

    with (
        fake_hub(tmp_path, monkeypatch) as answering,
        Tracking([logger_of(run, group="sweep")]) as tracking,
    ):
        tracking.loggers[0].log_metrics({"val/loss": 1.5}, step=0)
        tracking.loggers[0].log_metrics({"val/loss": 1.25}, step=1)
        wait_until(lambda: "val/loss" in history())
        answering.shutdown()
        answering.server_close()
        tracking.loggers[0].log_metrics({"val/loss": 1.0}, step=2)
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 60
    begun = FakeServer.upserted()[0]["variables"]
    assert (begun["project"], begun["groupName"], begun["displayName"]) == ("genreclf", "sweep", "run")
    assert "CRNN" in begun["config"]
    assert list(run.path.glob("wandb/run-*/*.wandb"))


@pytest.mark.slow
def test_a_run_that_failed_goes_on_as_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory(tmp_path / "run")
    run.make()

    def attempt(*losses: float, error: Exception | None = None) -> None:
        with Tracking([logger_of(run)]) as tracking:
            for step, loss in enumerate(losses):
                tracking.loggers[0].log_metrics({"val/loss": loss}, step=step)
            if error:
                raise error

    with fake_hub(tmp_path, monkeypatch):
        with pytest.raises(ValueError, match="no"):
            attempt(1.5, 1.25, error=ValueError("no"))
        attempt(1.0)
        (name,) = {asked["variables"]["name"] for asked in FakeServer.upserted()}
        history = [json.loads(line) for line in history_of(FakeServer.sent, name)]
        assert [(line["_step"], line["val/loss"]) for line in history] == [(0, 1.5), (1, 1.25), (2, 1.0)]
        attempt(1.0)
        assert len({asked["variables"]["name"] for asked in FakeServer.upserted()}) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["refuses", "hangs", "errors"])
def test_a_training_finishes_without_its_server(
    kind: str, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(kind) as address:
        online(tmp_path, monkeypatch, address)
        monkeypatch.setenv("WANDB_INIT_TIMEOUT", "5")
        process = python_m(*tiny, "logger=wandb", "run_dir=run")
        output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    run = RunDirectory(tmp_path / "run")
    assert run.read_metrics()["status"] == "finished"
    assert run.report.exists()
    (record,) = run.path.glob("wandb/*run-*/*.wandb")
    sentence = f"its record is on disk: wandb sync {record.parent.relative_to(tmp_path)} uploads it."
    assert record.parent.name.startswith("offline-run-")
    assert output.count(sentence) == 1


@pytest.mark.slow
def test_a_training_goes_on_while_its_server_hangs(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ["logger=wandb", "callbacks.record.every_n_steps=1", "logger.wandb.log_model=best"]
    with fake_hub(tmp_path, monkeypatch) as answering:
        monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "3")
        process = python_m(*tiny, *kept, "trainer.max_epochs=40", "run_dir=run")
        wait_until(RunDirectory("run").read_history, process)
        FakeServer.hangs.set()
        output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert RunDirectory("run").read_metrics()["epochs"] == 40
    (record,) = tmp_path.glob("run/wandb/run-*")
    address = f"W&B: http://127.0.0.1:{answering.server_port}/someone/genreclf/runs/{record.name.rpartition('-')[2]}\n"
    assert output.count(address) == 2
    assert output.count("Note: W&B lost a part of the record") == 1
    assert f"; wandb sync run/wandb/{record.name} uploads what is on disk.\n" in output


@pytest.mark.slow
def test_a_model_in_wandb_stands_for_a_run(
    cli: Cli, tiny: list[str], finished: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = "wandb:someone/genreclf/model:latest"
    soundfile.write(tmp_path / "song.wav", np.random.default_rng(0).normal(0, 0.1, 44100), 22050)
    names = ("config.yaml", "metrics.json", "split.json", "checkpoints/best.ckpt")
    with fake_hub(tmp_path, monkeypatch) as answering:
        FakeServer.model = {name: (finished.path / name).read_bytes() for name in names}
        FakeServer.digests = {"checkpoints/best.ckpt": "AAAA"}
        with pytest.raises(UserError, match=r"cannot be downloaded from W&B \(Digest mismatch"):
            fetch(reference)
        FakeServer.digests = {}
        FakeServer.model["sitecustomize.py"] = b"1"
        with pytest.raises(UserError, match="is not a model saved by logger"):
            fetch(reference)
        del FakeServer.model["sitecustomize.py"]
        with pytest.raises(UserError, match="cannot be downloaded from W&B"):
            fetch("wandb:someone/genreclf/other:latest")
        there, here = (cli("predict", run, "song.wav", "--format", "csv") for run in (reference, "run"))
        assert (there.code, there.out) == (0, here.out), there.err
        tuned = cli(*tiny, f"init_from={reference}", "logger=wandb", "run_dir=tuned")
        assert tuned.code == 0, tuned.err
        answering.shutdown()
    assert RunDirectory("tuned").read_json(RunDirectory("tuned").split)["started_from"][0]["train"]
    monkeypatch.setenv("WANDB_MODE", "offline")
    kept = fetch("wandb:someone/genreclf/model:v3")  # Without asking anyone.
    assert source_of(RunDirectory(kept)) == "someone/genreclf/model:v3"
    used = [asked["variables"] for _, asked in FakeServer.sent if "useArtifact" in asked.get("query", "")]
    assert sum("a" in use.values() for use in used) == 1  # Beside dataset and split.


def test_a_run_says_where_it_is_in_wandb(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_hub(tmp_path, monkeypatch) as answering:
        outcome = cli(*tiny, "logger=wandb", "run_dir=run")
    assert outcome.code == 0, outcome.err
    (run_id,) = {asked["variables"]["name"] for asked in FakeServer.upserted()}
    line = f"W&B: http://127.0.0.1:{answering.server_port}/someone/genreclf/runs/{run_id}\n"
    assert outcome.out.count(line) == 2
    assert re.search(rf"^Run directory: run .*\n{line}Epoch 0/0", outcome.out, re.M)
    documented = line.replace(f"http://127.0.0.1:{answering.server_port}", "https://wandb.ai").replace(
        run_id, "q72p1i4d"
    )
    assert f"```\n{documented}```" in PAGES["wandb"]


def test_a_name_of_no_model_is_refused_before_anything_is_asked(cli: Cli, tiny: list[str]) -> None:
    sentence = "wandb:model:latest is not the name of a W&B model; write it as wandb:ENTITY/PROJECT/ARTIFACT:ALIAS.\n"
    for words in (["init_from="], ["refit="], ["compare_with="], ["loss=distill", "loss.teacher="]):
        outcome = cli(*tiny, *words[:-1], f"{words[-1]}wandb:model:latest", "run_dir=run")
        assert (outcome.code, outcome.err) == (2, sentence), words


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["log_model=all"], "log_model=all is not one of none, best, last, both."),
        (["log_model=best", "registry=models"], "registry=models is not a REGISTRY/COLLECTION[:ALIAS]."),
        (
            ["registry=model/genres:production"],
            "registry=model/genres:production needs a model, but log_model=none keeps",
        ),
        (["log_model=best", "model_days=0"], "model_days=0 must be a whole number of at least 1, or null."),
    ],
)
def test_what_is_to_be_kept_of_a_model_is_checked(
    settings: list[str], sentence: str, cli: Cli, tiny: list[str]
) -> None:
    outcome = cli(*tiny, "logger=wandb", *(f"logger.wandb.{setting}" for setting in settings), "run_dir=run")
    assert outcome.code == 2
    assert outcome.err.startswith(f"logger.wandb.{sentence}")


@pytest.mark.slow
def test_a_run_outlives_the_service_that_writes_its_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wandb.teardown()
    run = RunDirectory(tmp_path / "run")
    run.make()
    with Tracking([logger_of(run)]) as tracking:
        os.kill(service_of(os.getpid()), signal.SIGKILL)
        time.sleep(0.2)
        for step in range(3):
            tracking.loggers[0].log_metrics({"val/loss": 1.0}, step=step)
        tracking.add_pictures(lambda: [])
    assert capsys.readouterr().err.count("Note: W&B lost a part of the record") == 1
    # As after a run of its own: the next one starts another service.
    with contextlib.suppress(OSError):
        wandb.teardown()
    with Tracking([logger_of(run)]):
        pass
    assert len(list(run.path.glob("wandb/offline-run-*/*.wandb"))) == 2


def logger_of(run: RunDirectory, **settings: Any) -> PatientWandbLogger:
    return PatientWandbLogger(save_dir=run.path, config={"model": {"_target_": "CRNN"}}, **settings)


def service_of(pid: int) -> int:
    listed = subprocess.run(["ps", "-ww", "-eo", "pid=,args="], text=True, capture_output=True, check=True).stdout
    lines = [line.split() for line in listed.splitlines() if "wandb-core" in line]
    (words,) = [words for words in lines if str(pid) in words[1:]]
    return int(words[0])
