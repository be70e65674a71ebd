"""Finding a device, saying why there is none, and computing exactly."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from helpers import SMALL, Cli, Trained
from torch.backends import cudnn

import genreclf
from genreclf import devices, hardware
from genreclf.devices import device_errors, exactly, find_device, gpu_problem
from genreclf.errors import UserError
from genreclf.experiment import corpus
from genreclf.models import GenreClassifier
from genreclf.run_directory import RunDirectory


def machine(monkeypatch: pytest.MonkeyPatch, *gpus: str) -> None:
    """Let PyTorch find these GPUs and no others."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpus))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: gpus[0])


def test_finds_devices_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    machine(monkeypatch)
    assert find_device("auto") == find_device("cpu") == torch.device("cpu")
    machine(monkeypatch, "H100", "H100")
    assert find_device("auto") == torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert find_device("auto") == torch.device("cuda", 1)
    assert find_device("cuda:1") == torch.device("cuda:1")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gpu:first", "gpu:first is not a device; choose auto, cpu, cuda, cuda:1 or mps."),
        ("meta", "meta is not a device; choose auto, cpu, cuda, cuda:1 or mps."),
        ("cuda:1", "There is no device cuda:1: PyTorch can use 1 NVIDIA GPU here; choose auto or cpu."),
        ("mps", "There is no device mps: PyTorch cannot use an Apple GPU here; choose auto or cpu."),
    ],
)
def test_a_device_that_is_not_there(
    name: str, sentence: str, monkeypatch: pytest.MonkeyPatch, trained: Trained
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    machine(monkeypatch, "H100")
    with pytest.raises(UserError) as caught:
        genreclf.load(trained.run.path, device=name)
    assert str(caught.value) == sentence


def test_predict_takes_a_device(cli: Cli, trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    song = str(trained.music / "metal/0.wav")
    here = cli("predict", str(trained.run.path), song, "--format", "csv")
    assert here.code == 0, here.err
    machine(monkeypatch)
    monkeypatch.setattr(devices, "gpu_problem", lambda: "No CUDA GPUs are available")
    auto = cli("predict", str(trained.run.path), song, "--format", "csv", "--device", "auto")
    assert auto.out == here.out
    assert (
        auto.err == "Note: PyTorch cannot use the NVIDIA GPU of this machine (No CUDA GPUs are available).\n" + here.err
    )
    there = cli("predict", str(trained.run.path), song, "--device", "cuda")
    assert (there.code, there.out) == (2, "")
    assert there.err.startswith("There is no device cuda: PyTorch can use 0 NVIDIA GPUs here")
    assert "tpu is not one of auto, cpu, cuda, cuda:1, mps" in cli("app", "run", "--device", "tpu").err


@pytest.fixture
def pci(tmp_path: Path) -> Path:
    """What Linux lists of a machine with a GPU."""
    for name, vendor, kind in (("0", "0x8086", "0x030000"), ("1", "0x10de", "0x030200"), ("2", "0x10de", "0x040300")):
        (tmp_path / "pci" / name).mkdir(parents=True)
        (tmp_path / "pci" / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / "pci" / name / "class").write_text(f"{kind}\n")
    return tmp_path / "pci"


def test_says_why_a_gpu_cannot_be_used(pci: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch)
    old = "The NVIDIA driver on your system is too old (found version 11040). Please update it."

    def fail() -> None:
        raise RuntimeError(old)

    monkeypatch.setattr(torch.cuda, "init", fail)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    reason = "The NVIDIA driver on your system is too old (found version 11040)"
    assert gpu_problem(pci) == reason
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_problem(pci) == "CUDA_VISIBLE_DEVICES= hides it"
    machine(monkeypatch, "H100")
    assert gpu_problem(pci) is None
    machine(monkeypatch)
    (pci / "1/vendor").unlink()
    assert gpu_problem(pci) is None


def test_a_run_says_what_it_computes_on(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "gpu_problem", lambda: "No CUDA GPUs are available")
    outcome = cli(*tiny, "trainer=auto", "trainer.precision=32-true", "trainer.max_epochs=1", "run_dir=run")
    assert outcome.code == 0, outcome.err
    device = hardware.device_name("cpu")
    assert outcome.out.startswith(
        f"Device: {device}, precision 32-true; PyTorch cannot use the NVIDIA GPU of this machine "
        "(No CUDA GPUs are available)\n"
    )
    run = RunDirectory(tmp_path / "run")
    (rank,) = run.read_json(run.environment)["ranks"]
    assert rank["device"] == f"{device} (cpu)"
    refused = cli(*tiny, "trainer.accelerator=gpu", "run_dir=other")
    assert refused.code == 2
    assert "this machine has 0 GPUs that PyTorch can use (No CUDA GPUs are available); set" in refused.err


def test_the_environment_names_gpus_and_what_drives_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, "NVIDIA H100", "NVIDIA H100")
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 580.82.07\necho 580.82.07\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(cudnn, "version", lambda: 91900)
    found = hardware.environment("gpu", 2, "bf16-mixed")
    assert found["device"] == "NVIDIA H100"
    assert found["versions"]["nvidia driver"] == "580.82.07"
    assert found["versions"]["cudnn"] == 91900
    assert "cuda" in found["versions"]
    assert hardware.describe_devices("auto", "gpu", 2, "bf16-mixed") == "Device: 2 x NVIDIA H100, precision bf16-mixed"


FULL = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.00 GiB is "
    "free. Including non-PyTorch memory, this process has 78.00 GiB memory in use."
)
SAID = (
    "The device is out of memory (CUDA out of memory; Tried to allocate 2.00 GiB; GPU 0 has a total capacity of "
    "79.11 GiB of which 1.00 GiB is free): "
)


def failing(error: RuntimeError) -> Callable[..., NoReturn]:
    """Return a method that raises."""

    def fail(*_: object, **__: object) -> NoReturn:
        raise error

    return fail


def test_no_memory_left_is_a_sentence(
    cli: Cli, tiny: list[str], trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(GenreClassifier, "test_step", failing(torch.OutOfMemoryError(FULL)))
        outcome = cli(*tiny, "run_dir=run")
    assert (outcome.code, outcome.err) == (
        2,
        f"The run directory is run.\n{SAID}lower data.batch_size=20.\n",
    )
    step = GenreClassifier.training_step

    def second_epoch_fails(model: GenreClassifier, batch: Any, batch_idx: int) -> torch.Tensor:
        if model.current_epoch:
            raise RuntimeError(FULL)
        return step(model, batch, batch_idx)

    # In training, and before it goes on from a checkpoint, which is not to blame.
    for method, fails in (("training_step", second_epoch_fails), ("setup", failing(RuntimeError(FULL)))):
        with monkeypatch.context() as patch:
            patch.setattr(GenreClassifier, method, fails)
            outcome = cli(*tiny, "trainer.max_epochs=2", "run_dir=other")
        assert outcome.code == 2
        assert outcome.err == (
            "The run directory is other.\n"
            f"{SAID}lower data.batch_size=20, or set trainer.precision=bf16-mixed or 16-mixed.\n"
        )
        assert Path("other/checkpoints/last.ckpt").exists()
    predictor = genreclf.load(trained.run.path)
    monkeypatch.setattr(predictor.model.network, "embed", failing(RuntimeError("MPS backend out of memory")))
    with pytest.raises(UserError, match=r"\(MPS backend out of memory\): end other programs on it, or choose another"):
        predictor.predict(trained.music / "metal/0.wav")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            "CUDA error: no kernel image is available for execution on the device\nSearch for it",
            r"The GPU cannot be used \(CUDA error: no kernel image is available for execution on the device\); choose",
        ),
        (
            "max_pool3d_backward_cuda does not have a deterministic implementation, but you set",
            "max_pool3d_backward_cuda has no deterministic implementation in PyTorch. trainer.deterministic=warn makes",
        ),
    ],
)
def test_what_a_gpu_cannot_do_is_a_sentence(error: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence), device_errors(""):
        raise RuntimeError(error)


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_deterministic_is_prepared_before_anything_is_computed(
    command: str, cli: Cli, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    found = []

    def open_store(*_: object, **__: object) -> NoReturn:
        found.append((torch.are_deterministic_algorithms_enabled(), os.environ["CUBLAS_WORKSPACE_CONFIG"]))
        raise UserError("Enough is known.")

    monkeypatch.setattr(corpus, "open_store", open_store)
    arguments = ["evaluate", str(trained.run.path)] if command == "evaluate" else [*SMALL, "data=synthetic"]
    try:
        outcome = cli(*arguments, "trainer.deterministic=true")
    finally:
        torch.use_deterministic_algorithms(False)
    assert (outcome.code, outcome.err) == (2, "Enough is known.\n")
    assert found == [(True, ":4096:8")]


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match=r"^shapes$"), device_errors(""):
        raise RuntimeError("shapes")


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((9, 0), "bf16-mixed"), ((7, 5), "16-mixed"), ((7, 0), "16-mixed"), ((6, 1), "32-true")],
)
def test_auto_is_the_precision_that_a_gpu_multiplies_fast(
    capability: tuple[int, int], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: capability >= (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert hardware.resolve_precision("auto", "gpu") == precision


def switches() -> tuple[object, ...]:
    """Return how float32 is computed: by cuDNN, the same each time, its TF32, and the precision of products."""
    return cudnn.enabled, cudnn.deterministic, cudnn.allow_tf32, torch.get_float32_matmul_precision()


EXACT = (True, True, False, "highest")


@pytest.fixture
def rounded() -> Iterator[tuple[object, ...]]:
    """Let products be rounded, as a program may that calls this package."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield switches()
    torch.set_float32_matmul_precision(before)


def test_computes_exactly_until_the_last_is_done(rounded: tuple[object, ...]) -> None:
    first, second = exactly(), exactly()
    first.__enter__()
    assert switches() == EXACT
    second.__enter__()
    first.__exit__(None, None, None)
    assert switches() == EXACT
    second.__exit__(None, None, None)
    assert switches() == rounded != EXACT


def test_the_test_and_predictions_are_exact_and_training_is_not(
    cli: Cli, tiny: list[str], trained: Trained, rounded: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {}

    def watch(name: str) -> None:
        method = getattr(GenreClassifier, name)

        def watched(*arguments: object) -> object:
            seen[name] = switches()
            return method(*arguments)

        monkeypatch.setattr(GenreClassifier, name, watched)

    watch("training_step")
    watch("test_step")
    assert cli(*tiny, "run_dir=run").code == 0
    assert seen == {"training_step": rounded, "test_step": EXACT}
    predictor = genreclf.load(trained.run.path)
    predictor.model.scaling.register_forward_hook(lambda *_: seen.update(predict=switches()))
    predictor.predict(trained.music / "metal/0.wav")
    assert seen["predict"] == EXACT
    assert switches() == rounded
