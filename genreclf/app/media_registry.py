"""Register the audio files that the page may play, and only these."""

import hashlib
import secrets
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from threading import Lock

from genreclf.audio.decode import open_audio
from genreclf.errors import UnreadableTrack
from genreclf.run_directory import atomic_path

PLAYED_BY_BROWSERS = (".aac", ".flac", ".m4a", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".wav", ".wave", ".webm")
"""Suffixes of files that are sent to the browser unchanged; all other files are decoded first."""

PLACES = 10_000
"""Maximum number of registered files; the least recently registered one is dropped first."""

KEPT_S = 3600
"""Time in seconds for which a visitor's song or a decoded copy is kept."""


class MediaRegistry:
    """Registry that maps audio files to URLs that hide their paths, and decodes formats that browsers cannot play.

    Args:
        copies: Folder for decoded copies, which is created if needed.
    """

    def __init__(self, *, copies: Path) -> None:
        self.copies = copies
        copies.mkdir(parents=True, exist_ok=True)
        self._secret = secrets.token_bytes(16)
        self._paths: OrderedDict[str, Path] = OrderedDict()
        self._lock = Lock()

    def put(self, path: Path) -> str:
        """Register a file that the page may play.

        Returns:
            URL path of the file on the page's server.
        """
        token = hashlib.blake2b(bytes(path), key=self._secret, digest_size=12).hexdigest()
        with self._lock:
            self._paths[token] = path
            self._paths.move_to_end(token)
            while len(self._paths) > PLACES:
                self._paths.popitem(last=False)
        return f"/song/{token}"

    def playable(self, token: str) -> Path | None:
        """Return the path of a registered file, or of a copy decoded to FLAC if browsers cannot play its format.

        Args:
            token: Last part of the URL path that `put` returned.

        Returns:
            The path; None if the file is not registered, no longer exists, or cannot be decoded.
        """
        with self._lock:
            path = self._paths.get(token)
        if path is None or not path.is_file():
            return None
        if path.suffix.lower() in PLAYED_BY_BROWSERS:
            return path
        copy = self.copies / f"{token}.flac"
        try:
            if not copy.exists():
                self.clear_old()
                _decode(path, copy)
        except UnreadableTrack:
            return None
        return copy

    def clear_old(self) -> None:
        """Delete decoded copies that are older than `KEPT_S` seconds."""
        for copy in self.copies.iterdir():
            with suppress(FileNotFoundError):  # Another visitor's request may delete copies at the same time.
                if time.time() - copy.stat().st_mtime > KEPT_S:
                    copy.unlink()


def _decode(path: Path, copy: Path) -> None:
    import soundfile

    with (
        open_audio(path) as stream,
        atomic_path(copy) as partial,
        soundfile.SoundFile(partial, "w", stream.sample_rate, 1, "PCM_16", format="FLAC") as file,
    ):
        for block in stream:
            file.write(block)
