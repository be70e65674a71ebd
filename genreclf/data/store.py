"""The store: all spectrograms of a dataset, computed once and kept in a memory-mapped file.

A finished store is a folder with three files: ``frames.bin`` contains the frames of all tracks one after another, shape
``(frame, mel)``; ``index.json`` gives the position of each track; and ``journal.jsonl`` is the journal of the build. An
unfinished store is kept in a separate folder without an index, and an interrupted build resumes where its journal ends.
"""

import hashlib
import json
import math
import mmap
import os
import random
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from genreclf.data.encode_all import Encode, encode_all
from genreclf.datasets.base import Track
from genreclf.errors import FULL, UnreadableTrack, UserError
from genreclf.run_directory import atomic_write_text

FORMAT = 3
"""Version of the format; it is increased whenever the stored values of the same track change."""

SAMPLE_BYTES = 2**30
"""Number of bytes that are verified before a run if the store is too large for memory."""

Entry = tuple[int, int, int]  # first frame of a track in frames.bin, number of frames, their CRC-32


@dataclass(frozen=True)
class Recipe:
    """Everything that the spectrograms of a store depend on besides the tracks."""

    dataset: str
    """Short name of the dataset, with which the name of the store's folder begins."""
    dtype: str
    """Data type of the stored values, one of ``int16``, ``uint8`` (images) and ``float16`` (embeddings)."""
    n_mels: int
    """Number of values in a frame, which are mel bands, samples of a waveform, or an embedding."""
    settings: Mapping[str, Any]
    """All other settings that the stored values depend on, such as sample rate and hop length."""
    what: str = "Spectrograms"
    """Name of the stored values, shown beside the progress bar."""

    def key(self, tracks: Iterable[Track] = ()) -> str:
        """Return a hash of the recipe and of the ids and fingerprints of `tracks`."""
        parts = [FORMAT, self.dataset, self.dtype, self.n_mels, sorted(self.settings.items())]
        parts += [[track.id, track.fingerprint] for track in tracks]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


class Store:
    """A finished store of spectrograms.

    Attributes:
        directory: Folder of the store.
        frames: Memory-mapped array of all frames, shape ``(frame, mel)``.
        lengths_frames: Number of frames of each track, by track id.
        offsets_frames: Index of the first frame of each track, by track id.
        unreadable: Reason why a track could not be read and is not in the store, by track id.
    """

    def __init__(self, directory: Path) -> None:
        """Open the store in `directory`.

        Raises:
            UserError: The store is incomplete or damaged.
        """
        self.directory = directory
        try:
            index = json.loads((directory / "index.json").read_text())
            if index.pop("checksum", None) not in (None, zlib.crc32(json.dumps(index).encode())):
                raise ValueError("index.json is not what was written")
            shape = (index["frames"], index["n_mels"])
            self.frames: NDArray[Any] = mapped(directory / "frames.bin", np.dtype(index["dtype"]), shape)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise _damaged_error(directory, str(error)) from error
        self._entries: dict[str, Entry] = index["tracks"]
        self.offsets_frames = {name: offset for name, (offset, _, _) in self._entries.items()}
        self.lengths_frames = {name: length for name, (_, length, _) in self._entries.items()}
        self.unreadable: dict[str, str] = index["unreadable"]

    def spectrogram(self, track_id: str) -> NDArray[Any]:
        """Return a view of the stored values of a track, shape ``(mel, frame)``."""
        offset = self.offsets_frames[track_id]
        return self.frames[offset : offset + self.lengths_frames[track_id]].T

    def read_soon(self, first_frame: int, frames: int) -> None:
        """Ask the operating system to read `frames` frames, starting at `first_frame`, from disk in the background."""
        memory: mmap.mmap | None = getattr(self.frames, "_mmap", None)
        if memory is None or not hasattr(mmap, "MADV_WILLNEED"):
            return
        frame_bytes = self.frames[:1].nbytes
        start = first_frame * frame_bytes // mmap.PAGESIZE * mmap.PAGESIZE
        memory.madvise(mmap.MADV_WILLNEED, start, (first_frame + frames) * frame_bytes - start)

    def check(self, at_most_bytes: int | None = None) -> None:
        """Verify the stored tracks against their checksums.

        Args:
            at_most_bytes: Approximate number of bytes to verify, from randomly chosen tracks; None verifies all tracks.

        Raises:
            UserError: A stored track differs from what was written.
        """
        entries = self._entries
        if at_most_bytes is not None:
            tracks = math.ceil(min(1.0, at_most_bytes / self.frames.nbytes) * len(entries))
            # The system's random numbers are used, so that the check does not affect any seeded generator.
            entries = {name: entries[name] for name in random.SystemRandom().sample(list(entries), tracks)}
        if damaged := list(_damaged(self.directory / "frames.bin", self.frames[:1].nbytes, entries)):
            found = f"{len(damaged)} of the {len(entries)} tracks that were read back are not what was written"
            raise _damaged_error(self.directory, f"{found}, {damaged[0]} first")


def _damaged(file: Path, frame_bytes: int, entries: Mapping[Any, Entry]) -> Iterator[Any]:
    """Yield the keys of tracks whose frames do not match their checksums."""
    # The file is not memory-mapped, since mapped pages count as memory of the process.
    with file.open("rb") as frames:
        for key, (offset, length, checksum) in entries.items():
            frames.seek(offset * frame_bytes)
            if zlib.crc32(frames.read(length * frame_bytes)) != checksum:
                yield key


def mapped(file: Path | BinaryIO, dtype: np.dtype[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Map a file into memory as a read-only array; a writable map would have to fit into memory.

    Raises:
        OSError: The file cannot be read.
        ValueError: The file is shorter than an array of `shape` and `dtype`.
    """
    # Torch has no read-only tensors and warns about it.
    warnings.filterwarnings("ignore", "The given NumPy array is not writable")
    return np.memmap(file, dtype, "r", shape=shape)


def open_or_build(
    *,
    directory: Path,
    recipe: Recipe,
    tracks: Sequence[Track],
    encode: Encode,
    skip_unreadable: bool = False,
    workers: int | None = None,
) -> Store:
    """Open the store of `tracks` in `directory`, and build it first if it does not exist.

    Args:
        directory: Folder that contains the stores.
        recipe: Everything that the stored values depend on besides the tracks.
        tracks: Tracks to store.
        encode: Function that computes the stored values of a track; it is called from several threads at once.
        skip_unreadable: Whether to leave out tracks that cannot be read, instead of raising an error.
        workers: Number of threads; by default the number of `genreclf.hardware.cores`.

    Raises:
        UserError: Tracks cannot be read (the message names all of them), or the store cannot be written or is damaged.
            Tracks that are finished by then are kept.
    """
    from genreclf.hardware import cores

    final = directory / f"{recipe.dataset}-{recipe.key(tracks)}"
    building = directory / f"{recipe.dataset}-{recipe.key()}.building"
    if os.path.exists(final / "index.json"):  # Before locking: the disk may be read-only.
        return _opened(final, tracks, skip_unreadable)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        # A second process waits for the lock and then finds the finished store.
        with FileLock(f"{building}.lock"):
            if not (final / "index.json").exists():
                unreadable = _build(building, recipe, tracks, encode, workers or cores())
                if unreadable and not skip_unreadable:
                    raise _unreadable_error(unreadable)
                building.rename(final)
    except OSError as error:
        if error.errno in FULL:
            raise UserError(
                f"No space is left for the store in {directory}; free some or set data.store_dir, then run the same "
                "command again: what was done is kept."
            ) from error
        raise UserError(f"The store cannot be kept in {directory} ({error.strerror}); set data.store_dir.") from error
    return _opened(final, tracks, skip_unreadable)


def _opened(directory: Path, tracks: Sequence[Track], skip_unreadable: bool) -> Store:
    store = Store(directory)
    if store.unreadable and not skip_unreadable:
        found = {track.id: (track, store.unreadable[track.id]) for track in tracks if track.id in store.unreadable}
        raise _unreadable_error(found, directory)
    return store


def _damaged_error(directory: Path, reason: str) -> UserError:
    return UserError(f"The store {directory} is damaged ({reason}); delete the folder to have it built anew.")


def _unreadable_error(unreadable: Mapping[str, tuple[Track, str]], store: Path | None = None) -> UserError:
    named = "".join(f"\n  {track.path}: {reason}" for track, reason in unreadable.values())
    files = "1 file" if len(unreadable) == 1 else f"{len(unreadable)} files"
    again = "" if store is None else f"; if they can be read by now, delete {store}, which says that they cannot"
    return UserError(f"{files} cannot be read; repair or remove them, or set data.skip_unreadable=true{again}:{named}")


def _build(
    building: Path, recipe: Recipe, tracks: Sequence[Track], encode: Encode, workers: int
) -> dict[str, tuple[Track, str]]:
    """Write the missing tracks and then the index; return the unreadable tracks, with the reasons, by track id."""
    building.mkdir(exist_ok=True)
    frame_bytes = recipe.n_mels * np.dtype(recipe.dtype).itemsize
    (building / "frames.bin").touch()
    done = _read_journal(building, frame_bytes)
    missing = [track for track in tracks if (track.id, track.fingerprint) not in done]
    unreadable: dict[str, tuple[Track, str]] = {}
    end = max((offset + length for offset, length, _ in done.values()), default=0)
    with (building / "frames.bin").open("ab") as frames, (building / "journal.jsonl").open("a") as journal:
        frames.truncate(end * frame_bytes)
        for track, result in encode_all(missing, encode, workers, recipe.what):
            if isinstance(result, UnreadableTrack):
                unreadable[track.id] = (track, str(result))
                continue
            values = np.ascontiguousarray(result, dtype=recipe.dtype)
            frames.write(values.data)
            frames.flush()
            entry = (end, len(values), zlib.crc32(values.data))
            journal.write(json.dumps([track.id, track.fingerprint, *entry]) + "\n")
            journal.flush()
            done[track.id, track.fingerprint] = entry
            end += len(values)
    index = {
        "dtype": recipe.dtype,
        "n_mels": recipe.n_mels,
        "frames": end,
        "settings": dict(recipe.settings),
        "tracks": {track.id: done[track.id, track.fingerprint] for track in tracks if track.id not in unreadable},
        "unreadable": {name: reason for name, (_, reason) in unreadable.items()},
    }
    if not index["tracks"]:
        raise _unreadable_error(unreadable)
    checksum = zlib.crc32(json.dumps(index).encode())
    atomic_write_text(building / "index.json", json.dumps({**index, "checksum": checksum}))
    return unreadable


def _read_journal(building: Path, frame_bytes: int) -> dict[tuple[str, str], Entry]:
    """Return the entries, by id and fingerprint, of the tracks that an interrupted build has written completely."""
    (building / "index.json").unlink(missing_ok=True)
    journal = building / "journal.jsonl"
    done: dict[tuple[str, str], Entry] = {}
    for line in journal.read_text().splitlines() if journal.exists() else ():
        try:
            track_id, fingerprint, offset, length, checksum = json.loads(line)
            done[str(track_id), str(fingerprint)] = (int(offset), int(length), int(checksum))
        except (ValueError, TypeError, RecursionError):
            break  # The build was interrupted while it wrote this line.
    for key in list(_damaged(building / "frames.bin", frame_bytes, done)):
        del done[key]
    atomic_write_text(journal, "".join(json.dumps([*key, *entry]) + "\n" for key, entry in done.items()))
    return done
