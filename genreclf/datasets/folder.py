"""A dataset of audio files in genre folders, and functions shared by all file-based datasets."""

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
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

MOST_FOLDERS = 10_000
"""Maximum number of folders below the genre folders that are searched for files that are nested too deeply."""


@dataclass
class Misplaced:
    """Files and folders of a dataset that do not fit the layout ``<genre>/<file>``."""

    loose: list[str] = field(default_factory=list)
    """Paths of files outside genre folders."""
    empty: list[str] = field(default_factory=list)
    """Paths of genre folders without any readable file."""
    subfolders: list[str] = field(default_factory=list)
    """Paths of folders inside genre folders, which are not read."""

    def deeper(self, suffixes: Collection[str]) -> list[str]:
        """Return the paths of files at any depth in `subfolders`; at most `MOST_FOLDERS` folders are searched."""
        walked = islice((level for top in self.subfolders for level in _walk_visible(top)), MOST_FOLDERS)
        return [os.path.join(folder, name) for folder, names in walked for name in names if _suffix(name) in suffixes]


def genre_files(
    root: Path,
    suffixes: Collection[str],
    warnings: list[str],
    *,
    unread: Collection[str] = (),
    misplaced: Misplaced | None = None,
) -> list[Track]:
    """List the files ``<root>/<genre>/<file>`` that have one of `suffixes`, except for hidden files.

    The fingerprint of a track is the size of the file in bytes and its modification time in ns, or the reason why they
    are unknown.

    Args:
        root: Folder that contains the genre folders.
        suffixes: Suffixes of the files to list; case is ignored.
        warnings: List to which warnings about links to missing folders and files in `unread` formats are appended.
        unread: Suffixes of files that are not read, although a user might expect it.
        misplaced: Object that collects files and folders elsewhere in `root`.

    Raises:
        UserError: A folder cannot be listed, or a file name cannot be printed.
    """
    found: list[Track] = []
    in_other_formats: list[str] = []
    misplaced = misplaced or Misplaced()
    for folder in sorted(_visible(root), key=lambda entry: entry.name):
        if not Path(folder.path).is_dir():
            if folder.is_symlink() and not os.path.exists(folder.path):
                warnings.append(f"{printable(folder.path)} is left out: a link to nothing.")
            elif _suffix(folder.name) in suffixes:
                misplaced.loose.append(folder.path)
            continue
        before = len(found)
        for entry in _visible(Path(folder.path)):
            if entry.is_dir(follow_symlinks=False):
                misplaced.subfolders.append(entry.path)
            suffix = _suffix(entry.name)
            if suffix in unread and suffix not in suffixes:
                in_other_formats.append(entry.path)
            if suffix not in suffixes or (fingerprint := _fingerprint(entry)) is None:
                continue
            if not f"{folder.name}{entry.name}".isprintable():
                raise UserError(f"{entry.path!r} has a name that is not UTF-8 or cannot be printed: rename it.")
            id = identity.track_id(folder.name, entry.name)
            found.append(Track(id, folder.name, Path(entry.path), fingerprint=fingerprint))
        if len(found) == before:
            misplaced.empty.append(folder.path)
    if in_other_formats:
        reason = f"only {', '.join(suffixes)} are read; convert them"
        warnings.append(left_out(root, "file", in_other_formats, reason))
    return found


def as_tracks(files: list[Track], artists: str | Path | None, warnings: list[str]) -> list[Track]:
    """Add artists and groups to tracks, and leave out the GTZAN track that is known to be broken.

    Args:
        files: Tracks as returned by `genre_files`.
        artists: Path of a file of artists, see `genreclf.datasets.identity.read_artists`, or None.
        warnings: List to which warnings about the omitted track and about listed but missing tracks are appended.

    Returns:
        Tracks with artists and groups, sorted by id.

    Raises:
        UserError: Two files have the same id, or the file of artists lists none of the tracks, or lists several by one
            name.
    """
    by_id: dict[str, Track] = {}
    for file in sorted(files, key=lambda file: file.id):
        if (twin := by_id.setdefault(file.id, file)) is not file:
            one, other = sorted([twin.path, file.path])
            raise UserError(f"{one} and {other} are both track {file.id!r}: keep one of them.")
    listed = {name for track in by_id for name in identity.names_of(track)}
    if by_id.pop(identity.BROKEN_TRACK, None) is not None:
        warnings.append(f"{identity.BROKEN_TRACK} is left out: the published file is known to be broken.")

    known = identity.read_artists(artists) if artists is not None else {}
    for name, ids in identity.ambiguous(by_id, known).items():
        raise UserError(
            f"data.artists={artists}: {name!r} fits {len(ids)} tracks ({', '.join(ids[:3])}{' ...' * (len(ids) > 3)}): "
            f"write it with its genre folder, as in {ids[0]}."
        )
    artist_by_id = {track: identity.artist_of(track, known) for track in by_id}
    if artists is not None and by_id and not any(artist_by_id.values()):
        raise UserError(f"data.artists={artists} names none of the {len(by_id)} tracks: check that it belongs to them.")
    if others := [name for name in known if name not in listed]:
        warnings.append(
            f"data.artists={artists}: {len(others)} of the {len(known)} tracks that it names are not in the data, "
            f"{printable(others[0])} first."
        )
    group_by_id = identity.groups(artist_by_id)
    return [replace(file, artist=artist_by_id[id], group=group_by_id[id]) for id, file in by_id.items()]


def files_of(
    root: str | Path | None, what: str, suffixes: Collection[str], warnings: list[str], *, unread: Collection[str]
) -> list[Track]:
    """List the `genre_files` in the folder that ``data.root`` names.

    Args:
        root: Value of ``data.root``.
        what: Kind of files, used in messages, such as ``audio``.
        suffixes: Suffixes of the files to list, see `genre_files`.
        warnings: List of warnings; it is cleared first, and also receives warnings about misplaced files and about
            genre folders without files.
        unread: Suffixes of files that are not read, see `genre_files`.

    Raises:
        UserError: `root` is None or not a folder, or contains no files in genre folders.
    """
    looked_for = f"<genre>/<file> ({', '.join(suffixes)})"
    if root is None:
        raise UserError(f"data.root is missing: set it to the folder that holds {looked_for}.")
    path = Path(root).expanduser()
    if not path.is_dir():
        raise UserError(f"data.root={root} is not a folder: set it to the one that holds {looked_for}.")
    warnings.clear()
    misplaced = Misplaced()
    files = genre_files(path, suffixes, warnings, unread=unread, misplaced=misplaced)
    deeper = misplaced.deeper(suffixes)
    if not files and (elsewhere := deeper or misplaced.loose):
        place = "in deeper folders" if deeper else "outside genre folders"
        raise UserError(
            f"data.root={path} holds no {what} as {looked_for}, only {_such('file', elsewhere)} {place}: move such "
            "files into their genre's folder, or set data.root to the folder that holds the genre folders."
        )
    if not files:
        raise UserError(f"data.root={path} holds no {what}: {looked_for} was looked for in it.")
    if deeper:
        warnings.append(left_out(path, "file", deeper, "folders within a genre folder are not read; move them up"))
    if misplaced.loose:
        reason = "files outside genre folders have no genre; move them into one"
        warnings.append(left_out(path, "file", misplaced.loose, reason))
    if misplaced.empty:
        warnings.append(left_out(path, "folder", misplaced.empty, f"a genre needs {what} directly in its folder"))
    return files


def left_out(root: Path, what: str, paths: Collection[str], reason: str) -> str:
    """Return the warning that files or folders (`what`) in `root`, given by their paths, are not read."""
    return f"Left out of {printable(str(root))}: {_such(what, paths)} as {reason}."


class Folder(AudioDataset):
    """Audio files ``<root>/<genre>/<file>``, with any sample rates and numbers of channels."""

    name = "folder"

    def __init__(self, *, root: str | Path | None = None, artists: str | Path | None = None) -> None:
        """Set the location of the files.

        Args:
            root: Folder that contains the genre folders.
            artists: Path of a file with the artist of each track, see `genreclf.datasets.identity.read_artists`.
        """
        super().__init__()
        self.root = root
        self.artists = artists

    def tracks(self) -> list[Track]:
        """Return a track for each audio file, sorted by id; without lengths, so that large folders are listed fast."""
        files = files_of(self.root, "audio", AUDIO_SUFFIXES, self.warnings, unread=SONG_SUFFIXES)
        return as_tracks(files, self.artists, self.warnings)

    def waveform(self, track: Track, sample_rate: int) -> NDArray[np.float32]:
        """Return the mono waveform of a track at `sample_rate` Hz, shape ``(sample,)``, with full scale at 1."""
        return resample(*decode(track.path), sample_rate)


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _such(what: str, paths: Collection[str]) -> str:
    """Return the number of files or folders and the first of them: ``2 files, such as rock/a.wav,``."""
    return f"{len(paths)} {what}{'s' * (len(paths) > 1)}, such as {printable(min(paths))},"


def _walk_visible(top: str) -> Iterator[tuple[str, list[str]]]:
    """Yield `top` and each folder below it with the names of its files; hidden files and folders are skipped."""
    for folder, subfolders, names in os.walk(top):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        yield folder, [name for name in names if not name.startswith(".")]


def _fingerprint(entry: os.DirEntry[str]) -> str | None:
    """Return the size and modification time of a file, or why they are unknown; None if `entry` is not a file."""
    try:
        status = entry.stat()
    except OSError as error:
        return str(error.strerror)  # Such as a broken or circular link; reading it later fails for the same reason.
    return f"{status.st_size}-{status.st_mtime_ns}" if stat.S_ISREG(status.st_mode) else None


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder} cannot be listed ({error.strerror}): check data.root.") from None
