"""Files that would take all of the memory: each is named, and the others go on."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import Cli, Trained
from PIL import Image

from genreclf import limits
from genreclf.audio.decode import decode, stream_of
from genreclf.errors import UnreadableTrack, UserError
from genreclf.evaluation.predictions import read_track_csv
from genreclf.run_directory import RunDirectory

RATE = 22050
NOISE = np.random.default_rng(0).normal(0, 0.1, RATE)


def write_flac(path: Path, claimed_samples: int) -> None:
    """Write a second of noise whose header claims another length."""
    soundfile.write(path, NOISE, RATE)
    content = bytearray(path.read_bytes())
    # The lowest 36 bits of these 8 bytes.
    (fields,) = struct.unpack_from(">Q", content, 18)
    struct.pack_into(">Q", content, 18, fields >> 36 << 36 | claimed_samples)
    path.write_bytes(content)


def write_wav(path: Path, *, rate: int, channels: int = 1) -> None:
    samples = (NOISE * 32767).astype("<i2").tobytes()
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    chunks = b"WAVEfmt " + form + b"data" + struct.pack("<I", len(samples)) + samples
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)


def write_png(path: Path, width: int, height: int) -> None:
    """Write a gray picture of zeros, as far as a header of that size has any."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(min(10_000_000, (width + 1) * height))))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))


def check_prepared(cli: Cli, tmp_path: Path, source: str, bad: dict[str, str]) -> None:
    """Check that `prepare` names the bad files, and goes on without them where it may."""
    words = ["prepare", f"data={source}", f"data.root={tmp_path / 'data'}", f"data.store_dir={tmp_path / 'stores'}"]
    outcome = cli(*words)
    assert outcome.code == 2
    assert f"{len(bad)} files cannot be read" in outcome.err
    for name, reason in bad.items():
        assert f"{name}: {reason}" in outcome.err
    assert cli(*words, "data.skip_unreadable=true").code == 0


def test_sounds_are_bounded_before_they_are_decoded(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "metal"
    folder.mkdir(parents=True)
    soundfile.write(folder / "good.wav", NOISE, RATE)
    write_flac(folder / "endless.flac", 2**36 - 1)
    write_flac(folder / "day.flac", 24 * 3600 * RATE)
    write_wav(folder / "slow.wav", rate=1)
    write_wav(folder / "fast.wav", rate=2**31 - 1)
    (folder / "loop.wav").symlink_to("loop.wav")
    bad = {
        "endless.flac": "its header claims 865.7 h, more than the 2 h that a track may have; cut it into segments",
        "day.flac": "its header claims 24.0 h",
        "slow.wav": "its sample rate of 1 Hz is not between 1 kHz and 1 MHz",
        "fast.wav": "its sample rate of 2147483647 Hz",
        "loop.wav": "Too many levels of symbolic links",
    }
    check_prepared(cli, tmp_path, "folder", bad)


def test_pictures_are_bounded_before_they_are_decoded(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "metal"
    folder.mkdir(parents=True)
    levels = np.random.default_rng(0).integers(0, 256, (128, 87), dtype=np.uint8)
    for number in range(3):
        Image.fromarray(levels).save(folder / f"good{number}.png")
    write_png(folder / "wide.png", 170_000_000, 1)
    write_png(folder / "large.png", 13_000, 13_000)
    write_png(folder / "flat.png", 2**17 + 1, 2)
    (folder / "loop.png").symlink_to("loop.png")
    bad = {
        "wide.png": "a picture of 170000000 x 1 pixels, more than 16,777,216 in all or 131,072 in a row",
        "large.png": "a picture of 13000 x 13000 pixels",
        "flat.png": "a picture of 131073 x 2 pixels",
        "loop.png": "Too many levels of symbolic links",
    }
    check_prepared(cli, tmp_path, "spectrogram_images", bad)


def test_all_channels_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LARGEST_TRACK_SAMPLES", 8000)
    soundfile.write(tmp_path / "a.wav", np.zeros((1000, 8)), RATE)
    decode(tmp_path / "a.wav")
    soundfile.write(tmp_path / "a.wav", np.zeros((1001, 8)), RATE)
    with pytest.raises(UnreadableTrack, match="8,008 samples in 8 channels"):
        decode(tmp_path / "a.wav")


def test_a_memory_that_does_not_suffice_is_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    soundfile.write(tmp_path / "a.wav", NOISE, RATE)
    monkeypatch.setattr(soundfile.SoundFile, "read", full)
    with pytest.raises(UnreadableTrack, match="too large for the free memory"):
        decode(tmp_path / "a.wav")


def test_a_song_ends_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(map(len, stream_of(NOISE, RATE))) == RATE
    monkeypatch.setattr("genreclf.audio.decode.LONGEST_SONG_S", 0.9)
    with pytest.raises(UnreadableTrack, match="longer than"):
        list(stream_of(NOISE, RATE))


def test_a_prediction_names_them_too(cli: Cli, trained: Trained, tmp_path: Path) -> None:
    write_flac(tmp_path / "endless.flac", 2**36 - 1)
    write_wav(tmp_path / "slow.wav", rate=1)
    soundfile.write(tmp_path / "good.wav", NOISE, RATE)
    outcome = cli("predict", str(trained.run.path), str(tmp_path))
    assert outcome.code == 0
    assert "endless.flac: not readable as audio" in outcome.err
    assert "slow.wav: its sample rate of 1 Hz" in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("kind", ["pipe", "link to a device"])
def test_files_of_a_run_are_no_devices(kind: str, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for path in (run.metrics, run.history, run.predictions):
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero")
    for read in (run.read_metrics, run.read_history, lambda: read_track_csv(run.predictions)):
        with pytest.raises(UserError, match="a device or a pipe, not a file"):
            read()
