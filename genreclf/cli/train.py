"""``python -m genreclf [train] [overrides]``: train one run, or a sweep with ``--multirun``.

Hydra calls `train`, which is defined at module level so that launchers in other processes can find it by name.
"""

import gc
import os
import signal
import sys
import traceback
from contextlib import ExitStack
from pathlib import Path

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException
from yaml import YAMLError

from genreclf.cli.directories import check_directories, refuse_chdir, use_for_every_configuration
from genreclf.config.keys import CONFIG_DIR
from genreclf.config.messages import check_options, check_single, explain
from genreclf.config.options import options_parser, unchecked_help
from genreclf.config.overrides import typed_overrides
from genreclf.distributed.external_ranks import adopt_slurm, external_ranks
from genreclf.distributed.gpus import gpus_of_job
from genreclf.distributed.launchers import JOBLIB, LauncherFailed
from genreclf.errors import Terminated, UserError, with_notes
from genreclf.escaping import say
from genreclf.sweep.process import cool_down, hide_gpus_from
from genreclf.sweep.start import BASIC, GRIDS, SweepStart
from genreclf.values import shown


def main(arguments: list[str]) -> None:
    """Train one run, or run a sweep and report the outcome of its jobs, even if the sweeper fails."""
    check_options(arguments)
    if any(word.startswith(("install=", "uninstall=")) for word in arguments) and Path(sys.argv[0]).stem == "__main__":
        raise UserError("A shell completes genreclf, not python -m genreclf: write genreclf -sc install=SHELL.")
    if any(word.startswith("query=") for word in arguments):
        from genreclf.cli.completion import complete

        if (more := complete()) is None:
            return
        arguments = [*arguments, *more]
    check_single([argument for argument in arguments if not argument.startswith("-")], can_sweep=True)
    check_directories(arguments)
    if any(word.startswith(("--config-name", "-cn")) for word in arguments):
        use_for_every_configuration()
    sys.argv[1:] = arguments
    stopped: UserError | None = None
    SweepStart.sweep_dir = None
    try:
        with unchecked_help(), ExitStack() as SweepStart.ends:
            hydra.main(config_path=CONFIG_DIR, config_name="train", version_base="1.3")(train)()
    except UserError as error:
        stopped = error
    except SystemExit as end:
        asks_for_part = any(word.startswith(("-p", "--p")) for word in arguments)
        if end.code == 1 and asks_for_part:  # Hydra has printed that the configuration has no such part.
            raise UserError("Leave --package out to see all, or name a key that is not null, as in model.") from None
        raise
    except Exception as error:
        if isinstance(error, InterpolationResolutionError):
            options, _ = options_parser().parse_known_args(arguments)
            if options.cfg == "hydra":  # Hydra cuts off all sections but its own.
                sentence = "--cfg hydra --resolve cannot show values that refer to the run; write --cfg all --resolve."
                raise UserError(sentence) from error
        named = isinstance(error, HydraException | OmegaConfBaseException | YAMLError | ValueError)
        if SweepStart.sweep_dir is None or named:
            raise
        if isinstance(error, OSError) and error.filename:
            reason = f"cannot be written to ({error}); set hydra.sweep.dir=DIRECTORY."
            stopped = UserError(f"The sweep's folder {SweepStart.sweep_dir} {reason}")
        else:
            stopped = LauncherFailed(error)
            stopped.__cause__ = error
    except (KeyboardInterrupt, Terminated) as end:
        if SweepStart.sweep_dir is None:
            raise
        from genreclf.sweep.rows import FINISHED, read_rows

        done = sum(row.status == FINISHED for row in read_rows(SweepStart.sweep_dir))
        raise type(end)(f"Jobs finished so far: {done}. Run the same command again to continue.") from None
    finally:
        if SweepStart.sweep_dir is not None:
            cool_down()
    if (sweep_dir := SweepStart.sweep_dir) is not None:
        from genreclf.sweep.summary import report

        if code := report(sweep_dir, may_be_idle=SweepStart.may_be_done or stopped is not None):
            if stopped and str(stopped):
                say(stopped)
            raise SystemExit(code)
    if stopped:
        raise stopped


def train(config: DictConfig) -> float:
    """Train, test and report one run; return the objective that a sweeper maximizes."""
    settings = HydraConfig.get()
    if settings.mode == RunMode.MULTIRUN:
        refuse_chdir(chdir=settings.job.chdir)
        return _job(config, settings)
    run_dir = Path(settings.runtime.output_dir)
    try:
        refuse_chdir(chdir=settings.job.chdir)
        if chosen := settings.runtime.choices.get("sweep"):
            raise UserError(f"sweep={chosen} is a multirun; start it with python -m genreclf -m sweep={chosen}.")
        if any(word.lstrip("+").startswith("hydra.sweep.dir=") for word in typed_overrides(settings, "hydra")):
            raise UserError("hydra.sweep.dir is for a sweep; add -m, or set run_dir for one run.")
        return _run(config, run_dir, settings)
    except (UserError, OmegaConfBaseException) as error:
        # Printed instead of raised, since Hydra would print the overrides before an exception.
        if config.debug is True:
            traceback.print_exception(error)
        elif sentence := str(error) if isinstance(error, UserError) else explain(error):
            say(with_notes(error, sentence))
        raise SystemExit(error.exit_code if isinstance(error, UserError) else UserError.exit_code) from None
    finally:
        if run_dir.is_dir() and not any(run_dir.iterdir()):
            run_dir.rmdir()


def _run(config: DictConfig, run_dir: Path, settings: HydraConf) -> float:
    hide_gpus_from([config])
    # No garbage collection during imports: it would take a sixth of their time and free nothing.
    gc.disable()
    try:
        from genreclf.config.config import Config

        checked = Config.from_hydra(config, run_dir=str(run_dir), overrides=typed_overrides(settings))
        from genreclf.experiment.run import run
    finally:
        gc.enable()
    return run(checked).objective


def _job(config: DictConfig, settings: HydraConf) -> float:
    """Run one job of a sweep; a failed job has no objective and does not stop the others."""
    if "submitit" in settings.launcher._target_:
        # Submitit ignores SIGTERM, and would take the partial output of a preempted job for its result.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    if ranks_are_there := external_ranks() > 1:
        adopt_slurm()
        if os.environ["RANK"] != "0":
            return _follow(config, settings)
    from genreclf.sweep.job import Job

    job = Job.of(settings)
    launcher = settings.launcher._target_
    job.carry_out(
        config, logged=launcher != BASIC, in_new_process=not ranks_are_there, shares_machine=launcher == JOBLIB
    )
    return job.result(searched=settings.sweeper._target_ not in GRIDS)


def _follow(config: DictConfig, settings: HydraConf) -> float:
    """Run a rank other than the first of a job whose ranks the launcher started; the first one records the outcome."""
    try:
        return _run(config, Path(settings.runtime.output_dir), settings)
    except Exception as error:
        traceback.print_exception(error)
        return float("nan")


def _layers_of(encoder: DictConfig) -> str:
    """Return the values of a sweep over the layers of an encoder, separated by commas: each layer, then ``all``."""
    from genreclf.config import instantiate

    if encoder.get("_target_") is None:
        raise UserError("sweep=layers needs a pretrained encoder: choose one with encoder=NAME.")
    made = instantiate.make("encoder", OmegaConf.to_container(encoder, resolve=True))  # type: ignore[arg-type]
    return ",".join([*made.layers, "all"])


def _all_folds(key: str, *, _root_: DictConfig) -> str:
    """Return the values of a sweep over as many folds as `key` says, separated by commas, for a job to check."""
    from genreclf.splits.rules import MOST_FOLDS

    count = OmegaConf.select(_root_, key)
    if count is None and key == "split.folds":
        raise UserError("The sweep is over folds, which the chosen split does not have: choose split=artist_folds.")
    if type(count) is not int:
        raise UserError(f"{key}={shown(count)} must be a whole number.")
    return ",".join(map(str, range(max(1, min(count, MOST_FOLDS)))))


OmegaConf.register_new_resolver("all_folds", _all_folds, replace=True)
OmegaConf.register_new_resolver("gpus_of_job", gpus_of_job, replace=True)
OmegaConf.register_new_resolver("layers_of", _layers_of, replace=True)
