import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from genreclf.datasets import download
from genreclf.datasets.gtzan import DEFAULT_ROOT, Gtzan
from genreclf.errors import UserError


def sound(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.zeros(2205), 22050)
    return path


@pytest.mark.parametrize(("home", "suffix"), [("genres", "au"), ("genres_original", "wav"), (".", "WAV")])
def test_layouts(tmp_path: Path, home: str, suffix: str) -> None:
    for name in ("blues/blues.00001", "blues/blues.00000", "rock/rock.00099", "jazz/jazz.00054"):
        sound(tmp_path / home / f"{name}.{suffix}")
    for junk in ("blues/._blues.00001.wav", "blues/rock.00001.wav", "blues/extra.wav", "polka/polka.00001.wav"):
        sound(tmp_path / home / junk)
    source = Gtzan(root=tmp_path)
    tracks = source.tracks()
    assert [track.id for track in tracks] == ["blues.00000", "blues.00001", "rock.00099"]
    assert [track.genre for track in tracks] == ["blues", "blues", "rock"]
    assert [track.duration_s for track in tracks] == [0.1] * 3
    assert [track.path.suffix for track in tracks] == [f".{suffix}"] * 3
    assert len(source.warnings) == 2
    assert "3 files, such as" in source.warnings[0]
    assert "jazz.00054" in source.warnings[1]
    assert source.waveform(tracks[0], 22050).shape == (2205,)


@pytest.mark.parametrize("home", [".", "genres"])
def test_files_that_are_not_read_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.chdir(tmp_path)
    sound(Path(home, "blues/blues.00000.wav"))
    source = Gtzan(root=".")
    source.tracks()
    assert source.warnings == []
    for other in ("blues/more/blues.00001.wav", "blues.00002.wav", "blues/song.wav"):
        sound(Path(home, other))
    Path(home, "rock").mkdir()
    Path("images_original/rock").mkdir(parents=True)
    assert [track.id for track in source.tracks()] == ["blues.00000"]
    files, folders = source.warnings
    assert re.search(r"3 files, such as .*blues\.00002\.wav, as GTZAN's tracks are named .*data=folder", files)
    assert re.search(r"1 folder, such as .*rock, as a genre needs audio", folders)


def test_one_track_as_au_and_wav_is_named(tmp_path: Path) -> None:
    sound(tmp_path / "genres/blues/blues.00000.au")
    sound(tmp_path / "genres_original/blues/blues.00000.wav")
    with pytest.raises(UserError, match=r"blues\.00000\.au and .*blues\.00000\.wav"):
        Gtzan(root=tmp_path).tracks()


def test_artists_come_from_the_key_or_from_index_txt(tmp_path: Path) -> None:
    sound(tmp_path / "genres/blues/blues.00000.wav")
    sound(tmp_path / "genres/pop/pop.00054.wav")
    sound(tmp_path / "genres/pop/pop.00060.wav")
    (tmp_path / "index.txt").write_text("blues.00000.wav ::: John Lee Hooker ::: One Bourbon\n")
    tracks = Gtzan(root=tmp_path).tracks()
    assert tracks[0].artist == "John Lee Hooker"
    assert tracks[1].group == tracks[2].group == "pop.00054"
    (tmp_path / "mine.csv").write_text("blues.00000,Somebody\n")
    assert Gtzan(root=tmp_path, artists=tmp_path / "mine.csv").tracks()[0].artist == "Somebody"


def test_nothing_is_fetched_into_a_folder_the_user_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "fetch", lambda root: pytest.fail("fetched"))
    for root in (tmp_path, tmp_path / "gone"):
        with pytest.raises(UserError, match=r"put the genre folders into .*set data\.root.*data=synthetic") as caught:
            Gtzan(root=root).tracks()
        assert str(root) in str(caught.value)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"data\.download is off.*data=synthetic"):
        Gtzan(download=False).tracks()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("root", [DEFAULT_ROOT, "data/gtzan", "data/../data/gtzan/"])
def test_the_default_root_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str | Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(download, "fetch", lambda root: sound(root / "genres/blues/blues.00000.wav"))
    assert [track.id for track in Gtzan(root=root).tracks()] == ["blues.00000"]


def test_the_default_root_without_network_names_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fetch = download.fetch
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    monkeypatch.setattr(download, "fetch", lambda root: fetch(root, size=10))
    with pytest.raises(UserError, match=r"127\.0\.0\.1.*set data\.root.*data=synthetic"):
        Gtzan().tracks()
