"""Values that are refused in one sentence, with a way out, before any data are read or downloaded."""

from pathlib import Path

import pytest
from helpers import Cli

TEXT = "is text here: leave out its quotes, or read an environment variable with "

REFUSED = {
    "logger.wandb.project=a/b": "logger.wandb.project=a/b names an entity too: set logger.wandb.entity=a "
    "logger.wandb.project=b.\n",
    "logger.wandb.project=a%b": "logger.wandb.project=a%b is no project of W&B: choose at most 128 characters, none of "
    "them one of / \\ # ? % :\n",
    f"logger.wandb.project={'p' * 129}": "ppp is no project of W&B: choose at most 128 characters, none of",
    "optimizer.lr=${oc.env:NO_SUCH_VARIABLE,0.002}": f"optimizer.lr=0.002 {TEXT}'optimizer.lr=\"",
    "model.channels=${oc.env:NO_SUCH_VARIABLE,'[1,2]'}": f"model.channels=[1,2] {TEXT}",
    "trainer.devices=${oc.env:NO_SUCH_VARIABLE,2}": f"trainer.devices=2 {TEXT}",
    "data.clip_seconds=${oc.env:NO_SUCH_VARIABLE,3}": f"data.clip_seconds=3 {TEXT}",
    "optimizer.lr=much": "optimizer.lr=much must be a number.\n",
    "trainer.min_epochs=-5": "trainer.min_epochs=-5 must be at least 0.\n",
    "trainer.num_sanity_val_steps=-3": "trainer.num_sanity_val_steps=-3 must be at least -1.\n",
    "+callbacks._target_=cbs.Ok": "callbacks._target_=cbs.Ok: callbacks holds several classes, each below a name; "
    "write callbacks.NAME._target_=..., or in a file NAME: with _target_ below it.\n",
    "+model=ffnn": "The group model is set already: write model=ffnn without a +, or in a file of options - override "
    "/model: ffnn.\n",
    "hydra.sweep.dir=there": "hydra.sweep.dir is for a sweep; add -m, or set run_dir for one run.\n",
    "model.channels=[8,???]": "model.channels[1] must be set: model.channels[1]=VALUE",
    "encoder=clap": "encoder.sha256 must be set: encoder.sha256=VALUE (SHA-256 of the weights file, as "
    "shown on its page on the hub).\n",
    f"logger.wandb.tags=[a,{'t' * 65}]": "ttt has 65 characters; W&B takes 1 to 64 for a tag.\n",
}


@pytest.mark.parametrize("override", REFUSED)
def test_a_refused_value_is_named_first(override: str, cli: Cli, tmp_path: Path) -> None:
    outcome = cli("data=synthetic", "trainer=cpu", override)
    assert outcome.code == 2
    assert REFUSED[override] in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not list(tmp_path.rglob("*.yaml"))


def test_a_csv_log_that_is_never_written_is_refused(cli: Cli) -> None:
    outcome = cli("data=synthetic", "trainer=cpu", "logger=csv", "logger.csv.flush_logs_every_n_steps=0")
    assert (outcome.code, outcome.err) == (2, "logger.csv.flush_logs_every_n_steps=0 must be at least 1.\n")


@pytest.mark.parametrize("place", ["run_dir=there", "hydra.run.dir=there"])
def test_a_run_directory_in_a_sweep_is_refused(place: str, cli: Cli) -> None:
    outcome = cli("data=synthetic", "optimizer.lr=fast", "seed=0,1", place, "-m")
    key = place.partition("=")[0]
    assert (outcome.code, outcome.err) == (
        2,
        f"{key} is for one run; a sweep gives each job its own directory in hydra.sweep.dir.\n",
    )


def test_several_folders_for_one_run_are_refused(cli: Cli) -> None:
    for words in (["run_dir=a,b"], ["run_dir=a,b", "-m"], ["hydra.run.dir=a,b", "-m"]):
        outcome = cli("data=synthetic", *words)
        sentence = f"{words[0]} is not a path; name one folder, or none for a sweep.\n"
        assert (outcome.code, outcome.err) == (2, sentence)


def test_one_directory_for_all_jobs_of_a_sweep_is_refused(cli: Cli) -> None:
    outcome = cli("data=synthetic", "seed=0,1", "hydra.sweep.subdir=one", "-m")
    assert outcome.code == 2
    assert "hydra.sweep.subdir=one would give all jobs one directory; name in it what they vary" in outcome.err


def test_an_option_of_cfg_alone_is_explained(cli: Cli) -> None:
    outcome = cli("data=synthetic", "--resolve")
    assert (outcome.code, outcome.err) == (2, "--resolve and --package belong to --cfg, as in --cfg job --resolve.\n")
    outcome = cli("--cfg", "job", "--package", "modle")
    assert (outcome.code, "modle" in outcome.err, "Leave --package out" in outcome.err) == (2, True, True)


def test_a_configuration_can_be_shown_resolved(cli: Cli) -> None:
    outcome = cli("--cfg", "all", "--resolve", "--package", "hydra.callbacks", "seed=3")
    assert (outcome.code, outcome.out.endswith("  fixed:\n  - seed\n")) == (0, True), outcome
    assert cli("--cfg", "hydra", "--resolve", "--package", "hydra.job").code == 0
    outcome = cli("-c", "hydra", "--resolve")
    assert (outcome.code, outcome.err) == (
        2,
        "--cfg hydra --resolve cannot show values that refer to the run; write --cfg all --resolve.\n",
    )


@pytest.mark.parametrize(
    "options", [["-c", "job"], ["-cjob"], ["-i", "defaults"], ["-h"], ["--hydra-help"]], ids=" ".join
)
def test_what_only_shows_makes_no_directory(options: list[str], cli: Cli, tmp_path: Path) -> None:
    assert cli("train", "hydra.run.dir=there", *options).code == 0
    assert not list(tmp_path.iterdir())


def test_the_way_out_for_an_environment_variable_is_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_RATE", "0.002")
    outcome = cli("data=synthetic", 'optimizer.lr="${oc.decode:${oc.env:A_RATE}}"', "seed=-1")
    assert outcome.err == "seed=-1 must lie between 0 and 4294967295.\n"


def test_all_that_must_be_set_is_named(cli: Cli) -> None:
    outcome = cli("data=synthetic", "split=list", "split.val=mine.txt")
    assert outcome.code == 2
    assert outcome.err == (
        "split.test must be set: split.test=VALUE (file that lists the test tracks).\n"
        "split.train must be set: split.train=VALUE (file that lists the training tracks).\n"
    )


def test_show_refuses_a_project_before_it_draws(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("show", "--wandb", "data=synthetic", "logger.wandb.project=a/b")
    assert outcome.code == 2
    assert "set logger.wandb.entity=a logger.wandb.project=b" in outcome.err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("arguments", "begins", "ends"),
    [
        ([], "Run directory outputs/runs/", " cannot be created (Not a directory); set run_dir=DIRECTORY.\n"),
        (["seed=1,2", "-m"], "The sweep's folder outputs/sweeps/seed_", "); set hydra.sweep.dir=DIRECTORY.\n"),
        (["run_dir=${nowhere}"], "hydra.run.dir: Interpolation key 'nowhere' not found\n", ""),
    ],
)
def test_a_directory_that_cannot_be_created_is_named(
    arguments: list[str], begins: str, ends: str, cli: Cli, tiny: list[str], recwarn: pytest.WarningsRecorder
) -> None:
    Path("outputs").touch()  # A folder of that name cannot be created.
    outcome = cli(*tiny, *arguments)
    assert outcome.code == 2
    assert outcome.err.startswith(begins)
    assert outcome.err.endswith(ends)
    assert len(outcome.err.splitlines()) == 1
    assert not [warning for warning in recwarn if "Callback" in str(warning.message)]
