from dataclasses import replace
from pathlib import Path

import pytest

from genreclf.datasets.base import Track
from genreclf.errors import UserError
from genreclf.splits.base import SUBSETS, Split, Splitter
from genreclf.splits.lists import FaultFiltered, ListSplitter

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
CLIP_FRAMES = 40


def gtzan(n: int = 100) -> list[Track]:
    """The first n ids of each genre of GTZAN, without jazz.00054."""
    ids = [(genre, f"{genre}.{i:05d}") for genre in GENRES for i in range(n)]
    return [Track(id, genre, Path(f"genres/{genre}/{id}.wav")) for genre, id in ids if id != "jazz.00054"]


def folder(counts: dict[str, int]) -> list[Track]:
    return [
        Track(f"{genre}/{genre} song {i}", genre, Path(f"music/{genre}/{genre} song {i}.mp3"))
        for genre, n in counts.items()
        for i in range(n)
    ]


def frames_of(tracks: list[Track]) -> dict[str, int]:
    return {track.id: 130 for track in tracks}


def assign(split: Splitter, tracks: list[Track]) -> Split:
    return split.split(tracks, frames_of(tracks), CLIP_FRAMES)


def ids(split: Split, subset: str) -> set[str]:
    return {segment.track_id for segment in split.subsets[subset]}


def write_lists(folder: Path, **subsets: list[str]) -> dict[str, Path]:
    paths = {subset: folder / f"{subset}.txt" for subset in SUBSETS}
    for subset, path in paths.items():
        path.write_text("\n".join(subsets[subset]) + "\n", encoding="utf-8")
    return paths


def test_fault_filtered_counts() -> None:
    tracks = gtzan()
    assert len(tracks) == 999
    split = assign(FaultFiltered(), tracks)
    assert [len(split.subsets[subset]) for subset in SUBSETS] == [442, 197, 290]
    assert split.genres == GENRES
    assert split.warnings == ("split=fault_filtered leaves 70 of 999 tracks in no subset",)
    assert not ids(split, "train") & ids(split, "test")


def test_fault_filtered_says_what_is_missing() -> None:
    tracks = [track for track in gtzan() if not track.id.startswith("blues.0003")]
    frames = frames_of(tracks)
    del frames["rock.00010"]
    with pytest.raises(
        UserError,
        match=r"lists 929 tracks and 918 of them are in the data \(missing: blues\.00030, blues\.00031, blues\.00032, "
        r"blues\.00033, blues\.00034 and 6 more\): .* split\.allow_missing=true",
    ):
        FaultFiltered().split(tracks, frames, CLIP_FRAMES)
    split = FaultFiltered(allow_missing=True).split(tracks, frames, CLIP_FRAMES)
    assert sum(len(segments) for segments in split.subsets.values()) == 918
    assert "918 of them are in the data" in split.warnings[0]
    only_unreadable = {id: n for id, n in frames_of(gtzan()).items() if id != "rock.00010"}
    with pytest.raises(UserError, match=r"928 of them .* \(missing: rock\.00010, unreadable\)"):
        FaultFiltered().split(gtzan(), only_unreadable, CLIP_FRAMES)


def test_fault_filtered_of_other_music() -> None:
    with pytest.raises(
        UserError, match=r"a list of 929 GTZAN tracks and none of the 6 .* split=track.* split=artist_folds"
    ):
        assign(FaultFiltered(allow_missing=True), folder({"rock": 3, "pop": 3}))


def test_allowed_gaps_are_told() -> None:
    listed = assign(FaultFiltered(), gtzan())
    tracks = [track for track in gtzan() if track.genre != "reggae" or track.id not in ids(listed, "train")]
    split = assign(FaultFiltered(allow_missing=True), tracks)
    assert split.genres == GENRES
    rest = sum(id.startswith("reggae") for subset in ("val", "test") for id in ids(listed, subset))
    assert "in split=fault_filtered 1 of 10 genres has no training track (reggae)" in split.warnings
    assert any(f"stays a class: all {rest} validation and test tracks" in notice for notice in split.warnings)


def test_list_lines_in_all_forms(tmp_path: Path) -> None:
    tracks = [replace(t, path=Path("blues/blues00001.png")) if t.id == "blues.00001" else t for t in gtzan(10)]
    rest = [f"rock.{i:05d}" for i in range(10)]
    paths = write_lists(
        tmp_path,
        train=[
            "# who trains",
            "",
            "blues.00000",
            "blues.00001.wav",
            "  blues/blues.00002.wav  ",
            "blues00003.png",
            rest[0],
        ],
        val=["blues/blues.00004.au", "./genres_original/blues/blues.00005.wav", "rock\\rock.00001.WAV"],
        test=["/some/where/blues/blues.00006", "jazz.00054", *rest[2:]],
    )
    paths["train"].write_bytes(b"\xef\xbb\xbf" + paths["train"].read_bytes().replace(b"\n", b"\r\n"))
    split = assign(ListSplitter(**paths), tracks)
    assert ids(split, "train") == {"blues.00000", "blues.00001", "blues.00002", "blues.00003", "rock.00000"}
    assert ids(split, "val") == {"blues.00004", "blues.00005", "rock.00001"}
    assert ids(split, "test") == {"blues.00006", *rest[2:]}
    assert split.genres == ("blues", "rock")
    assert split.warnings == ("split=list leaves 83 of 100 tracks in no subset",)


def test_list_lines_of_other_music(tmp_path: Path) -> None:
    tracks = folder({"rock": 3, "pop": 3})
    tracks += [Track(f"{genre}/intro", genre, Path(f"music/{genre}/intro.mp3")) for genre in ("rock", "pop")]
    lists = {
        "train": ["rock/rock song 0", "pop song 0.mp3", "rock/intro"],
        "val": ["rock song 1", "pop/pop song 1.mp3"],
        "test": ["music/rock/rock song 2.wav", "pop song 2", "pop/intro.flac"],
    }
    split = assign(ListSplitter(**write_lists(tmp_path, **lists)), tracks)
    assert ids(split, "train") == {"rock/rock song 0", "pop/pop song 0", "rock/intro"}
    assert ids(split, "val") == {"rock/rock song 1", "pop/pop song 1"}
    assert ids(split, "test") == {"rock/rock song 2", "pop/pop song 2", "pop/intro"}
    lists["train"][-1] = "intro.mp3"
    paths = write_lists(tmp_path, **lists)
    with pytest.raises(
        UserError, match=r"split\.train=.*train\.txt line 3: 'intro\.mp3' fits 2 tracks \(pop/intro, rock/intro\)"
    ):
        assign(ListSplitter(**paths), tracks)


def test_list_lines_are_paths_of_files_in_folders_that_are_not_genres(tmp_path: Path) -> None:
    tracks = [
        Track(f"{genre}/{number:06d}", genre, Path(f"fma/fma_small/00{number % 2}/{number:06d}.mp3"))
        for genre, first in (("Rock", 2), ("Pop", 12))
        for number in range(first, first + 3)
    ]
    lists = {
        "train": ["fma_small/000/000002.mp3", "000/000012.mp3"],
        "val": ["001/000003", "001/000013.mp3"],
        "test": ["Rock/000004.mp3", "Pop/000014"],
    }
    split = assign(ListSplitter(**write_lists(tmp_path, **lists)), tracks)
    assert [ids(split, subset) for subset in SUBSETS] == [
        {f"Rock/{number:06d}", f"Pop/{number + 10:06d}"} for number in (2, 3, 4)
    ]


def test_list_repeats(tmp_path: Path) -> None:
    tracks = gtzan(10)
    lists = {"train": ["blues.00000", "rock.00000"], "val": ["blues.00001", "rock.00001"], "test": ["blues.00002"]}
    twice = write_lists(tmp_path, **lists | {"train": ["blues.00000", "", "blues/blues.00000.wav"]})
    with pytest.raises(
        UserError, match=r"split\.train=.* line 3: 'blues/blues\.00000\.wav' is already in .*train\.txt line 1"
    ):
        assign(ListSplitter(**twice), tracks)
    parted = write_lists(tmp_path, **lists | {"test": ["rock.00001.wav"]})
    with pytest.raises(UserError, match=r"split\.test=.*test\.txt line 1: .* is already in .*val\.txt line 2"):
        assign(ListSplitter(**parted, allow_missing=True), tracks)


def test_list_of_unknown_tracks(tmp_path: Path) -> None:
    tracks = gtzan(10)
    both = [[f"{genre}.{i:05d}" for genre in ("blues", "rock")] for i in range(3)]
    paths = write_lists(tmp_path, train=[*both[0], "rock/blues.00007", "polka.00001"], val=both[1], test=both[2])
    with pytest.raises(
        UserError,
        match=r"split=list lists 8 tracks and 6 of them are in the data \(missing: "
        r"rock/blues\.00007 in train\.txt line 3, polka\.00001 in train\.txt line 4\): .*split\.allow_missing=true",
    ):
        assign(ListSplitter(**paths), tracks)
    split = assign(ListSplitter(**paths, allow_missing=True), tracks)
    assert ids(split, "train") == set(both[0])
    assert split.warnings[0].startswith("split=list lists 8 tracks and 6 of them are in the data")
    strangers = write_lists(tmp_path, train=["a"], val=["b"], test=["c"])
    with pytest.raises(UserError, match=r"names 3 tracks and none of them .*an id such as blues\.00000"):
        assign(ListSplitter(**strangers, allow_missing=True), tracks)


def test_list_with_an_empty_side(tmp_path: Path) -> None:
    tracks = gtzan(10)
    both = [[f"{genre}.{i:05d}" for genre in ("blues", "rock")] for i in range(3)]
    no_test = write_lists(tmp_path, train=both[0], val=both[1], test=["# later"])
    with pytest.raises(UserError, match="split=list leaves no track for test: list tracks of every genre"):
        assign(ListSplitter(**no_test, allow_missing=True), tracks)
    no_val = write_lists(tmp_path, train=both[0], val=[], test=both[2])
    with pytest.raises(UserError, match=r"leaves no track for validation: .*split\.allow_missing=true"):
        assign(ListSplitter(**no_val), tracks)
    split = assign(ListSplitter(**no_val, allow_missing=True), tracks)
    assert split.val == ()
    assert "split=list leaves no track for validation: no score can choose the best epoch" in split.warnings
    nothing = write_lists(tmp_path, train=[], val=[], test=[])
    with pytest.raises(UserError, match="no track for training and validation and test"):
        assign(ListSplitter(**nothing, allow_missing=True), tracks)


def test_list_files_that_cannot_be_read(tmp_path: Path) -> None:
    paths = write_lists(tmp_path, train=["blues.00000"], val=["blues.00001"], test=["blues.00002"])
    with pytest.raises(UserError, match=r"set split\.test to one"):
        ListSplitter(train=paths["train"], val=paths["val"], test=None)
    with pytest.raises(UserError, match=r"split\.val=.*absent\.txt: there is no such file"):
        assign(ListSplitter(**paths | {"val": tmp_path / "absent.txt"}), gtzan(10))
    with pytest.raises(UserError, match=r"split\.train=.* cannot be read: Is a directory"):
        assign(ListSplitter(**paths | {"train": tmp_path}), gtzan(10))
    for content in (b"RIFF\xff\xfe\x80", b"RIFF\0\0\0\0WAVE"):
        paths["test"].write_bytes(content)
        with pytest.raises(UserError, match=r"split\.test=.*test\.txt is not a text file in UTF-8"):
            assign(ListSplitter(**paths), gtzan(10))


def test_fault_filtered_as_lists_is_the_same_split(tmp_path: Path) -> None:
    tracks = gtzan()
    listed = assign(FaultFiltered(), tracks)
    paths = write_lists(tmp_path, **{subset: sorted(ids(listed, subset)) for subset in SUBSETS})
    assert assign(ListSplitter(**paths), tracks).hash == listed.hash
