"""What is set is done or refused: options combine, config.yaml says what a run has, mistakes cost no download."""

import inspect
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Cli, Trained
from lightning.pytorch.callbacks import EarlyStopping
from omegaconf import OmegaConf

from genreclf.cli import directories
from genreclf.cli.compose import checked, checked_again
from genreclf.config.config import Config
from genreclf.config.keys import MOVED, hint, turned_on
from genreclf.config.schema import ClipConfig
from genreclf.data.datamodule import ClipDataModule
from genreclf.errors import UserError
from genreclf.experiment.build import make_augmentation, make_callbacks
from genreclf.experiment.checks import check_evaluation, check_training
from genreclf.export.graph import WaveformClassifier
from genreclf.inference.predictor import GenrePredictor
from genreclf.run_directory import RunDirectory
from genreclf.training.best_epoch import BestCheckpoint
from genreclf.training.losses import CrossEntropy


def composed(*overrides: str) -> Config:
    return checked(["data=synthetic", *overrides], run_dir="-")


@pytest.mark.parametrize(
    ("chosen", "augmentations", "weight_decay", "averages"),
    [
        ("[mixup,spec_augment]", ["spec_augment", "mixup"], 0.01, False),
        ("[strong,filter_augment]", ["filter_augment", "spec_augment", "mixup"], 0.05, True),
        ("[strong,band_limit]", ["band_limit", "spec_augment", "mixup"], 0.05, True),
        ("[strong,spec_augment]", ["spec_augment", "mixup"], 0.05, True),
        ("[weight_decay,ema]", [], 0.1, True),
        ("none", [], 0.01, False),
    ],
)
def test_regularization_combines(chosen: str, augmentations: list[str], weight_decay: float, averages: bool) -> None:
    config = composed(f"regularization={chosen}")
    assert list(config.augmentation) == augmentations
    assert config.optimizer["weight_decay"] == weight_decay
    assert ("ema" in config.callbacks) is averages
    assert "regularization" not in config.plain


def test_augmentations_are_set_by_their_names() -> None:
    config = composed("augmentation=[mixup,spec_augment]", "augmentation.spec_augment.mel_fraction=0.3")
    assert config.augmentation["spec_augment"]["frame_fraction"] == 0.3
    assert list(composed("experiment=best", "augmentation.filter_augment=null").augmentation) == ["mix_style"]
    assert make_augmentation(composed()) is None
    augmentation = make_augmentation(config)
    assert augmentation is not None
    assert [type(step).__name__ for step in augmentation.steps] == ["SpecAugment", "Mixup"]


def test_bands_are_limited_where_their_frequencies_are_known(cli: Cli, tmp_path: Path) -> None:
    settings = ["data=spectrogram_images", f"data.root={tmp_path}", "augmentation=band_limit", "trainer=cpu"]
    outcome = cli(*settings, "logger=none")
    assert outcome.code == 2
    assert "set data.rendering=librosa_peak80" in outcome.err


@pytest.mark.parametrize(
    ("overrides", "dropout", "smoothing"),
    [
        ([], 0.3, 0.0),
        (["regularization=strong"], 0.4, 0.1),
        (["regularization=strong", "model.dropout=0.5", "loss.label_smoothing=0.2"], 0.5, 0.2),
        (["regularization=[dropout,label_smoothing]"], 0.5, 0.1),
        (["experiment=best", "loss.label_smoothing=0.0"], 0.3, 0.0),
    ],
)
def test_the_configuration_names_a_value_where_it_counts(
    overrides: list[str], dropout: float, smoothing: float
) -> None:
    config = composed(*overrides)
    for plain in (config.plain, Config.from_plain(config.plain).plain):
        assert (plain["model"]["dropout"], plain["loss"]["label_smoothing"]) == (dropout, smoothing)
    assert Config.from_plain(config.plain).hash == config.hash


def test_what_a_bundle_sets_and_a_model_lacks_is_left_out() -> None:
    config = composed("model=wu_cnn", "regularization=dropout", "features.n_mels=128")
    assert "dropout" not in config.plain["model"]
    assert config.warnings == ["WuCNN has no dropout of its own to set: model.dropout=0.5 has no effect."]
    assert config.hash == composed("model=wu_cnn").hash
    with pytest.raises(UserError, match=r"model\.dropout is not a key of WuCNN"):
        composed("model=wu_cnn", "+model.dropout=0.5")


@pytest.mark.parametrize(
    ("overrides", "epoch"), [(["callbacks=none"], None), (["callbacks=[default,early_stopping]"], "val/track_loss")]
)
def test_callbacks_are_made_as_the_configuration_says(overrides: list[str], epoch: str | None) -> None:
    made = make_callbacks(composed(*overrides))
    (best,) = (callback for callback in made if isinstance(callback, BestCheckpoint))
    assert best.monitor == epoch
    assert make_callbacks(composed(*overrides), validates=False)[0].monitor is None
    assert any(isinstance(callback, EarlyStopping) for callback in made) is (epoch is not None)


def test_early_stopping_watches_what_the_checkpoint_does() -> None:
    stopping = ["callbacks=[default,early_stopping]", "callbacks.checkpoint.monitor=val/clip_accuracy"]
    config = composed(*stopping)
    assert config.callbacks["early_stopping"]["monitor"] == "val/clip_accuracy"
    assert [getattr(callback, "mode", "max") for callback in make_callbacks(config)] == ["max"] * 4
    alone = composed("callbacks=early_stopping").callbacks
    assert alone["early_stopping"]["monitor"] == "val/track_loss"


@pytest.mark.parametrize("key", MOVED)
def test_every_key_of_an_earlier_version_has_a_new_name(key: str) -> None:
    now = MOVED[key]
    choices = [choice] if (choice := turned_on(now)) else []
    assert OmegaConf.select(OmegaConf.create(composed(*choices).plain), now, default="none such") != "none such"
    assert now in str(hint(key))


def test_the_network_has_what_its_config_says(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    outcome = cli(*tiny, "regularization=strong", "model.dropout=0.5", "run_dir=run")
    assert outcome.code == 0, outcome.err
    run = RunDirectory(tmp_path / "run")
    config = run.read_config()
    assert config["model"]["dropout"] == 0.5
    assert torch.load(run.best, weights_only=True)["hyper_parameters"]["dropout"] == 0.5
    assert config["loss"]["label_smoothing"] == 0.1


@pytest.mark.parametrize(
    ("before", "kinds"),
    [
        ({"wandb": True, "csv": True, "project": "old"}, ["wandb", "csv"]),
        ({"wandb": {"_target_": "os.system", "project": {"_target_": "os.system"}, "entity": "us"}}, ["wandb"]),
        ({"mine": {"_target_": "os.system"}}, []),
        (None, []),
    ],
)
def test_of_the_loggers_of_a_run_only_ours_are_made_again(
    before: Any, kinds: list[str], trained: Trained, tmp_path: Path
) -> None:
    shutil.copytree(trained.run.path, tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    evil = {"_target_": "os.system"}
    changed = {"logger": before, "callbacks": {"evil": evil}, "augmentation": {"evil": evil}, "regularization": {}}
    run.write_config({**run.read_config(), **changed, "trainer": {"_target_": "os.system", "accelerator": "cpu"}})
    config = checked_again(run, [], run_dir="-")
    assert list(config.logger) == kinds
    assert "os.system" not in str(config.plain)
    assert config.trainer.accelerator == "cpu"
    if "entity" in str(before):
        assert config.logger["wandb"]["entity"] == "us"


def test_clips_overlap_alike_everywhere() -> None:
    for user in (ClipDataModule, GenrePredictor, WaveformClassifier):
        assert inspect.signature(user).parameters["grid_overlap"].default == ClipConfig().grid_overlap == 0.5


@pytest.mark.parametrize("smoothing", [1.0, -0.1])
def test_label_smoothing_is_a_share(smoothing: float) -> None:
    with pytest.raises(ValueError, match="label_smoothing"):
        CrossEntropy(label_smoothing=smoothing)


BEFORE_ANY_DATA = {
    "optimizer.lr=abc": "optimizer.lr=abc must be a number.",
    "optimizer.lr=-1": "optimizer: AdamW cannot be made of",
    "optimizer.lr=nan": "optimizer.lr=nan is not a finite number.",
    "scheduler.warmup=5": "warmup=5 must be between 0 and 1",
    "scheduler=plateau scheduler.monitor=val/lss": "monitor=val/lss is not one of val/loss",
    "loss.class_weights=bogus": "class_weights must be 'none' or 'balanced', not 'bogus'",
    "loss.label_smoothing=1.0": "label_smoothing=1.0 must be at least 0 and below 1",
    "split=artist_folds split.fold=9": "split.fold=9 is not one of the 5 folds",
    "split=artist_folds split.folds=1000000000": "split.folds=1000000000 is too many",
    "split=track split.train=abc": "split.train=abc must be a number.",
    "split=track split.seed=nan": "split.seed=nan is not a finite number.",
    "split.inner_fold=5": "split.inner_fold=5 must lie between 0 and 4.",
    "split.inner_fold=0 split.inner_folds=2": "split.inner_folds=2 must lie between 3 and 1000.",
    "split.train_fraction=0": "split.train_fraction=0.0 must lie above 0 and at most at 1.",
    "split.artists_per_genre=0": "split.artists_per_genre=0 must be at least 1.",
    "split=list split.train=a split.val=b split.test=c": "split.train=a: there is no such file",
    "split.allow_missing=7": "split.allow_missing=7 must be true or false.",
    "data.download=perhaps": "data.download=perhaps must be true or false.",
    "data.root=1": "data.root=1 must be a path or null; write data.root=./1.",
    "data.root=": "data.root= is empty",
    "data.root=NAME": "is too long; a name may have at most 255 bytes.",
    "data.artists=nowhere.txt": "data.artists=nowhere.txt cannot be read",
    "data.batch_size=2 trainer.devices=3": "data.batch_size=2 leaves some of trainer.devices=3 without a clip",
    "init_from=nowhere": "There is no nowhere/checkpoints/best.ckpt",
    "init_from=": "init_from= is empty",
    "run_dir=": "run_dir is empty",
    "run_dir=false": "run_dir=false is not a path; name one folder, or none for a sweep.",
    "run_dir=[a]": "run_dir=[a] is not a path; name one folder, or none for a sweep.",
    "init_from=true": "init_from=true must be text; quote it if it is meant so.",
    "init_from=0": "There is no 0/checkpoints/best.ckpt",
    "+logger.x._target_=lightning.pytorch.loggers.CometLogger": "logger.x: CometLogger needs another package. Req",
    "trainer.fast_dev_run=[1]": "trainer.fast_dev_run=[1] must be",
    "run_dir=NAME": "cannot be created (File name too long)",
    "hydra.run.dir=file": "Run directory file cannot be created (File exists)",
    "hydra.run.dir=file/run": "Run directory file/run cannot be created (Not a directory)",
    "model.channels=[]": "model.channels=[] and model.pools=[[2,2],[4,2],[4,2],[4,1]] must both have an entry",
    "model.channels=[4]": "model.channels=[4] and model.pools=[[2,2],[4,2],[4,2],[4,1]] must both have an entry",
    "model.pools=[[0,1],[4,2],[4,2],[4,1]]": "must be pairs (mels, frames) of whole numbers of 1 or more.",
    "model.channels=[4,4.5,4,4]": "model.channels=[4,4.5,4,4] must be a list of whole numbers.",
    "model.hidden=nan": "model.hidden=nan is not a finite number.",
    "model.hidden=1000000": "GB with their gradients, and this machine has",
    "model.hidden=10000000000000000000": "model.hidden=10000000000000000000 does not fit into 64 bits.",
    "model=patch_transformer model.depth=1000000000": "depth=1000000000 must lie between 1 and 100",
    "model=ffnn model.hidden=[0]": "A layer of the network would be empty",
    "model=patch_transformer model.patch=[16]": "patch and stride must be pairs (mels, frames)",
    "model=statistics_crnn model.spec_augment=1.5": "a mask of 1.5 must be at least 0 and below 1",
    "model=statistics_crnn model.branch_dropout=-1": "branch_dropout=-1 must lie between 0 and 1",
    "model=musicnn model.heights=[]": "heights must be fractions of the mels",
    "model=musicnn model.timbral_s=-1": "timbral_s and temporal_s must be seconds above 0",
    "data.skip_unreadable=7": "data.skip_unreadable=7 must be true or false.",
    "features.f_max=12000": "must be in this order between 0 and half of features.sample_rate, 11025 Hz.",
    "features.f_min=500 features.f_max=400": "features.f_min=500 and features.f_max=400 must be in this order",
    "data=spectrogram_images data.root=file features.f_max=4000": "Pictures bring their own features",
    "features.n_fft=1000000000": "features.n_fft=1000000000 must be at most 65536.",
    "trainer.devices=1000000000 data.batch_size=1000000000": "trainer.devices=1000000000 must be at most 10000.",
    "data=synthetic data.tracks_per_genre=1000000000": "data.tracks_per_genre must be 100000 or less",
}


def test_a_run_directory_may_be_called_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert composed("run_dir=0").run_dir == "0"
    directories.check_directories(["run_dir=0"])  # The module adds Hydra's resolvers.
    assert OmegaConf.create({"dir": "${or:0,elsewhere}"}).dir == 0


@pytest.mark.parametrize("words", BEFORE_ANY_DATA)
def test_is_refused_before_any_data(words: str, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("genreclf.datasets.download.fetch", lambda *_: pytest.fail("was fetched"))
    outcome = cli("trainer=cpu", "logger=none", *words.replace("NAME", "a" * 300).split())
    assert outcome.code == 2, outcome
    assert BEFORE_ANY_DATA[words] in outcome.err
    assert "Traceback" not in outcome.err
    assert not list(tmp_path.glob("outputs/runs/*"))


@pytest.mark.parametrize("subset", ["train", "val", "test"])
def test_a_fraction_of_less_than_a_batch(subset: str, cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    outcome = cli(*tiny, f"trainer.limit_{subset}_batches=0.0001", "run_dir=run")
    assert outcome.code == 2
    assert f"trainer.limit_{subset}_batches=0.0001 of" in outcome.err
    assert "batches is less than one; a number without a decimal point" in outcome.err
    assert not (tmp_path / "run/metrics.json").exists()


@pytest.mark.parametrize("values", ["range(1,1)", "glob(*)"])
def test_a_sweep_without_a_job(values: str, cli: Cli, tiny: list[str]) -> None:
    outcome = cli("-m", *tiny, f"seed={values}")
    assert (outcome.code, outcome.err) == (2, "The sweep has no jobs: a range or glob in its settings has no values.\n")


def test_jobs_side_by_side_are_counted(cli: Cli, tiny: list[str]) -> None:
    outcome = cli("-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=0", *tiny, "seed=1,2")
    assert (outcome.code, "hydra.launcher.n_jobs=0 must be the number of jobs" in outcome.err) == (
        2,
        True,
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("evaluate RUN model=cnn", "model=cnn: the network of a trained run cannot be changed"),
        ("evaluate RUN model.dropout=0.9", "model.dropout=0.9: the network of a trained run cannot be changed"),
        ("evaluate RUN optimizer.lr=3", "optimizer.lr=3 has no effect on a trained run; omit it."),
        ("evaluate RUN trainer.max_epochs=3", "trainer.max_epochs=3 has no effect on a trained run"),
        ("evaluate RUN split.train_fraction=0.5", "split.train_fraction=0.5 has no effect on a trained run"),
        ("evaluate RUN split.seed=1,2", "split.seed=1,2 names several values; give one."),
        ("evaluate RUN split=[track,chunk]", "a run has one split; start the command once for each."),
        ("evaluate RUN data=[a,b]", "data=[a,b] names several options, but a run has one data"),
        ("index RUN model=cnn", "model=cnn: the network of a trained run cannot be changed"),
        ("index RUN split=track", "split=track: a library is built from a dataset; set only keys of"),
    ],
)
def test_a_trained_run_takes_nothing_that_has_no_effect(words: str, sentence: str, cli: Cli, trained: Trained) -> None:
    outcome = cli(*words.replace("RUN", str(trained.run.path)).split())
    assert outcome.code == 2, outcome
    assert sentence in outcome.err


def test_an_evaluation_needs_no_clip_for_each_device(trained: Trained) -> None:
    config = checked_again(trained.run, ["trainer.devices=5"], run_dir="-")
    check_evaluation(config)
    with pytest.raises(UserError, match="without a clip"):
        check_training(config)
