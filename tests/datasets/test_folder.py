import os
import unicodedata
from pathlib import Path
from time import perf_counter

import numpy as np
import pytest
import soundfile

from genreclf.datasets.folder import Folder
from genreclf.errors import UnreadableTrack, UserError


def sound(path: Path, n_samples: int = 800, channels: int = 1, rate: int = 8000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full((n_samples, channels), 0.25), rate)
    return path


def test_tracks_of_many_formats(tmp_path: Path) -> None:
    for name in ("rock/b.wav", "rock/a.FLAC", "polka/Mr. Brown.OGG", "polka/one.mp3", "polka/two.au"):
        sound(tmp_path / name)
    (tmp_path / "rock/notes.txt").write_text("no music")
    (tmp_path / "rock/._b.wav").write_text("junk")
    (tmp_path / ".git").mkdir()
    (tmp_path / "readme.txt").touch()
    (tmp_path / "rock/inner.wav").mkdir()
    source = Folder(root=tmp_path)
    tracks = source.tracks()
    assert [track.id for track in tracks] == ["polka/Mr. Brown", "polka/one", "polka/two", "rock/a", "rock/b"]
    assert [track.genre for track in tracks] == ["polka"] * 3 + ["rock"] * 2
    assert all(track.group == track.id and track.artist is None and track.duration_s is None for track in tracks)
    assert source.warnings == []


def test_fingerprint_is_size_and_time_of_change(tmp_path: Path) -> None:
    path = sound(tmp_path / "rock/a.wav")
    os.utime(path, ns=(5, 1_000_000_007))
    (before,) = Folder(root=tmp_path).tracks()
    assert before.fingerprint == f"{path.stat().st_size}-1000000007"
    sound(path, n_samples=900)
    os.utime(path, ns=(5, 1_000_000_007))
    (after,) = Folder(root=tmp_path).tracks()
    assert after.fingerprint != before.fingerprint


def test_waveform_is_mono_at_the_rate_asked_for(tmp_path: Path) -> None:
    sound(tmp_path / "rock/a.wav", n_samples=1600, channels=3, rate=16000)
    source = Folder(root=tmp_path)
    (track,) = source.tracks()
    waveform = source.waveform(track, 8000)
    assert waveform.shape == (800,)
    assert waveform.dtype == np.float32
    np.testing.assert_allclose(waveform[50:-50], 0.25, atol=1e-3)
    track.path.write_text("spoiled")
    with pytest.raises(UnreadableTrack):
        source.waveform(track, 8000)


def test_artists_make_groups(tmp_path: Path) -> None:
    for name in ("rock/a.wav", "rock/b.wav", "rock/c.wav", "rock/d.wav"):
        sound(tmp_path / "audio" / name)
    (tmp_path / "artists.csv").write_text("rock/a,Björk\nb.wav,BJÖRK \nrock/c.wav,Cher\n")
    tracks = Folder(root=tmp_path / "audio", artists=tmp_path / "artists.csv").tracks()
    assert [track.artist for track in tracks] == ["Björk", "BJÖRK", "Cher", None]
    assert tracks[0].group == tracks[1].group != tracks[2].group
    assert tracks[3].group == "rock/d"

    (tmp_path / "others.csv").write_text("jazz/z,Monk\n")
    with pytest.raises(UserError, match=r"others\.csv names none of the 4 tracks"):
        Folder(root=tmp_path / "audio", artists=tmp_path / "others.csv").tracks()


def test_an_artist_of_a_file_name_in_several_genres_is_refused(tmp_path: Path) -> None:
    for name in ("rock/a.wav", "jazz/a.wav", "folk/a.wav", "folk/b.wav"):
        sound(tmp_path / "audio" / name)
    artists = tmp_path / "artists.csv"
    source = Folder(root=tmp_path / "audio", artists=artists)
    artists.write_text("b.wav,Brel\njazz/a.wav,Monk\na.wav,Cher\n")
    with pytest.raises(UserError, match=r"'a' fits 2 tracks \(folk/a, rock/a\): write it with its genre folder, as in"):
        source.tracks()
    artists.write_text("b.wav,Brel\njazz/a.wav,Monk\nfolk/a,Ann\na.wav,Cher\n")
    assert [track.artist for track in source.tracks()] == ["Ann", "Brel", "Monk", "Cher"]


def test_artists_of_names_with_accents_written_apart(tmp_path: Path) -> None:
    apart, together = (unicodedata.normalize(form, "é") for form in ("NFD", "NFC"))
    for number in range(4):
        sound(tmp_path / f"audio/rock/{apart}{number}.wav")
    rows = [f"rock/{together}{number}.wav,artist {number % 2}\n" for number in range(4)]
    (tmp_path / "artists.csv").write_text("".join(rows))
    source = Folder(root=tmp_path / "audio", artists=tmp_path / "artists.csv")
    tracks = source.tracks()
    assert [track.id for track in tracks] == [f"rock/{apart}{number}" for number in range(4)]
    assert [track.artist for track in tracks] == ["artist 0", "artist 1"] * 2
    assert len({track.group for track in tracks}) == 2
    assert source.warnings == []


def test_artists_of_tracks_that_are_not_there_are_told(tmp_path: Path) -> None:
    for name in ("rock/a.wav", "rock/b.wav", "jazz/jazz.00053.wav", "jazz/jazz.00054.wav"):
        sound(tmp_path / "audio" / name)
    (tmp_path / "artists.csv").write_text("rock/z,Cher\njazz.00054,Monk\nrock/a,Cher\nb.wav,Brel\nrock/c,\ny,Queen\n")
    source = Folder(root=tmp_path / "audio", artists=tmp_path / "artists.csv")
    source.tracks()
    assert source.warnings[1:] == [
        f"data.artists={tmp_path}/artists.csv: 2 of the 5 tracks that it names are not in the data, rock/z first."
    ]


def test_the_broken_track_is_left_out_with_one_notice(tmp_path: Path) -> None:
    sound(tmp_path / "jazz/jazz.00053.wav")
    (tmp_path / "jazz/jazz.00054.wav").write_text("broken")
    source = Folder(root=tmp_path)
    for _ in range(2):
        assert [track.id for track in source.tracks()] == ["jazz.00053"]
        assert len(source.warnings) == 1
        assert "jazz.00054" in source.warnings[0]


def test_one_stem_twice_names_both_files(tmp_path: Path) -> None:
    sound(tmp_path / "rock/a.wav")
    sound(tmp_path / "rock/a.mp3")
    with pytest.raises(UserError, match=r"rock/a\.mp3 and .*rock/a\.wav"):
        Folder(root=tmp_path).tracks()


def test_nothing_to_read_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root is missing"):
        Folder(root=None).tracks()
    with pytest.raises(UserError, match=r"data\.root=.*gone is not a folder.*<genre>/<file>"):
        Folder(root=tmp_path / "gone").tracks()
    with pytest.raises(UserError, match=r"holds no audio.*\.wav, \.au, \.flac, \.ogg, \.mp3"):
        Folder(root=tmp_path).tracks()
    sound(tmp_path / "song.wav")
    with pytest.raises(
        UserError, match=r"holds no audio as .*only 1 file, such as .*/song\.wav, outside genre folders"
    ):
        Folder(root=tmp_path).tracks()
    for name in ("jazz/b/0.flac", "jazz/a/cd1/0.flac", ".hidden/jazz/0.flac", "jazz/.hidden/0.flac", "jazz/a/._0.flac"):
        sound(tmp_path / name)
    deeper = r"holds no audio as .*, only 2 files, such as .*/jazz/a/cd1/0\.flac, in deeper folders: move .*data\.root"
    with pytest.raises(UserError, match=deeper):
        Folder(root=tmp_path).tracks()


def test_a_name_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "rock").mkdir()
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/rock/\xff.wav")).touch()
    except OSError:
        pytest.skip("this file system only takes UTF-8 names")
    with pytest.raises(UserError, match="not UTF-8"):
        Folder(root=tmp_path).tracks()


@pytest.mark.slow
def test_a_hundred_thousand_files_list_quickly(tmp_path: Path) -> None:
    for genre in range(100):
        (tmp_path / f"genre{genre}").mkdir()
        for number in range(1000):
            (tmp_path / f"genre{genre}/{number}.wav").touch()
    start_s = perf_counter()
    assert len(Folder(root=tmp_path).tracks()) == 100_000
    assert perf_counter() - start_s < 10


def test_a_name_that_cannot_be_printed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rock").mkdir()
    (tmp_path / "rock/a\nb.wav").touch()
    with pytest.raises(UserError, match=r"'.*/rock/a\\nb.wav' has a name that is not UTF-8 or cannot be printed"):
        Folder(root=tmp_path).tracks()


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    for name in ("rock/a.wav", "jazz/a.wav"):
        sound(tmp_path / name)
    for name in ("rock/a\n.m4a", "rock/b.opus", "jazz/notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "blues").symlink_to(tmp_path / "gone")
    folder = Folder(root=tmp_path)
    assert [track.id for track in folder.tracks()] == ["jazz/a", "rock/a"]
    assert folder.warnings == [
        f"{tmp_path}/blues is left out: a link to nothing.",
        f"Left out of {tmp_path}: 2 files, such as {tmp_path}/rock/a\\n.m4a, as only .wav, .au, .flac, .ogg, .mp3 are "
        "read; convert them.",
    ]
    assert len(folder.tracks()) == len(folder.warnings) == 2


def test_files_in_other_places_and_empty_folders_are_told(tmp_path: Path) -> None:
    names = ("rock/a.wav", "jazz/album0/a.flac", "jazz/album0/b.flac", "jazz/album1/a.flac", "loose.wav")
    for name in names:
        sound(tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "jazz/album0/cover.png").touch()
    (tmp_path / "rock/round").symlink_to(tmp_path)
    folder = Folder(root=tmp_path)
    for _ in range(2):
        assert [track.id for track in folder.tracks()] == ["rock/a"]
        assert folder.warnings == [
            f"Left out of {tmp_path}: 3 files, such as {tmp_path}/jazz/album0/a.flac, as folders within a genre folder "
            "are not read; move them up.",
            f"Left out of {tmp_path}: 1 file, such as {tmp_path}/loose.wav, as files outside genre folders have no "
            "genre; move them into one.",
            f"Left out of {tmp_path}: 2 folders, such as {tmp_path}/empty, as a genre needs audio directly in its "
            "folder.",
        ]


def test_the_search_for_deeper_files_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genreclf.datasets.folder.MOST_FOLDERS", 3)
    sound(tmp_path / "rock/a.wav")
    for number in range(5):
        sound(tmp_path / f"rock/{number}/a.wav")
    folder = Folder(root=tmp_path)
    folder.tracks()
    assert "3 files" in folder.warnings[0]


def test_a_link_to_nothing_is_a_track_that_cannot_be_read(tmp_path: Path) -> None:
    sound(tmp_path / "rock/a.wav")
    (tmp_path / "rock/b.wav").symlink_to(tmp_path / "gone.wav")
    folder = Folder(root=tmp_path)
    assert [track.id for track in folder.tracks()] == ["rock/a", "rock/b"]
    with pytest.raises(UnreadableTrack, match="a link to a missing file"):
        folder.waveform(folder.tracks()[1], 22050)
