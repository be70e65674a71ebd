"""Learning curves of runs on several splits."""

from pathlib import Path

import pytest
from fake_runs import pattern, write_run
from matplotlib.figure import Figure

from genreclf.comparison.comparison import compare
from genreclf.plots import learning_curve
from genreclf.sweep.curve import ARTISTS, curves_of, draw, table_of
from genreclf.sweep.rows import read_rows
from genreclf.sweep.summary import write_summary


def test_each_split_has_a_curve_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr(learning_curve, "save", lambda figure, path: figures.append(figure))
    for split in ("track", "chunk"):
        for artists, right in ((1, pattern("+---")), (2, pattern("++--"))):
            write_run(
                tmp_path / f"{split}{artists}",
                right,
                split=split,
                split_hash=split,
                leaky=split == "chunk",
                settings={"split.artists_per_genre": artists},
            )
    curves = curves_of(compare([tmp_path]), ARTISTS)
    names = ["CNN, track", "CNN, chunk (LEAKY)"]
    assert [line.split(" | ")[0] for line in table_of(curves, ARTISTS).markdown().splitlines()[2:]] == [
        f"| {name}" for name in names for _ in range(2)
    ]
    draw(tmp_path / "curve.png", curves, ARTISTS, "Learning curve")
    (axes,) = figures[0].axes
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == names
    assert [len(bars.lines[0].get_xdata()) for bars in axes.containers] == [2, 2]


def test_a_summary_says_which_runs_its_curve_lacks(tmp_path: Path) -> None:
    for artists, right in ((1, "+---"), (2, "++--"), (None, "++++")):
        run = write_run(tmp_path / f"{artists}", pattern(right), settings={ARTISTS: artists})
        (run / "job.json").write_text("{}")
    rows = read_rows(tmp_path)
    said = "Runs with split.artists_per_genre=null train on all artists."
    assert said in write_summary(tmp_path, rows).read_text()
    assert said not in write_summary(tmp_path, [row for row in rows if row.path.name != "None"]).read_text()
