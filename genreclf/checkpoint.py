"""Write checkpoints atomically, and check them when they are read."""

import copy
import io
import os
import struct
import zipfile
import zlib
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor
from torch.utils.serialization import config as serialization

from genreclf.errors import UserError
from genreclf.limits import refuse_device
from genreclf.run_directory import CHECKSUM_BYTES, RunDirectory, atomic_path, check_checksum, checksum

WAITING = 2
"""Maximum number of checkpoints that wait to be written in the background: the two of one epoch."""

IN_MEMORY = {"cpu", "meta"}
"""Types of devices whose tensors need not be copied before they are saved."""

SMALL_BYTES = 2**20
"""Tensors up to this many bytes are copied from a device together, since even a tiny copy takes as long as a copy of
this size."""


class SafeCheckpointIO(TorchCheckpointIO):
    """Checkpoint IO that keeps the previous checkpoint until the new one is on the disk, and checks what it reads.

    Lightning's own checkpoint IO writes to the temporary folder and moves the result. If that folder is on another file
    system, moving means copying, and a killed process or a full disk leaves a partial checkpoint in place of a complete
    one.

    Attributes:
        in_background: Whether `save_checkpoint` returns as soon as the checkpoint is in memory, while a thread writes
            it; errors of the thread are raised by a later call. Writing a checkpoint takes as long as a GPU needs for
            an epoch of a small network.
    """

    def __init__(self) -> None:
        super().__init__()
        self.in_background = False
        self._writer: ThreadPoolExecutor | None = None
        self._pending: deque[Future[None]] = deque()

    def save_checkpoint(self, checkpoint: Mapping[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint and its checksum.

        Raises:
            OSError: The checkpoint cannot be written; the previous content of `path` is kept.
        """
        content = io.BytesIO()
        with serialization.patch("save.compute_crc32", False):  # type: ignore[attr-defined]
            torch.save(in_memory(checkpoint), content)
        if not self.in_background:
            self.finish()
            _write(content, Path(path))
            return
        self.finish(all_but=WAITING - 1)
        self._writer = self._writer or ThreadPoolExecutor(1, "checkpoint")
        self._pending.append(self._writer.submit(_write, content, Path(path)))

    def finish(self, *, all_but: int = 0) -> None:
        """Wait until all checkpoints are written, or all but the last `all_but`.

        Raises:
            OSError: A checkpoint could not be written.
        """
        while len(self._pending) > all_but:
            self._pending.popleft().result()

    def teardown(self) -> None:
        """Finish writing all checkpoints at the end of training."""
        try:
            self.finish()
        finally:
            if self._writer is not None:
                self._writer.shutdown()
            self._writer = None
            self._pending.clear()

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Return a checkpoint as `genreclf.checkpoint.load_checkpoint` does; all arguments but `path` are ignored."""
        return load_checkpoint(Path(path))


def in_memory(checkpoint: Any) -> Any:
    """Return a checkpoint whose small tensors have been copied to the CPU together instead of one by one."""
    groups: dict[tuple[torch.device, torch.dtype], list[Tensor]] = defaultdict(list)
    for tensor in {id(tensor): tensor for tensor in _small_tensors(checkpoint)}.values():
        groups[tensor.device, tensor.dtype].append(tensor)
    copies: dict[int, Tensor] = {}
    for tensors in groups.values():
        # Copy the values in the order of the device's memory, and restore the strides afterwards.
        flat = torch.cat([values.as_strided((values.numel(),), (1,)) for values in tensors]).cpu()
        parts = torch.split(flat, [values.numel() for values in tensors])
        for values, part in zip(tensors, parts, strict=True):
            copies[id(values)] = part.clone().as_strided(values.size(), values.stride())
    return _replaced(checkpoint, copies) if copies else checkpoint


def _small_tensors(value: Any) -> Iterator[Tensor]:
    """Yield the small tensors of a checkpoint that are on another device than the CPU, except for views with gaps."""
    if isinstance(value, dict | list | tuple):
        parts: Iterable[Any] = value.values() if isinstance(value, dict) else value
        for part in parts:
            yield from _small_tensors(part)
        return
    if type(value) is not Tensor or value.device.type in IN_MEMORY or value.layout is not torch.strided:
        return
    is_whole = value.is_contiguous() or value.is_contiguous(memory_format=torch.channels_last)
    if is_whole and value.nbytes <= SMALL_BYTES:
        yield value


def _replaced(value: Any, copies: Mapping[int, Tensor]) -> Any:
    """Return a new checkpoint in which tensors are replaced by their `copies`, which are keyed by ``id(tensor)``."""
    if isinstance(value, dict):
        made = copy.copy(value)  # Keeps attributes of the dictionary, such as a state_dict's _metadata.
        made.update({key: _replaced(part, copies) for key, part in value.items()})
        return made
    if type(value) in (list, tuple):
        return type(value)(_replaced(part, copies) for part in value)
    return copies.get(id(value), value)


def _write(content: io.BytesIO, path: Path) -> None:
    """Write an in-memory ZIP archive of `torch.save` to `path`, with a checksum as the archive's comment."""
    _sum_records(content)
    content.seek(-2, os.SEEK_END)  # An archive ends with the length of its comment.
    content.write(CHECKSUM_BYTES.to_bytes(2, "little"))
    content.write(checksum(content.getbuffer()))
    with atomic_path(path) as partial, partial.open("wb") as file:
        file.write(content.getbuffer())
        file.flush()
        os.fsync(file.fileno())


def _sum_records(content: io.BytesIO) -> None:
    """Fill in the CRC-32 of each record of the archive, for which `torch.save` would need half of its time."""
    with zipfile.ZipFile(content) as archive:
        entry, records = archive.start_dir, archive.infolist()
    view = content.getbuffer()
    for record in records:
        name, extra = struct.unpack_from("<HH", view, record.header_offset + 26)
        start = record.header_offset + 30 + name + extra
        end = start + record.file_size
        crc = zlib.crc32(view[start:end])
        struct.pack_into("<I", view, end + 4, crc)
        struct.pack_into("<I", view, entry + 16, crc)
        entry += 46 + sum(struct.unpack_from("<HHH", view, entry + 28))
    view.release()


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint with its tensors on the CPU; raise `UserError` if it is missing or damaged.

    Checkpoints of earlier versions have no checksum; of these, only the structure is checked.
    """
    try:
        refuse_device(path)
        content = path.read_bytes()
    except FileNotFoundError as error:
        run = run_of(path)
        if tested := tested_run(run):
            sentence = f"{run.path} is an evaluation of {tested} and has no network of its own; give {tested}."
            raise UserError(sentence) from error
        if path not in (run.best, run.last) and run.last.exists():
            raise UserError(f"There is no {path}; choose {run.last}.") from error
        raise UserError(f"There is no {path}: the run has not finished an epoch.") from error
    except OSError as error:
        hint = "; check its permissions" if isinstance(error, PermissionError) else ""
        raise UserError(f"The checkpoint {path} cannot be read ({error.strerror}){hint}.") from error
    try:
        check_checksum(content)
        _check_size(content)
        checkpoint: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        _check_parts(checkpoint)
    except Exception as error:  # A damaged file can raise any exception.
        run = run_of(path)
        is_other = path not in (run.best, run.last) and run.last.exists()
        way_out = f"choose {run.last}" if is_other else f"delete {run.path} and train again"
        raise UserError(f"The checkpoint {path} is damaged; restore a copy, or {way_out}.") from error
    return checkpoint


def run_of(checkpoint: Path) -> RunDirectory:
    """Return the run to which a checkpoint in its folder ``checkpoints``, or in a folder below that, belongs."""
    folder = next((each for each in checkpoint.parents if each.name == "checkpoints"), checkpoint.parent)
    return RunDirectory(folder.parent)


def tested_run(run: RunDirectory) -> str | None:
    """Return the run that an evaluation has tested, as its configuration names it; None if `run` is no evaluation.

    Raises:
        UserError: A file of the run cannot be read.
    """
    if run.history.exists() or any(run.checkpoints.glob("*.ckpt")) or run.status != "finished":
        return None
    tested: str | None = run.read_config().get("init_from")
    return tested


def _check_size(content: bytes) -> None:
    """Check that an archive does not unpack to more bytes than its own size: PyTorch does not compress checkpoints."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > len(content):
            raise ValueError("it unpacks to more bytes than it has")


def _check_parts(checkpoint: Any) -> None:
    """Check that a checkpoint contains weights, and that its other entries have the right types."""
    for name, kind in (("state_dict", dict), ("hyper_parameters", dict), ("epoch", int)):
        if not isinstance(checkpoint.get(name, kind()), kind):
            raise TypeError(f"{name} is not a {kind.__name__}")
    for key, values in checkpoint["state_dict"].items():
        if not isinstance(key, str) or not (isinstance(values, torch.Tensor) or key.endswith("_extra_state")):
            raise TypeError(f"{key!r} is not a tensor")
