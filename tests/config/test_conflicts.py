"""Settings that contradict each other are refused with a sentence that says which option sets what, and a way out."""

import pytest
from helpers import Cli

from genreclf.cli.compose import checked
from genreclf.errors import UserError

LEFT_ON = {
    "experiment=best augmentation=none": "augmentation=none leaves filter_augment and mix_style on, which "
    "experiment=best adds: set augmentation.filter_augment=null augmentation.mix_style=null.",
    "callbacks=[none] regularization=strong": "callbacks=[none] leaves ema on, which regularization=strong adds: set "
    "callbacks.ema=null.",
    "experiment=best regularization=spec_augment augmentation=none augmentation.mix_style.alpha=0.2": "augmentation="
    "none leaves filter_augment and spec_augment on, which experiment=best and regularization=spec_augment add: set "
    "augmentation.filter_augment=null augmentation.spec_augment=null.",
}


@pytest.mark.parametrize("words", LEFT_ON)
def test_none_is_refused_where_other_options_add_classes(words: str) -> None:
    overrides = ["data=synthetic", *words.split()]
    with pytest.raises(UserError) as refusal:
        checked(overrides, run_dir="-")
    assert str(refusal.value) == LEFT_ON[words]
    _, _, way_out = LEFT_ON[words].partition(": set ")
    group = way_out.partition(".")[0]
    kept = ["mix_style"] if "augmentation.mix_style.alpha=0.2" in words else []
    assert list(getattr(checked([*overrides, *way_out.rstrip(".").split()], run_dir="-"), group)) == kept


def test_none_leaves_what_is_typed_beside_it_on() -> None:
    added = "+callbacks.lr._target_=lightning.pytorch.callbacks.LearningRateMonitor"
    assert list(checked(["data=synthetic", "callbacks=none", added], run_dir="-").callbacks) == ["lr"]


def test_jobs_in_which_none_would_be_ignored_are_named_before_the_first(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genreclf.cli.train.train", lambda config: 0.0)
    outcome = cli("data=synthetic", "regularization=mixup", "augmentation=spec_augment,none", "-m")
    assert outcome.err.splitlines()[0] == (
        "Note: The job with augmentation=none will fail: augmentation=none leaves mixup on, which "
        "regularization=mixup adds: set augmentation.mixup=null."
    )


SET_BY_EXPERIMENT = {
    "experiment=quickstart data=folder data.root=.": "experiment=quickstart sets data.tracks_per_genre, "
    "data.artists_per_genre and data.duration_s for data=synthetic, and Folder has no such key: leave "
    "experiment=quickstart out.",
    "experiment=quickstart model=ffnn": "experiment=quickstart sets model.channels for model=crnn, and FFNN has no "
    "such key: leave experiment=quickstart out.",
    "experiment=published/leland_cnn model=crnn": "experiment=published/leland_cnn sets model.resize for "
    "model=leland_cnn, and CRNN has no such key: leave experiment=published/leland_cnn out.",
    "experiment=quickstart model=ffnn model.channels=[1]": "model.channels is not a key of FFNN",
    "model=ffnn +model.channels=[1]": "model.channels is not a key of FFNN",
}


@pytest.mark.parametrize("words", SET_BY_EXPERIMENT)
def test_a_key_that_only_an_experiment_sets_is_said_to_come_from_it(words: str) -> None:
    with pytest.raises(UserError) as refusal:
        checked(words.split(), run_dir="-")
    assert str(refusal.value).startswith(SET_BY_EXPERIMENT[words])
    assert len(str(refusal.value).splitlines()) == 1


def test_early_stopping_without_a_checkpoint_of_the_best_epoch_is_noted(cli: Cli, tiny: list[str]) -> None:
    note = (
        "Note: callbacks has no checkpoint of the best epoch, so the last epoch is tested: name default as well, as in "
        "callbacks=[default,early_stopping], to test the best.\n"
    )
    assert note in cli(*tiny, "callbacks=early_stopping", "run_dir=alone").out
    assert note not in cli(*tiny, "callbacks=[default,early_stopping]", "run_dir=beside").out
