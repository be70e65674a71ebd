"""A dataset of audio in folders named by genre, and what all datasets of files share."""

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genreclf.audio.decode import decode
from genreclf.audio.formats import AUDIO_SUFFIXES, SONG_SUFFIXES
from genreclf.audio.resample import resample
from genreclf.datasets import identity
from genreclf.datasets.base import AudioDataset, Track
from genreclf.errors import UserError
from genreclf.escaping import printable


def genre_files(
    root: Path, suffixes: Collection[str], warnings: list[str], *, unread: Collection[str] = ()
) -> list[Track]:
    """List the files ``<root>/<genre>/<file>`` with one of `suffixes`, in any case, except for hidden ones.

    The fingerprint is size in bytes and modification time in ns, or why they are unknown.

    Args:
        root: The folder of genre folders.
        suffixes: Of the files.
        warnings: Takes a sentence about links to missing folders, and one about files with a suffix of `unread`.
        unread: Suffixes of files that a user might expect to be read.

    Raises:
        UserError: A folder cannot be listed, or a name cannot be printed.
    """
    found, left_out = [], []
    for folder in sorted(_visible(root), key=lambda entry: entry.name):
        if not Path(folder.path).is_dir():
            if folder.is_symlink() and not os.path.exists(folder.path):
                warnings.append(f"{printable(folder.path)} is left out: a link to nothing.")
            continue
        for entry in _visible(Path(folder.path)):
            suffix = os.path.splitext(entry.name)[1].lower()
            if suffix in unread and suffix not in suffixes:
                left_out.append(entry.path)
            if suffix not in suffixes or (fingerprint := _fingerprint(entry)) is None:
                continue
            if not f"{folder.name}{entry.name}".isprintable():
                raise UserError(f"{entry.path!r} has a name that is not UTF-8 or cannot be printed: rename it.")
            id = identity.track_id(folder.name, entry.name)
            found.append(Track(id, folder.name, Path(entry.path), fingerprint=fingerprint))
    if left_out:
        such = f"{len(left_out)} file{'s' * (len(left_out) > 1)}, such as {printable(min(left_out))},"
        warnings.append(
            f"Left out of {printable(str(root))}: {such} as only {', '.join(suffixes)} are read; convert them."
        )
    return found


def as_tracks(files: list[Track], artists: str | Path | None, warnings: list[str]) -> list[Track]:
    """Return tracks with their artists and groups, without the known broken one.

    Args:
        files: What `genre_files` found.
        artists: A file for `genreclf.datasets.identity.read_artists`, or None.
        warnings: Takes a sentence about the track that is left out.

    Returns:
        The tracks, sorted by id.

    Raises:
        UserError: Two files have the same id, or the artists are those of other tracks.
    """
    by_id: dict[str, Track] = {}
    for file in sorted(files, key=lambda file: file.id):
        if (twin := by_id.setdefault(file.id, file)) is not file:
            one, other = sorted([twin.path, file.path])
            raise UserError(f"{one} and {other} are both track {file.id!r}: keep one of them.")
    if by_id.pop(identity.BROKEN_TRACK, None) is not None:
        warnings.append(f"{identity.BROKEN_TRACK} is left out: the published file is known to be broken.")

    known = identity.read_artists(artists) if artists is not None else {}
    artist_by_id = {track: identity.artist_of(track, known) for track in by_id}
    if artists is not None and by_id and not any(artist_by_id.values()):
        raise UserError(f"data.artists={artists} names none of the {len(by_id)} tracks: check that it belongs to them.")
    group_by_id = identity.groups(artist_by_id)
    return [replace(file, artist=artist_by_id[id], group=group_by_id[id]) for id, file in by_id.items()]


def files_of(
    root: str | Path | None, what: str, suffixes: Collection[str], warnings: list[str], *, unread: Collection[str]
) -> list[Track]:
    """List the `genre_files` of the setting ``data.root``.

    Args:
        root: The setting.
        what: What the files are, for the message.
        suffixes: See `genre_files`.
        warnings: Emptied first.
        unread: Suffixes of files that are not read.

    Raises:
        UserError: It is None, not a folder, or holds none.
    """
    looked_for = f"<genre>/<file> ({', '.join(suffixes)})"
    if root is None:
        raise UserError(f"data.root is missing: set it to the folder that holds {looked_for}.")
    path = Path(root).expanduser()
    if not path.is_dir():
        raise UserError(f"data.root={root} is not a folder: set it to the one that holds {looked_for}.")
    warnings.clear()
    if not (files := genre_files(path, suffixes, warnings, unread=unread)):
        raise UserError(f"data.root={path} holds no {what}: {looked_for} was looked for in it.")
    return files


class Folder(AudioDataset):
    """Audio files ``<root>/<genre>/<file>``, whose sample rates and numbers of channels may differ."""

    name = "folder"

    def __init__(self, *, root: str | Path | None = None, artists: str | Path | None = None) -> None:
        """Choose the folder.

        Args:
            root: The folder of genre folders.
            artists: A file with the artist of each track, see `genreclf.datasets.identity.read_artists`.
        """
        super().__init__()
        self.root = root
        self.artists = artists

    def tracks(self) -> list[Track]:
        """Return a track for each audio file, sorted by id; without lengths, so that large folders are listed fast."""
        files = files_of(self.root, "audio", AUDIO_SUFFIXES, self.warnings, unread=SONG_SUFFIXES)
        return as_tracks(files, self.artists, self.warnings)

    def waveform(self, track: Track, sample_rate: int) -> NDArray[np.float32]:
        """Return the track, mono, at `sample_rate` Hz, shape ``(sample,)``, full scale at 1."""
        return resample(*decode(track.path), sample_rate)


def _fingerprint(entry: os.DirEntry[str]) -> str | None:
    """Return size and modification time, or why they are unknown; None if it is not a file."""
    try:
        status = entry.stat()
    except OSError as error:
        return str(error.strerror)  # Such as a link to nothing or to itself; reading it fails for the same reason.
    return f"{status.st_size}-{status.st_mtime_ns}" if stat.S_ISREG(status.st_mode) else None


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error.strerror}): check data.root.") from None
