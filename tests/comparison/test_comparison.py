"""What is tested against what, what is refused, and what the command leaves and says."""

import csv
import io
import json
import re
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import ROOT, Outcome
from made_up import pattern, write_run
from PIL import Image

from genreclf.commands.compare import parser
from genreclf.comparison import report
from genreclf.comparison.comparison import compare
from genreclf.comparison.significance import holm
from genreclf.evaluation import figures

Cli = Callable[..., Outcome]

FIRST = pattern("+++++ +++++ +---- -----")
SECOND = pattern("++--- ----- +++-- -----")
"""Right in both: 3; in the first alone: 8; in the second alone: 2; in none: 7."""


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw few pixels, where only the content matters."""
    monkeypatch.setattr(figures, "DPI", 30)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing, where the pictures do not matter."""
    monkeypatch.setattr(report, "draw_all", lambda *_: [])


def three_models(folder: Path) -> Path:
    write_run(folder / "a", FIRST, model="CRNN", val=0.6)
    write_run(folder / "b", SECOND, model="CNN", val=0.5)
    write_run(folder / "c", pattern("-" * 20), model="FFNN", val=0.1)
    return folder


def leaky_and_honest(folder: Path) -> Path:
    write_run(folder / "honest", FIRST, model="CRNN")
    write_run(
        folder / "leak", pattern("+++++ +++++ +++++ ++++-"), model="CRNN", split="chunk", split_hash="c", leaky=True
    )
    return folder


def test_pairs_are_tested_and_corrected(tmp_path: Path) -> None:
    comparison = compare([three_models(tmp_path)])
    assert [(pair.first.name, pair.second.name) for pair in comparison.pairs] == [
        ("CRNN", "CNN"),
        ("CRNN", "FFNN"),
        ("CNN", "FFNN"),
    ]
    test = comparison.pairs[0].test
    assert (test.first_better, test.second_better, test.method) == (8, 2, "McNemar")
    p = [2 * (1 + 10 + 45) / 2**10, 2 / 2**11, 2 / 2**5]
    assert [pair.test.p for pair in comparison.pairs] == pytest.approx(p)
    assert [pair.p_holm for pair in comparison.pairs] == pytest.approx([0.125, 3 * 2 / 2**11, 0.125])
    assert holm(p) == pytest.approx([pair.p_holm for pair in comparison.pairs])
    assert comparison.refusals == ()


def test_other_tracks_are_not_compared_and_the_rest_goes_on(tmp_path: Path) -> None:
    three_models(tmp_path)
    write_run(tmp_path / "d", FIRST[:12], model="Other", split_hash="bbbb", first_track=9)
    comparison = compare([tmp_path])
    assert len(comparison.pairs) == 3
    (refusal,) = comparison.refusals
    assert refusal.startswith("Not tested: CRNN; CNN; FFNN against Other; their test tracks differ (20 and 12 tracks, ")
    assert "aaaa; bbbb" in refusal


def test_tracks_of_other_genres_are_not_compared(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", FIRST)
    write_run(tmp_path / "b", FIRST, model="Other")
    header, *rows = (line.split(",") for line in (run / "predictions.csv").read_text().splitlines())
    first = next(row for row in rows if row[0] == "blues.00000")
    first[1:] = ["rock", "rock", "0", "0", "1"]
    (run / "predictions.csv").write_text("\n".join(map(",".join, [header, *rows])))
    (refusal,) = compare([tmp_path]).refusals
    assert "do not agree on the true genre of 1 tracks, blues.00000 first" in refusal


def test_a_leak_is_shown_and_not_tested(tmp_path: Path) -> None:
    comparison = compare([leaky_and_honest(tmp_path)])
    assert comparison.pairs == ()
    (leak,) = comparison.leaks
    assert leak.leaky.scores.accuracy - leak.honest.scores.accuracy == pytest.approx(19 / 20 - 11 / 20)
    (refusal,) = comparison.refusals
    assert "the split chunk is LEAKY, so that the difference would be the leak" in refusal


def test_leaky_runs_are_tested_on_the_same_pieces_only(tmp_path: Path) -> None:
    for name, split_hash in (("CNN", "c1"), ("CRNN", "c1"), ("FFNN", "c2")):
        write_run(tmp_path / name, FIRST, model=name, split="chunk", split_hash=split_hash, leaky=True)
    comparison = compare([tmp_path])
    assert [(pair.first.name, pair.second.name) for pair in comparison.pairs] == [("CNN", "CRNN")]
    assert "cut the tracks into other pieces (c1; c2)" in comparison.refusals[0]


def test_doubts_about_tracks_of_the_same_name_are_told(tmp_path: Path) -> None:
    write_run(tmp_path / "a", FIRST)
    write_run(tmp_path / "b", SECOND, split_hash="bbbb", settings={"data.root": "elsewhere"})
    comparison = compare([tmp_path])
    assert len(comparison.pairs) == 1
    assert any("not those of training and validation" in notice for notice in comparison.notices)
    assert any("Gtzan elsewhere; Gtzan music" in notice for notice in comparison.notices)


@pytest.mark.usefixtures("undrawn")
def test_leaky_is_said_everywhere(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("compare", str(leaky_and_honest(tmp_path / "sweep")))
    assert outcome.code == 0, outcome.err
    assert "LEAKY" in outcome.out
    folder = tmp_path / "sweep/comparison"
    markdown = (folder / "comparison.md").read_text()
    assert "| CRNN | chunk (LEAKY), 20 tracks |" in markdown
    assert "> [!WARNING]" in markdown
    assert "| CRNN | chunk (LEAKY), 20 tracks | fault_filtered, 20 tracks | 95.0 (76.4 to 99.1) | 55.0 " in markdown
    assert r"\textbf{LEAKY}" in (folder / "comparison.tex").read_text()
    rows = list(csv.DictReader((folder / "comparison.csv").read_text().splitlines()))
    assert [row["leaky"] for row in rows] == ["False", "True"]
    assert '<tr class="leaky">' in (folder / "comparison.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_honest_runs_are_never_called_leaky(cli: Cli, tmp_path: Path) -> None:
    assert "LEAKY" not in cli("compare", str(three_models(tmp_path / "sweep"))).out
    table = (tmp_path / "sweep/comparison/comparison.md").read_text().partition("## The leak")[0]
    assert "LEAKY" not in table


class Page(HTMLParser):
    """Collect what a page refers to, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        places = ("src", "srcset", "href", "action", "data", "poster", "background", "xlink:href")
        self.references += [value or "" for name, value in attrs if name in places]

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_needs_nothing_else_and_escapes_all(cli: Cli, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>|&$_{}"
    write_run(tmp_path / "sweep/a", FIRST, settings={"model.note": evil})
    write_run(tmp_path / "sweep/b", SECOND, settings={"model.note": "plain"})
    assert cli("compare", str(tmp_path / "sweep")).code == 0
    text = (tmp_path / "sweep/comparison/comparison.html").read_text()
    page = Page(text)
    assert len(page.references) == 4
    assert all(reference.startswith("data:image/png;base64,") for reference in page.references)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert f"note={evil}" in page.words
    assert 'name="viewport"' in text
    assert "<script>" not in (tmp_path / "sweep/comparison/comparison.md").read_text()


@pytest.mark.usefixtures("undrawn")
def test_tables_read_back(cli: Cli, tmp_path: Path) -> None:
    sweep = three_models(tmp_path / "sweep")
    for seed in (1, 2):
        write_run(sweep / f"a{seed}", SECOND, model="CRNN", seed=seed, val=0.6, settings={"model.note": None})
    printed = cli("compare", str(sweep), "--format", "csv")
    assert printed.code == 0, printed.err
    assert printed.out == (sweep / "comparison/comparison.csv").read_text()
    assert printed.err.rstrip().endswith("comparison.html")
    rows = {row["experiment"]: row for row in csv.DictReader(io.StringIO(printed.out))}
    assert {name: row["runs"] for name, row in rows.items()} == {
        "CRNN": "1",
        "CRNN note=null": "2",
        "CNN": "1",
        "FFNN": "1",
    }
    assert float(rows["CNN"]["accuracy"]) == 0.25
    assert rows["CNN"]["accuracy_sd"] == ""
    assert float(rows["CRNN note=null"]["accuracy_sd"]) == 0
    assert int(rows["CNN"]["parameters"]) == 1000
    assert float(rows["CRNN note=null"]["fit_s"]) == 11.5

    latex = cli("compare", str(sweep), "--format", "latex").out
    body = latex.partition(r"\midrule")[2].partition(r"\bottomrule")[0].strip().splitlines()
    columns = re.search(r"\\begin{tabular}{([lr]+)}", latex)
    assert columns is not None
    assert {len(re.split(r"(?<!\\)&", line)) for line in body} == {len(columns[1])}
    assert all(line.endswith(r"\\") for line in body)
    assert {line.split(" & ")[0] for line in body} == set(rows)
    assert r"fault\_filtered" in latex

    markdown = cli("compare", str(sweep), "--format", "markdown").out.strip().splitlines()
    assert len({line.count("|") for line in markdown}) == 1
    assert len(markdown) == 2 + len(rows)
    pairs = list(csv.DictReader((sweep / "comparison/pairs.csv").read_text().splitlines()))
    assert len(pairs) == 6
    assert {pair["test"] for pair in pairs} == {"McNemar", "permutation"}


def test_pictures_are_drawn(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "DPI", 60)
    assert cli("compare", str(leaky_and_honest(tmp_path / "sweep"))).code == 0
    names = {"curves.png", "confusion.png", "genre_recall.png", "accuracy_parameters.png"}
    paths = set((tmp_path / "sweep/comparison/figures").iterdir())
    assert {path.name for path in paths} == names
    for path in paths:
        with Image.open(path) as picture:
            assert min(picture.size) > 200
            assert len(set(picture.convert("L").resize((64, 64)).tobytes())) > 10


def test_runs_without_history_have_no_curves(cli: Cli, tmp_path: Path) -> None:
    (write_run(tmp_path / "sweep/a", FIRST) / "history.csv").unlink()
    assert cli("compare", str(tmp_path / "sweep")).code == 0
    assert not (tmp_path / "sweep/comparison/figures/curves.png").exists()


@pytest.mark.usefixtures("undrawn")
def test_unfinished_runs_are_named_and_not_fatal(cli: Cli, tmp_path: Path) -> None:
    write_run(tmp_path / "sweep/done", FIRST)
    write_run(tmp_path / "sweep/killed", SECOND, status="running")
    outcome = cli("compare", str(tmp_path / "sweep"))
    assert outcome.code == 0, outcome.err
    assert re.search(r"1 run is not finished and left out: \S*sweep/killed\.", outcome.out)


@pytest.mark.usefixtures("undrawn")
def test_where_the_report_lies(cli: Cli, tmp_path: Path) -> None:
    runs = [str(write_run(tmp_path / f"sweep/{name}", FIRST, model=name)) for name in ("CNN", "CRNN")]
    places = [
        cli("compare", *words).out.strip().splitlines()[-1].removeprefix("Report: ")
        for words in ([str(tmp_path / "sweep")], runs, runs[::-1], [runs[0]], [*runs, "--out", "here"])
    ]
    assert places[0] == str(tmp_path / "sweep/comparison/comparison.html")
    assert places[1] == places[2]
    assert re.fullmatch(r"outputs/comparison-[0-9a-f]{10}/comparison.html", places[1])
    assert places[3] != places[1]
    assert places[4] == "here/comparison.html"
    assert all((tmp_path / place).is_file() for place in places)


def test_evaluations_inside_a_run_count_only_if_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", FIRST)
    again = write_run(run / "evaluations/again", SECOND, settings={"init_from": str(run)})
    assert len(compare([tmp_path]).experiments) == 1
    assert len(compare([run, again]).experiments) == 2


MISTAKES = {
    "no such folder": ([], ["nowhere"], "nowhere is no folder"),
    "nothing inside": ([], ["."], "There is no finished run in ."),
    "no path": ([], [], "the following arguments are required: RUN_OR_SWEEP"),
    "unknown format": ([], ["run", "--format", "word"], "invalid choice: 'word'"),
    "out is a file": ([], ["run", "--out", "run/config.yaml"], "run/config.yaml cannot be written to"),
    "damaged predictions": (["predictions.csv", "track_id,genre\n"], ["run"], "The first line of run/predictions.csv"),
    "cut predictions": (["predictions.csv", None], ["run"], "run/predictions.csv does not belong to metrics.json"),
    "damaged metrics": (["metrics.json", "{"], ["run"], "run/metrics.json cannot be read"),
    "metrics of something else": (["metrics.json", "[]"], ["run"], "run/metrics.json cannot be read"),
    "metrics without a test": (["metrics.json", '{"status": "finished"}'], ["run"], "lacks parameters, split.name"),
    "damaged history": (["history.csv", "epoch,val/loss\n0,low\n"], ["run"], "run/history.csv is damaged"),
    "damaged config": (["config.yaml", "[:"], ["run"], "its config.yaml cannot be read"),
    "killed": (["metrics.json", '{"status": "running"}'], ["run"], "There is no finished run in run (1 begun"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence(name: str, cli: Cli, tmp_path: Path) -> None:
    damage, words, expected = MISTAKES[name]
    if words != ["."]:
        run = write_run(tmp_path / "run", FIRST)
    if damage:
        path = run / str(damage[0])
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]) if damage[1] is None else damage[1])
    outcome = cli("compare", *words)
    assert outcome.code == 2
    assert expected in outcome.err
    assert "Traceback" not in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


def test_a_sweep_is_compared_from_end_to_end(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    sweep = cli("-m", *tiny, "seed=0,1", "hydra.sweep.dir=sweep")
    assert sweep.code == 0, sweep.err
    outcome = cli("compare", "sweep")
    assert outcome.code == 0, outcome.err
    assert outcome.out.rstrip().endswith("Report: sweep/comparison/comparison.html")
    (row,) = csv.DictReader((tmp_path / "sweep/comparison/comparison.csv").read_text().splitlines())
    assert (row["experiment"], row["split"], row["runs"], row["leaky"]) == ("CRNN", "artist_folds", "2", "False")
    tests = [json.loads(path.read_text())["test"] for path in tmp_path.glob("sweep/*/metrics.json")]
    mean = sum(test["track"]["accuracy"] for test in tests) / 2
    assert float(row["accuracy"]) == pytest.approx(mean, abs=1e-6)
    assert float(row["ci95_low"]) <= mean <= float(row["ci95_high"])


def test_the_readme_shows_commands_that_parse() -> None:
    lines = re.findall(r"^python -m genreclf compare (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        assert parser().parse_args(shlex.split(line)).paths
