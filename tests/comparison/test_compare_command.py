"""What the command leaves and says."""

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fake_runs import FIRST, SECOND, leaky_and_honest, three_models, write_run
from helpers import PAGES, ROOT, Cli

from genreclf.cli.compare import parser


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


def test_tracks_that_settings_were_chosen_by_are_left_out(cli: Cli, tmp_path: Path) -> None:
    three_models(tmp_path / "sweep")
    first = (tmp_path / "sweep/a/predictions.csv").read_text().splitlines()
    (tmp_path / "tuning.csv").write_text("\n".join(first[:6]))
    outcome = cli("compare", "sweep", "--without-tracks", "tuning.csv")
    assert outcome.code == 0, outcome.err
    assert "5 of 20 test tracks are left out, as tuning.csv lists them" in outcome.out
    rows = list(csv.DictReader((tmp_path / "sweep/comparison-without-tracks/comparison.csv").read_text().splitlines()))
    left = [line.split(",") for line in first[6:]]
    right = sum(genre == predicted for _, genre, predicted, *_ in left)
    assert (rows[0]["test_tracks"], rows[0]["accuracy"]) == ("15", f"{right / 15:.6f}")
    assert rows[0]["clip_accuracy"] == ""
    (tmp_path / "others.txt").write_text("# none of these\nmetal.00009.wav\n")
    outcome = cli("compare", "sweep", "--without-tracks", "others.txt")
    assert (outcome.code, "lists none of the 20 test tracks" in outcome.err) == (2, True)
    (tmp_path / "all.txt").write_text("\n".join(f"music/{line.split(',')[0]}.wav" for line in first[1:]))
    outcome = cli("compare", "sweep", "--without-tracks", "all.txt")
    assert (outcome.code, "No test track of" in outcome.err) == (2, True)
    outcome = cli("compare", "sweep", "--without-tracks", "missing.txt")
    assert (outcome.code, "missing.txt cannot be read" in outcome.err) == (2, True)


def test_honest_runs_are_never_called_leaky(cli: Cli, tmp_path: Path) -> None:
    assert "LEAKY" not in cli("compare", str(three_models(tmp_path / "sweep"))).out
    text = (tmp_path / "sweep/comparison/comparison.md").read_text()
    assert "## The leak" not in text
    table = text.partition("## Paired tests")[0]
    assert "LEAKY" not in table


def test_links_to_runs_are_followed_and_a_folder_without_runs_is_named(cli: Cli, tmp_path: Path) -> None:
    write_run(tmp_path / "kept/a", FIRST, settings={"model.note": "first"})
    write_run(tmp_path / "kept/b", SECOND, settings={"model.note": "second"})
    chosen, empty = tmp_path / "chosen", tmp_path / "empty"
    chosen.mkdir()
    empty.mkdir()
    (chosen / "a").symlink_to(tmp_path / "kept/a")
    (chosen / "b").symlink_to(tmp_path / "kept/b")
    (chosen / "again").symlink_to(chosen)
    printed = cli("compare", str(chosen), str(empty), "--format", "csv")
    assert printed.code == 0, printed.err
    assert len(printed.out.splitlines()) == 3
    assert f"There is no run in {empty}." in printed.err


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


def test_a_large_sweep_stays_readable_and_says_what_it_leaves_out(cli: Cli, tmp_path: Path) -> None:
    for number in range(26):
        right = [track < number for track in range(30)]
        write_run(tmp_path / f"sweep/{number}", right, val=number / 26, settings={"optimizer.lr": number})
    assert cli("compare", str(tmp_path / "sweep")).code == 0
    markdown = (tmp_path / "sweep/comparison/comparison.md").read_text()
    assert "The first 24 experiments of the table; 2 more are not drawn." in markdown
    assert "pairs.csv has all 325 pairs" in markdown
    pairs = markdown.partition("## Paired tests")[2].partition("##")[0]
    assert pairs.count("\n| CNN lr=25 |") == pairs.count("\n| CNN ") == 25
    assert len((tmp_path / "sweep/comparison/pairs.csv").read_text().splitlines()) == 326


def test_runs_without_history_have_no_curves(cli: Cli, tmp_path: Path) -> None:
    (write_run(tmp_path / "sweep/a", FIRST) / "history.csv").unlink()
    assert cli("compare", str(tmp_path / "sweep")).code == 0
    assert not (tmp_path / "sweep/comparison/figures/curves.png").exists()


def test_unfinished_runs_are_named_and_not_fatal(cli: Cli, tmp_path: Path) -> None:
    write_run(tmp_path / "sweep/done", FIRST)
    write_run(tmp_path / "sweep/killed", SECOND, status="running")
    outcome = cli("compare", str(tmp_path / "sweep"))
    assert outcome.code == 0, outcome.err
    assert re.search(r"1 run is not finished and left out: \S*sweep/killed\.", outcome.out)


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


MISTAKES = {
    "no such folder": ([], ["nowhere"], "nowhere is not a folder"),
    "nothing inside": ([], ["."], "There is no finished run in ."),
    "no path": ([], [], "the following arguments are required: RUN_OR_SWEEP"),
    "unknown format": ([], ["run", "--format", "word"], "invalid choice: 'word'"),
    "out is a file": ([], ["run", "--out", "run/config.yaml"], "run/config.yaml cannot be written to"),
    "damaged predictions": (["predictions.csv", "track_id,genre\n"], ["run"], "The first line of run/predictions.csv"),
    "cut predictions": (["predictions.csv", None], ["run"], "run/predictions.csv does not match metrics.json"),
    "damaged metrics": (["metrics.json", "{"], ["run"], "run/metrics.json cannot be read"),
    "metrics of something else": (["metrics.json", "[]"], ["run"], "run/metrics.json cannot be read"),
    "metrics of brackets": (["metrics.json", "[" * 100_000], ["run"], "run/metrics.json cannot be read"),
    "words for figures": (
        ["metrics.json", '{"timing": {"fit_s": "x"}}'],
        ["run"],
        "timing is not numeric",
    ),
    "a list for a figure": (
        ["metrics.json", '{"objective": [0.5]}'],
        ["run"],
        "objective is not numeric",
    ),
    "a list for a score": (
        ["metrics.json", '{"test": {"x": [0]}}'],
        ["run"],
        "test is not numeric",
    ),
    "half an interval": (
        ["metrics.json", '{"test": {"accuracy_ci95": [0]}}'],
        ["run"],
        "test is not numeric",
    ),
    "words for artists": (["split.json", '{"artists": "Ann"}'], ["run"], "split.json is not complete"),
    "words for counts": (
        ["metrics.json", '{"parameters": "/"}'],
        ["run"],
        "parameters is not numeric",
    ),
    "metrics without a test": (["metrics.json", '{"status": "finished"}'], ["run"], "has no parameters, split.name"),
    "damaged history": (["history.csv", "epoch,val/loss\n0,low\n"], ["run"], "run/history.csv is damaged"),
    "damaged config": (["config.yaml", "[:"], ["run"], "its config.yaml cannot be read"),
    "killed": (["metrics.json", '{"status": "running"}'], ["run"], "There is no finished run in run (1 unfinished"),
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


@pytest.mark.slow
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


def test_a_mistake_is_found_before_anything_heavy_is_imported() -> None:
    code = (
        "import sys; sys.argv[1:] = ['compare', 'nowhere']; from genreclf.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, *sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    code_, *modules = ended.stdout.split()
    assert code_ == "2"
    assert not {"torch", "lightning", "matplotlib", "scipy", "jinja2"} & set(modules)


def test_the_manual_shows_commands_that_parse() -> None:
    lines = re.findall(r"^python -m genreclf compare (.*)$", PAGES["comparing"], re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        assert parser().parse_args(shlex.split(line)).paths


def test_names_of_others_steer_neither_terminal_nor_spreadsheet(cli: Cli, tmp_path: Path) -> None:
    write_run(tmp_path / "runs/a", FIRST, model="=1+1")
    write_run(tmp_path / "runs/\x1b[31mb", FIRST, model="\x1b[31mRed", split_hash="bbbb", split="\x9bsplit")
    for form in ("table", "markdown", "csv", "latex"):
        outcome = cli("compare", "runs", "--out", "out", "--format", form)
        assert outcome.code == 0, outcome.err
        assert "\x1b" not in outcome.out + outcome.err
        assert "\x9b" not in outcome.out + outcome.err
    assert "\n'=1+1," in Path("out/comparison.csv").read_text()


def test_artists_of_a_file_are_the_unit_of_intervals_and_tests(cli: Cli, tmp_path: Path) -> None:
    sweep = three_models(tmp_path / "sweep")
    tracks = [line.split(",")[0] for line in (sweep / "a/predictions.csv").read_text().splitlines()[1:]]
    artists = tmp_path / "artists.csv"
    artists.write_text("".join(f"{track},{int(track[-5:]) % 6}\n" for track in tracks))
    assert "over artists" not in cli("compare", str(sweep)).out
    rows = csv.DictReader((sweep / "comparison/comparison.csv").read_text().splitlines())
    assert {row["ci95_artists_low"] for row in rows} == {""}
    outcome = cli("compare", str(sweep), "--artists", str(artists))
    assert outcome.code == 0, outcome.err
    assert "over artists" in outcome.out
    row = next(csv.DictReader((sweep / "comparison/comparison.csv").read_text().splitlines()))
    assert float(row["ci95_artists_low"]) < 0.55 < float(row["ci95_artists_high"])
    assert 1 < float(row["effective_n"]) <= 20
    pairs = list(csv.DictReader((sweep / "comparison/pairs.csv").read_text().splitlines()))
    assert all(2 / 2**6 <= float(pair["p_artists"]) <= float(pair["p_holm_artists"]) for pair in pairs)

    artists.write_text("other.00000,somebody\n")
    outcome = cli("compare", str(sweep), "--artists", str(artists))
    assert (outcome.code, "has no artist for any of the 20 test tracks" in outcome.err) == (2, True)
