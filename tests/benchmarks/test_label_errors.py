"""The planted errors of benchmarks/label_errors.py, and how they are counted."""

from pathlib import Path

import pytest

from benchmarks.label_errors import plant, table
from genreclf.audit.labels import Suspect
from genreclf.errors import UserError


def test_some_files_move_to_another_genre_and_all_stay_readable(tmp_path: Path) -> None:
    for genre in ("blues", "jazz", "rock"):
        (tmp_path / "pictures" / genre).mkdir(parents=True)
        for number in range(6):
            (tmp_path / f"pictures/{genre}/{genre}.0000{number}.png").write_text(f"{genre} {number}")
    moved = plant(tmp_path / "pictures", tmp_path / "out", 4, seed=1)
    placed = {f"{path.parent.name}/{path.stem}": path.read_text() for path in (tmp_path / "out").glob("*/*.png")}
    assert len(placed) == 18
    assert {name for name, text in placed.items() if not name.startswith(text.split()[0])} == moved
    assert len(moved) == 4
    assert plant(tmp_path / "pictures", tmp_path / "again", 4, seed=1) == moved
    assert plant(tmp_path / "pictures", tmp_path / "other", 4, seed=2) != moved
    assert plant(tmp_path / "pictures", tmp_path / "out", 4, seed=1) == moved
    assert len(list((tmp_path / "out").glob("*/*.png"))) == 18
    with pytest.raises(UserError, match="holds 18 pictures of 3 genres: too few to move 19"):
        plant(tmp_path / "pictures", tmp_path / "new", 19, seed=1)


def test_precision_and_recall_are_counted() -> None:
    suspects = [
        Suspect(track=track, genre="a", probability=0.1, other="b", other_probability=0.8) for track in ("x", "y", "z")
    ]
    rows = table(suspects, {"x", "w"}, 10).cells
    assert [row[:3] for row in rows] == [("all", "3 of 10", "1"), ("the 2 most doubtful", "2 of 10", "1")]
    assert [row[3].split()[0] for row in rows] == ["33.3", "50.0"]
    assert [row[4].split()[0] for row in rows] == ["50.0", "50.0"]
