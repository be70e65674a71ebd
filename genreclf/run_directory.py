"""A run directory: what lies in it, whether the run is finished, and files that are written whole or not at all."""

import csv
import errno
import io
import json
import os
import secrets
import shutil
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from genreclf.config_file import dump_config, parse_config
from genreclf.errors import UserError
from genreclf.limits import refuse_device

HANDOVER_S = 20.0
"""How long a process waits for another one to leave a run directory: one whose sweep was killed takes some seconds."""

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Numbers of an `OSError` for a full disk."""

CHECKSUM_BYTES = 14
"""Length of what `checksum` returns."""

FIGURES = {
    **dict.fromkeys(("objective", "seed", "parameters", "epochs", "best_epoch"), 0),
    **dict.fromkeys(("val", "test", "timing", "energy"), 9),
}
"""Keys of ``metrics.json`` that hold numbers, or nested numbers and intervals, and how deeply these may be nested."""


class RunBusy(UserError):
    """Another process is writing to this run directory, so this one does not touch it."""

    exit_code = 75

    def __init__(self, path: Path) -> None:
        super().__init__(f"Another process works in {path}; let it end, or end it, then run the same command again.")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path` to write to, which takes its place in one step when the block ends well.

    The folder is made if it is missing. If the block raises, `path` is as it was before.

    Raises:
        UserError: There is a folder in its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    except IsADirectoryError as error:
        if not path.is_dir():
            raise
        raise UserError(f"{path} is a folder, but a file must be written there; move the folder.") from error
    finally:
        partial.unlink(missing_ok=True)


def atomic_write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in UTF-8, whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def checksum(content: bytes | memoryview) -> bytes:
    """Return what ends a file after its content: the CRC-32 of that."""
    return b"crc32:%08x" % zlib.crc32(content)


def check_checksum(content: bytes | memoryview) -> None:
    """Raise `ValueError` if a file ends with another checksum than its own; files of earlier versions have none."""
    whole = memoryview(content)
    found = bytes(whole[-CHECKSUM_BYTES:])
    if found.startswith(b"crc32:") and found != checksum(whole[:-CHECKSUM_BYTES]):
        raise ValueError("its checksum does not match")


def csv_of(header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    """Return a CSV file of a header and rows."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


class RunDirectory:
    """The files of one run, which need not be there yet; the manual lists them."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.environment = self.path / "environment.json"
        self.split = self.path / "split.json"
        self.loggers = self.path / "loggers.json"
        self.history = self.path / "history.csv"
        self.metrics = self.path / "metrics.json"
        self.predictions = self.path / "predictions.csv"
        self.val_predictions = self.path / "val_predictions.csv"
        self.clip_predictions = self.path / "clip_predictions.csv"
        self.figures = self.path / "figures"
        self.report = self.path / "report.md"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.checkpoints / "best.ckpt"
        self.last = self.checkpoints / "last.ckpt"

    def make(self) -> None:
        """Make the directory, or raise `UserError`."""
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Run directory {self.path} cannot be created ({error.strerror}); set run_dir.") from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from working here, as those of the same command started twice.

        Files that a killed process had not written whole are removed.

        Raises:
            RunBusy: One does.
        """
        lock = FileLock(self.path / ".lock", thread_local=False)  # Another thread may end the run.
        try:
            lock.acquire(timeout=HANDOVER_S)
            for folder in (self.path, self.checkpoints, self.figures):
                for partial in folder.glob(".*.partial*"):
                    partial.unlink(missing_ok=True)
        except Timeout:
            raise RunBusy(self.path) from None
        except (NotImplementedError, OSError):  # As on network file systems that know no locks: no reason not to train.
            pass
        try:
            yield
        finally:
            lock.release()

    def holds(self, path: Path) -> bool:
        """Return whether a path is a file of the directory, and no link that leads out of it or to a device."""
        return path.is_file() and path.resolve().is_relative_to(self.path.resolve())

    @property
    def status(self) -> str | None:
        """``running``, ``finished``, ``interrupted`` or ``failed``, or None where no run has begun."""
        return self.read_metrics().get("status") if self.metrics.exists() else None

    def read_config(self) -> dict[str, Any]:
        """Return the resolved configuration, plain data; raise `UserError` if there is none, or it is damaged."""
        try:
            return parse_config(self.config)
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path} is not a run directory: its config.yaml cannot be read ({error}).") from error

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Keep the resolved configuration."""
        atomic_write_text(self.config, dump_config(config))

    def read_metrics(self) -> dict[str, Any]:
        """Return ``metrics.json``, or raise `UserError` if it cannot be read or a figure in it is not a number."""
        metrics = self.read_json(self.metrics)
        for key, depth in FIGURES.items():
            if not _holds_numbers(metrics.get(key), depth):
                raise UserError(f"{self.metrics} cannot be read ({key} is not numeric).")
        return metrics

    @property
    def reason(self) -> str | None:
        """Why the run failed, in a sentence; None if it did not, or left no word."""
        try:
            reason = self.read_metrics().get("reason")
        except UserError:
            return None
        return str(reason) if reason else None

    def record_failure(self, error: Exception | str, *, unless_known: bool = False) -> None:
        """Record that the run failed and why; an error without a message keeps the reason recorded before.

        If the disk is full, nothing is recorded and no second error is raised. The first rank to fail knows the reason;
        the others, which have only lost that rank, pass `unless_known`.
        """
        if unless_known and self.reason is not None:
            return
        try:
            before = self.read_metrics()
        except UserError:
            before = {}
        reason = reason_of(error) or before.get("reason") or ""
        with suppress(OSError):
            self.write_json(self.metrics, {**before, "status": "failed", "reason": reason})

    def read_json(self, path: Path) -> dict[str, Any]:
        """Return the content of one of the files, or raise `UserError` if it cannot be read."""
        try:
            refuse_device(path)
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} cannot be read ({error}).") from error
        if not isinstance(content, dict):
            raise UserError(f"{path} cannot be read (it is not a JSON object).")
        return content

    @staticmethod
    def write_json(path: Path, content: Mapping[str, Any]) -> None:
        """Write `content` to a file, whole or not at all."""
        atomic_write_text(path, json.dumps(content, indent=2) + "\n")

    @property
    def split_hash(self) -> Any:
        """The hash that ``split.json`` has of its tracks; None if it has none."""
        return self.read_json(self.split).get("hash")

    def read_history(self) -> list[dict[str, float]]:
        """Return the rows of ``history.csv``, an epoch each, without figures that it lacks; `UserError` if damaged."""
        if not self.history.exists():
            return []
        try:
            refuse_device(self.history)
            with self.history.open(newline="", encoding="utf-8") as lines:
                rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(lines)]
            if [row.get("epoch") for row in rows] != list(range(len(rows))):
                raise ValueError("its epochs are not 0, 1, ...")
            if not all({"epoch_s", "clips_per_s"} <= row.keys() for row in rows):
                raise ValueError("it has no times")
        except (OSError, TypeError, ValueError, csv.Error) as error:  # TypeError of more cells than columns.
            raise UserError(f"{self.history} is damaged ({error}); repeat the run in another run_dir.") from error
        return rows

    def write_history(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Keep the rows of ``history.csv``."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with atomic_path(self.history) as beside, beside.open("w", newline="", encoding="utf-8") as lines:
            writer = csv.DictWriter(lines, columns)
            writer.writeheader()
            writer.writerows({key: f"{value:.7g}" for key, value in row.items()} for row in rows)


def _holds_numbers(value: Any, depth: int, key: str = "") -> bool:
    """Return whether a value is a number, None or an interval, or holds only such, at most so many levels deep."""
    if isinstance(value, dict):
        return depth > 0 and all(_holds_numbers(entry, depth - 1, name) for name, entry in value.items())
    if key.startswith("accuracy_ci95") and value is not None:
        return isinstance(value, list) and len(value) == 2 and all(_holds_numbers(entry, 0) for entry in value)
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def reason_of(error: Exception | str) -> str:
    """Return an error in one line."""
    if isinstance(error, str | UserError):
        return " ".join(str(error).split())
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


class NoSpace(UserError):
    """A disk is full."""


@contextmanager
def sentence_when_full(path: Path | None = None) -> Iterator[None]:
    """Turn a full disk, of `path` or of temporary files, into a `NoSpace` that names the folder."""
    try:
        yield
    except OSError as error:
        if "No usable temporary directory" in str(error):  # Python tried to write to each that it knows.
            raise NoSpace("No folder for temporary files is writable: free space there or set TMPDIR.") from error
        if error.errno not in FULL:
            raise
        temporary = Path(tempfile.gettempdir())
        if path is None or _is_fuller(temporary, path, error):
            sentence = f"No space is left in {temporary}, where temporary files go; free some or set TMPDIR, then"
            raise NoSpace(f"{sentence} run the same command again.") from error
        sentence = f"No space is left in {path}; free some, then run the same command again"
        raise NoSpace(f"{sentence}: finished work is kept.") from error


def _is_fuller(temporary: Path, path: Path, error: OSError) -> bool:
    """Return whether the folder for temporary files is the full one, by the file at fault or else by what is free."""
    if isinstance(error.filename, str):
        return Path(error.filename).is_relative_to(temporary) and not Path(error.filename).is_relative_to(path)
    try:
        return shutil.disk_usage(temporary).free < shutil.disk_usage(path).free
    except OSError:
        return False
