"""What only a GPU can show; skipped where there is none. Run this file alone, for runs on the CPU hide the GPUs."""

import copy
import csv
import gc
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import ROOT, Cli, python_m, write_music
from torch import Tensor, nn

import genreclf
from genreclf.audio.log_mel import FeatureSpec
from genreclf.data.clips import ClipBatch, ClipLoader
from genreclf.data.encoding import store_of
from genreclf.datasets.synthetic import Synthetic
from genreclf.devices import exactly
from genreclf.models import CRNN, StatisticsCRNN
from genreclf.models.pooling import MaxPool2d
from genreclf.run_directory import RunDirectory
from genreclf.training.compilation import compiled

if torch.cuda.is_available():
    torch.cuda.init()  # type: ignore[no-untyped-call]
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

GPU = torch.device("cuda", 0)
SPEC = FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=128, clip_seconds=1)
WORKSPACE_BYTES = 2**26
"""What cuBLAS may keep."""


@pytest.fixture
def on_gpu(tiny: list[str]) -> list[str]:
    """Overrides of a tiny run on a GPU, in the precision that it takes by itself."""
    return [*tiny, "trainer=gpu", "trainer.precision=auto", "trainer.max_epochs=2"]


def probabilities(run: str) -> np.ndarray:
    """Return those of a run's test tracks."""
    with RunDirectory(run).predictions.open(newline="") as file:
        return np.array([[float(value) for value in row[3:]] for row in list(csv.reader(file))[1:]])


def test_a_store_is_the_same_to_a_step_and_the_memory_is_given_back(tmp_path: Path) -> None:
    source = Synthetic(tracks_per_genre=2, artists_per_genre=2, duration_s=3.0)
    before_bytes = torch.cuda.memory_reserved()
    on_cpu, on_gpu = (
        store_of(source, source.tracks(), SPEC, directory=tmp_path / device.type, device=device).frames.astype(int)
        for device in (torch.device("cpu"), GPU)
    )
    assert np.abs(on_gpu - on_cpu).max() <= 1
    assert torch.cuda.memory_reserved() <= before_bytes + WORKSPACE_BYTES


def test_clips_arrive_as_they_were_cut() -> None:
    frames = torch.arange(2**20, dtype=torch.int32).reshape(-1, 64)
    rows = torch.arange(300).repeat(3, 1).T

    def clips(share: Tensor) -> ClipBatch:
        segment, _, start = share.unbind(1)
        return ClipBatch(frames[segment[:, None] + torch.arange(16000)].transpose(1, 2), segment, segment, start)

    loader = ClipLoader(lambda: rows, clips=300, batch_size=4, cut=clips, target=GPU)
    factor, sums = torch.ones(2000, 2000, device=GPU), []
    for batch in loader:
        assert isinstance(batch, ClipBatch)
        assert batch.stored.device == GPU
        factor = factor @ factor / 2000  # Something to do meanwhile.
        sums.append(batch.stored.double().sum())
    expected = [clips(share).stored.double().sum() for share in torch.split(rows, 4)]
    assert torch.equal(torch.stack(sums).cpu(), torch.stack(expected))


def test_autocast_keeps_the_gradients_behind_a_recurrent_layer() -> None:
    torch.manual_seed(0)
    model = CRNN(spec=SPEC, genres=["blues", "rock"], dropout=0.0).to(GPU)
    model.setup("fit")
    x = torch.randn(8, 128, SPEC.clip_frames, device=GPU)

    def gradient(scale: float) -> Tensor:
        model.network.zero_grad()
        with torch.autocast("cuda", torch.bfloat16):
            logits = model.network(x)
        (logits.float().square().mean() * scale).backward()
        found = model.network.get_submodule("convolutions.0.0").weight.grad
        assert isinstance(found, Tensor)
        return found.double() / scale

    # As small as late in a training; in float16 they would be zero.
    expected, small = gradient(1.0), gradient(2.0**-24)
    assert (small - expected).norm() < 0.01 * expected.norm()


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_a_compiled_network_computes_the_same(mode: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = StatisticsCRNN(
        spec=SPEC, genres=["blues", "rock"], spec_augment=0.0, dropout=0.0, statistics_dropout=0.0, branch_dropout=0.0
    ).to(GPU)
    model.setup("fit")
    plain, x = copy.deepcopy(model.network), torch.randn(8, 128, SPEC.clip_frames, device=GPU)
    forward = compiled(model.network, mode)
    with exactly():
        for _ in range(3):
            logits, expected = forward(x), plain(x)
            torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)
            for network, output in ((model.network, logits), (plain, expected)):
                network.zero_grad()
                output.square().mean().backward()
    for parameter, same in zip(model.network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, same.grad, atol=1e-3, rtol=1e-2)


WINDOWS = [((4, 32, 128, 431), (2, 2)), ((4, 64, 64, 215), (4, 2)), ((4, 96, 17, 107), (4, 2)), ((4, 5, 9, 53), (3, 3))]
"""Shapes of images, some with rows and columns outside of all windows."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(("shape", "window"), WINDOWS, ids=str)
def test_pools_as_pytorch_to_the_last_bit(shape: tuple[int, ...], window: tuple[int, int], dtype: torch.dtype) -> None:
    image = torch.randint(-30, 30, shape, device=GPU).to(dtype).contiguous(memory_format=torch.channels_last)
    image[0, 0, :2, :2] = torch.tensor([[1.0, torch.nan], [torch.nan, torch.inf]])
    ours, theirs = image.clone().requires_grad_(), image.clone().requires_grad_()
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]
        maxima = MaxPool2d(window)(ours)
    expected = nn.MaxPool2d(window)(theirs)
    torch.cuda.synchronize()
    assert "MaxPool2DWithIndices" not in str(maxima.grad_fn)
    assert "MaxPool2DWithIndices" in str(MaxPool2d(window)(ours).grad_fn)
    slopes = torch.randn_like(expected)
    maxima.backward(slopes)
    expected.backward(slopes)
    torch.cuda.synchronize()
    torch.testing.assert_close(maxima, expected, rtol=0, atol=0, equal_nan=True)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)
    assert maxima.stride() == expected.stride()


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


def test_no_memory_left_is_a_sentence(cli: Cli, on_gpu: list[str]) -> None:
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-5)
    try:
        outcome = cli(*on_gpu, "run_dir=run")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert outcome.code == 2
    assert "No memory is left on the device (CUDA out of memory; Tried to allocate" in outcome.err


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
