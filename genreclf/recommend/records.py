"""Store the songs of a library, with a model's prediction for each, in a SQLite file."""

import errno
import json
import math
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genreclf.audio.formats import SONG_SUFFIXES
from genreclf.datasets.identity import credited, credited_parts
from genreclf.errors import UserError
from genreclf.run_directory import sentence_when_full

# Ids are never reused: a changed song gets a new id, so that an outdated search index cannot refer to a wrong song.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS song (
    id INTEGER PRIMARY KEY AUTOINCREMENT, origin TEXT NOT NULL, name TEXT NOT NULL, path TEXT NOT NULL,
    fingerprint TEXT NOT NULL, genre INTEGER NOT NULL, probabilities BLOB NOT NULL, artist TEXT, artist_key TEXT,
    duration_s REAL NOT NULL, embedding BLOB NOT NULL, UNIQUE (origin, name)
);
CREATE INDEX IF NOT EXISTS song_path ON song (path);
CREATE INDEX IF NOT EXISTS song_genre ON song (genre);
"""
BATCH_SONGS = 10_000
_ABOUT = {"checkpoint": str, "genres": list, "changed": bool, "searchable_up_to": int, "similarity": dict}
_COLUMNS = "id, origin, name, path, fingerprint, genre, probabilities, artist, duration_s, embedding"


@dataclass(frozen=True, eq=False, kw_only=True)
class Entry:
    """A song that was found in a folder or dataset, before a model has predicted its genre."""

    origin: str
    """Absolute path of the folder, or name of the dataset, in which the song was found."""
    name: str
    """Name that is unique within `origin`: the path relative to the folder, or the track id."""
    path: Path
    """Absolute path of the audio file; for a synthetic track, the file does not exist."""
    fingerprint: str
    """Identifies the content of the song; a different fingerprint means that the song has changed."""
    artist: str | None
    """Artists of the song, separated by semicolons; None if unknown."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Song(Entry):
    """A song in a library, with the model's prediction."""

    id: int
    """Number of the song, unique within the library."""
    genre: str
    """Most probable genre."""
    probabilities: NDArray[np.float64]
    """Probability of each genre, in the order of the library's genres, shape ``(genre,)``."""
    duration_s: float
    """Length of the song in seconds."""
    embedding: NDArray[np.float32]
    """Input of the model's last layer, averaged over the windows of the song, shape ``(dimension,)``."""

    def __repr__(self) -> str:
        artist = "" if self.artist is None else f" by {self.artist!r}"
        return f"<Song {self.name!r}{artist}: {100 * self.probabilities.max():.1f} % {self.genre}>"

    @property
    def playable(self) -> bool:
        """Whether the file has the suffix of an audio format."""
        return self.path.suffix.lower() in SONG_SUFFIXES


class Records:
    """SQLite file of a library; each call opens the file anew, so that threads may share the object.

    Args:
        path: Path of the SQLite file.
        genres: Genres, in the order of the probabilities.
    """

    def __init__(self, path: Path, genres: Sequence[str]) -> None:
        self.path = path
        self.genres = tuple(genres)

    @contextmanager
    def connection(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """Yield a connection and commit its changes if the block succeeds; `UserError` if the file is unusable."""
        connection = None
        try:
            mode = "rwc" if write else "ro"
            connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode={mode}", uri=True, timeout=60)
            if write:
                connection.executescript(_SCHEMA)
            with connection:
                yield connection
        except (sqlite3.Error, IndexError, TypeError, ValueError) as error:  # The last three come from invalid cells.
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_FULL:
                with sentence_when_full(self.path.parent):
                    raise OSError(errno.ENOSPC, str(error), str(self.path)) from error
            reason = error if isinstance(error, sqlite3.Error) else "it holds what index never writes"
            advice = "check its disk" if code == sqlite3.SQLITE_IOERR else "if it is damaged, delete it and index again"
            raise UserError(f"The library's {self.path} cannot be used ({reason}); {advice}.") from error
        finally:
            if connection is not None:
                connection.close()

    def about(self) -> dict[str, Any]:
        """Return the values that describe the library as a whole, such as its genres, by key."""
        with self.connection() as connection:
            about = {key: json.loads(value) for key, value in connection.execute("SELECT key, value FROM about")}
            if not all(isinstance(value, _ABOUT.get(key, object)) for key, value in about.items()):
                raise TypeError
            if not all(isinstance(genre, str) for genre in about.get("genres", ())):
                raise TypeError
        return about

    def note(self, **values: Any) -> None:
        """Store values that describe the library as a whole; see `about`."""
        with self.connection(write=True) as connection:
            _note(connection, values)

    def __len__(self) -> int:
        return int(self._first("SELECT count(*) FROM song"))

    def newer_than(self, song_id: int) -> int:
        """Return the number of songs that were added after the song with this id."""
        return int(self._first("SELECT count(*) FROM song WHERE id > ?", song_id))

    def fingerprints(self, origin: str) -> dict[str, tuple[str, str | None]]:
        """Return the fingerprint and the artist of each song of a folder or dataset, by the song's name."""
        query = "SELECT name, fingerprint, artist FROM song WHERE origin = ?"
        with self.connection() as connection:
            return {name: (mark, artist) for name, mark, artist in connection.execute(query, [origin])}

    def inside(self, folder: str) -> list[tuple[str, str]]:
        """Return the origin and name of each song whose file is in a folder, at any depth, but whose origin differs."""
        start = os.path.join(folder, "")
        end = start[:-1] + chr(ord(start[-1]) + 1)
        query = "SELECT origin, name FROM song WHERE path >= ? AND path < ? AND origin != ?"
        with self.connection() as connection:
            return list(connection.execute(query, [start, end, folder]))

    def change(self, *, drop: Iterable[tuple[str, str]] = (), add: Iterable[Song] = ()) -> None:
        """Drop songs by origin and name and add other songs, ignoring their ids, in a single transaction."""
        with self.connection(write=True) as connection:
            connection.executemany("DELETE FROM song WHERE origin = ? AND name = ?", drop)
            connection.executemany("INSERT INTO song VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(self._row, add))
            _note(connection, {"changed": True})

    def move(self, entries: Iterable[Entry]) -> None:
        """Update the origin and name of songs whose files were previously found under another origin."""
        rows = [(entry.origin, entry.name, str(entry.path), entry.origin) for entry in entries]
        with self.connection(write=True) as connection:
            query = "UPDATE OR REPLACE song SET origin = ?, name = ? WHERE path = ? AND origin != ?"
            if connection.executemany(query, rows).rowcount > 0:
                _note(connection, {"changed": True})

    def rename_artists(self, origin: str, artists: Mapping[str, str | None]) -> None:
        """Set the artists of songs of one origin, given by song name; None if unknown."""
        rows = [(artist, _credits(artist), origin, name) for name, artist in artists.items()]
        with self.connection(write=True) as connection:
            connection.executemany("UPDATE song SET artist = ?, artist_key = ? WHERE origin = ? AND name = ?", rows)

    def in_batches(self) -> Iterator[tuple[tuple[int, ...], NDArray[np.float32], NDArray[np.float64]]]:
        """Yield batches of ids, embeddings ``(song, dimension)`` and probabilities ``(song, genre)``, sorted by id."""
        with self.connection() as connection:
            rows = connection.execute("SELECT id, embedding, probabilities FROM song ORDER BY id")
            while batch := rows.fetchmany(BATCH_SONGS):
                ids, embeddings, probabilities = zip(*batch, strict=True)
                if {*map(len, embeddings)} != {self._embedding_bytes} or len({*map(len, probabilities)}) > 1:
                    raise ValueError
                vectors = np.frombuffer(b"".join(embeddings), np.float32).reshape(len(ids), -1)
                yield ids, vectors, np.frombuffer(b"".join(probabilities), np.float64).reshape(len(ids), -1)

    def songs(self, ids: Sequence[int]) -> list[Song]:
        """Return the songs with these ids, in the order of `ids`; ids that do not exist are skipped."""
        found: dict[int, Song] = {}
        with self.connection() as connection:
            for start in range(0, len(ids), 500):
                part = list(ids[start : start + 500])
                marks = ",".join("?" * len(part))
                for row in connection.execute(f"SELECT {_COLUMNS} FROM song WHERE id IN ({marks})", part):
                    found[row[0]] = self._song(row)
        return [found[song_id] for song_id in ids if song_id in found]

    def spread(self, at_most: int) -> list[Song]:
        """Return `at_most` songs, evenly spaced in the order in which they were added; all if there are fewer."""
        ids = self._ids("SELECT id FROM song ORDER BY id", [])
        places = np.linspace(0, len(ids) - 1, min(at_most, len(ids))).round().astype(int)
        return self.songs(ids[places].tolist())

    def find(self, text: str) -> list[Song]:
        """Return up to three songs with this name or path, or else whose path ends with it, with or without a suffix.

        If a symbolic link is itself a song of the library, it takes precedence over its target.
        """
        end = f"/{text}"
        with_suffix = "substr(path, ?, ?) = ? AND lower(substr(path, ?)) = ?"
        suffixes = [(-len(end + suffix), len(end), end, -len(suffix), suffix) for suffix in SONG_SUFFIXES]
        absolute, *followed = _places(text)
        queries: list[tuple[str, list[Any]]] = [
            ("name = ? OR path = ?", [text, absolute]),
            *(("path = ?", [place]) for place in followed),
            ("substr(path, ?) = ?", [-len(end), end]),
            (" OR ".join([with_suffix] * len(suffixes)), [value for values in suffixes for value in values]),
        ]
        with self.connection() as connection:
            for where, values in queries:
                rows = connection.execute(f"SELECT {_COLUMNS} FROM song WHERE {where} LIMIT 3", values).fetchall()
                if rows:
                    return [self._song(row) for row in rows]
        return []

    def ids_at(self, path: str | Path) -> NDArray[np.int64]:
        """Return the ids of the songs whose audio file is at this path, also if links lead to it."""
        return self._ids("SELECT id FROM song WHERE path IN (?, ?, ?)", _places(path))

    def ids_by(self, artists: Collection[str]) -> NDArray[np.int64]:
        """Return the ids of the songs by any of these artists, alone or with others, ignoring case."""
        wanted = {name for artist in artists for name in credited_parts(artist)}
        with self.connection() as connection:
            keys = connection.execute("SELECT DISTINCT artist_key FROM song WHERE artist_key IS NOT NULL").fetchall()
        found = [key for (key,) in keys if not wanted.isdisjoint(credited_parts(key))]
        return self._ids(
            "SELECT id FROM song WHERE artist_key IN (SELECT value FROM json_each(?))", [json.dumps(found)]
        )

    def ids_of(self, genre: str) -> NDArray[np.int64]:
        """Return the ids of the songs whose most probable genre is this one."""
        return self._ids("SELECT id FROM song WHERE genre = ?", [self.genres.index(genre)])

    @cached_property
    def _embedding_bytes(self) -> int:
        """Size in bytes of the embedding of a song."""
        return int(self._first("SELECT length(embedding) FROM song ORDER BY id LIMIT 1"))

    def _ids(self, query: str, values: Sequence[Any]) -> NDArray[np.int64]:
        with self.connection() as connection:
            return np.array([song_id for (song_id,) in connection.execute(query, values)], np.int64)

    def _first(self, query: str, *values: Any) -> Any:
        with self.connection() as connection:
            return connection.execute(query, values).fetchone()[0]

    def _row(self, song: Song) -> tuple[Any, ...]:
        start = (song.origin, song.name, str(song.path), song.fingerprint, self.genres.index(song.genre))
        probabilities = song.probabilities.astype(np.float64).tobytes()
        embedding = song.embedding.astype(np.float32).tobytes()
        return (*start, probabilities, song.artist, _credits(song.artist), song.duration_s, embedding)

    def _song(self, row: Sequence[Any]) -> Song:
        song_id, origin, name, path, fingerprint, genre, probabilities, artist, duration_s, embedding = row
        shares, features = np.frombuffer(probabilities, np.float64), np.frombuffer(embedding, np.float32)
        texts = (origin, name, path, fingerprint, "" if artist is None else artist)
        if (
            not all(isinstance(text, str) for text in texts)
            or not (genre >= 0 and math.isfinite(duration_s))
            or len(shares) != len(self.genres)
            or len(embedding) != self._embedding_bytes
            or not ((shares >= 0).all() and np.isfinite(features).all())
        ):
            raise ValueError
        return Song(
            id=song_id,
            origin=origin,
            name=name,
            path=Path(path),
            fingerprint=fingerprint,
            genre=self.genres[genre],
            probabilities=shares,
            artist=artist,
            duration_s=duration_s,
            embedding=features,
        )


def _credits(artist: str | None) -> str | None:
    """Return the normalized artists of a song as stored in the file; None if there are none."""
    return "; ".join(credited(artist)) or None


def _places(path: str | Path) -> list[str]:
    """Return a path made absolute, with the links in its folder resolved (as in the library), and with all resolved."""
    folder, name = os.path.split(Path(path).absolute())
    return [os.path.join(folder, name), os.path.join(os.path.realpath(folder), name), os.path.realpath(path)]


def _note(connection: sqlite3.Connection, values: dict[str, Any]) -> None:
    rows = [(key, json.dumps(value)) for key, value in values.items()]
    connection.executemany("INSERT OR REPLACE INTO about VALUES (?, ?)", rows)
