"""Access the files and the status of a run directory, and write files atomically."""

import csv
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
from genreclf.errors import FULL, UserError
from genreclf.limits import refuse_device

HANDOVER_S = 20.0
"""Seconds that a process waits for another to leave a run directory; after its sweep is killed, a run takes a few."""

CHECKSUM_BYTES = 14
"""Length in bytes of the result of `checksum`."""

FIGURES = {
    **dict.fromkeys(("objective", "seed", "parameters", "epochs", "best_epoch"), 0),
    **dict.fromkeys(("val", "test", "timing", "energy"), 9),
}
"""Keys of ``metrics.json`` that hold numbers, or nested numbers and intervals, with their maximum depth of nesting."""


class RunBusy(UserError):
    """Another process is writing to the run directory, so this process leaves it alone."""

    exit_code = 75

    def __init__(self, path: Path) -> None:
        super().__init__(f"Another process works in {path}; let it end, or end it, then run the same command again.")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a hidden path beside `path` to write to; when the block ends without error, it replaces `path` in one step.

    The parent folder is created if it is missing. If the block raises, `path` is left unchanged.

    Raises:
        UserError: `path` is a folder.
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
    """Write `text` to `path` in UTF-8, completely or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def checksum(content: bytes | memoryview) -> bytes:
    """Return the checksum that is appended to the content of a file: its CRC-32, as text."""
    return b"crc32:%08x" % zlib.crc32(content)


def check_checksum(content: bytes | memoryview) -> None:
    """Raise `ValueError` if a file ends with a wrong checksum; files of earlier versions have none and pass."""
    whole = memoryview(content)
    found = bytes(whole[-CHECKSUM_BYTES:])
    if found.startswith(b"crc32:") and found != checksum(whole[:-CHECKSUM_BYTES]):
        raise ValueError("its checksum does not match")


def csv_of(header: Iterable[Any], rows: Iterable[Iterable[Any]]) -> str:
    """Return the content of a CSV file with the given header and rows."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


class RunDirectory:
    """The directory of a run and the paths of its files, which need not exist yet; the manual lists the files."""

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
        """Create the directory; raise `UserError` if that is not possible."""
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"Run directory {self.path} cannot be created ({error.strerror}); set run_dir.") from error

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the directory against other processes, such as the same command started twice.

        Partial files that a killed process left behind are removed.

        Raises:
            RunBusy: Another process has locked the directory.
        """
        lock = FileLock(self.path / ".lock", thread_local=False)  # Another thread may end the run.
        try:
            lock.acquire(timeout=HANDOVER_S)
            for pattern in (".*", f"{self.checkpoints.name}/**/.*", f"{self.figures.name}/.*"):
                for partial in self.path.glob(f"{pattern}.partial*"):
                    partial.unlink(missing_ok=True)
        except Timeout:
            raise RunBusy(self.path) from None
        except (NotImplementedError, OSError):  # Some network file systems have no locks: train without.
            pass
        try:
            yield
        finally:
            lock.release()

    def holds(self, path: Path) -> bool:
        """Return whether a path is a regular file in the directory, and not a link to a place outside."""
        return path.is_file() and path.resolve().is_relative_to(self.path.resolve())

    @property
    def status(self) -> str | None:
        """Status of the run: ``running``, ``finished``, ``interrupted`` or ``failed``; None if no run has begun."""
        return self.read_metrics().get("status") if self.metrics.exists() else None

    def read_config(self) -> dict[str, Any]:
        """Return the resolved configuration as plain data; raise `UserError` if it is missing or damaged."""
        try:
            return parse_config(self.config)
        except (OSError, ValueError) as error:
            raise UserError(f"{self.path} is not a run directory: its config.yaml cannot be read ({error}).") from error

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Write the resolved configuration to ``config.yaml``."""
        atomic_write_text(self.config, dump_config(config))

    def read_metrics(self) -> dict[str, Any]:
        """Return the content of ``metrics.json``; raise `UserError` if it cannot be read or a metric is not numeric."""
        metrics = self.read_json(self.metrics)
        for key, depth in FIGURES.items():
            if not _holds_numbers(metrics.get(key), depth):
                raise UserError(f"{self.metrics} cannot be read ({key} is not numeric).")
        return metrics

    @property
    def reason(self) -> str | None:
        """Reason why the run failed, in one sentence; None if the run did not fail, or no reason was recorded."""
        try:
            reason = self.read_metrics().get("reason")
        except UserError:
            return None
        return str(reason) if reason else None

    def record_failure(self, error: Exception | str, *, unless_known: bool = False) -> None:
        """Record that the run failed and why; an error without a message keeps the reason recorded before.

        If the disk is full, nothing is recorded and no second error is raised.

        Args:
            error: Error or message that gives the reason.
            unless_known: Record nothing if a reason is already known. Ranks that fail only because they lost another
                rank set this, since the first rank to fail knows the reason.
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
        """Return the content of a JSON file; raise `UserError` if it cannot be read or is not a JSON object."""
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
        """Write `content` to a JSON file, completely or not at all."""
        atomic_write_text(path, json.dumps(content, indent=2) + "\n")

    @property
    def split_hash(self) -> Any:
        """Hash of the split's tracks as recorded in ``split.json``; None if there is none."""
        return self.read_json(self.split).get("hash")

    def read_history(self) -> list[dict[str, float]]:
        """Return the rows of ``history.csv``, one per epoch, without empty cells; `UserError` if it is damaged."""
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
        except (OSError, TypeError, ValueError, csv.Error) as error:  # TypeError: more cells than columns.
            raise UserError(f"{self.history} is damaged ({error}); repeat the run in another run_dir.") from error
        return rows

    def write_history(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write the rows of ``history.csv``, one per epoch."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        with atomic_path(self.history) as beside, beside.open("w", newline="", encoding="utf-8") as lines:
            writer = csv.DictWriter(lines, columns)
            writer.writeheader()
            writer.writerows({key: f"{value:.7g}" for key, value in row.items()} for row in rows)


def _holds_numbers(value: Any, depth: int, key: str = "") -> bool:
    """Return whether a value is a number, None or an interval, or only such values, nested at most `depth` levels."""
    if isinstance(value, dict):
        return depth > 0 and all(_holds_numbers(entry, depth - 1, name) for name, entry in value.items())
    if key.startswith("accuracy_ci95") and value is not None:
        return isinstance(value, list) and len(value) == 2 and all(_holds_numbers(entry, 0) for entry in value)
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def reason_of(error: Exception | str) -> str:
    """Return the message of an error in one line, after the name of its class unless it is a `UserError`."""
    if isinstance(error, str | UserError):
        return " ".join(str(error).split())
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


class NoSpace(UserError):
    """There is no space left on a disk, or no writable folder for temporary files."""


@contextmanager
def sentence_when_full(path: Path | None = None) -> Iterator[None]:
    """Turn errors of a full disk, that of `path` or of temporary files, into a `NoSpace` that names the folder."""
    try:
        yield
    except OSError as error:
        if "No usable temporary directory" in str(error):  # Python has tried all candidates.
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
    """Return whether the temporary folder is the full one, by the error's file name or else by the free space."""
    if isinstance(error.filename, str):
        return Path(error.filename).is_relative_to(temporary) and not Path(error.filename).is_relative_to(path)
    try:
        return shutil.disk_usage(temporary).free < shutil.disk_usage(path).free
    except OSError:
        return False
