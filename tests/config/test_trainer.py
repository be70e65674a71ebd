"""The trainer group is Lightning's Trainer: each of its arguments reaches it or is refused in a sentence."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers import ROOT, Cli
from lightning.pytorch import Trainer

from genreclf.cli.compose import checked
from genreclf.config.config import Config
from genreclf.config.keys import SET_BY_THE_RUN
from genreclf.errors import UserError
from genreclf.run_directory import RunDirectory

OURS = {"_target_", "compile", "step"}
OTHER_DEFAULTS = {"devices", "max_epochs", "precision", "gradient_clip_val", "num_sanity_val_steps"}
OTHER_DEFAULTS |= {"sync_batchnorm", "log_every_n_steps", "enable_model_summary"}


def test_lists_every_argument_with_the_default_of_lightning() -> None:
    listed: dict[str, Any] = yaml.safe_load((ROOT / "conf/trainer/auto.yaml").read_text())
    known = inspect.signature(Trainer).parameters
    assert listed.keys() - OURS == known.keys() - SET_BY_THE_RUN.keys()
    for key in listed.keys() - OURS - OTHER_DEFAULTS:
        assert listed[key] == known[key].default, key


def test_the_configuration_repeats_what_is_not_as_lightning_has_it() -> None:
    config = checked(["data=synthetic", "trainer.accumulate_grad_batches=2", "trainer.max_steps=-1"], run_dir="-")
    assert config.trainer.others["accumulate_grad_batches"] == 2
    assert "max_steps" not in config.plain["trainer"]
    assert Config.from_plain(config.plain).plain == config.plain


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("trainer.acumulate_grad_batches=2", "did you mean trainer.accumulate_grad_batches?"),
        ("+trainer.acumulate_grad_batches=2", "did you mean trainer.accumulate_grad_batches?"),
        ("trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0 must be at least 1."),
        ("trainer.accumulate_grad_batches=many", "trainer.accumulate_grad_batches=many must be a whole number."),
        ("trainer.val_check_interval=0", "trainer.val_check_interval=0 must be at least 1."),
        ("trainer.max_steps=0", "trainer.max_steps=0 trains nothing; set at least 1, or -1 for no limit."),
        ("trainer.min_epochs=99", "trainer.min_epochs=99 is more than trainer.max_epochs="),
        (
            "+callbacks.find={_target_:lightning.pytorch.callbacks.BatchSizeFinder}",
            "BatchSizeFinder of callbacks would change what config.yaml says of the experiment: set data.batch_size.",
        ),
        ("trainer.callbacks=[]", "choose callbacks with callbacks=NAME."),
        (
            "+callbacks.second={_target_:genreclf.training.best_epoch.BestCheckpoint,monitor:train/accuracy}",
            "callbacks has several BestCheckpoints",
        ),
        (
            "+callbacks.mine={_target_:lightning.pytorch.callbacks.ModelCheckpoint,dirpath:run/checkpoints}",
            "run/checkpoints is where the run keeps its own best.ckpt and last.ckpt: leave dirpath out",
        ),
        ("+trainer.num_nodes=2", "trainer.devices counts the devices of all machines."),
        ("trainer.profiler=stopwatch", "Lightning refuses a setting of trainer: When passing string value for the `pr"),
        ("trainer.max_time=soon", "Lightning refuses a setting of trainer: `Timer(duration='soon')` is not a valid"),
        ("trainer.strategy=ddq", "Lightning refuses a setting of trainer: You selected an invalid strategy name"),
        ("trainer.strategy=ddp_spawn", "trainer.strategy=ddp_spawn starts processes of its own"),
        (
            "trainer.strategy={_target_:lightning.pytorch.strategies.DDPStrategy,start_method:spawn}",
            "trainer.strategy=DDPStrategy starts processes of its own, as a run does already; use ddp.",
        ),
        ("trainer.strategy={_target_:os.nothing}", "trainer.strategy cannot be made"),
        ("trainer.overfit_batches=-1", "Lightning refuses a setting of trainer: You have passed invalid value -1"),
        ("trainer.precision=half", "trainer.precision=half is not one of auto, 32-true"),
        ("trainer._target_=torch.nn.Linear", "trainer._target_=torch.nn.Linear is not a lightning.pytorch.trainer"),
    ],
)
def test_mistakes_are_named_before_any_data(override: str, sentence: str, cli: Cli, tmp_path: Path) -> None:
    outcome = cli("trainer=cpu", override, "data.root=nowhere", "run_dir=run")
    assert outcome.code == 2, outcome
    assert sentence in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "run/metrics.json").exists()


def test_validation_after_more_batches_than_there_are(cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, "trainer.val_check_interval=100")
    assert (outcome.code, "trainer.val_check_interval=100 is more than the 2 batches" in outcome.err) == (2, True)


def test_arguments_reach_the_training(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    settings = ["trainer.accumulate_grad_batches=2", "trainer.profiler=simple", "trainer.check_val_every_n_epoch=2"]
    settings += ["trainer.gradient_clip_algorithm=value", "data.batch_size=10", "trainer.max_time=00:01:00:00"]
    outcome = cli(*tiny, *settings, "trainer.max_epochs=3", "trainer.num_sanity_val_steps=1", "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert "trainer.max_time=00:01:00:00 goes by the clock" in outcome.out
    run = RunDirectory(tmp_path / "run")
    assert torch.load(run.last, weights_only=True)["global_step"] == 3 * 2  # Of three batches, two steps per epoch.
    assert "optimizer_step" in (run.path / "fit-profile.txt").read_text()
    assert ["val/loss" in row for row in run.read_history()] == [False, True, False]
    assert run.read_metrics()["best_epoch"] == 1


def test_early_stopping_counts_the_validations_that_a_clock_starts(cli: Cli, tiny: list[str]) -> None:
    own = "+callbacks.own={_target_:lightning.pytorch.callbacks.EarlyStopping,monitor:val/loss,patience:99}"
    stops = ["callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=1", own]
    still = ["optimizer.lr=1e-9", "callbacks.checkpoint.monitor=val/track_accuracy", "data.batch_size=10"]
    outcome = cli(*tiny, *stops, *still, "trainer.val_check_interval=00:00:00:00", "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert torch.load("run/checkpoints/last.ckpt", weights_only=True)["global_step"] == 2  # Of three in an epoch.


def test_a_strategy_is_made_of_its_class(cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(trainer: Trainer, *_: Any, **__: Any) -> None:
        raise UserError(f"trained by {getattr(trainer.strategy, 'process_group_backend', None)}")

    monkeypatch.setattr("lightning.pytorch.Trainer.fit", fit)
    name = "lightning.pytorch.strategies.DDPStrategy"
    outcome = cli(*tiny, f"trainer.strategy={{_target_:{name},process_group_backend:gloo}}", "run_dir=run")
    assert "trained by gloo" in outcome.err


@pytest.mark.parametrize(
    "settings",
    [["trainer.check_val_every_n_epoch=9"], ["trainer.max_steps=1", "callbacks=[default,early_stopping]"]],
    ids=["no epoch is validated", "ended within the first epoch"],
)
def test_without_a_validation_the_last_epoch_is_tested(settings: list[str], cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, *settings, "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert "Note: no epoch was validated, so the last one is tested." in outcome.err


def test_a_run_without_a_step_is_refused(cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, "trainer.max_time=00:00:00:00", "run_dir=run")
    assert (outcome.code, "No step was trained: set a larger trainer.max_time." in outcome.err) == (2, True)


def test_overfitting_is_limited_once(cli: Cli, tiny: list[str]) -> None:
    for key, limit in (("limit_train_batches", 1), ("limit_train_batches", 2), ("limit_val_batches", 1)):
        both = cli(*tiny, "trainer.overfit_batches=1", f"trainer.{key}={limit}")
        assert both.code == 2
        assert f"trainer.overfit_batches and trainer.{key} exclude each other" in both.err
    few = cli(*tiny, "trainer.overfit_batches=0.01", "run_dir=run")
    assert few.code == 2
    assert few.err.count("trainer.overfit_batches=0.01 of 2 batches is less than one") == 1
    assert not Path("run").exists()


def test_a_development_run_ends_as_any_other(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    outcome = cli(*tiny, "trainer.fast_dev_run=true", "trainer.max_epochs=5", "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert "trainer.fast_dev_run=1 takes so few batches that the figures mean nothing" in outcome.out
    metrics = RunDirectory(tmp_path / "run").read_metrics()
    assert (metrics["status"], metrics["epochs"], metrics["test"]["clip"]["n"]) == ("finished", 1, 20)
    assert RunDirectory(tmp_path / "run").best.exists()


def test_a_test_of_a_part_of_the_tracks_says_so(cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, "trainer.limit_test_batches=1")
    assert outcome.code == 0, outcome.err
    assert "Note: trainer.limit_test_batches=1: the figures are of a part of the test tracks." in outcome.out


def test_the_same_clips_again_and_again(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    settings = ["trainer.overfit_batches=1", "trainer.max_epochs=2", "optimizer.lr=0.0", "model.dropout=0.0"]
    assert cli(*tiny, *settings, "run_dir=run").code == 0
    first, second = RunDirectory(tmp_path / "run").read_history()
    assert first["train/loss"] == second["train/loss"]


@pytest.mark.parametrize("devices", [1, 2])
def test_an_unknown_key_of_a_strategy_is_named_before_a_rank_starts(devices: int, cli: Cli, tiny: list[str]) -> None:
    strategy = "+trainer.strategy={_target_: lightning.pytorch.strategies.DDPStrategy, bucket_cap_mb: 5, foo: 1}"
    outcome = cli(*tiny, strategy, f"trainer.devices={devices}", "run_dir=run")
    assert (outcome.code, outcome.err) == (
        2,
        "trainer.strategy.foo is not a key of DDPStrategy or DistributedDataParallel: omit it.\n",
    )
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("strategy", "name"),
    [
        ("single_device", "single_device"),
        ("{_target_: lightning.pytorch.strategies.SingleDeviceStrategy}", "SingleDeviceStrategy"),
    ],
)
def test_a_strategy_of_one_device_is_not_for_several(strategy: str, name: str, cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, f"trainer.strategy={strategy}", "trainer.devices=2", "run_dir=run")
    assert (outcome.code, outcome.err) == (
        2,
        f"trainer.strategy={name} trains on one device, but trainer.devices=2: use ddp, or set trainer.devices=1.\n",
    )
    assert not Path("run").exists()


def test_stats_of_the_cpu_need_another_package(cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genreclf.experiment.check_callbacks.find_spec", lambda _: None)
    outcome = cli(*tiny, "callbacks=[default,device_stats]", "logger=csv")
    assert (outcome.code, "python -m pip install psutil" in outcome.err) == (2, True)


def test_one_command_does_all_of_it(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    several = [override for override in tiny if not override.startswith(("logger=", "trainer.max_epochs="))]
    outcome = cli(
        *several,
        *("trainer.accumulate_grad_batches=2", "trainer.profiler=simple", "trainer.max_epochs=2", "data.batch_size=10"),
        "+callbacks.lr._target_=lightning.pytorch.callbacks.LearningRateMonitor",
        *("logger=[csv,tensorboard]", "regularization=[mixup,spec_augment]", "run_dir=run"),
    )
    assert outcome.code == 0, outcome.err
    run = RunDirectory(tmp_path / "run")
    config = run.read_config()
    assert config["trainer"]["accumulate_grad_batches"] == 2
    assert config["trainer"]["profiler"] == "simple"
    assert config["callbacks"]["lr"] == {"_target_": "lightning.pytorch.callbacks.LearningRateMonitor"}
    assert (list(config["logger"]), list(config["augmentation"])) == (["csv", "tensorboard"], ["spec_augment", "mixup"])
    assert torch.load(run.last, weights_only=True)["global_step"] == 2 * 2
    assert "optimizer_step" in (run.path / "fit-profile.txt").read_text()
    logged = (run.path / "csv/metrics.csv").read_text()
    assert all(name in logged for name in ("lr-AdamW", "train/loss", "val/track_loss", "test/track/accuracy"))
    assert list((run.path / "tensorboard").glob("events.out.tfevents.*"))
    assert cli("--config-dir", "run", "--config-name", "config", "run_dir=again").code == 0
    assert RunDirectory(tmp_path / "again").predictions.read_text() == run.predictions.read_text()


@pytest.mark.parametrize(
    ("plugin", "sentence"),
    [
        (
            "MixedPrecision, precision: bf16-mixed, device: cpu",
            "a Precision of its own, so leave yours out; choose",
        ),
        ("AsyncCheckpointIO", "a CheckpointIO of its own, so leave yours out; checkpoints have a checksum"),
        ("environments.SLURMEnvironment", "a ClusterEnvironment of its own, so leave yours out; start several ranks"),
    ],
)
def test_plugins_that_a_run_chooses_itself_are_refused(cli: Cli, tiny: list[str], plugin: str, sentence: str) -> None:
    outcome = cli(*tiny, f"trainer.plugins={{_target_: lightning.pytorch.plugins.{plugin}}}")
    assert outcome.code == 2
    assert f"trainer.plugins: a run has {sentence}" in outcome.err
