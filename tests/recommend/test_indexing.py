"""A library stays in line with its folders: what is gone goes, and what only cannot be read now is kept."""

import shutil
import sqlite3
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from helpers import Cli, Trained, copy_under_odd_name

from genreclf.escaping import printable
from genreclf.recommend import Library, vectors
from genreclf.recommend.library import songs_file


def test_a_file_in_two_folders_is_one_song(cli: Cli, run: str, music: Path) -> None:
    assert cli("index", run, "music").code == 0
    assert cli("index", run, "music/blues").out.startswith("0 indexed, 5 unchanged, 0 dropped")
    library = Library.of_run(run)
    assert len(library) == len(library.vectors) == 15
    assert library.find(str(music / "blues/1.flac")) is not None
    assert cli("index", run, "music").out.startswith("0 indexed, 15 unchanged, 0 dropped")


def test_songs_of_a_folder_that_is_empty_for_now_are_kept(cli: Cli, run: str, music: Path, tmp_path: Path) -> None:
    assert cli("index", run, "music").code == 0
    music.rename(tmp_path / "elsewhere")
    music.mkdir()
    outcome = cli("index", run, "music")
    assert outcome.out.startswith("0 indexed, 15 unchanged, 0 dropped, 0 left out")
    assert "The library keeps 15 songs of" in outcome.err
    assert len(Library.of_run(run)) == 15

    (tmp_path / "other").mkdir()
    (music / "link").symlink_to(tmp_path / "other")
    assert cli("index", run, "music").out.startswith("0 indexed, 15 unchanged, 0 dropped")


def test_songs_linked_from_a_drive_that_is_not_mounted_are_kept(
    cli: Cli, run: str, music: Path, tmp_path: Path
) -> None:
    (tmp_path / "links").mkdir()
    for name in ("0.wav", "2.wav", "4.wav"):
        (tmp_path / "links" / name).symlink_to(music / "blues" / name)
    shutil.copy(music / "metal/0.wav", tmp_path / "links/own.wav")
    assert cli("index", run, "links").out.startswith("4 indexed")
    (music / "blues").rename(music / "off")
    (tmp_path / "links/4.wav").unlink()
    outcome = cli("index", run, "links")
    assert outcome.out.startswith("0 indexed, 3 unchanged, 1 dropped, 0 left out"), outcome.err
    assert "The library keeps 2 songs of" in outcome.err
    (tmp_path / "links/own.wav").unlink()
    assert cli("index", run, "links").out.startswith("0 indexed, 3 unchanged, 0 dropped")
    (music / "off").rename(music / "blues")
    assert cli("index", run, "links").out.startswith("0 indexed, 2 unchanged, 1 dropped")


def test_a_deleted_song_goes_whichever_folder_it_was_indexed_with(cli: Cli, run: str, music: Path) -> None:
    assert cli("index", run, "music/blues").out.startswith("5 indexed")
    (music / "blues/2.wav").unlink()
    assert cli("index", run, "music").out.startswith("10 indexed, 4 unchanged, 1 dropped")
    assert "blues/2.wav" not in cli("recommend", run, "blues/0.wav", "-k", "20", "--format", "csv").out
    (music / "blues/4.wav").unlink()
    assert cli("index", run, "music/blues").out.startswith("0 indexed, 3 unchanged, 1 dropped")
    assert len(Library.of_run(run)) == 13
    (music / "metal/0.wav").unlink()
    assert cli("index", run, "music/blues").out.startswith("0 indexed, 3 unchanged, 0 dropped")
    assert cli("index", run, "music").out.startswith("0 indexed, 12 unchanged, 1 dropped")


def test_songs_of_another_folder_that_may_come_back_are_kept(cli: Cli, run: str, music: Path, tmp_path: Path) -> None:
    (music / "metal").rename(music / ".hidden")
    assert cli("index", run, "music/blues", "music/.hidden").out.startswith("10 indexed")
    (music / ".hidden/0.wav").unlink()
    (music / "blues").rename(tmp_path / "off")
    (music / "blues").mkdir()
    assert cli("index", run, "music").out.startswith("5 indexed, 0 unchanged, 0 dropped")
    assert len(Library.of_run(run)) == 15
    (music / "blues").rmdir()
    (music / "blues").symlink_to(tmp_path / "nowhere")
    assert cli("index", run, "music").out.startswith("0 indexed, 5 unchanged, 0 dropped")
    (music / "blues").unlink()
    assert cli("index", run, "music").out.startswith("0 indexed, 5 unchanged, 5 dropped")
    assert len(Library.of_run(run)) == 10


def test_artists_are_those_of_the_file_given_now_or_of_the_tags(cli: Cli, run: str, music: Path) -> None:
    def artists() -> dict[str, str | None]:
        names = ("metal/1.flac", "metal/0.wav", "blues/1.flac")
        found = [Library.of_run(run).find(str(music / name)) for name in names]
        return {song.name: song.artist for song in found if song is not None}

    Path("both.csv").write_text("metal/1,Ann; Cy\nmetal/0,Dan\n")
    Path("one.csv").write_text("metal/1,Eve\n")
    assert cli("index", run, "music", "--artists", "both.csv").out.startswith("15 indexed")
    assert artists() == {"metal/1.flac": "Ann; Cy", "metal/0.wav": "Dan", "blues/1.flac": "Ann"}
    assert cli("index", run, "music", "--artists", "one.csv").out.startswith("0 indexed, 15 unchanged")
    assert artists() == {"metal/1.flac": "Eve", "metal/0.wav": None, "blues/1.flac": "Ann"}
    assert cli("index", run, "music").out.startswith("0 indexed, 15 unchanged")
    assert artists() == {"metal/1.flac": "Bob", "metal/0.wav": None, "blues/1.flac": "Ann"}
    library = Library.of_run(run)
    assert not any(len(library.records.ids_by([artist])) for artist in ("Cy", "Dan", "Eve"))


def test_artists_of_other_songs_are_told_or_refused(cli: Cli, run: str, music: Path, trained: Trained) -> None:
    Path("some.csv").write_text("metal/0,Dan\nmetal/9,Eve\nblues/1,Cy\n3,Flo\n")
    outcome = cli("index", run, "music", "--artists", "some.csv")
    assert outcome.out.startswith("15 indexed"), outcome.err
    said = "Note: --artists some.csv: 1 of the 4 tracks that it names are not among the songs, metal/9 first."
    assert said in outcome.err
    before = songs_file(Path(run, "library")).read_bytes()
    Path("others.csv").write_text("jazz/0,Dan\nmetal/9,Eve\n")
    Path("none.csv").write_text("# nothing\n")
    for name in ("others.csv", "none.csv"):
        for folders, count in ((("music/blues", "music/metal"), 10), (("music",), 15)):
            outcome = cli("index", run, *folders, "--artists", name)
            assert outcome.code == 2
            assert f"--artists {name} names none of the {count} songs" in outcome.err
    assert songs_file(Path(run, "library")).read_bytes() == before
    outcome = cli("index", run, "music", "--artists", "nowhere.csv")
    sentence = "--artists nowhere.csv cannot be read (No such file or directory): name a file of artists.\n"
    assert (outcome.code, outcome.err) == (2, sentence)
    dataset = ("data=folder", f"data.root={trained.music}", f"data.store_dir={trained.run.path.parent / 'stores'}")
    outcome = cli("index", run, *dataset, "data.artists=others.csv")
    assert outcome.code == 2
    assert "data.artists=others.csv names none of the 15 tracks" in outcome.err
    assert songs_file(Path(run, "library")).read_bytes() == before


def test_songs_that_lose_their_artist_are_told(cli: Cli, run: str, music: Path) -> None:
    Path("both.csv").write_text("metal/1,Ann\nmetal/0,Dan\n")
    Path("one.csv").write_text("metal/1,Eve\n")
    cli("index", run, "music", "--artists", "both.csv")
    outcome = cli("index", run, "music", "--artists", "one.csv")
    assert f"The artist of 1 song of {music} is no longer known." in outcome.err
    assert "no longer known" not in cli("index", run, "music", "--artists", "one.csv").err


def test_a_full_disk_is_a_sentence_and_costs_no_analysis(
    cli: Cli, run: str, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def full(*arguments: Any, **options: Any) -> object:
        connection = connect(*arguments, **options)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", full)
        outcome = cli("index", run, "music/blues")
    told = f"No space is left in {run}/library; free some, then run the same command again: finished work is kept.\n"
    assert (outcome.code, outcome.err) == (2, told)
    with monkeypatch.context() as patch:
        patch.setattr(vectors, "atomic_path", lambda path: nullcontext(Path("/dev/full")))
        outcome = cli("index", run, "music/blues")
    assert outcome.code == 2
    assert outcome.err.startswith("No space is left in ")
    assert cli("index", run, "music/blues").out.startswith("0 indexed, 5 unchanged")


def test_a_folder_may_have_an_equals_sign_in_its_name(cli: Cli, run: str, music: Path) -> None:
    (music / "blues").rename(music / "lr=0.1")
    outcome = cli("index", run, "music/lr=0.1", str(music / "metal"))
    assert outcome.out.startswith("10 indexed"), outcome.err
    assert "not both: music/lr=0.1, data=folder" in cli("index", run, "data=folder", "music/lr=0.1").err


def test_whatever_is_named_is_counted_as_left_out(cli: Cli, run: str, music: Path, tmp_path: Path) -> None:
    folder = music / "blues"
    (folder / "linked").symlink_to(music / "metal")
    (folder / "gone.wav").symlink_to(music / "nothing")
    (folder / "text.wav").write_text("not a sound")
    copy_under_odd_name(folder / "0.wav", folder)
    outcome = cli("index", run, "music/blues")
    assert r"\udcff.wav: a name that is not UTF-8 text: rename it" in outcome.err
    assert outcome.out.startswith("5 indexed, 0 unchanged, 0 dropped, 4 left out"), outcome.err
    assert len([line for line in outcome.err.splitlines() if f"{folder}/" in line]) == 4
    assert cli("index", run, "music/blues").out.startswith("0 indexed, 5 unchanged, 0 dropped, 4 left out")


def test_a_song_or_folder_whose_name_is_not_text_is_named(cli: Cli, run: str, music: Path) -> None:
    assert cli("index", run, "music").code == 0
    song = str(copy_under_odd_name(music / "blues/0.wav", music))
    folder = song.removesuffix(".wav")
    Path(folder).mkdir()
    for command, word in (("index", folder), ("recommend", song)):
        outcome = cli(command, run, word)
        assert outcome.code == 2
        assert f"{printable(word)}: a name that is not UTF-8 text: rename it." in outcome.err
