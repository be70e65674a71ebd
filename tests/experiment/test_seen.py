"""Test tracks that a run has seen make its evaluation LEAKY, and so do those of the runs that it started from."""

import csv
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers import SMALL, Cli, Trained
from lightning.pytorch.loggers import Logger

from genreclf.datasets.base import Track
from genreclf.experiment.lineage import Lineage, RunTracks, track_key
from genreclf.experiment.seen import Seen, check_test
from genreclf.run_directory import RunDirectory
from genreclf.splits.base import Segment, Split

OTHER = ("split.seed=10", "split.train=0.4", "split.val=0.2", "split.test=0.4")
"""Another split of the tracks of `trained`."""


def split_of(run: str | Path) -> dict[str, list[str]]:
    content: dict[str, list[str]] = json.loads(Path(run, "split.json").read_text())
    return content


def overlap(test: str | Path, trained: str | Path, subset: str) -> set[str]:
    return set(split_of(test)["test"]) & set(split_of(trained)[subset])


def shares(run: str) -> dict[str, bool]:
    with Path(run, "predictions.csv").open(newline="") as lines:
        return {row["track_id"]: row["genre"] == row["predicted"] for row in csv.DictReader(lines)}


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> str:
    shutil.copytree(trained.run.path, tmp_path / "mine")
    return "mine"


def test_an_evaluation_on_tracks_seen_is_leaky(cli: Cli, copied: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tags: list[str] = []

    def make_loggers(*_: Any, **given: Any) -> list[Logger]:
        tags.extend(given["tags"])
        return []

    monkeypatch.setattr("genreclf.experiment.tasks.make_loggers", make_loggers)
    outcome = cli("evaluate", copied, *OTHER, "run_dir=other")
    assert outcome.code == 0, outcome.err
    trained, validated = overlap("other", copied, "train"), overlap("other", copied, "val")
    assert trained
    assert validated
    metrics = RunDirectory("other").read_metrics()
    tracks = split_of("other")["test"]
    counts = {"trained": len(trained), "validated": len(validated), "repeats": 0, "artists": None, "n": len(tracks)}
    assert metrics["split"] | {"hash": ""} == {"name": "track", "hash": "", "leaky": True, "seen": counts}
    right = shares("other")
    for name, ids in (("seen", trained | validated), ("unseen", set(tracks) - trained - validated)):
        figures = metrics["test"][name]["track"]
        assert figures["n"] == len(ids) > 0
        assert figures["accuracy"] == pytest.approx(sum(right[id] for id in ids) / len(ids), abs=1e-6)
        low, high = figures["accuracy_ci95"]
        assert low <= figures["accuracy"] <= high
    how = f"({len(trained)} trained on, {len(validated)} validated on)"
    assert f"LEAKY: mine has seen {len(trained | validated)} of the {len(tracks)} test tracks {how}" in outcome.out
    assert "LEAKY" in outcome.out.partition(" Test ")[2]
    report = Path("other/report.md").read_text()
    assert report.startswith("# CRNN on the folder music, split track (LEAKY)")
    assert f"{len(trained | validated)} of {len(tracks)} test tracks were seen before {how}" in report
    assert "\n- not seen before: " in report
    assert "LEAKY" in tags
    monkeypatch.setattr("genreclf.comparison.report.draw_all", lambda *_: [])
    compared = cli("compare", copied, "other", "--out", "side by side", "--format", "csv")
    rows = list(csv.DictReader(compared.out.splitlines()))
    assert [row["leaky"] for row in rows] == ["False", "True"]
    assert not Path("side by side/pairs.csv").read_text().splitlines()[1:]
    assert "was tested on tracks that it has seen" in compared.out + compared.err


def test_robustness_on_tracks_seen_is_marked_everywhere(cli: Cli, copied: str) -> None:
    outcome = cli("evaluate", copied, *OTHER, "robustness=gain", "run_dir=measured")
    assert outcome.code == 0, outcome.err
    assert "Robustness of mine, split track (LEAKY)" in outcome.out
    (row,) = csv.DictReader(Path("measured/robustness.csv").read_text().splitlines())
    assert (row["leaky"], row["pretrained"], row["refit"]) == ("True", "", "False")
    title, warning = Path("measured/report.md").read_text().split("\n\n")[:2]
    assert title == "# Robustness of mine, split track (LEAKY)"
    assert re.match(r"> \[!WARNING\]\n> \*\*LEAKY\.\*\* \d+ of \d+ test tracks were seen before \(", warning)


def test_the_unseen_alone_are_tested_if_asked(cli: Cli, copied: str) -> None:
    """The option of a group comes first, wherever it stands, so that it does not undo a setting."""
    outcome = cli("evaluate", copied, "split.unseen=true", *OTHER, "split=track", "run_dir=other")
    assert outcome.code == 0, outcome.err
    assert not overlap("other", copied, "train") | overlap("other", copied, "val")
    metrics = RunDirectory("other").read_metrics()
    assert metrics["split"]["leaky"] is False
    assert metrics["split"]["seen"]["trained"] == 0
    assert metrics["split"]["seen"]["n"] == metrics["test"]["track"]["n"] == len(split_of("other")["test"]) > 0
    assert "seen" not in metrics["test"]
    assert "split.unseen=true leaves out" in outcome.out
    assert "LEAKY" not in outcome.out


def test_the_run_s_own_split_is_not_leaky_and_artists_that_were_trained_on_are_told(cli: Cli, copied: str) -> None:
    songs = {id: f"Solo {id}" for subset in ("train", "val", "test") for id in split_of(copied)[subset]}
    learned, held_out = split_of(copied)["train"][0], split_of(copied)["test"][0]
    songs |= {learned: "Peter Tosh; Mick Jagger", held_out: "Mick Jagger"}
    Path("artists.csv").write_text("\n".join(f"{id},{artist}" for id, artist in songs.items()))
    outcome = cli("evaluate", copied, "data.artists=artists.csv", "run_dir=again")
    assert outcome.code == 0, outcome.err
    assert RunDirectory("again").read_metrics()["split"] | {"hash": ""} == {
        "name": "track",
        "hash": "",
        "leaky": False,
        "seen": {"trained": 0, "validated": 0, "repeats": 0, "artists": 1, "n": 9},
    }
    assert "LEAKY" not in outcome.out + Path("again/report.md").read_text()
    assert "1 of the 9 test tracks are by artists that mine trained on, which flatters the scores" in outcome.out


def test_a_test_of_other_tracks_does_not_say_that_part_of_their_split_was_trained_on(cli: Cli, copied: str) -> None:
    run = RunDirectory(copied)
    config = run.read_config()
    run.write_config({**config, "split": {**config["split"], "train_fraction": 0.5}})
    outcome = cli("evaluate", copied, *OTHER, "run_dir=again")
    assert outcome.code == 0, outcome.err
    assert "are trained on" not in outcome.out + Path("again/report.md").read_text()


def test_a_run_of_an_earlier_version_is_compared_too(cli: Cli, copied: str) -> None:
    run = RunDirectory(copied)
    split, config = run.read_json(run.split), run.read_config()
    for key in ("dataset", "artists", "started_from"):
        del split[key]
    del config["split"]["unseen"]
    run.write_json(run.split, split)
    run.write_config(config)
    outcome = cli("evaluate", copied, *OTHER, "split.unseen=true", "run_dir=unseen")
    assert outcome.code == 0, outcome.err
    assert "split.unseen=true leaves out 2 of 6 test tracks, which mine has seen" in outcome.out
    assert not overlap("unseen", copied, "train") | overlap("unseen", copied, "val")


def test_what_a_run_started_from_has_seen_counts_too(cli: Cli, copied: str, trained: Trained) -> None:
    data = ["data=folder", f"data.root={trained.music}", f"data.store_dir={trained.music.parent / 'stores'}"]
    tuning = [*SMALL, *data, "data.clip_seconds=1", "split=track", *OTHER, "trainer.max_epochs=1"]
    outcome = cli(*tuning, "init_from=mine", "run_dir=tuned")
    assert outcome.code == 0, outcome.err
    known = overlap("tuned", copied, "train") | overlap("tuned", copied, "val")
    assert known
    metrics = RunDirectory("tuned").read_metrics()
    assert metrics["split"]["leaky"] is True
    assert metrics["test"]["seen"]["track"]["n"] == len(known)
    assert f"LEAKY: mine has seen {len(known)} of the" in outcome.out
    shutil.rmtree(copied)
    assert cli("evaluate", "tuned", "split.unseen=true", "run_dir=unseen").code == 0
    assert set(split_of("unseen")["test"]) == set(split_of("tuned")["test"]) - known


def test_a_run_without_its_split_is_not_tested_blindly(cli: Cli, copied: str) -> None:
    Path(copied, "split.json").unlink()
    outcome = cli("evaluate", copied, "run_dir=again")
    assert outcome.code == 2
    assert "It is not known which tracks mine has seen: mine/split.json cannot be read" in outcome.err
    assert not Path("again").exists()


def checked(
    test: Mapping[str, str], *runs: RunTracks, dataset: str = "gtzan", unseen: bool = False, **given: Any
) -> tuple[Split, Seen]:
    """Compare test tracks, artists by id, with what runs saw."""
    tracks = {id: Track(id, id[:4], Path(id), artist=artist or None) for id, artist in test.items()}
    split = Split("list", False, ("jazz", "rock"), (), (), tuple(Segment(id, 0, 9) for id in sorted(test)))
    split, seen = check_test(split, dataset, tracks, Lineage("mine", runs, **given), unseen=unseen)
    assert seen is not None
    return split, seen


def run_on(*train: str, val: tuple[str, ...] = (), dataset: str = "gtzan", **artists: str) -> RunTracks:
    return RunTracks(
        "mine", dataset, train, val, {id: (name,) for id, name in zip(train, artists.values(), strict=False)}
    )


def test_known_repeats_count_as_seen() -> None:
    split, seen = checked(
        {"jazz.00051": "", "jazz.00053": "", "rock.00000": ""}, run_on("jazz.00033", val=("jazz.00034",))
    )
    assert split.leaky
    assert seen.repeats == {"jazz.00051", "jazz.00053"}
    assert seen.counts == {"trained": 0, "validated": 0, "repeats": 2, "artists": None, "n": 3}
    held_out = frozenset({track_key("gtzan", "jazz.00051")})
    own, _ = checked({"jazz.00051": ""}, run_on("jazz.00033"), held_out=held_out)
    assert not own.leaky  # The run's own report counts it like any other.


def test_tracks_of_one_id_are_the_same_in_one_dataset_and_in_gtzan() -> None:
    assert not checked({"rock/1": ""}, run_on("rock/1", dataset="folder"), dataset="mine")[0].leaky
    assert checked({"rock/1": ""}, run_on("rock/1", dataset="folder"), dataset="folder")[0].leaky
    assert checked({"rock.00001": ""}, run_on("rock.00001", dataset="folder"), dataset="gtzan")[0].leaky


def test_artists_are_known_across_datasets_and_by_either_run() -> None:
    before = run_on("rock/a", dataset="folder", a="mick jagger")
    split, seen = checked({"rock.00001": "Peter Tosh; Mick Jagger", "rock.00002": "Nina Simone"}, run_on(), before)
    assert not split.leaky
    assert seen.artists == {"rock.00001"}
    assert "1 of the 2 test tracks are by artists that mine or a run it started from trained on" in split.warnings[0]


def test_genres_without_unseen_tracks_are_named() -> None:
    split, _ = checked({"jazz.00001": "", "rock.00000": ""}, run_on("jazz.00001"), unseen=True)
    assert [segment.track_id for segment in split.test] == ["rock.00000"]
    assert "no unseen test track is left of jazz" in split.warnings
