"""What is tested against what, what is refused, and what a reader is told of it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from fake_runs import FIRST, SECOND, leaky_and_honest, three_models, write_run
from PIL import Image

from genreclf.comparison.comparison import compare
from genreclf.comparison.report import plotted
from genreclf.comparison.significance import holm
from genreclf.plots.comparison import ExperimentPlot, draw_accuracy_parameters, draw_curves, draw_genre_recall


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


def test_different_artists_of_the_same_tracks_are_compared_over_tracks_only(tmp_path: Path) -> None:
    for model, artists in (("CRNN", 2), ("CNN", 3)):
        run = write_run(tmp_path / model, FIRST if model == "CRNN" else SECOND, model=model, genres=("polka", "samba"))
        ids = [line.split(",")[0] for line in (run / "predictions.csv").read_text().splitlines()[1:]]
        known = {id: [f"artist {number % artists}"] for number, id in enumerate(ids)}
        (run / "split.json").write_text(json.dumps({"dataset": model, "artists": known}))
    comparison = compare([tmp_path])
    assert comparison.pairs[0].test.p < 1
    assert comparison.pairs[0].test.p_artists is None
    assert any("CNN and CRNN list different artists for the same tracks" in line for line in comparison.warnings)


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
    assert "disagree on the true genre of 1 tracks, such as blues.00000" in refusal


@pytest.mark.parametrize("listed", ["rock/blues.00000", "songs/rock/blues.00000.wav"])
def test_a_track_in_the_folder_of_another_genre_is_left_out(tmp_path: Path, listed: str) -> None:
    run = write_run(tmp_path / "run", FIRST)
    table = run / "predictions.csv"
    table.write_text(table.read_text().replace("jazz.00001", "rock/blues.00000"))
    (tmp_path / "tracks.txt").write_text(f"{listed}\nsongs/Blues00003.wav")
    (experiment,) = compare([run], without_tracks=tmp_path / "tracks.txt").experiments
    assert {"rock/blues.00000", "blues.00000", "blues.00003"} & {*experiment.scores.track_ids} == {"blues.00000"}


def test_a_leak_is_shown_and_not_tested(tmp_path: Path) -> None:
    comparison = compare([leaky_and_honest(tmp_path)])
    assert comparison.pairs == ()
    (leak,) = comparison.leaks
    assert leak.leaky.scores.accuracy - leak.honest.scores.accuracy == pytest.approx(19 / 20 - 11 / 20)
    (refusal,) = comparison.refusals
    assert "the split chunk is LEAKY, so the difference would only show the leak" in refusal


def test_leaky_runs_are_tested_on_the_same_segments_only(tmp_path: Path) -> None:
    for name, split_hash in (("CNN", "c1"), ("CRNN", "c1"), ("FFNN", "c2")):
        write_run(tmp_path / name, FIRST, model=name, split="chunk", split_hash=split_hash, leaky=True)
    comparison = compare([tmp_path])
    assert [(pair.first.name, pair.second.name) for pair in comparison.pairs] == [("CNN", "CRNN")]
    assert "cut the tracks into other segments (c1; c2)" in comparison.refusals[0]


def test_doubts_about_tracks_of_the_same_name_are_told(tmp_path: Path) -> None:
    write_run(tmp_path / "a", FIRST)
    write_run(tmp_path / "b", SECOND, split_hash="bbbb", settings={"data.root": "elsewhere"})
    comparison = compare([tmp_path])
    assert len(comparison.pairs) == 1
    assert any("not their training and validation tracks" in notice for notice in comparison.warnings)
    assert any("Gtzan elsewhere; Gtzan music" in notice for notice in comparison.warnings)


def test_evaluations_inside_a_run_count_only_if_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", FIRST)
    again = write_run(run / "evaluations/again", SECOND, settings={"init_from": str(run)})
    assert len(compare([tmp_path]).experiments) == 1
    assert len(compare([run, again]).experiments) == 2


@pytest.mark.pictures
@pytest.mark.parametrize("draw", [draw_accuracy_parameters, draw_curves, draw_genre_recall])
def test_long_names_stay_within_a_picture(
    tmp_path: Path, draw: Callable[[Path, Sequence[ExperimentPlot]], None]
) -> None:
    for number in range(4):
        names = {f"model.{letter * 12}": f"{number}{letter * 12}" for letter in "mwdea"}
        write_run(tmp_path / str(number), FIRST, model="AttentionRecurrentNetwork", settings=names)
    draw(tmp_path / "picture.png", [plotted(each) for each in compare([tmp_path]).experiments])
    picture = np.asarray(Image.open(tmp_path / "picture.png").convert("L"))
    assert picture[:, [0, -1]].min() == 255


def test_runs_that_have_seen_other_test_tracks_are_not_tested(tmp_path: Path) -> None:
    counts = {"validated": 0, "repeats": 0, "artists": 0, "n": 20}
    for name, trained in (("CNN", 5), ("CRNN", 5), ("FFNN", 6), ("Honest", 0)):
        path = write_run(tmp_path / name, FIRST, model=name, leaky=trained > 0, val=0.9 if trained else 0.1)
        metrics = json.loads((path / "metrics.json").read_text())
        metrics["split"]["seen"] = {"trained": trained, **counts}
        (path / "metrics.json").write_text(json.dumps(metrics))
    comparison = compare([tmp_path])
    assert comparison.experiments[0].name == "Honest"
    assert [(pair.first.name, pair.second.name) for pair in comparison.pairs] == [("CNN", "CRNN")]
    refusals = " ".join(comparison.refusals)
    assert "tested on tracks that it has seen (5 of 20 test tracks were seen before (5 trained on))" in refusals
    assert "they have seen different numbers of their test tracks (LEAKY)" in refusals
