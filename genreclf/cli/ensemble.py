"""``python -m genreclf ensemble RUN...``: average the probabilities of finished runs, as a new run."""

import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genreclf.cli.parser import Parser
from genreclf.cli.printing import note
from genreclf.errors import UserError

if TYPE_CHECKING:
    from genreclf.config.config import Config
    from genreclf.run_directory import RunDirectory


def main(arguments: list[str]) -> None:
    """Write networks, metrics, predictions and report into ``run_dir``, by default a new folder in ``outputs/runs``."""
    asked = parser().parse(arguments)
    overrides = [word for word in asked.runs if "=" in word and not Path(word).exists()]
    from genreclf.checkpoint import SafeCheckpointIO, tested_run
    from genreclf.cli.compose import checked_again, refuse_without_effect
    from genreclf.comparison.runs import find_runs
    from genreclf.experiment.ensemble import combine
    from genreclf.experiment.run import carry_out
    from genreclf.run_directory import RunDirectory, sentence_when_full

    refuse_without_effect(overrides)
    paths, unfinished, without = find_runs(Path(word) for word in asked.runs if word not in overrides)
    own = {Path(word.partition("=")[2]).resolve() for word in overrides if word.startswith("run_dir=")}
    if others := [path for path in unfinished if path.resolve() not in own]:
        raise UserError(f"{others[0]} is not finished; wait for it, or name the others one by one.")
    if without:
        raise UserError(f"There is no run in {without[0]}; omit it, or choose a folder that contains runs.")
    named = {Path(word).resolve() for word in asked.runs}
    for path in [path for path in paths if path.resolve() not in named]:
        if tested := tested_run(RunDirectory(path)):
            note(f"{path} is an evaluation of {tested} and left out.")
            paths.remove(path)
    if not paths:
        raise UserError("There are only evaluations; give the runs that they tested.")
    if len(paths) < 2:
        raise UserError(f"{paths[0]} is only one run; an ensemble needs two or more.")
    runs = [RunDirectory(path) for path in paths]
    configs = [checked_again(run, [], trust=asked.trust, config_dir=asked.config_dir) for run in runs]
    combined = combine(runs, configs, weights=asked.weights)
    given: dict[str, Any] = {"run_dir": str(Path("outputs", "runs", f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}_ensemble"))}
    given |= {"init_from": None, "ckpt_path": None, "model": combined.model, "encoder": combined.encoder}
    config = checked_again(runs[0], overrides, trust=asked.trust, config_dir=asked.config_dir, **given)
    target = RunDirectory(config.run_dir)
    if target.status == "finished" or not (_is_new(target) or _goes_on(target, config)):
        raise UserError(f"{target.path} already contains a run; choose another run_dir.")
    was_there, begins = target.path.exists(), False
    target.make()
    try:
        with target.held(), sentence_when_full(target.path):
            begins = _is_new(target)
            if begins:
                target.write_config(config.plain)
            if not _goes_on(target, config):  # Another process has begun another ensemble there.
                raise UserError(f"{target.path} already contains a run; choose another run_dir.")
            if target.status != "finished":
                SafeCheckpointIO().save_checkpoint(combined.checkpoint, target.best)
        carry_out("ensemble", config)
    except BaseException:
        if begins and target.status is None:  # The run had not started: there is nothing to continue.
            target.config.unlink(missing_ok=True)
            shutil.rmtree(target.checkpoints if was_there else target.path)
        raise


def _is_new(target: "RunDirectory") -> bool:
    """Return whether a run directory contains no run yet."""
    return not target.config.exists() and not any(target.checkpoints.glob("*.ckpt"))


def _goes_on(target: "RunDirectory", config: "Config") -> bool:
    """Return whether a run directory contains the run of a configuration."""
    from genreclf.config.identity import difference

    return target.config.exists() and not difference(target.read_config(), config.plain)


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser(
        "ensemble",
        "Average the probabilities of finished runs of the same split, and write the ensemble as a new run: networks, "
        "predictions, metrics and report, by default into a new folder of outputs/runs.",
        "It inherits the marks LEAKY, PRETRAINED and REFIT from its runs, and other commands accept it like any run.",
    )
    command.add_argument(
        "runs", nargs="+", metavar="RUN_OR_SWEEP", help="runs, or folders of runs; then KEY=VALUE, such as run_dir=DIR"
    )
    command.add_argument(
        "--weights",
        choices=("equal", "validation"),
        default="equal",
        help="equal (the default), or the weights with the lowest loss on validation tracks",
    )
    command.add_trust()
    command.add_config_dir()
    return command
