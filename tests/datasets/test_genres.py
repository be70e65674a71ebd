"""A run is tested on a collection whose genres have other names."""

import shutil
from pathlib import Path

import pytest
from helpers import Cli, Trained

from genreclf.datasets.base import Track
from genreclf.datasets.genres import map_genres, read_genre_map
from genreclf.errors import UserError
from genreclf.run_directory import RunDirectory


@pytest.fixture
def theirs(trained: Trained, tmp_path: Path) -> Path:
    """The music of the run under other names, and a genre that it does not know."""
    names = {"blues": "Blues & Soul", "metal": "heavy", "classical": "klassik"}
    for ours, name in names.items():
        shutil.copytree(trained.music / ours, tmp_path / "theirs" / name)
    (tmp_path / "theirs/polka").mkdir()
    shutil.copy(trained.music / "metal/0.wav", tmp_path / "theirs/polka")
    return tmp_path / "theirs"


def evaluate(cli: Cli, trained: Trained, theirs: Path, *overrides: str) -> tuple[int, str]:
    data = ["data=folder", f"data.root={theirs}", f"data.store_dir={theirs.parent / 'stores'}"]
    outcome = cli("evaluate", str(trained.run.path), *data, *overrides, "run_dir=theirs-tested")
    return outcome.code, outcome.err


def test_another_collection_is_tested_as_a_whole(cli: Cli, trained: Trained, theirs: Path) -> None:
    (theirs.parent / "genres.yaml").write_text("Blues & Soul: blues\nheavy: metal\nklassik: null\n")
    code, said = evaluate(cli, trained, theirs, "data.genre_map=genres.yaml", "split=test_all")
    assert code == 0, said
    tested = RunDirectory("theirs-tested")
    assert tested.read_metrics()["test"]["track"]["n"] == 10
    assert tested.read_metrics()["split"]["leaky"] is False
    assert {line.split(",")[1] for line in tested.predictions.read_text().splitlines()[1:]} == {"blues", "metal"}
    assert tested.read_config()["data"]["genre_map"] == "genres.yaml"
    report = tested.report.read_text()
    assert "leaves out 5 of 16 tracks: klassik (5)" in report
    assert "1 of 11 tracks are left out, as the model does not know their genres: polka (1)" in report


def test_what_cannot_be_mapped_is_told(cli: Cli, trained: Trained, theirs: Path) -> None:
    code, said = evaluate(cli, trained, theirs, "split=test_all")
    assert code == 2
    assert "data.genre_map={THEIRS: OURS, ...}" in said
    code, said = evaluate(cli, trained, theirs, "split=test_all", "data.genre_map={heavy:loud}")
    assert (code, "the model knows none of the genres of the data" in said) == (2, True)
    code, said = evaluate(cli, trained, theirs, "split=test_all", "data.genre_map=none.yaml")
    assert (code, "data.genre_map=none.yaml cannot be read" in said) == (2, True)
    outcome = cli("data=synthetic", "split=test_all", "logger=none")
    assert (outcome.code, "it is for evaluate" in outcome.err) == (2, True)


def test_what_cannot_be_tested_is_told_before_its_spectrograms_are_computed(
    cli: Cli, trained: Trained, theirs: Path
) -> None:
    (theirs.parent / "names.yaml").write_text("Blues & Soul: blues\nheavy: metal\nklassik: classical\n")
    names = "data.genre_map=names.yaml"
    for overrides, sentence in (
        (["split=test_all"], "does not know Blues & Soul, heavy, klassik, polka"),
        ([names, "split=fault_filtered"], "none of the 15 tracks here is one of them"),
        ([names, "split=test_all", "data.clip_seconds=2"], "was trained on other spectrograms (clip_frames)"),
    ):
        code, said = evaluate(cli, trained, theirs, *overrides)
        assert (code, sentence in said) == (2, True), said
        assert not (theirs.parent / "stores").exists()


def test_a_map_renames_merges_and_leaves_out() -> None:
    tracks = [Track(id=id, genre=genre, path=Path(id)) for id, genre in (("1", "soul"), ("2", "funk"), ("3", "jazz"))]
    kept, said = map_genres(tracks, read_genre_map({"soul": "blues", "funk": "blues", "ska": "reggae"}))
    assert [track.genre for track in kept] == ["blues", "blues", "jazz"]
    assert said == [
        "data.genre_map names ska, of which the data has no track.",
        "data.genre_map takes soul as blues (1), funk as blues (1).",
    ]
    with pytest.raises(UserError, match="names none of the genres"):
        map_genres(tracks, {"ska": None})
    with pytest.raises(UserError, match="leaves out all genres"):
        map_genres(tracks, dict.fromkeys(["soul", "funk", "jazz"]))
    for wrong in ({"soul": 3}, {}, "", ["soul"]):
        with pytest.raises(UserError, match=r"data\.genre_map"):
            read_genre_map(wrong)  # type: ignore[arg-type]
