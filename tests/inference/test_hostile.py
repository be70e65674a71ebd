"""Files that are no songs: each is named with its reason, none stops the others."""

import csv
import io
import os
import struct
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import Cli, Outcome, Trained, copy_under_odd_name

from genreclf.audio import decode
from genreclf.escaping import printable
from genreclf.inference.listing import natural_order

RATE = 22050
TONE = (0.3 * np.sin(np.arange(RATE) / 9)).astype(np.float32)


def wav_header(n_data_bytes: int, *, rate: int = RATE, channels: int = 1, bits: int = 16) -> bytes:
    frame_bytes = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * frame_bytes % 2**32, frame_bytes, bits)
    riff_bytes = min(n_data_bytes + 36, 2**32 - 1)
    return (
        b"RIFF"
        + struct.pack("<I", riff_bytes)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", n_data_bytes)
    )


def write_good(folder: Path) -> set[str]:
    """Write songs of every odd kind that can be analyzed; return their names."""
    rng = np.random.default_rng(0)
    for subtype in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM"):
        soundfile.write(folder / f"good_{subtype}.wav", TONE, RATE, subtype=subtype)
    for rate in (8000, 44_101, 96_000, 192_000):
        soundfile.write(folder / f"good_{rate}.wav", TONE, rate)
    for channels in (2, 6, 8):
        soundfile.write(folder / f"good_{channels}_channels.wav", rng.normal(0, 0.1, (RATE, channels)), RATE)
    for suffix in ("flac", "ogg", "mp3", "au", "aiff", "caf"):
        soundfile.write(folder / f"good.{suffix}", TONE[: RATE // 2], RATE)
    soundfile.write(folder / "good.opus", TONE, 48_000, format="OGG", subtype="OPUS")
    soundfile.write(folder / "good_two_samples.wav", TONE[5:7], RATE)
    soundfile.write(folder / "good_flac_called.wav", TONE, RATE, format="FLAC")
    soundfile.write(folder / "good [bold] \N{SNOWMAN}\n.wav", TONE, RATE)
    whole = (folder / "good_PCM_32.wav").read_bytes()
    (folder / "good_truncated.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "good_huge_header.wav").write_bytes(
        wav_header(2**32 - 38) + TONE.astype(np.int16).tobytes() + b"\1" * 999
    )
    (folder / "deep/er").mkdir(parents=True)
    soundfile.write(folder / "deep/er/good.wav", TONE, RATE)
    return {str(path.relative_to(folder)) for path in folder.rglob("*good*")}


def write_bad(folder: Path) -> dict[str, str]:
    """Write what cannot be analyzed; return the names and the reasons."""

    def floats(name: str, samples: np.ndarray) -> None:
        soundfile.write(folder / name, samples.astype(np.float32), RATE, subtype="FLOAT")

    floats("nan.wav", np.where(np.arange(RATE) == 99, np.nan, TONE))
    floats("infinite.wav", np.where(np.arange(RATE) == 99, np.inf, TONE))
    floats("loud.wav", 1e30 * TONE)
    floats("silent.wav", np.zeros(RATE))
    floats("one.wav", TONE[1:2])
    floats("none.wav", TONE[:0])
    (folder / "empty.wav").touch()
    (folder / "empty.mp3").touch()
    (folder / "text.wav").write_text("Not a sound. " * 99)
    (folder / "text.mp3").write_text("Not a sound. " * 9)
    (folder / "text.m4a").write_text("Not a sound. " * 99)
    (folder / "random.flac").write_bytes(np.random.default_rng(1).bytes(5000))
    (folder / "zeros.ogg").write_bytes(bytes(5000))
    (folder / "header.wav").write_bytes(wav_header(2**31)[:30])
    (folder / "slow.wav").write_bytes(wav_header(2000, rate=1) + b"\1\2" * 1000)
    (folder / "fast.wav").write_bytes(wav_header(2000, rate=2**31 - 1) + b"\1\2" * 1000)
    (folder / "channels.wav").write_bytes(wav_header(2000, channels=2000) + b"\1\2" * 1000)
    (folder / "bits.wav").write_bytes(wav_header(2000, bits=63) + b"\1\2" * 1000)
    soundfile.write(folder / "start.flac", TONE, RATE)
    (folder / "start.flac").write_bytes((folder / "start.flac").read_bytes()[:60])
    (folder / "gone.wav").symlink_to(folder / "nothing")
    (folder / "loop.wav").symlink_to(folder / "loop.wav")
    (folder / "round").symlink_to(folder, target_is_directory=True)
    (folder / "plain_loop").symlink_to(folder / "plain_loop")
    os.mkfifo(folder / "pipe.wav")
    return {
        "nan.wav": "contains NaN or infinity",
        "infinite.wav": "contains NaN or infinity",
        "loud.wav": "samples far beyond full scale",
        "silent.wav": "digital silence from start to end",
        "one.wav": "1 sample",
        "none.wav": "zero length",
        "empty.wav": "empty file",
        "empty.mp3": "empty file",
        "text.wav": "not readable as audio",
        "text.mp3": "not readable as audio: it holds none, or is damaged",
        "text.m4a": "not readable as audio: Format not recognised; install FFmpeg, which reads more formats",
        "random.flac": "not readable as audio",
        "zeros.ogg": "not readable as audio",
        "header.wav": "",
        "slow.wav": "its sample rate of 1 Hz is not between 1 kHz and 1 MHz",
        "fast.wav": "its sample rate of 2147483647 Hz",
        "channels.wav": "",
        "bits.wav": "",
        "start.flac": "",
        "gone.wav": "a link to a missing file",
        "loop.wav": "symbolic links",
        "round": "a link to a folder, which is not followed",
        "plain_loop": "symbolic links",
        "pipe.wav": "a device or a pipe, not a file",
    }


@pytest.fixture
def no_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")


def reasons(outcome: Outcome) -> dict[str, str]:
    assert "Traceback" not in outcome.err
    parts = [line.partition(": ") for line in outcome.err.splitlines()]
    return {name: reason for name, colon, reason in parts if colon}


def predicted_paths(names: set[str]) -> list[str]:
    return [str(path) for path in sorted((Path("songs", name) for name in names), key=natural_order)]


@pytest.mark.usefixtures("no_ffmpeg")
def test_each_is_named_and_the_others_go_on(cli: Cli, trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "songs"
    folder.mkdir()
    good, bad = write_good(folder), write_bad(folder)
    started_s = time.monotonic()
    outcome = cli("predict", str(trained.run.path), "songs", "--format", "csv")
    assert time.monotonic() - started_s < 60
    assert outcome.code == 0
    named = reasons(outcome)
    assert set(named) == {f"songs/{name}" for name in bad}
    for name, reason in bad.items():
        assert reason in named[f"songs/{name}"], named[f"songs/{name}"]
        assert named[f"songs/{name}"]
    predicted = [row["path"] for row in csv.DictReader(io.StringIO(outcome.out))]
    assert predicted == [printable(name) for name in predicted_paths(good)]
    assert len(good) + len(bad) >= 40
    assert outcome.err.rstrip().endswith(f"{len(good)} predicted, {len(bad)} skipped.")


@pytest.mark.usefixtures("no_ffmpeg")
def test_a_name_that_is_not_text_is_named(cli: Cli, trained: Trained, tmp_path: Path) -> None:
    song = copy_under_odd_name(trained.music / "blues/0.wav", tmp_path)
    for word in (".", str(song)):
        outcome = cli("predict", str(trained.run.path), word)
        assert outcome.code == 2
        assert r"\udcff.wav: a name that is not UTF-8 text: rename it" in outcome.err


@pytest.mark.slow
@pytest.mark.usefixtures("no_ffmpeg")
def test_two_hundred_damaged_files(cli: Cli, trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "songs"
    folder.mkdir()
    rng = np.random.default_rng(6)
    for suffix in ("wav", "flac", "ogg", "mp3", "aiff"):
        soundfile.write(tmp_path / f"whole.{suffix}", TONE, RATE)
        whole = (tmp_path / f"whole.{suffix}").read_bytes()
        for number in range(40):
            damaged = np.frombuffer(whole, np.uint8).copy()
            places = rng.integers(0, len(damaged) if number % 2 else 64, rng.integers(1, 20))
            damaged[places] = rng.integers(0, 256, len(places))
            if number % 3 == 0:
                damaged = damaged[: rng.integers(0, len(damaged))]
            (folder / f"{number}.{suffix}").write_bytes(damaged.tobytes())
    outcome = cli("predict", str(trained.run.path), "songs", "--format", "csv")
    assert outcome.code == 0
    named, rows = reasons(outcome), list(csv.DictReader(io.StringIO(outcome.out)))
    assert all(named.values())
    assert len(named) + len(rows) == 200
    assert min(len(named), len(rows)) > 10
    for row in rows:
        assert sum(float(row[genre]) for genre in ("blues", "classical", "metal")) == pytest.approx(1, abs=1e-6)


FFMPEG = """#!{python}
import os, struct, sys, time
mode, arguments = {mode!r}, sys.argv[1:]
output = os.fdopen(1, "wb")  # Writes all, also with PYTHONUNBUFFERED.
assert arguments[arguments.index("-protocol_whitelist") + 1] == "file,pipe"
assert "-format_whitelist" in arguments
path = arguments[arguments.index("-i") + 1]
assert path.startswith("file:")
if mode == "bad":
    sys.exit(f"{{path}}: Invalid data found when processing input")
if mode == "hangs":
    output.write(struct.pack(">8I", 0x2E736E64, 32, 0xFFFFFFFF, 6, 22050, 1, 0, 0) + bytes(4000))
    output.flush()
    time.sleep(60)
import numpy as np, soundfile
samples, rate = soundfile.read({song!r}, dtype="float32", always_2d=True)
header = np.array([0x2E736E64, 32, 0xFFFFFFFF, 6, rate, samples.shape[1], 0, 0], ">u4")
output.write(header.tobytes() + samples[: len(samples) // 2].astype(">f4").tobytes())
output.flush()
if mode == "crashes":
    os.kill(os.getpid(), 11)
if mode == "breaks":
    sys.exit("the file: Input/output error")
output.write(samples[len(samples) // 2 :].astype(">f4").tobytes())
"""


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("good", None),
        ("bad", "not readable as audio: Format not recognised; ffmpeg: the file: Invalid data found when processing"),
        ("breaks", "ffmpeg: the file: Input/output error"),
        ("crashes", "ffmpeg: ended by signal 11"),
        ("hangs", "ffmpeg: ended after 1 s without an answer"),
    ],
)
def test_other_formats_go_through_ffmpeg(
    mode: str, reason: str | None, cli: Cli, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    song = trained.music / "metal/1.flac"
    program = tmp_path / "bin/ffmpeg"
    program.parent.mkdir()
    program.write_text(FFMPEG.format(python=sys.executable, mode=mode, song=str(song)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr(decode, "FFMPEG_TIMEOUT_S", 1.0 if mode == "hangs" else 60.0)
    (tmp_path / "-song;.m4a").write_bytes(b"something that libsndfile cannot read")
    outcome = cli("predict", str(trained.run.path), "--format", "csv", "--", "-song;.m4a", str(song))
    assert outcome.code == 0, outcome.err
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    if reason is None:
        assert {key: rows[0][key] for key in rows[0] if key != "path"} == {
            key: rows[1][key] for key in rows[1] if key != "path"
        }
    else:
        assert reason in reasons(outcome)["-song;.m4a"]
        assert len(rows) == 1
