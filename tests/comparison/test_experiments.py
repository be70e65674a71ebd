"""What is one experiment, what it is called, and what its row says."""

from pathlib import Path
from statistics import stdev
from typing import Any

import pytest
from fake_runs import pattern, write_run

from genreclf.comparison.comparison import Comparison, compare
from genreclf.comparison.experiments import Experiment
from genreclf.comparison.sections import first_of_each_split

RIGHT = pattern("+++- ++-- ++++")


def only(path: Path) -> Experiment:
    (experiment,) = compare([path]).experiments
    return experiment


def test_seeds_are_one_experiment(tmp_path: Path) -> None:
    rows = [pattern("+++++---"), pattern("++++----"), pattern("++++++--")]
    for seed, right in enumerate(rows):
        write_run(tmp_path / f"run{seed}", right, seed=seed, val=0.4 + seed / 10)
    experiment = only(tmp_path)
    assert experiment.repeats == "3 seeds"
    assert experiment.scores.accuracy == pytest.approx((5 + 4 + 6) / 24)
    assert experiment.deviation == pytest.approx(stdev([5 / 8, 4 / 8, 6 / 8]))
    assert experiment.mean("val.track.accuracy") == pytest.approx(0.5)
    assert sorted(experiment.scores.right) == [0, 0, 1, 2, 3, 3, 3, 3]
    assert experiment.interval.method == "bootstrap"
    assert experiment.confusion().sum() == 24


def test_folds_are_pooled_over_distinct_tracks(tmp_path: Path) -> None:
    for fold, right in enumerate((pattern("++++----"), pattern("+---"))):
        write_run(
            tmp_path / f"{fold}", right, split="artist_folds", fold=fold, split_hash=f"f{fold}", first_track=100 * fold
        )
    experiment = only(tmp_path)
    assert experiment.repeats == "2 folds"
    assert len(experiment.scores.track_ids) == 12
    assert experiment.scores.accuracy == pytest.approx(5 / 12)
    assert experiment.interval.method == "Wilson"


def test_seeds_and_folds_together(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        for fold in (0, 1):
            place = {"split": "artist_folds", "fold": fold, "split_hash": f"f{fold}", "first_track": 100 * fold}
            write_run(tmp_path / f"{seed}{fold}", RIGHT, seed=seed, **place)  # type: ignore[arg-type]
    experiment = only(tmp_path)
    assert experiment.repeats == "6 (3 seeds x 2 folds)"
    assert set(experiment.scores.times) == {3}


def test_the_same_seed_twice_counts_once(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_run(tmp_path / name, RIGHT)
    comparison = compare([tmp_path])
    assert len(comparison.experiments[0].runs) == 1
    assert any("repeat the seed" in notice and "second" in notice for notice in comparison.warnings)


def test_a_run_named_twice_counts_once(tmp_path: Path) -> None:
    write_run(tmp_path / "sweep/run", RIGHT)
    comparison = compare([tmp_path / "sweep", tmp_path / "sweep/run"])
    assert len(comparison.runs) == 1
    assert comparison.warnings == ()


def names(comparison: Comparison) -> set[str]:
    return {experiment.name for experiment in comparison.experiments}


def test_names_say_all_that_varies_and_no_more(tmp_path: Path) -> None:
    variants: dict[str, dict[str, Any]] = {
        "a": {"model": "FFNN", "settings": {"optimizer.lr": 0.1, "model.hidden": [64, 32]}},
        "b": {"model": "CNN"},
        "c": {"model": "CNN", "settings": {"optimizer.lr": 0.01}},
        "d": {"model": "CNN", "settings": {"optimizer._target_": "torch.optim.SGD"}},
    }
    for name, variant in variants.items():
        write_run(tmp_path / name, RIGHT, **variant)
    assert names(compare([tmp_path])) == {
        *("FFNN lr=0.1 AdamW", "CNN AdamW lr=0.01"),
        *("CNN AdamW lr=0.001", "CNN SGD lr=0.001"),
    }


def test_keys_of_one_last_name_are_told_apart(tmp_path: Path) -> None:
    for number, (model, general) in enumerate(((0.1, 0.1), (0.1, 0.2), (0.3, 0.1))):
        write_run(tmp_path / f"{number}", RIGHT, settings={"model.dropout": model, "data.dropout": general})
    assert names(compare([tmp_path])) == {
        "CNN model.dropout=0.1 data.dropout=0.1",
        "CNN model.dropout=0.1 data.dropout=0.2",
        "CNN model.dropout=0.3 data.dropout=0.1",
    }


def test_no_difference_hides_behind_another(tmp_path: Path) -> None:
    for name, epochs, masks in (("a", 40, None), ("b", 80, 0.2)):
        settings = {"trainer": {"max_epochs": epochs}, "augmentation": {"spec_augment": masks}}
        write_run(tmp_path / name, RIGHT, settings=settings)
    assert names(compare([tmp_path])) == {
        "CNN spec_augment=null max_epochs=40",
        "CNN spec_augment=0.2 max_epochs=80",
    }


def test_of_many_differences_the_first_and_the_telling_ones_are_named(tmp_path: Path) -> None:
    keys = [f"model.size{number}" for number in range(6)]
    old, new = dict.fromkeys(keys, 1), dict.fromkeys(keys, 2)
    for name, settings in {"old": old, "new": new}.items():
        write_run(tmp_path / name, RIGHT, settings=settings)
    assert names(compare([tmp_path])) == {
        "CNN size0=1 size1=1 size2=1 size3=1",
        "CNN size0=2 size1=2 size2=2 size3=2",
    }
    write_run(tmp_path / "newer", RIGHT, settings={**new, "model.size5": 3})
    assert names(compare([tmp_path])) == {
        "CNN size5=1 size0=1 size1=1 size2=1",
        "CNN size5=2 size0=2 size1=2 size2=2",
        "CNN size5=3 size0=2 size1=2 size2=2",
    }
    write_run(tmp_path / "newest", RIGHT, settings={**new, "model.size4": 3, "model.size5": 3})
    assert len(names(compare([tmp_path]))) == 4


def test_keys_that_a_class_brings_are_not_named(tmp_path: Path) -> None:
    write_run(tmp_path / "a", RIGHT)
    masks = {"spec_augment": {"_target_": "SpecAugment", "mel_masks": 2, "frame_masks": 2}}
    momentum = {"optimizer._target_": "torch.optim.SGD", "optimizer.momentum": 0.9}
    write_run(tmp_path / "b", RIGHT, settings={**momentum, "augmentation": masks, "trainer": {"max_epochs": 3}})
    assert names(compare([tmp_path])) == {"CNN AdamW", "CNN SpecAugment SGD max_epochs=3"}


def test_different_models_are_named_with_what_else_differs(tmp_path: Path) -> None:
    write_run(tmp_path / "a", RIGHT, settings={"trainer": {"max_epochs": 8}})
    write_run(tmp_path / "b", RIGHT, model="CRNN", settings={"trainer": {"max_epochs": 3}})
    assert names(compare([tmp_path])) == {"CNN max_epochs=8", "CRNN max_epochs=3"}


def test_models_that_differ_in_more_than_the_model_are_told(tmp_path: Path) -> None:
    write_run(tmp_path / "a", RIGHT, settings={"optimizer.lr": 0.1})
    write_run(tmp_path / "b", RIGHT, model="CRNN", settings={"model.hidden": 8})
    (notice,) = compare([tmp_path]).warnings
    assert (
        notice
        == "CNN lr=0.1; CRNN lr=0.001 differ in more than the model (optimizer.lr): see the settings that differ."
    )


def test_a_tie_has_no_highest(tmp_path: Path) -> None:
    write_run(tmp_path / "a", pattern("++++"), model="FFNN", val=0.7)
    write_run(tmp_path / "b", pattern("++--"), model="CNN", val=0.7)
    write_run(tmp_path / "c", pattern("++++"), model="CRNN", val=0.6)
    (sentence,) = first_of_each_split(compare([tmp_path]))
    assert sentence.startswith(
        "Of 3 experiments on split fault_filtered, CNN and FFNN have the highest validation accuracy, 70.0 % each; "
        "their test accuracies, in that order: 50.0 % of 4 tracks ("
    )
    assert "; 100.0 % of 4 tracks (" in sentence
    assert "CRNN" not in sentence


def test_classes_of_one_name_are_numbered(tmp_path: Path) -> None:
    for place in ("mine", "yours"):
        write_run(tmp_path / place, RIGHT, settings={"model._target_": f"{place}.CNN"})
    assert names(compare([tmp_path])) == {"CNN #1", "CNN #2"}


def test_one_and_one_point_nought_are_the_same_setting(tmp_path: Path) -> None:
    for seed, clip_seconds in enumerate((3, 3.0)):
        write_run(tmp_path / f"{seed}", RIGHT, seed=seed, settings={"data.clip_seconds": clip_seconds})
    assert only(tmp_path).repeats == "2 seeds"


def test_seeds_that_start_from_seeds_stay_together(tmp_path: Path) -> None:
    for kind in ("CNN", "FFNN"):
        for seed in (0, 1):
            start = write_run(tmp_path / f"starts/{kind}{seed}", RIGHT, model=kind, seed=seed)
            write_run(tmp_path / f"tuned/{kind}{seed}", RIGHT, seed=seed, settings={"init_from": str(start)})
    write_run(tmp_path / "tuned/scratch", RIGHT)
    comparison = compare([tmp_path / "tuned"])
    assert sorted(len(experiment.runs) for experiment in comparison.experiments) == [1, 2, 2]
    assert len(names(comparison)) == 3


@pytest.mark.parametrize("key", ["init_from", "loss.teacher", "model.runs"])
def test_a_start_that_cannot_be_read_is_told_once(tmp_path: Path, key: str) -> None:
    for seed in (0, 1, 2):
        start: Any = f"away/{seed}"
        settings: dict[str, Any] = {"loss": {}, key: start}
        if key == "model.runs":
            settings = {key: [start], "model.members": [{}], "model.weights": [1.0]}
        write_run(tmp_path / f"{seed}", RIGHT, seed=seed, settings=settings)
    warnings = compare([tmp_path]).warnings
    (told,) = (warning for warning in warnings if "cannot be read" in warning)
    assert told.startswith(f"away/0, from which {tmp_path / '0'} started, cannot be read here, nor can 2 more, so CNN ")
    assert compare([tmp_path / "0"]).warnings == ()


def test_ensembles_of_refits_with_epochs_of_their_own_stay_together(tmp_path: Path) -> None:
    for fold in range(2):
        chosen: dict[str, Any] = {"refit": str(tmp_path / "tuned"), "trainer": {"max_epochs": 8 + fold}}
        refits = [write_run(tmp_path / f"refit{fold}{seed}", RIGHT, seed=seed, settings=chosen) for seed in range(2)]
        members = {"model.runs": list(map(str, refits)), "model.members": [{}, {}], "model.weights": [0.5, 0.5]}
        first = {"fold": fold, "split": "artist_folds", "first_track": 20 * fold, "split_hash": f"fold {fold}"}
        write_run(tmp_path / f"both/{fold}", RIGHT, model="Ensemble", settings=chosen | members, **first)
    assert only(tmp_path / "both").repeats == "2 folds"


def test_order_is_that_of_validation_and_leaky_last(tmp_path: Path) -> None:
    good, bad = pattern("++++++++"), pattern("+-------")
    write_run(tmp_path / "a", bad, model="FFNN", val=0.9)
    write_run(tmp_path / "b", good, model="CNN", val=0.3)
    write_run(tmp_path / "c", good, model="CRNN", val=1.0, split="chunk", split_hash="cc", leaky=True)
    titles = [experiment.title for experiment in compare([tmp_path]).experiments]
    assert titles == ["FFNN, fault_filtered", "CNN, fault_filtered", "CRNN, chunk (LEAKY)"]


def test_a_missing_fold_does_not_change_the_order(tmp_path: Path) -> None:
    for model, val, folds in (("CNN", 0.5, 2), ("CRNN", 0.9, 1)):
        for fold in range(folds):
            place = {"split": "artist_folds", "fold": fold, "split_hash": "ba"[fold], "first_track": 100 * fold}
            write_run(tmp_path / f"{model}{fold}", RIGHT, model=model, val=val, **place)  # type: ignore[arg-type]
    assert [experiment.name for experiment in compare([tmp_path]).experiments] == ["CRNN", "CNN"]


def test_a_figure_that_a_run_lacks_is_none(tmp_path: Path) -> None:
    metrics = write_run(tmp_path / "run", RIGHT) / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"val"', '"other"'))
    assert only(tmp_path).mean("val.track.accuracy") is None
