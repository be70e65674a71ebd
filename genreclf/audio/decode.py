"""From any audio file to blocks of its waveform, so that the length of a file does not matter.

What libsndfile cannot read goes through the ffmpeg program, if it is installed.
"""

import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from genreclf.audio.formats import AUDIO_SUFFIXES
from genreclf.audio.resample import mono
from genreclf.errors import UnreadableTrack
from genreclf.limits import LONGEST_SONG_S, check_is_file, check_rate

BLOCK_VALUES = 1 << 20
"""Samples of all channels together that are decoded at a time, 4 MB."""

FFMPEG_TIMEOUT_S = 60.0
"""How long ffmpeg may take for one block before it is ended."""

_FFMPEG_FORMATS = (
    "aac,ac3,aiff,ape,asf,au,caf,eac3,flac,matroska,webm,mov,mp4,m4a,mp3,mpc,mpc8,mpegts,ogg,tta,w64,wav,wv"
)
"""Containers of sound alone: a playlist could make ffmpeg open other files."""


class AudioStream:
    """A waveform, mono, in blocks; checked as it goes by.

    Iterating yields blocks ``(sample,)``, full scale at 1, and raises `UnreadableTrack` where the file turns out to be
    unusable, at its end at the latest.

    Attributes:
        sample_rate: In Hz.
        n_samples: How many have gone by; all of them when the last block has.
    """

    def __init__(self, blocks: Iterable[NDArray[np.float32]], sample_rate: int) -> None:
        """Take blocks ``(channel, sample)``.

        Raises:
            UnreadableTrack: No audio has such a sample rate.
        """
        check_rate(sample_rate)
        self._blocks = blocks
        self.sample_rate = sample_rate
        self.n_samples = 0

    @property
    def duration_s(self) -> float:
        """Seconds that have gone by."""
        return self.n_samples / self.sample_rate

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks ``(sample,)``."""
        silent = True
        for block in self._blocks:
            samples = mono(block)
            if not np.isfinite(samples).all():
                raise UnreadableTrack("holds NaN or infinity")
            self.n_samples += len(samples)
            if self.duration_s > LONGEST_SONG_S:
                raise UnreadableTrack(f"longer than {LONGEST_SONG_S / 3600:g} h; cut it into segments")
            silent = silent and not samples.any()
            yield samples
        if self.n_samples < 2:
            raise UnreadableTrack("1 sample" if self.n_samples else "zero length")
        if silent:
            raise UnreadableTrack("digital silence from start to end")


def stream_of(waveform: NDArray[np.floating], sample_rate: int) -> AudioStream:
    """Return a waveform ``(sample,)`` or ``(channel, sample)`` as a stream."""
    channels = np.atleast_2d(waveform)
    step = max(1, BLOCK_VALUES // len(channels))
    starts = range(0, channels.shape[1], step)
    return AudioStream((channels[:, i : i + step].astype(np.float32, copy=False) for i in starts), sample_rate)


@contextmanager
def open_audio(path: Path) -> Iterator[AudioStream]:
    """Open an audio file of any format that soundfile reads, or ffmpeg where it is installed.

    Raises:
        UnreadableTrack: The file cannot be used; the message says why in a few words, without the path.
    """
    import soundfile

    check_is_file(path)
    try:
        file = soundfile.SoundFile(path)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        words = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
        reason = f"not readable as audio: {words.strip().rstrip('.')}"
    else:
        with file:
            yield AudioStream(_soundfile_blocks(file), file.samplerate)
        return
    program = shutil.which("ffmpeg")
    if program is None:
        known = path.suffix.lower() in AUDIO_SUFFIXES
        hint = "" if known else "; install FFmpeg, which reads more formats"
        raise UnreadableTrack(reason + hint)
    with _ffmpeg(program, path, reason) as stream:
        yield stream


def read_artist_tag(path: Path) -> str | None:
    """Return the artist that a file names, as far as soundfile reads its tags; None if it names none."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            artist = str(file.artist).strip()
    except (OSError, RuntimeError, ValueError, TypeError):
        return None
    return artist or None


def _soundfile_blocks(file: Any) -> Iterator[NDArray[np.float32]]:
    n_samples = max(1, BLOCK_VALUES // file.channels)
    while True:
        try:
            block = file.read(n_samples, dtype="float32", always_2d=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise UnreadableTrack(f"not readable as audio: {error}") from None
        if len(block) == 0:
            return
        yield np.ascontiguousarray(block.T)


@contextmanager
def _ffmpeg(program: str, path: Path, reason: str) -> Iterator[AudioStream]:
    """Let ffmpeg turn the first audio stream into AU, whose short header names sample rate and channels."""
    command = [program, "-v", "error", "-nostdin", "-protocol_whitelist", "file,pipe"]
    command += ["-format_whitelist", _FFMPEG_FORMATS, "-i", f"file:{path}"]
    command += ["-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said) as process:
        try:
            output = cast(IO[bytes], process.stdout)
            header = _read(process, output, 24)
            if len(header) < 24:
                raise UnreadableTrack(f"{reason}; ffmpeg: {_last_line(process, said, path)}")
            _, offset, _, _, sample_rate, n_channels = struct.unpack(">4s5I", header)
            _read(process, output, offset - len(header))

            def blocks() -> Iterator[NDArray[np.float32]]:
                frame_bytes = 4 * n_channels
                wanted_bytes = max(1, BLOCK_VALUES // n_channels) * frame_bytes
                while data := _read(process, output, wanted_bytes):
                    whole = data[: len(data) // frame_bytes * frame_bytes]
                    samples = np.frombuffer(whole, ">f4").reshape(-1, n_channels).T
                    yield np.ascontiguousarray(samples, dtype=np.float32)
                if process.wait() != 0:
                    raise UnreadableTrack(f"ffmpeg: {_last_line(process, said, path)}")

            yield AudioStream(blocks(), sample_rate)
        finally:
            process.kill()


def _read(process: "subprocess.Popen[bytes]", output: IO[bytes], n_bytes: int) -> bytes:
    """Return so many bytes, fewer at the end; ffmpeg is ended where it takes too long for them."""
    watch = threading.Timer(FFMPEG_TIMEOUT_S, process.kill)
    watch.start()
    try:
        return output.read(n_bytes)
    finally:
        watch.cancel()


def _last_line(process: "subprocess.Popen[bytes]", said: IO[bytes], path: Path) -> str:
    """Return what ffmpeg said last, without the path."""
    if process.wait() < 0:
        return f"ended after {FFMPEG_TIMEOUT_S:.0f} s without an answer"
    said.seek(0)
    lines = said.read(10_000).decode(errors="replace").replace(f"file:{path}", "the file").strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else "no audio in it"
