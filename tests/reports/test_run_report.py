from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from fake_predictions import history, predictions
from rich.console import Console

from genreclf.evaluation.metrics import evaluate, rounded
from genreclf.plots.run import draw_confusion
from genreclf.reports.run import summary_table, write_report
from genreclf.reports.titles import run_title

CONFIG = {
    "model": {"_target_": "genreclf.models.crnn.CRNN", "name": None},
    "data": {"name": "gtzan", "_target_": "genreclf.datasets.gtzan.Gtzan"},
    "optimizer": {"_target_": "torch.optim.AdamW", "lr": 0.001},
    "scheduler": None,
}
ENVIRONMENT = {
    "command": ["python", "-m", "genreclf", "data.root=/music/my songs"],
    "device": "cpu",
    "precision": "32-true",
    "git": {"commit": "0123abc", "dirty": False},
    "versions": {"torch": "2.14.1"},
}


def metrics_of_run(leaky: bool = False, **choices: Any) -> dict[str, Any]:
    metrics: dict[str, Any] = rounded(
        {
            "status": "finished",
            "seed": 7,
            "parameters": 1234567,
            "epochs": 5,
            "split": {"name": "chunk", "hash": "f00d", "leaky": leaky},
            "val": {"track": {"accuracy": 0.7}},
            "test": evaluate(predictions(**choices)),
            "timing": {"prepare_s": 1.25, "fit_s": 60.5, "test_s": 2.0, "clips_per_s": 4011.2},
        }
    )
    metrics["test"]["track"] |= {"accuracy": 0.631034, "accuracy_ci95": [0.574024, 0.684496], "n": 290}
    return metrics


def report_of(directory: Path, **changes: Any) -> str:
    arguments = {
        "metrics": metrics_of_run(),
        "config": CONFIG,
        "environment": ENVIRONMENT,
        "history": history(5),
        "tracks": predictions().per_track(),
        "warnings": ["jazz.00054 is broken\nand was left out."],
    }
    write_report(directory / "report.md", **arguments | changes)
    return (directory / "report.md").read_text(encoding="utf-8")


def test_report_opens_with_the_answer(tmp_path: Path) -> None:
    lines = report_of(tmp_path).splitlines()
    assert lines[0] == "# CRNN on gtzan, split chunk"
    assert lines[2] == "63.1 % of 290 test tracks right, 95 % interval 57.4-68.4 %."


def test_report_tells_how_it_was_made(tmp_path: Path) -> None:
    text = report_of(tmp_path)
    for words in (
        "python -m genreclf 'data.root=/music/my songs'",
        "| model | CRNN |",
        "| optimizer | AdamW (lr 0.001) |",
        "| split | chunk, hash f00d |",
        "| seed | 7 |",
        "| parameters | 1,234,567 |",
        "| epoch tested, counted as in history.csv | 3 (70.0 % of the validation tracks right) |",
        "| time | prepare 1.2 s, fit 60.5 s, test 2.0 s, 4,011 clips/s |",
        "| git | commit 0123abc, dirty False |",
        "- jazz.00054 is broken and was left out.",
    ):
        assert words in text
    assert "| scheduler" not in text
    assert "LEAKY" not in text


def test_leaky_split_is_shouted_everywhere(tmp_path: Path) -> None:
    text = report_of(tmp_path, metrics=metrics_of_run(leaky=True))
    assert text.splitlines()[0].endswith("(LEAKY)")
    assert "> [!WARNING]\n> **LEAKY SPLIT.**" in text
    assert "do not compare" in text


def test_errors_by_artist_and_temperatures(tmp_path: Path) -> None:
    tracks = predictions().per_track()
    artists = {track_id: f"artist: {'abc'[number % 3]}" for number, track_id in enumerate(tracks.track_ids)}
    metrics = metrics_of_run()
    metrics["calibration"] = {"temperature": {"track": 0.912, "clip": 1.3}}
    for unit in ("track", "clip"):
        metrics["test"][unit]["calibrated"] = {"calibration_error": 0.0123}
    report = report_of(tmp_path, artists=artists, metrics=metrics)
    assert "| temperature | 0.91 | 1.30 |" in report
    assert "| ... calibrated | 0.012 | 0.012 |" in report
    rows = report.partition("## Errors by artist")[2].partition("##")[0].split("\n")[4:-2]
    counts = {row.split(" | ")[0][2:]: [int(cell.strip(" |")) for cell in row.split(" | ")[1:]] for row in rows if row}
    wrong = tracks.predicted != tracks.targets
    assert counts == {name: [int(wrong[i::3].sum()), len(wrong[i::3])] for i, name in enumerate("abc")}
    assert "Errors by artist" not in report_of(tmp_path)


def test_genres_and_confusions(tmp_path: Path) -> None:
    tracks = predictions(absent=2).per_track()
    metrics = metrics_of_run(absent=2)
    text = report_of(tmp_path, metrics=metrics, tracks=tracks)
    blues = metrics["test"]["per_genre"]["blues"]
    assert f"| blues | {100 * blues['precision']:.1f} % | {100 * blues['recall']:.1f} % |" in text
    assert "| jazz |  |  |  |  | 0 |" in text

    pairs = [(int(t), int(p)) for t, p in zip(tracks.targets, tracks.predicted, strict=True) if t != p]
    section = text.split("## Most frequent confusions")[1].split("##")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.strip().splitlines()[2:]]
    assert len(rows) == min(len(set(pairs)), 10)
    assert [int(row[2]) for row in rows] == sorted((pairs.count(pair) for pair in set(pairs)), reverse=True)[:10]
    genres = tracks.genres
    for true, given, count, of in rows:
        assert pairs.count((genres.index(true), genres.index(given))) == int(count)
        assert (tracks.targets == genres.index(true)).sum() == int(of)


def test_figures_are_linked_if_they_are_there(tmp_path: Path) -> None:
    assert "figures/" not in report_of(tmp_path)
    draw_confusion(tmp_path / "figures" / "confusion.png", predictions().per_track(), "title")
    text = report_of(tmp_path)
    assert "(figures/confusion.png)" in text
    assert "(figures/curves.png)" not in text


def test_report_bears_missing_keys(tmp_path: Path) -> None:
    text = report_of(tmp_path, metrics={}, config={}, environment={}, history=[], warnings=[])
    assert text.startswith("# n/a on n/a, split n/a\n\nNothing was tested.")
    assert "```bash" not in text
    assert "## Notes" not in text


def test_names_do_not_break_tables(tmp_path: Path) -> None:
    metrics = metrics_of_run()
    metrics["test"]["per_genre"] = {"drum | <bass>": {"precision": 1, "recall": 1, "f1": 1, "n": 3}}
    assert "| drum \\| &lt;bass> | 100.0 % |" in report_of(tmp_path, metrics=metrics)


def test_title_prefers_names_over_targets() -> None:
    config = {
        "model": {"_target_": "a.b.CRNN"},
        "data": {"name": "gtzan", "_target_": "x.Y"},
        "split": {"name": "kept"},
    }
    assert run_title({}, config) == "CRNN on gtzan, split kept"
    assert run_title({"split": {"name": "chunk"}}, config) == "CRNN on gtzan, split chunk"


@pytest.mark.parametrize(
    ("data", "root", "ids", "said"),
    [
        ("Gtzan", "data/gtzan", (), "GTZAN"),
        ("SpectrogramImages", "my/images_original", ("blues.00001", "pop.00002"), "GTZAN"),
        ("Folder", "my/music", ("jazz/1",), "the folder music"),
        ("Folder", None, (), "a folder of music"),
        ("Synthetic", None, (), "synthetic music"),
        ("MyTones", None, (), "My Tones"),
    ],
)
def test_the_title_names_the_dataset_for_people(data: str, root: str | None, ids: tuple[str, ...], said: str) -> None:
    config = {"model": {"_target_": "a.ShortChunkCNN"}, "data": {"_target_": f"a.{data}", "root": root}}
    assert run_title({"split": {"name": "s"}}, config, ids) == f"Short Chunk CNN on {said}, split s"


@pytest.mark.parametrize("leaky", [False, True])
def test_summary_in_the_terminal(leaky: bool) -> None:
    console = Console(width=120, record=True, force_terminal=True, color_system="standard", file=StringIO())
    console.print(summary_table(metrics_of_run(leaky=leaky)))
    styled = console.export_text(styles=True, clear=False)
    text = console.export_text()
    assert "63.1 % of 290 test tracks right, 95 % interval 57.4-68.4 %" in text
    for words in ("accuracy, clips", "macro F1", "top-3", "calibration error", "1,234,567", "fit 60.5 s"):
        assert words in text
    assert ("\x1b[1;31mLEAKY" in styled.replace("  LEAKY", "LEAKY")) == leaky


def test_summary_bears_missing_keys() -> None:
    console = Console(width=100, record=True, file=StringIO())
    console.print(summary_table({"status": "failed"}))
    assert "Nothing was tested" in console.export_text()
