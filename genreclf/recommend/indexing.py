"""Index a music collection: predict new and changed songs and add them to a library."""

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from genreclf.audio.decode import read_artist_tag
from genreclf.data.store import Store
from genreclf.datasets.base import Track
from genreclf.errors import NOT_UTF8, UserError
from genreclf.escaping import printable
from genreclf.inference.listing import audio_files
from genreclf.inference.predictor import GenrePredictor
from genreclf.progress_bar import progress_bar
from genreclf.recommend.artists import ListedArtists
from genreclf.recommend.library import checked_records, checkpoint_key, songs_file
from genreclf.recommend.records import Entry, Records, Song
from genreclf.recommend.searching import make_searchable, weighting_of
from genreclf.recommend.vectors import load_faiss
from genreclf.run_directory import NoSpace, RunDirectory, atomic_path, sentence_when_full

KEEP_EVERY_S = 1.0
"""Interval in seconds at which predicted songs are stored, so that a killed update loses little work."""

Described = tuple[NDArray[np.float64], NDArray[np.float32] | None, float, str | None]
"""Probabilities ``(genre,)``, embedding ``(dimension,)``, length in seconds, and the artist, or None if unknown."""

Describe = Callable[[Entry], Described]


@dataclass(frozen=True)
class Changes:
    """Numbers of songs that an update of a library added, found unchanged, dropped, and left out."""

    added: int
    unchanged: int
    dropped: int
    left_out: int


@dataclass
class Listing:
    """Songs found in a folder or dataset."""

    entries: Iterator[Entry]
    """Songs that were found."""
    unlisted: set[str] = field(default_factory=set)
    """Names of files and folders that could not be read; complete once `entries` is exhausted."""
    left_out: set[str] = field(default_factory=set)
    """Names of files, links and folders that `entries` left out; complete once `entries` is exhausted."""
    tagged: bool = False
    """Whether the artist of a song may be read from its tags if no other source names one."""

    def may_hold(self, name: str) -> bool:
        """Return whether a missing song may exist after all, as its file or a folder above it could not be read."""
        return not self.unlisted.isdisjoint(_with_parents(name))


def entries_of_folders(folders: Sequence[str], artists: str | None, say: Callable[[str], None]) -> dict[str, Listing]:
    """List the songs of each folder, at any depth; `say` is called with messages for the user.

    Artists are read from the file `artists`, see `genreclf.datasets.identity.read_artists`, or else from audio tags.

    Raises:
        UserError: A path is not a folder or is not valid UTF-8, or the file of artists lists none of the songs.
    """
    listed = ListedArtists(artists) if artists is not None else None
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(f"{folder} is not a folder: give one of audio files, or a dataset as data=NAME.")
        try:
            str(Path(folder).resolve()).encode()
        except UnicodeEncodeError:
            raise UserError(f"{folder}: {NOT_UTF8}.") from None

    def entries(root: Path, unlisted: set[str], left_out: set[str]) -> Iterator[Entry]:
        is_empty = True
        for path, reason in audio_files([str(root)]):
            name = path.relative_to(root).as_posix()
            try:
                name.encode()
                status = path.stat() if reason is None else None
            except UnicodeEncodeError:
                reason, status = NOT_UTF8, None
            except (OSError, ValueError) as error:
                reason, status = getattr(error, "strerror", None) or str(error), None
            if status is None:
                say(f"{printable(str(path))}: {reason}")
                left_out.add(name)
                if not (path.is_symlink() and os.path.isdir(path)):
                    unlisted.add(name)
                continue
            is_empty = False
            artist = listed.of_song(name) if listed is not None else None
            mark = f"{status.st_size}-{status.st_mtime_ns}"
            yield Entry(origin=str(root), name=name, path=path, fingerprint=mark, artist=artist)
        if is_empty:  # It may be the mount point of a drive that is not mounted.
            unlisted.add(".")

    listings: dict[str, Listing] = {}
    for root in (Path(folder).resolve() for folder in folders):
        unlisted, left_out = set[str](), set[str]()
        listings[str(root)] = Listing(entries(root, unlisted, left_out), unlisted, left_out, tagged=True)
    if listed is not None:
        paths = set[Path]()
        for listing in listings.values():
            found = list(listing.entries)
            listing.entries = iter(found)
            paths.update(entry.path for entry in found)
        if (notice := listed.notice(len(paths))) is not None:
            say(f"Note: {notice}")
    return listings


def entries_of_dataset(name: str, tracks: Iterable[Track]) -> dict[str, Listing]:
    """Return a listing of the tracks of a dataset, by the name of the dataset."""
    entries = (
        Entry(
            origin=name, name=track.id, path=track.path.absolute(), fingerprint=track.fingerprint, artist=track.artist
        )
        for track in tracks
    )
    return {name: Listing(entries)}


def describe_file(predictor: GenrePredictor) -> Describe:
    """Return a function that decodes and predicts the audio file of an entry."""

    def describe(entry: Entry) -> Described:
        prediction = predictor.predict(entry.path)
        artist = entry.artist or read_artist_tag(entry.path)
        return prediction.probabilities, prediction.embedding, prediction.duration_s, artist

    return describe


def describe_stored(predictor: GenrePredictor, store: Store) -> Describe:
    """Return a function that predicts an entry from its spectrogram in a store."""

    def describe(entry: Entry) -> Described:
        log_mel_q = torch.from_numpy(store.spectrogram(entry.name).T)
        duration_s = len(log_mel_q) / predictor.spec.frames_per_second
        return *predictor.describe(log_mel_q), duration_s, entry.artist

    return describe


def update(
    directory: Path,
    run: RunDirectory,
    predictor: GenrePredictor,
    *,
    entries: dict[str, Listing],
    describe: Describe,
    say: Callable[[str], None],
) -> Changes:
    """Update a library: predict new and changed songs, and drop songs that no longer exist.

    If the process is killed, songs that were already stored are kept, and the next call continues from there.

    Raises:
        UserError: The library belongs to another checkpoint, is in use by another update, or cannot be written.
    """
    load_faiss()
    predictor.check_embeds()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with sentence_when_full(directory), FileLock(directory / ".lock", timeout=0):
            records = _records(directory, run, predictor)
            counts = [
                _update_origin(records, predictor, origin, found, describe, say) for origin, found in entries.items()
            ]
            make_searchable(directory, records, weighting_of(run, predictor.model.embedding_sizes))
    except Timeout as error:
        raise UserError(f"Another index command is at work in {directory}: wait for it.") from error
    except OSError as error:
        raise UserError(f"The library {directory} cannot be written ({error.strerror}): set --library.") from error
    return Changes(*(sum(column) for column in zip(*counts, strict=True)))


def _records(directory: Path, run: RunDirectory, predictor: GenrePredictor) -> Records:
    key = checkpoint_key(run)
    if songs_file(directory).exists():
        return checked_records(directory, key)
    with atomic_path(songs_file(directory)) as partial:
        Records(partial, predictor.genres).note(checkpoint=key, genres=list(predictor.genres), changed=True)
    return Records(songs_file(directory), predictor.genres)


def _update_origin(
    records: Records,
    predictor: GenrePredictor,
    origin: str,
    listing: Listing,
    describe: Describe,
    say: Callable[[str], None],
) -> tuple[int, int, int, int]:
    listed = {entry.name: entry for entry in listing.entries}
    records.move(listed.values())
    known = records.fingerprints(origin)
    fresh = [entry for entry in listed.values() if known.get(entry.name, ("",))[0] != entry.fingerprint]
    missing = [name for name in known if name not in listed]
    kept = [name for name in missing if listing.may_hold(name)]
    if kept:
        songs = f"{len(kept)} song{'s' * (len(kept) > 1)}"
        say(f"The library keeps {songs} of {origin} whose files or folders could not be read.")
    gone = [(origin, name) for name in missing if not listing.may_hold(name)]
    gone += _gone_of_others(records, origin, listed, listing)
    stale = [*gone, *((origin, entry.name) for entry in fresh if entry.name in known)]
    if stale:
        records.change(drop=stale)
    same = {name: entry for name, entry in listed.items() if name in known and known[name][0] == entry.fingerprint}
    artists = {name: _artist_of(entry, listing) for name, entry in same.items()}
    if renamed := {name: artist for name, artist in artists.items() if artist != known[name][1]}:
        records.rename_artists(origin, renamed)
    if lost := sum(artist is None for artist in renamed.values()):
        say(f"The artist of {lost} song{'s' * (lost > 1)} of {origin} is no longer known.")

    added, left_out = 0, len(listing.left_out.difference(*map(_with_parents, kept)))
    waiting: list[Song] = []
    kept_s = time.monotonic()
    try:
        with progress_bar() as progress:
            for entry in progress.track(fresh, description="Songs"):
                try:
                    waiting.append(_song_of(entry, describe(entry), predictor))
                    added += 1
                except NoSpace:
                    raise
                except UserError as error:
                    say(str(error))
                    left_out += 1
                if waiting and time.monotonic() - kept_s > KEEP_EVERY_S:
                    records.change(add=waiting)
                    waiting, kept_s = [], time.monotonic()
    finally:
        if waiting:
            records.change(add=waiting)
    return added, len(same) + len(kept), len(gone), left_out


def _gone_of_others(
    records: Records, origin: str, listed: Collection[str], listing: Listing
) -> Iterator[tuple[str, str]]:
    """Yield origin and name of songs below the folder `origin` that are gone, but were indexed with another folder.

    Songs of an indexed subfolder that is now empty are kept: it may be the mount point of a drive that is not mounted.
    """
    if not os.path.isabs(origin):  # A dataset.
        return
    folders = {folder for name in listed for folder in _with_parents(name)}
    for other, name in records.inside(origin):
        if not os.path.isabs(other):
            continue
        place = Path(other, name).relative_to(origin)
        inner = os.path.relpath(max(origin, other, key=len), origin)
        is_empty = inner not in folders and os.path.isdir(other)
        is_hidden = any(part.startswith(".") for part in place.parts)
        if not (is_empty or is_hidden or listing.may_hold(place.as_posix())):
            yield other, name


def _with_parents(name: str) -> list[str]:
    """Return a relative file name and those of all its parent folders, from the innermost to ``.``."""
    path = PurePosixPath(name)
    return [str(place) for place in (path, *path.parents)]


def _artist_of(entry: Entry, listing: Listing) -> str | None:
    return entry.artist or (read_artist_tag(entry.path) if listing.tagged else None)


def _song_of(entry: Entry, described: Described, predictor: GenrePredictor) -> Song:
    probabilities, embedding, duration_s, artist = described
    assert embedding is not None
    return Song(
        id=0,
        origin=entry.origin,
        name=entry.name,
        path=entry.path,
        fingerprint=entry.fingerprint,
        artist=artist,
        genre=predictor.genres[int(probabilities.argmax())],
        probabilities=probabilities,
        duration_s=duration_s,
        embedding=embedding,
    )
