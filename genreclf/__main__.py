"""The door: ``python -m genreclf [overrides]`` trains; a first word such as ``evaluate`` opens a command."""

import atexit
import gc
import hashlib
import importlib
import os
import sys
import traceback
import warnings
from contextlib import suppress
from pathlib import Path

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from genreclf import __version__
from genreclf.config.config import CONFIG_DIR
from genreclf.config.messages import check_options, explain, explain_value_error
from genreclf.distributed.external_ranks import external_ranks
from genreclf.distributed.launchers import LauncherFailed, check_launcher
from genreclf.errors import INTERRUPTED, TERMINATED, Terminated, UserError
from genreclf.escaping import say
from genreclf.sweep.start import SweepStart
from genreclf.values import shown

COMMANDS = (
    "app",
    "compare",
    "dashboard",
    "evaluate",
    "export",
    "index",
    "predict",
    "prepare",
    "pull",
    "push",
    "recommend",
    "show",
)
"""First words that open a file of `genreclf.cli`."""

PASSING = ("hydra/launcher=", "hydra.launcher.", "hydra.sweeper.n_jobs=", "hydra.sweeper.n_trials=", "debug=")
"""Overrides that say how a sweep is run or how far, not what it is."""


def main() -> None:
    """Open a command or train, and turn a user's mistake into one sentence and exit code 2."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["-h"], ["--help"]) and (asked := [word for word in arguments if word in COMMANDS]):
        arguments = [asked[0], "--help"]
    command = arguments[0] if arguments and arguments[0] in COMMANDS else None
    # As `python -m` does, for the modules that a configuration names.
    with suppress(FileNotFoundError):  # It may have been deleted.
        if not sys.flags.safe_path and os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
    # Else Python, as it ends, looks through all objects of PyTorch for waste, which takes more than a second.
    atexit.register(gc.freeze)
    # Hydra then raises what goes wrong instead of printing it and ending with exit code 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Our launcher has the name of the plugin's, whose schema it should have.
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/ray' is validated against ConfigStore schema")
    try:
        if command is not None:
            importlib.import_module(f"genreclf.cli.{command}").main(arguments[1:])
        elif arguments == ["--version"]:
            print(f"genreclf {__version__}")
        else:
            check_options(arguments)
            _train(_with_run_dir(arguments))
    except (UserError, HydraException, OmegaConfBaseException) as error:
        debug = "debug=true" in [argument.lower() for argument in arguments]
        raise _end(error, debug=debug, can_sweep=command is None) from None
    except (ValueError, AssertionError) as error:
        if (sentence := explain_value_error(error, arguments)) is None:
            raise
        raise _end(UserError(sentence), debug=False, can_sweep=False) from None
    except KeyboardInterrupt as interrupt:
        print(f"Interrupted. {interrupt}", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except Terminated as end:
        print(f"Terminated. {end}", file=sys.stderr)
        raise SystemExit(TERMINATED) from None


def _end(error: Exception, *, debug: bool, can_sweep: bool) -> SystemExit:
    """Say what was wrong and return the end of the program."""
    if debug:
        traceback.print_exception(error)
    elif message := str(error) if isinstance(error, UserError) else explain(error, COMMANDS, can_sweep=can_sweep):
        say(message)
    return SystemExit(error.exit_code if isinstance(error, UserError) else UserError.exit_code)


def _train(arguments: list[str]) -> None:
    """Train, or sweep and say what became of the jobs, even if the sweeper gives up."""
    from genreclf.cli.train import train

    sys.argv[1:] = arguments
    stopped: UserError | None = None
    SweepStart.sweep_dir = None
    try:
        hydra.main(config_path=CONFIG_DIR, config_name="train", version_base="1.3")(train)()
    except UserError as error:
        stopped = error
    except Exception as error:
        if SweepStart.sweep_dir is None or isinstance(error, HydraException | OmegaConfBaseException | ValueError):
            raise
        if isinstance(error, OSError) and error.filename:
            stopped = UserError(f"The sweep's folder {SweepStart.sweep_dir} cannot be written to ({error}).")
        else:
            stopped = LauncherFailed(error)
            stopped.__cause__ = error
    except KeyboardInterrupt:
        if SweepStart.sweep_dir is None:
            raise
        raise KeyboardInterrupt("The same command goes on where it stopped.") from None
    if (sweep_dir := SweepStart.sweep_dir) is not None:
        from genreclf.sweep.summary import report

        if code := report(sweep_dir, may_be_idle=SweepStart.may_be_done or stopped is not None):
            if stopped and str(stopped):
                say(stopped)
            raise SystemExit(code)
    if stopped:
        raise stopped


def _with_run_dir(arguments: list[str]) -> list[str]:
    """Make `run_dir` Hydra's own directory too, and give a sweep a directory that the same command finds again."""
    chosen = [argument.partition("=")[2] for argument in arguments if argument.startswith("run_dir=")]
    sweeping = any(argument in ("-m", "--multirun") for argument in arguments)
    if any(argument.startswith(("--cfg", "--help", "--info")) for argument in arguments):
        return arguments
    if sweeping:
        check_launcher(arguments)
        if external_ranks() > 1:
            raise UserError("A sweep starts the ranks of its jobs: leave torchrun or srun out, set trainer.devices.")
    for argument in arguments:
        if argument.startswith("hydra.run.dir=") and "${" not in argument:
            _make(argument, argument.partition("=")[2].strip("'\""))
    if chosen and sweeping:
        raise UserError("run_dir is one run's; a sweep with -m gives each job its own below hydra.sweep.dir.")
    if chosen and chosen[-1] not in ("", "null"):
        _make(f"run_dir={chosen[-1]}", chosen[-1])
        quoted = chosen[-1].replace("'", r"\'")
        return _beside(arguments, "run_dir=", f"hydra.run.dir='{quoted}'")
    return _as_sweep(arguments) if sweeping else arguments


def _make(override: str, path: str) -> None:
    """Make the directory that an override names."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{shown(override)} cannot be made ({reason}); choose another.") from error


def _as_sweep(arguments: list[str]) -> list[str]:
    """Tell Hydra where the sweep lies and which keys all its jobs share, so that their folders name the others."""
    words = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    overrides = OverridesParser.create().parse_overrides(words)
    varied = [override.key_or_group for override in overrides if override.is_sweep_override()]
    fixed = [override.key_or_group for override in overrides if not override.is_sweep_override()]
    shared = ",".join(f"'{key}'" for key in dict.fromkeys(fixed) if not key.startswith("hydra"))
    place = words[0] if words else "-"
    arguments = _beside(arguments, place, f"hydra.job.config.override_dirname.exclude_keys=[{shared}]")
    if any(word.startswith("hydra.sweep.dir=") for word in words):
        return arguments
    lasting = sorted(word for word in words if not word.startswith(PASSING))
    identity = hashlib.sha256("\0".join(lasting).encode()).hexdigest()[:10]
    files = [word.partition("=")[2] for word in words if word.startswith("sweep=")]
    keys = [key.rpartition(".")[2] for key in varied]
    name = "-".join(dict.fromkeys([*files, *keys]))[:60]
    name = "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in name)
    return _beside(arguments, place, f"hydra.sweep.dir=outputs/sweeps/{name}_{identity}")


def _beside(arguments: list[str], start: str, override: str) -> list[str]:
    """Put an override behind the argument that starts so: Hydra wants all overrides in one place."""
    place = max(index for index, argument in enumerate(arguments) if argument.startswith(start))
    return [*arguments[: place + 1], override, *arguments[place + 1 :]]


if __name__ == "__main__":
    main()
