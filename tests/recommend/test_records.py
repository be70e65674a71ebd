"""The songs of a library on disk."""

import resource
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genreclf.errors import UserError
from genreclf.recommend.library import checked_records
from genreclf.recommend.records import Records, Song
from genreclf.recommend.vectors import Vectors
from genreclf.run_directory import CHECKSUM_BYTES


@pytest.fixture
def records(tmp_path: Path) -> Records:
    """60 songs of one genre."""
    songs = [
        Song(
            id=0,
            origin="/music",
            name=f"{number}.flac",
            path=Path(f"/music/{number}.flac"),
            fingerprint="1",
            artist=None,
            genre="jazz",
            probabilities=np.ones(1),
            duration_s=1.0,
            embedding=np.ones(8, dtype=np.float32),
        )
        for number in range(60)
    ]
    records = Records(tmp_path / "songs.sqlite", ("jazz",))
    records.note(checkpoint="key", genres=["jazz"])
    records.change(add=songs)
    return records


def test_a_disk_that_fails_is_no_damage(records: Records) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (records.path.stat().st_size, limits[1]))
    try:
        with pytest.raises(UserError, match=r"songs.sqlite cannot be used \(disk I/O error\); check its disk.$"):
            records.note(similarity="x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_songs_are_spread_evenly(records: Records) -> None:
    assert [song.id for song in records.spread(4)] == [1, 21, 40, 60]
    assert len(records.spread(1000)) == 60


def read_all(records: Records) -> None:
    list(records.in_batches())
    records.songs([1, 2, 3])
    checked_records(records.path.parent, "key")


CELLS = {
    "about, no JSON": "about SET value = x'ff00'",
    "about, another kind": "about SET value = 5 WHERE key = 'genres'",
    "about, no names": "about SET value = '[1]' WHERE key = 'genres'",
    "a name": "song SET name = x'00' WHERE id = 3",
    "a genre": "song SET genre = 7 WHERE id = 3",
    "a genre below 0": "song SET genre = -1 WHERE id = 3",
    "a length": "song SET duration_s = 'long' WHERE id = 3",
    "no end": "song SET duration_s = 9e999 WHERE id = 3",
    "probabilities": "song SET probabilities = x'00' WHERE id = 3",
    "no probabilities": "song SET probabilities = x'' WHERE id = 3",
    "a text": "song SET embedding = 'text' WHERE id = 3",
    "a longer embedding": "song SET embedding = embedding || x'00000000' WHERE id = 3",
    "no number": "song SET embedding = x'0000c07f' || substr(embedding, 5) WHERE id = 3",
}


@pytest.mark.parametrize("change", CELLS)
def test_odd_cells_are_named(change: str, records: Records) -> None:
    read_all(records)
    with sqlite3.connect(records.path) as connection:
        assert connection.execute(f"UPDATE {CELLS[change]}").rowcount
    with pytest.raises(UserError, match=r"songs.sqlite cannot be used \(.*delete it and index again"):
        read_all(Records(records.path, records.genres))


DAMAGES: dict[str, Callable[[bytearray], None]] = {
    "a huge claim": lambda content: content.__setitem__(slice(271, 279), (2**39).to_bytes(8, "little")),
    "a flipped bit": lambda content: content.__setitem__(400, content[400] ^ 1),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_index_is_named_before_faiss_reads_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / "vectors.faiss"
    vectors = np.random.default_rng(0).normal(size=(30, 40)).astype(np.float32)
    Vectors.build(np.arange(30), vectors).save(path)
    assert Vectors.load(path).search(vectors[7], 1) == [7]
    content = bytearray(path.read_bytes())
    DAMAGES[name](content)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"vectors.faiss is missing or damaged; index again"):
        Vectors.load(path)


def test_an_index_of_an_older_version_is_read(tmp_path: Path) -> None:
    path = tmp_path / "vectors.faiss"
    vectors = np.eye(4, dtype=np.float32)
    Vectors.build(np.arange(4), vectors).save(path)
    path.write_bytes(path.read_bytes()[:-CHECKSUM_BYTES])
    index = Vectors.load(path)
    assert index.search(vectors[2], 1) == [2]
    with pytest.raises(UserError, match="not those of its songs"):
        index.search(np.ones(5, np.float32), 1)


def test_songs_are_found_by_the_exact_end_of_their_path(records: Records) -> None:
    template = records.songs([1])[0]
    paths = ["Song.wav", "d/song.wav", "d/so_g.wav", "big/Loud.WAV"]
    records.change(add=[replace(template, origin="m", name=f"m {path}", path=Path("/m", path)) for path in paths])

    def found(text: str) -> list[str]:
        return [str(song.path)[3:] for song in records.find(text)]

    for text in ("song.wav", "song", "d/song"):
        assert found(text) == ["d/song.wav"]
    assert (found("Song.wav"), found("m/Song")) == (["Song.wav"], ["Song.wav"])
    assert (found("so_g"), found("so%g"), found("SONG"), found("ong.wav")) == (["d/so_g.wav"], [], [], [])
    assert (found("Loud"), found("loud")) == (["big/Loud.WAV"], [])


def test_a_link_is_found_itself_rather_than_what_it_links_to(records: Records, tmp_path: Path) -> None:
    folder = tmp_path / "music"
    folder.mkdir()
    (folder / "song.flac").touch()
    (folder / "link.flac").symlink_to("song.flac")
    (folder / "not indexed.flac").symlink_to("song.flac")
    (tmp_path / "linked").symlink_to("music")
    template = records.songs([1])[0]
    paths = (folder / "song.flac", folder / "link.flac")
    added = [replace(template, origin=str(folder), name=path.name, path=path) for path in paths]
    records.change(add=added)

    def found(path: Path | str) -> list[str]:
        return [song.name for song in records.find(str(path))]

    assert found(folder / "link.flac") == ["link.flac"]
    assert found(folder / "song.flac") == ["song.flac"]
    assert found(tmp_path / "linked/link.flac") == ["link.flac"]
    assert found(folder / "not indexed.flac") == ["song.flac"]
    assert found("linked/link.flac") == ["link.flac"]
    assert len(records.ids_at(tmp_path / "linked/link.flac")) == 2
