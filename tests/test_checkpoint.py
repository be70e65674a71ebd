"""Checkpoints that are damaged, and a disk that is full while one is written."""

import errno
import os
import random
import shutil
import tempfile
import threading
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Cli, Trained
from torch import nn

from genreclf import checkpoint
from genreclf.checkpoint import SMALL_BYTES, SafeCheckpointIO, in_memory, load_checkpoint
from genreclf.errors import UserError
from genreclf.run_directory import CHECKSUM_BYTES, RunDirectory

CONTENT = {"epoch": 3, "state_dict": {"weight": torch.arange(50.0)}, "spec": {"hop_length": 512, "scale": 0.5}}


def flipped(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def test_no_flipped_bit_changes_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    SafeCheckpointIO().save_checkpoint(CONTENT, path)
    assert torch.load(path, weights_only=True)["epoch"] == 3
    content = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(content) - 8 * CHECKSUM_BYTES), 300):
        path.write_bytes(flipped(content, bit))
        with pytest.raises(UserError, match=r"best.ckpt is damaged"):
            load_checkpoint(path)
    for bit in range(8 * len(content) - 8 * CHECKSUM_BYTES, 8 * len(content)):
        path.write_bytes(flipped(content, bit))
        with suppress(UserError):
            torch.testing.assert_close(load_checkpoint(path), CONTENT, rtol=0, atol=0)


@pytest.mark.skipif(torch.__version__ < "2.13", reason="PyTorch wrote archives in another way.")
def test_an_archive_is_as_torch_writes_it(tmp_path: Path) -> None:
    torch.save(CONTENT, tmp_path / "archive.ckpt")
    SafeCheckpointIO().save_checkpoint(CONTENT, tmp_path / "ours/archive.ckpt")
    expected, ours = tmp_path / "archive.ckpt", tmp_path / "ours/archive.ckpt"
    with zipfile.ZipFile(expected) as theirs, zipfile.ZipFile(ours) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == theirs.namelist()
        id_starts = theirs.getinfo("archive/.data/serialization_id").header_offset
    # The id is made of checksums, of which torch had none.
    assert ours.read_bytes()[:id_starts] == expected.read_bytes()[:id_starts]


def test_small_tensors_leave_a_device_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.randn(2, 3, 5, 5)).sum().backward()
    optimizer.step()
    state = network.state_dict()
    large, gaps = torch.zeros(SMALL_BYTES // 4 + 1), torch.arange(12.0).view(3, 4)[:, ::2]
    others = {"large": large, "gaps": gaps, "empty": torch.zeros(0), "same": [state["0.bias"]] * 2, "epoch": 3}
    given = {"state_dict": state, "optimizer_states": [optimizer.state_dict()], "others": (others,)}
    monkeypatch.setattr(checkpoint, "IN_MEMORY", set())
    made = in_memory(given)
    assert made["others"][0]["large"] is large
    assert made["others"][0]["gaps"] is gaps
    assert made["others"][0]["same"][0] is made["others"][0]["same"][1] is made["state_dict"]["0.bias"]
    assert made["state_dict"] is not state
    assert made["state_dict"]._metadata == state._metadata  # type: ignore[attr-defined]
    assert made["state_dict"]["0.weight"] is not state["0.weight"]
    assert made["state_dict"]["0.weight"].stride() == state["0.weight"].stride()
    assert made["state_dict"]["0.weight"].untyped_storage().nbytes() == state["0.weight"].nbytes
    assert optimizer.state_dict()["state"][0]["exp_avg"] is given["optimizer_states"][0]["state"][0]["exp_avg"]
    torch.testing.assert_close(made, given, rtol=0, atol=0)
    SafeCheckpointIO().save_checkpoint(given, tmp_path / "there/best.ckpt")
    monkeypatch.setattr(checkpoint, "IN_MEMORY", {"cpu"})
    SafeCheckpointIO().save_checkpoint(given, tmp_path / "here/best.ckpt")
    assert (tmp_path / "there/best.ckpt").read_bytes() == (tmp_path / "here/best.ckpt").read_bytes()


def test_a_checkpoint_without_a_checksum_is_read(tmp_path: Path) -> None:
    torch.save(CONTENT, tmp_path / "best.ckpt")
    torch.testing.assert_close(load_checkpoint(tmp_path / "best.ckpt"), CONTENT)


def test_no_checkpoint_unpacks_to_more_than_it_takes(tmp_path: Path) -> None:
    torch.save({**CONTENT, "state_dict": {"weight": torch.zeros(1_000_000)}}, tmp_path / "whole.ckpt")
    bomb = zipfile.ZipFile(tmp_path / "best.ckpt", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "whole.ckpt") as whole, bomb:
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))
    assert (tmp_path / "best.ckpt").stat().st_size < 10_000
    assert load_checkpoint(tmp_path / "whole.ckpt")["state_dict"]["weight"].numel() == 1_000_000
    with pytest.raises(UserError, match=r"best.ckpt is damaged"):
        load_checkpoint(tmp_path / "best.ckpt")


@pytest.mark.parametrize("part", [{"state_dict": [1]}, {"state_dict": {"weight": 1}}, {"epoch": "x"}])
def test_parts_of_another_kind_are_damage(part: dict[str, Any], tmp_path: Path) -> None:
    torch.save({**CONTENT, **part}, tmp_path / "best.ckpt")
    with pytest.raises(UserError, match=r"best.ckpt is damaged"):
        load_checkpoint(tmp_path / "best.ckpt")


def test_a_device_is_no_checkpoint(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "best.ckpt")
    with pytest.raises(UserError, match=r"best.ckpt cannot be read .a device or a pipe"):
        load_checkpoint(tmp_path / "best.ckpt")


def test_damaged_weights_do_not_predict(cli: Cli, trained: Trained, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    shutil.copytree(trained.run.path, run.path)
    weights = load_checkpoint(run.best)["state_dict"]["network.classifier.weight"]
    content = run.best.read_bytes()
    place = content.index(weights.numpy().tobytes())
    run.best.write_bytes(flipped(content, 8 * place + 7))
    outcome = cli("predict", "run", str(trained.music / "blues/0.wav"))
    assert outcome.code == 2
    assert "run/checkpoints/best.ckpt is damaged" in outcome.err


def test_a_thread_writes_one_checkpoint_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()
    monkeypatch.setattr("genreclf.checkpoint.os.fsync", lambda descriptor: goes_on.wait(60))
    files = SafeCheckpointIO()
    files.in_background = True
    for number in range(2):
        files.save_checkpoint({"number": number}, tmp_path / "last.ckpt")
    assert not (tmp_path / "last.ckpt").exists()
    goes_on.set()
    files.teardown()
    assert torch.load(tmp_path / "last.ckpt", weights_only=True) == {"number": 1}


def test_a_full_disk_leaves_the_last_whole_checkpoint(
    cli: Cli, tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*tiny, "trainer.max_epochs=3", "run_dir=run"]
    run = RunDirectory(tmp_path / "run")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))

    def full(descriptor: int) -> None:
        if run.last.exists() and load_checkpoint(run.last)["epoch"] == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("genreclf.checkpoint.os.fsync", full)
        outcome = cli(*arguments)
    assert outcome.code == 2
    assert "No space is left in run; free some, then run the same command again" in outcome.err
    assert load_checkpoint(run.last)["epoch"] == 1
    assert not list(run.path.glob("**/*.partial*"))
    outcome = cli(*arguments)
    assert outcome.code == 0, outcome.err
    assert [row["epoch"] for row in run.read_history()] == [0, 1, 2]
