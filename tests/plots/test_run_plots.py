import subprocess
import sys
from pathlib import Path
from typing import Any

import fake_predictions
import numpy as np
import pytest
from fake_predictions import history, predictions
from matplotlib.figure import Figure
from PIL import Image

from genreclf.plots import calibration, run, style
from genreclf.plots.run import draw_all, draw_confusion, draw_curves, draw_genre_scores

NAMES = {
    *("curves.png", "confusion.png", "confusion_normalized.png", "genre_scores.png"),
    *("reliability.png", "risk_coverage.png"),
}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """Collect the figures by file name as they are saved, to read their words."""
    found: dict[str, Figure] = {}
    save = style.save

    def keep(figure: Figure, path: Path) -> None:
        found[path.name] = figure
        save(figure, path)

    for module in (run, calibration):
        monkeypatch.setattr(module, "save", keep)
    return found


@pytest.mark.pictures
def test_all_figures_are_sizeable_pictures_with_titles(tmp_path: Path, drawn: dict[str, Figure]) -> None:
    metrics = {
        "split": {"leaky": True},
        "pretrained": {"name": "musicnn"},
        "calibration": {"temperature": {"track": 0.9, "clip": 1.3}},
    }
    paths = draw_all(tmp_path / "figures", history(5), predictions(absent=2), metrics, "CRNN on gtzan, split chunk")

    assert {path.name for path in paths} == NAMES
    assert {path.name for path in (tmp_path / "figures").iterdir()} == NAMES
    for path in paths:
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == "PNG"
            assert 600 < min(picture.size) <= max(picture.size) < 6000
            assert np.asarray(picture.convert("L")).std() > 5
        assert (
            drawn[path.name].get_suptitle().replace("\n", " ") == "LEAKY SPLIT, PRETRAINED: CRNN on gtzan, split chunk"
        )


@pytest.mark.pictures
def test_without_epochs_there_are_no_curves(tmp_path: Path, drawn: dict[str, Figure]) -> None:
    paths = draw_all(tmp_path, [], predictions(tracks=4), {"split": {"leaky": False}}, "title")
    assert {path.name for path in paths} == NAMES - {"curves.png"}
    assert {figure.get_suptitle() for figure in drawn.values()} == {"title"}


def words(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_confusion_shows_counts_and_shares(tmp_path: Path, drawn: dict[str, Figure]) -> None:
    tracks = predictions(tracks=90).per_track()
    for name, normalized in (("confusion.png", False), ("confusion_normalized.png", True)):
        draw_confusion(tmp_path / name, tracks, "title", normalized=normalized)
    counts = np.zeros((4, 4), dtype=int)
    for true, given in zip(tracks.targets, tracks.predicted, strict=True):
        counts[true, given] += 1
    shares = 100 * counts / counts.sum(axis=1, keepdims=True)
    assert words(drawn["confusion.png"]) == [str(count) for count in counts.ravel() if count]
    assert words(drawn["confusion_normalized.png"]) == [f"{share:.0f}" for share in shares.ravel() if share]


def test_curves_mark_the_tested_epoch_and_bear_gaps(tmp_path: Path, drawn: dict[str, Figure]) -> None:
    rows: list[dict[str, Any]] = [*history(5), {"epoch": 5, "val/loss": None, "val/track_accuracy": float("nan")}]
    draw_curves(tmp_path / "curves.png", rows, 3, "title")
    (legend,) = drawn["curves.png"].legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "training clips",
        "validation clips",
        "validation tracks",
        "tested: epoch 3",
    ]
    accuracy = drawn["curves.png"].axes[1]
    line = next(line for line in accuracy.lines if line.get_label() == "validation tracks")
    assert np.asarray(line.get_xdata()).tolist() == [1, 2, 3, 4]
    assert np.asarray(line.get_ydata()).tolist() == pytest.approx([50, 50, 70, 50])


def test_genres_stand_in_the_order_of_f1(tmp_path: Path, drawn: dict[str, Figure]) -> None:
    tracks = predictions(absent=0).per_track()
    draw_genre_scores(tmp_path / "genre_scores.png", tracks, "title")
    axes = drawn["genre_scores.png"].axes[0]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[-1] == "blues (0)"
    f1 = [bar.get_width() for bar in axes.patches[-len(labels) :]]
    assert f1 == sorted(f1, reverse=True)
    assert "no test tracks" in words(drawn["genre_scores.png"])


@pytest.mark.pictures
def test_one_epoch_and_strange_names(tmp_path: Path) -> None:
    draw_curves(tmp_path / "curves.png", history(2)[:1], None, "a $x$ of $\\broken{ on y")
    assert (tmp_path / "curves.png").stat().st_size > 2_000


def test_pyplot_is_never_imported(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib, fake_predictions as i; from genreclf.plots import run; import genreclf.reports.run\n"
        "assert not {'torch', 'matplotlib', 'rich'} & set(sys.modules), 'imported too early'\n"
        f"run.draw_curves(pathlib.Path({str(tmp_path / 'c.png')!r}), i.history(3), 1, 't')\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        cwd=root,
        env={"PYTHONPATH": f"{root}:{Path(fake_predictions.__file__).parent}"},
    )
