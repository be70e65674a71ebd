"""Decode audio files of any format and length to mono waveforms, whole or in blocks.

soundfile reads the common formats; `open_audio` passes other files to the ffmpeg program, if it is installed.
"""

import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from genreclf.audio.formats import AUDIO_SUFFIXES
from genreclf.errors import NOT_UTF8, UnreadableTrack
from genreclf.limits import LONGEST_SONG_S, check_is_file, check_rate, check_track

BLOCK_VALUES = 1 << 20
"""Number of samples decoded at a time, all channels together; 4 MB."""

FFMPEG_TIMEOUT_S = 60.0
"""Seconds that ffmpeg may take for one block before it is killed."""

_FFMPEG_FORMATS = (
    "aac,ac3,aiff,ape,asf,au,caf,eac3,flac,matroska,webm,mov,mp4,m4a,mp3,mpc,mpc8,mpegts,ogg,tta,w64,wav,wv"
)
"""Formats that ffmpeg may read; playlists are not among them, since they could make ffmpeg open other files."""


class AudioStream:
    """A mono waveform that is read block by block and checked while it is read.

    Iterating yields blocks of shape ``(sample,)`` with full scale at 1, and raises
    `genreclf.errors.UnreadableTrack` as soon as the audio turns out to be unusable, at its end at the latest.

    Attributes:
        sample_rate: Sample rate in Hz.
        n_samples: Number of samples read so far.
    """

    def __init__(self, blocks: Iterable[NDArray[np.float32]], sample_rate: int, *, allow_silence: bool = False) -> None:
        """Create a stream from blocks of shape ``(channel, sample)``, whose channels are averaged.

        Raises:
            UnreadableTrack: The sample rate is not plausible.
        """
        check_rate(sample_rate)
        self._blocks = blocks
        self._allow_silence = allow_silence
        self.sample_rate = sample_rate
        self.n_samples = 0

    @property
    def duration_s(self) -> float:
        """Duration in seconds of the audio read so far."""
        return self.n_samples / self.sample_rate

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        """Yield blocks of shape ``(sample,)``."""
        silent = not self._allow_silence
        for block in self._blocks:
            samples = _mono(block)
            if not np.isfinite(samples).all():
                raise UnreadableTrack("contains NaN or infinity")
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
    """Return a waveform ``(sample,)`` or ``(channel, sample)`` as a stream; `UnreadableTrack` for an unusable rate."""
    if not (isinstance(sample_rate, Real) and sample_rate >= 1 and float(sample_rate).is_integer()):
        raise UnreadableTrack(f"sample_rate={sample_rate!r} must be a whole number of Hz")
    channels = np.atleast_2d(waveform)
    step = max(1, BLOCK_VALUES // len(channels))
    starts = range(0, channels.shape[1], step)
    return AudioStream((channels[:, i : i + step].astype(np.float32, copy=False) for i in starts), int(sample_rate))


def decode(path: Path) -> tuple[NDArray[np.float32], int]:
    """Read a whole audio file with soundfile.

    Args:
        path: Path of an audio file, see `genreclf.audio.formats.AUDIO_SUFFIXES`.

    Returns:
        The mono waveform, shape ``(sample,)``, with full scale at 1 (16-bit integers are divided by 32768), and its
        sample rate in Hz.

    Raises:
        UnreadableTrack: The file cannot be used; the message says why in a few words, without the path.
    """
    with _open_whole(path) as file:
        blocks = list(AudioStream(_soundfile_blocks(file), file.samplerate, allow_silence=True))
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks), int(file.samplerate)


def decode_channels(path: Path) -> tuple[NDArray[np.float32], int]:
    """Read all channels of a whole audio file with soundfile.

    Returns:
        The waveforms, shape ``(channel, sample)``, with full scale at 1, and their sample rate in Hz.

    Raises:
        UnreadableTrack: The file cannot be used; the message says why in a few words, without the path.
    """
    with _open_whole(path) as file:
        if not (blocks := list(_soundfile_blocks(file))):
            raise UnreadableTrack("zero length")
        return np.concatenate(blocks, axis=1), int(file.samplerate)


@contextmanager
def open_audio(path: Path) -> Iterator[AudioStream]:
    """Open an audio file of any format that soundfile reads, or ffmpeg if it is installed.

    Raises:
        UnreadableTrack: The file cannot be used; the message says why in a few words, without the path.
    """
    check_is_file(path)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_open_soundfile(path))
        except UnreadableTrack as reason:
            program = shutil.which("ffmpeg")
            if program is None:
                known = path.suffix.lower() in AUDIO_SUFFIXES
                hint = "" if known else "; install FFmpeg, which reads more formats"
                raise UnreadableTrack(f"{reason}{hint}") from None
            yield stack.enter_context(_ffmpeg(program, path, str(reason)))
        else:
            yield AudioStream(_soundfile_blocks(file), file.samplerate)


def header_duration_s(path: Path) -> float | None:
    """Return the duration in seconds that the header of a file claims; None if there is no readable header."""
    import soundfile

    try:
        header = soundfile.info(path)
    except (OSError, RuntimeError):
        return None
    return float(header.frames / header.samplerate)


def read_artist_tag(path: Path) -> str | None:
    """Return the artist in the tags of a file; None if soundfile finds none."""
    import soundfile

    try:
        with soundfile.SoundFile(path) as file:
            artist = str(file.artist).strip()
    except (OSError, RuntimeError, ValueError, TypeError):
        return None
    return artist or None


@contextmanager
def _open_whole(path: Path) -> Iterator[Any]:
    """Open a file of which all samples will be held in memory, and check that it is not too large."""
    check_is_file(path)
    with _open_soundfile(path) as file:
        check_track(file.frames, file.channels, file.samplerate)
        try:
            yield file
        except MemoryError:
            raise UnreadableTrack("too large for the free memory") from None


@contextmanager
def _open_soundfile(path: Path) -> Iterator[Any]:
    import soundfile

    try:
        file = soundfile.SoundFile(path)
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        raise _unreadable(error) from None
    with file:
        yield file


def _soundfile_blocks(file: Any) -> Iterator[NDArray[np.float32]]:
    """Yield blocks of shape ``(channel, sample)``."""
    n_samples = max(1, BLOCK_VALUES // file.channels)
    is_int16 = file.subtype == "PCM_16"
    while True:
        try:
            block = file.read(n_samples, dtype="int16" if is_int16 else "float32", always_2d=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise _unreadable(error) from None
        if len(block) == 0:
            return
        if is_int16:
            # Same result as libsndfile's own conversion, but five times faster.
            block = np.multiply(block, np.float32(1 / 32768), dtype=np.float32)
        yield np.ascontiguousarray(block.T)


def _mono(block: NDArray[np.float32]) -> NDArray[np.float32]:
    samples: NDArray[np.float32] = block[0] if len(block) == 1 else np.mean(block, axis=0, dtype=np.float32)
    return samples


def _unreadable(error: Exception) -> UnreadableTrack:
    if isinstance(error, UnicodeEncodeError):
        return UnreadableTrack(NOT_UTF8)
    words = str(getattr(error, "error_string", error))  # LibsndfileError's message without prefix.
    # libsndfile reports this for a file without audio; that the path is a regular file has been checked.
    reason = "it holds none, or is damaged" if "does not exist or is not a regular file" in words else words
    return UnreadableTrack(f"not readable as audio: {reason.strip().rstrip('.')}")


@contextmanager
def _ffmpeg(program: str, path: Path, reason: str) -> Iterator[AudioStream]:
    """Decode the first audio stream with ffmpeg to AU, whose short header has the sample rate and channel count."""
    command = [program, "-v", "error", "-nostdin", "-protocol_whitelist", "file,pipe"]
    command += ["-format_whitelist", _FFMPEG_FORMATS, "-i", f"file:{path}"]
    command += ["-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process:
        ffmpeg = _Decoder(process, log, path)
        try:
            header = ffmpeg.read(24)
            if len(header) < 24:
                raise UnreadableTrack(f"{reason}; ffmpeg: {ffmpeg.last_line()}")
            _, offset, _, _, sample_rate, n_channels = struct.unpack(">4s5I", header)
            ffmpeg.read(offset - len(header))

            def blocks() -> Iterator[NDArray[np.float32]]:
                frame_bytes = 4 * n_channels
                wanted_bytes = max(1, BLOCK_VALUES // n_channels) * frame_bytes
                while data := ffmpeg.read(wanted_bytes):
                    whole = data[: len(data) // frame_bytes * frame_bytes]
                    samples = np.frombuffer(whole, ">f4").reshape(-1, n_channels).T
                    yield np.ascontiguousarray(samples, dtype=np.float32)
                if process.wait() != 0:
                    raise UnreadableTrack(f"ffmpeg: {ffmpeg.last_line()}")

            yield AudioStream(blocks(), sample_rate)
        finally:
            process.kill()


@dataclass
class _Decoder:
    """An ffmpeg process that decodes a file."""

    process: "subprocess.Popen[bytes]"
    log: IO[bytes]
    """File with the messages of ffmpeg."""
    path: Path
    """Path of the decoded file."""
    is_late: bool = False
    """Whether ffmpeg was killed because it took too long."""

    def read(self, n_bytes: int) -> bytes:
        """Read `n_bytes` bytes of output, or fewer at the end; kill ffmpeg if it takes too long."""
        watch = threading.Timer(FFMPEG_TIMEOUT_S, self._end)
        watch.start()
        try:
            return cast(IO[bytes], self.process.stdout).read(n_bytes)
        finally:
            watch.cancel()

    def last_line(self) -> str:
        """Return the last line of ffmpeg's messages without the path, or what ended the process."""
        status = self.process.wait()
        if self.is_late:
            return f"ended after {FFMPEG_TIMEOUT_S:.0f} s without an answer"
        if status < 0:
            return f"ended by signal {-status}"
        self.log.seek(0)
        text = self.log.read(10_000).decode(errors="replace").replace(f"file:{self.path}", "the file")
        lines = text.strip().splitlines()
        return lines[-1].strip().rstrip(".") if lines else "no audio in it"

    def _end(self) -> None:
        self.is_late = True
        self.process.kill()
