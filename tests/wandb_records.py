"""Offline records of W&B, read back."""

from collections.abc import Iterator
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record, RunRecord


def records(path: Path) -> Iterator[Record]:
    """Read a ``.wandb`` file: 7 bytes of header, then LevelDB's log format with one protobuf message a record."""
    content, place, whole = path.read_bytes(), 7, b""
    block = 32768
    while place < len(content):
        if block - place % block < 7:
            place += block - place % block
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def record_of(folder: Path) -> RunRecord:
    """Return what the only record of a run directory says of the run itself."""
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    return next(record.run for record in records(path) if record.HasField("run"))
