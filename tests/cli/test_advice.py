"""What is at fault is named, and nothing else: a file without permission, a full disk, a long name."""

import errno
import io
import shutil
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest
from helpers import Cli, Trained

from genreclf.inference import feature_extractor
from genreclf.run_directory import NoSpace, sentence_when_full

Usage = namedtuple("Usage", "total used free")


def test_a_checkpoint_without_permission_is_not_called_damaged(
    cli: Cli, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_bytes = Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.suffix == ".ckpt":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refused)
    outcome = cli("predict", str(trained.run.path), str(trained.music))
    assert outcome.code == 2
    assert outcome.err.endswith("best.ckpt cannot be read (Permission denied); check its permissions.\n")


@pytest.mark.parametrize("full", ["temporary", "run"])
@pytest.mark.parametrize("by_file", [True, False])
def test_the_full_disk_is_named(full: str, by_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(9, 9, 0 if Path(path).name == full else 9))
    name = str(tmp_path / full / "file") if by_file else None
    with pytest.raises(NoSpace) as caught, sentence_when_full(tmp_path / "run"):
        raise OSError(errno.ENOSPC, "No space left on device", name)
    assert str(caught.value).startswith(f"No space is left in {tmp_path / full}")
    assert ("set TMPDIR" in str(caught.value)) is (full == "temporary")


class FullFile(io.BytesIO):
    """A file on a full disk."""

    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("command", ["predict", "index"])
def test_no_space_for_temporary_files_ends_the_command_once(
    command: str, cli: Cli, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_extractor.tempfile, "TemporaryFile", FullFile)
    library = ["--library", "library"] if command == "index" else []
    outcome = cli(command, str(trained.run.path), str(trained.music), *library)
    assert outcome.code == 2
    assert outcome.err == (
        f"No space is left in {tempfile.gettempdir()}, where temporary files go; free some or set TMPDIR, then run the "
        "same command again.\n"
    )


def test_no_folder_for_temporary_files_is_a_sentence() -> None:
    with pytest.raises(NoSpace, match="set TMPDIR"), sentence_when_full():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")


def test_a_song_with_a_long_name_ends_nothing(cli: Cli, trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "songs").mkdir()
    names = [f"{'é' * 125}.wav", f"{'é' * 125}.ogg", "z.wav"]
    for name, source in zip(names, ("metal/0.wav", "metal/3.ogg", "blues/0.wav"), strict=True):
        shutil.copy(trained.music / source, tmp_path / "songs" / name)
    outcome = cli("predict", str(trained.run.path), "x" * 300, "songs", "--format", "csv", "--timeline-dir", "drawn")
    assert outcome.code == 0, outcome.err
    assert f"{'x' * 300}: File name too long" in outcome.err
    assert len(outcome.out.splitlines()) == 4
    pictures = {path.name for path in (tmp_path / "drawn").iterdir()}
    assert pictures == {f"{'é' * 75}.png", f"{'é' * 75}-2.png", "z.png"}
