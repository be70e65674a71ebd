"""Open the library of a run and find similar songs in it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from os import PathLike, fspath
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genreclf.errors import UserError
from genreclf.inference.prediction import Prediction
from genreclf.limits import refuse_device
from genreclf.recommend.records import Records, Song
from genreclf.recommend.similarity import Similarity
from genreclf.recommend.vectors import Vectors
from genreclf.run_directory import RunDirectory

FORMAT = 3
"""Version of the format of the library's files; to be increased when the format changes."""

SAME_SONG = 1e-4
"""Largest relative distance between two embeddings of the same recording."""

DIVERSE_POOL = 10
"""Number of candidates per song to recommend, if the recommendations are to be diverse."""

RELEVANCE = 0.5
"""Weight of the similarity to the query in diverse recommendations; the rest weighs against similarity among them."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Recommendation:
    """A recommended song and its similarity to the query."""

    rank: int
    """Position in the list of recommendations, starting at 1."""
    similarity: float
    """Similarity to the query, at most 1; see `genreclf.recommend.similarity`."""
    song: Song
    """Recommended song."""


class Library:
    """Songs that were embedded with one checkpoint; several threads may search a library at the same time."""

    def __init__(self, *, directory: Path, records: Records) -> None:
        self.directory = directory
        self.records = records

    def __repr__(self) -> str:
        return f"<Library of {len(self)} songs in {self.directory}>"

    @classmethod
    def of_run(cls, run: str | PathLike[str], *, directory: str | PathLike[str] | None = None) -> "Library":
        """Open the library of a run, as created by ``python -m genreclf index``.

        Args:
            run: Run directory.
            directory: Directory of the library; None means ``library`` in the run directory.

        Raises:
            UserError: The library does not exist, has no songs, is damaged, or belongs to another checkpoint.
        """
        place = library_directory(run, directory)
        command = f"python -m genreclf index {run} FOLDER" + (f" --library {directory}" if directory else "")
        if not cls.exists(run, directory=directory):
            raise UserError(f"There is no library in {place}: {command} makes one.")
        library = cls(directory=place, records=checked_records(place, checkpoint_key(RunDirectory(Path(run)))))
        if not len(library):
            raise UserError(f"The library {place} holds no songs: {command} adds some.")
        _ = library.vectors, library.similarity
        return library

    @staticmethod
    def exists(run: str | PathLike[str], *, directory: str | PathLike[str] | None = None) -> bool:
        """Return whether a library exists; it may still be damaged or belong to another checkpoint."""
        return songs_file(library_directory(run, directory)).is_file()

    @property
    def genres(self) -> tuple[str, ...]:
        """Genres, in the order of the songs' probabilities."""
        return self.records.genres

    def __len__(self) -> int:
        return len(self.records)

    @property
    def notice(self) -> str | None:
        """Notice for the user about songs that the search index does not hold yet; None if it holds all."""
        waiting = self.records.newer_than(int(self.records.about().get("searchable_up_to", 0)))
        songs = f"{waiting} song{'s' * (waiting > 1)}"
        return f"{songs} cannot be found yet: index was stopped, run it again." if waiting else None

    @cached_property
    def vectors(self) -> Vectors:
        """Search index of the library."""
        return Vectors.load(vectors_file(self.directory))

    @cached_property
    def similarity(self) -> Similarity:
        """Similarity measure of the library.

        Raises:
            UserError: The library was indexed by an earlier version, or is damaged.
        """
        try:
            return Similarity.from_plain(self.records.about()["similarity"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UserError(
                f"The library {self.directory} was indexed by an earlier version, or is damaged: index again; no song "
                "is computed anew."
            ) from None

    def find(self, name: str | PathLike[str]) -> Song | None:
        """Return the song with this track id, path, or end of a path; None if there is none.

        Raises:
            UserError: Several songs match.
        """
        found = self.records.find(fspath(name))
        if len(found) > 1:
            raise UserError(
                f"{name} is several songs of the library, {found[0].path} and {found[1].path}: give a path."
            )
        return found[0] if found else None

    def like(
        self,
        song: Song | Prediction,
        *,
        k: int = 10,
        same_genre: bool = False,
        diverse: bool = False,
        artist: str | None = None,
        other_artists: bool = False,
        exclude_artists: str | Sequence[str] = (),
    ) -> list[Recommendation]:
        """Return the songs most similar to a song, without the song itself and copies of it.

        Args:
            song: Song of the library, or prediction of the run's model for any other song.
            k: Number of songs to return; fewer are returned only if the library has no more.
            same_genre: Return only songs with the same most probable genre.
            diverse: Balance similarity to the song against similarity to songs already chosen, by maximal marginal
                relevance (J. Carbonell and J. Goldstein, "The use of MMR, diversity-based reranking for reordering
                documents and producing summaries", SIGIR 1998).
            artist: Artist of the song; used only if `song` is a prediction.
            other_artists: Exclude songs by the song's own artist, or by any of its artists if it has several.
            exclude_artists: Artists whose songs are excluded; a string is a single artist.

        Raises:
            UserError: `song` is neither a song nor a prediction, `k` is not a positive integer, the model computes no
                embeddings, or `other_artists` is set and the artist is unknown.
        """
        if not isinstance(song, Song | Prediction):
            raise UserError(
                "like takes a song of the library, from find(NAME), or a prediction, from "
                f"genreclf.load(RUN).predict(FILE), not {type(song).__name__}."
            )
        if not isinstance(k, Integral) or k < 1:
            raise UserError(f"k={k!r} is not a whole number above 0.")
        if song.embedding is None:
            raise UserError("The model does not end in a linear layer, so there is no embedding to compare songs by.")
        unwanted = [exclude_artists] if isinstance(exclude_artists, str) else list(exclude_artists)
        if other_artists:
            known = song.artist if isinstance(song, Song) else artist
            if known is None:
                raise UserError("The song's artist is not known, so --other-artists cannot leave the artist out.")
            unwanted.append(known)
        among = self.records.ids_of(song.genre) if same_genre else None
        without = self.records.ids_by(unwanted) if unwanted else np.empty(0, np.int64)
        if isinstance(song, Song):
            without = np.append(without, song.id)
        elif song.path is not None:
            without = np.append(without, self.records.ids_at(song.path))
        k = int(k)  # FAISS does not accept NumPy integers.
        wanted = k * DIVERSE_POOL if diverse else k
        target = self.similarity.of_songs([song])[0]
        fetched = wanted + 5
        while True:
            ids = self.vectors.search(target.astype(np.float32), fetched, among=among, without=without)
            others = [other for other in self.records.songs(ids) if not _same(song.embedding, other.embedding)]
            if len(others) >= wanted or len(ids) < fetched:
                break
            fetched *= 4
        if not others:
            return []
        units = self.similarity.of_songs(others)
        similarity = units @ target
        order = np.argsort(-similarity, kind="stable")[:wanted].tolist()
        if diverse:
            order = _diverse(units, similarity, order, k)
        return [
            Recommendation(rank=rank, similarity=float(similarity[i]), song=others[i])
            for rank, i in enumerate(order[:k], start=1)
        ]


def library_directory(run: str | PathLike[str], directory: str | PathLike[str] | None) -> Path:
    """Return the directory of a run's library; by default it is ``library`` in the run directory."""
    return Path(run) / "library" if directory is None else Path(directory)


def songs_file(directory: Path) -> Path:
    """Return the path of a library's SQLite file."""
    return directory / "songs.sqlite"


def vectors_file(directory: Path) -> Path:
    """Return the path of a library's FAISS file."""
    return directory / "vectors.faiss"


def checkpoint_key(run: RunDirectory) -> str:
    """Return a hash of a run's best checkpoint and of all settings that affect how songs are embedded.

    Raises:
        UserError: The checkpoint cannot be read.
    """
    config = run.read_config()
    data = config.get("data") or {}
    settings = [config.get("model"), config.get("features"), data.get("grid_overlap"), data.get("short")]
    digest = hashlib.sha256(json.dumps([FORMAT, settings], sort_keys=True, default=str).encode())
    try:
        refuse_device(run.best)
        digest.update(run.best.read_bytes())
    except OSError as error:
        raise UserError(f"{run.best} cannot be read ({error.strerror}): give a run that has finished.") from error
    return digest.hexdigest()


def checked_records(directory: Path, key: str) -> Records:
    """Open the songs of a library.

    Args:
        directory: Directory of the library.
        key: Expected key of the checkpoint, as returned by `checkpoint_key`.

    Raises:
        UserError: The library is damaged or belongs to another checkpoint.
    """
    path = songs_file(directory)
    about = Records(path, ()).about()
    if about.get("checkpoint") != key or "genres" not in about:
        raise UserError(
            f"The library {directory} belongs to another checkpoint (or version of genreclf), whose vectors cannot be "
            "compared: "
            "give its run, or another --library DIR, or delete it and index again."
        )
    return Records(path, about["genres"])


def _same(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return bool(np.linalg.norm(one - other) <= SAME_SONG * np.linalg.norm(one))


def _diverse(units: NDArray[np.float64], similarity: NDArray[np.float64], pool: list[int], k: int) -> list[int]:
    """Choose `k` songs from `pool` greedily by maximal marginal relevance."""
    chosen: list[int] = []
    nearest_chosen = np.full(len(units), -1.0)
    left = list(pool)
    while left and len(chosen) < k:
        worth = RELEVANCE * similarity[left] - (1 - RELEVANCE) * (nearest_chosen[left] if chosen else 0.0)
        best = left.pop(int(np.argmax(worth)))
        chosen.append(best)
        nearest_chosen = np.maximum(nearest_chosen, units @ units[best])
    return chosen
