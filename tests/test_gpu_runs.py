"""Whole runs on a GPU; skipped where there is none. Run this file alone, for runs on the CPU hide the GPUs."""

import csv
import gc
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, Cli, python_m, small_encoder, wait_until, write_music

import genreclf
from genreclf.run_directory import RunDirectory

if torch.cuda.is_available():
    torch.cuda.init()  # type: ignore[no-untyped-call]
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture
def on_gpu(tiny: list[str]) -> list[str]:
    """Overrides of a tiny run on a GPU, in the precision that it takes by itself."""
    return [*tiny, "trainer=gpu", "trainer.precision=auto", "trainer.max_epochs=2"]


def probabilities(run: str) -> np.ndarray:
    """Return those of a run's test tracks."""
    with RunDirectory(run).predictions.open(newline="") as file:
        return np.array([[float(value) for value in row[3:]] for row in list(csv.reader(file))[1:]])


def test_a_run_is_tested_and_predicts_exactly(cli: Cli, on_gpu: list[str], tmp_path: Path) -> None:
    assert cli(*on_gpu, "run_dir=run").code == 0
    assert cli("evaluate", "run", "run_dir=again").code == 0
    np.testing.assert_array_equal(probabilities("again"), probabilities("run"))
    environment = RunDirectory("run").read_json(RunDirectory("run").environment)
    assert {"cuda", "cudnn"} <= environment["versions"].keys()
    assert environment["ranks"][0]["device"] == f"{torch.cuda.get_device_name()} (cuda:0)"
    write_music(tmp_path / "music")
    song = tmp_path / "music/metal/0.wav"
    torch.set_float32_matmul_precision("high")
    try:
        here, there = (genreclf.load("run", device=device).predict(song) for device in ("cpu", "cuda"))
    finally:
        torch.set_float32_matmul_precision("highest")
    np.testing.assert_allclose(there.probabilities, here.probabilities, atol=1e-5)
    predicted = cli("predict", "run", str(song), "--device", "cuda:0")
    assert predicted.code == 0, predicted.err


def test_a_deterministic_training_repeats_itself(cli: Cli, on_gpu: list[str]) -> None:
    try:
        for run in ("one", "other"):
            outcome = cli(*on_gpu, "trainer.deterministic=true", f"run_dir={run}")
            assert outcome.code == 0, outcome.err
    finally:
        torch.use_deterministic_algorithms(False)
    np.testing.assert_array_equal(probabilities("one"), probabilities("other"))


def of_recorded_and_eager_steps(cli: Cli, *words: str) -> tuple[np.ndarray, np.ndarray]:
    """Train both ways, in steps enough to be recorded; return the probabilities of each."""
    for step in ("graph", "eager"):
        outcome = cli(*words, "data.batch_size=5", f"trainer.step={step}", f"run_dir={step}")
        assert outcome.code == 0, outcome.err
        assert "cannot record" not in outcome.out + outcome.err
    return probabilities("graph"), probabilities("eager")


@pytest.mark.parametrize(
    "words",
    [
        ["regularization=band_limit"],
        ["model=statistics_crnn", "model.center_bands=true", "augmentation=mix_style"],
        ["loss=distill", "loss.teacher=teacher"],
    ],
    ids=str,
)
def test_recorded_steps_are_those_of_eager_ones(cli: Cli, on_gpu: list[str], words: list[str]) -> None:
    if "loss=distill" in words:
        assert cli(*on_gpu, "run_dir=teacher").code == 0
    np.testing.assert_array_equal(*of_recorded_and_eager_steps(cli, *on_gpu, *words))


def test_recorded_steps_log_the_norm_of_the_gradient(cli: Cli, on_gpu: list[str]) -> None:
    record = ["logger=csv", "callbacks.record.gradient_norm=true", "callbacks.record.every_n_steps=1"]
    np.testing.assert_array_equal(*of_recorded_and_eager_steps(cli, *on_gpu, *record))
    norms = []
    for step in ("graph", "eager"):
        with Path(step, "csv/metrics.csv").open(newline="") as file:
            values = [row["train/gradient_norm"] for row in csv.DictReader(file)]
        norms.append([float(value) for value in values if value])
    assert len(norms[0]) == 12
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-5)


def test_recorded_steps_fine_tune_an_encoder(cli: Cli, on_gpu: list[str], tmp_path: Path) -> None:
    words = [word for word in on_gpu if not word.startswith("model")]
    encoder = [*small_encoder(tmp_path), "encoder.enlarge=1.5", "encoder.centered=true"]
    np.testing.assert_array_equal(*of_recorded_and_eager_steps(cli, *words, "model=finetune", *encoder))


def test_a_longer_training_goes_on_from_the_last_epoch(cli: Cli, on_gpu: list[str]) -> None:
    words = [*on_gpu, "data.batch_size=5", "scheduler=constant", "trainer.step=graph"]
    last = "short/checkpoints/last.ckpt"
    for more in (["run_dir=short"], ["run_dir=longer", f"ckpt_path={last}"], ["run_dir=whole"]):
        epochs = 2 if more == ["run_dir=short"] else 4
        outcome = cli(*words, *more, f"trainer.max_epochs={epochs}")
        assert outcome.code == 0, outcome.err
    np.testing.assert_array_equal(probabilities("longer"), probabilities("whole"))


def test_a_training_that_is_told_to_end_goes_on(cli: Cli, on_gpu: list[str]) -> None:
    words = [*on_gpu, "data.batch_size=5", "trainer.step=graph", "trainer.max_epochs=300", "run_dir=run"]
    run, process = RunDirectory("run"), python_m(*words)
    wait_until(lambda: run.history.exists() and len(run.read_history()) > 3, process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 143, output
    assert len(run.read_history()) < 300
    outcome = cli(*words)
    assert outcome.code == 0, outcome.err
    assert len(run.read_history()) == 300


def test_songs_are_tested_changed_and_predicted(cli: Cli, on_gpu: list[str], tmp_path: Path) -> None:
    write_music(tmp_path / "music")
    songs = ["data=folder", f"data.root={tmp_path / 'music'}", f"data.store_dir={tmp_path / 'stores'}"]
    small = [word for word in on_gpu if not word.startswith(("model", "data"))]
    words = [*small, *songs, "data.clip_seconds=1", "split=track", "split.allow_missing=true", "model=probe"]
    outcome = cli(*words, *small_encoder(tmp_path), "run_dir=run")
    assert outcome.code == 0, outcome.err
    for more in (["split=test_all"], ["robustness=[gain,noise]"]):
        outcome = cli("evaluate", "run", *more, f"run_dir={more[0][:5]}")
        assert outcome.code == 0, outcome.err
    song = tmp_path / "music/metal/0.wav"
    here, there = (genreclf.load("run", device=device).predict(song).probabilities for device in ("cpu", "cuda"))
    np.testing.assert_allclose(there, here, atol=1e-5)
    exported = cli("export", "run")
    assert exported.code == 0, exported.err


def test_no_memory_left_is_a_sentence(cli: Cli, on_gpu: list[str]) -> None:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-5)
    try:
        outcome = cli(*on_gpu, "run_dir=run")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert outcome.code == 2
    assert "The device is out of memory (CUDA out of memory; Tried to allocate" in outcome.err


def test_ranks_train_as_one_process(on_gpu: list[str]) -> None:
    """A single rank sums its gradients with NCCL, two that share the GPU do with gloo."""
    words = [*on_gpu, "trainer.precision=32-true", "model.dropout=0", "data.batch_size=5"]
    gloo = "{_target_:lightning.pytorch.strategies.DDPStrategy,process_group_backend:gloo}"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--master_addr", "localhost"]
    torchrun += ["--master_port", port, "--nproc_per_node", "1"]
    settings = [*words, "trainer.devices=2", f"trainer.strategy={gloo}", "run_dir=gloo"]
    shared = [
        subprocess.Popen(
            [*torchrun, "--node_rank", node, "-m", "genreclf", *settings],
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        )
        for node in ("0", "1")
    ]
    alone = [python_m(*words, "run_dir=plain"), python_m(*words, "trainer.strategy=ddp", "run_dir=nccl")]
    for process in (*shared, *alone):
        output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
    assert len(RunDirectory("gloo").read_json(RunDirectory("gloo").environment)["ranks"]) == 2
    for run in ("nccl", "gloo"):  # Convolutions round their factors to TF32.
        np.testing.assert_allclose(probabilities(run), probabilities("plain"), atol=5e-3)
