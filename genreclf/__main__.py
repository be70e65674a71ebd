"""The door: ``python -m genreclf [overrides]`` trains; a first word such as ``evaluate`` opens a command."""

import difflib
import hashlib
import importlib
import os
import sys
import traceback
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from genreclf.config import CONFIG_DIR
from genreclf.errors import UserError
from genreclf.parallel.launchers import check_launcher
from genreclf.parallel.outside import outside_ranks

COMMANDS = ("compare", "evaluate", "predict", "prepare")
"""First words that open a file of `genreclf.commands`."""


def main() -> None:
    """Open a command or train, and turn a user's mistake into one sentence and exit code 2."""
    arguments = sys.argv[1:]
    # Hydra then raises what goes wrong instead of printing it and ending with exit code 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        if arguments and arguments[0] in COMMANDS:
            importlib.import_module(f"genreclf.commands.{arguments[0]}").main(arguments[1:])
        else:
            sys.argv[1:] = _with_run_dir(arguments)
            train()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        raise _end(error, debug="debug=true" in [argument.lower() for argument in arguments]) from None
    except ValueError as error:
        if "Config group override" not in str(error):
            raise
        raise _end(
            UserError("A group is chosen by the name of one of its options, such as model=crnn."), debug=False
        ) from None
    except KeyboardInterrupt as interrupt:
        print(f"Interrupted. {interrupt}", file=sys.stderr)
        raise SystemExit(130) from None


def _end(error: Exception, *, debug: bool) -> SystemExit:
    """Say what was wrong and return the end of the program."""
    if debug:
        traceback.print_exception(error)
    elif message := str(error) if isinstance(error, UserError) else explain(error):
        print(message, file=sys.stderr)
    return SystemExit(UserError.exit_code)


@hydra.main(config_path=CONFIG_DIR, config_name="train", version_base="1.3")
def train(config: DictConfig) -> float:
    """Train, test and report one run; return what a sweeper maximizes."""
    from genreclf.config import Config

    settings = HydraConfig.get()
    run_dir = Path(settings.runtime.output_dir)
    try:
        checked = Config.from_hydra(config, run_dir=str(run_dir), overrides=list(settings.overrides.task))
        from genreclf.experiment import run

        return run(checked).objective
    except UserError as error:
        # Not raised: Hydra would print the overrides before it.
        raise _end(error, debug=config.debug is True) from None
    finally:
        if run_dir.is_dir() and not any(run_dir.iterdir()):
            run_dir.rmdir()


def _with_run_dir(arguments: list[str]) -> list[str]:
    """Make `run_dir` Hydra's own directory too, and give a sweep a directory that the same command finds again."""
    chosen = [argument.partition("=")[2] for argument in arguments if argument.startswith("run_dir=")]
    sweeping = any(argument in ("-m", "--multirun") for argument in arguments)
    if any(argument.startswith(("--cfg", "--help", "--info")) for argument in arguments):
        return arguments
    if sweeping:
        check_launcher(arguments)
        if outside_ranks() > 1:
            raise UserError("A sweep starts the ranks of its jobs: leave torchrun or srun out, set trainer.devices.")
    if chosen and sweeping:
        raise UserError("run_dir is one run's; a sweep with -m gives each job its own below hydra.sweep.dir.")
    if chosen and chosen[-1] not in ("", "null"):
        try:
            Path(chosen[-1]).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"run_dir={chosen[-1]} cannot be made ({error.strerror}); choose another.") from error
        quoted = chosen[-1].replace("'", r"\'")
        return _beside(arguments, "run_dir=", f"hydra.run.dir='{quoted}'")
    if sweeping and not any(argument.startswith("hydra.sweep.dir=") for argument in arguments):
        overrides = sorted(argument for argument in arguments if "=" in argument and not argument.startswith("-"))
        name = hashlib.sha256("\0".join(overrides).encode()).hexdigest()[:10]
        return _beside(arguments, overrides[0] if overrides else "-", f"hydra.sweep.dir=outputs/sweeps/{name}")
    return arguments


def _beside(arguments: list[str], start: str, override: str) -> list[str]:
    """Put an override behind the argument that starts so: Hydra wants all overrides in one place."""
    place = max(index for index, argument in enumerate(arguments) if argument.startswith(start))
    return [*arguments[: place + 1], override, *arguments[place + 1 :]]


def job_folder(overrides: list[str]) -> str:
    """Return the name of a sweep's job: what it sets, without a sign that a path cannot have, and a hash of it."""
    words = [f"{key.rpartition('.')[2]}-{value}" for key, _, value in (word.partition("=") for word in overrides)]
    readable = "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in "_".join(words))[:80]
    return f"{readable}_{hashlib.sha256(' '.join(sorted(overrides)).encode()).hexdigest()[:8]}"


OmegaConf.register_new_resolver("unique", lambda: os.urandom(2).hex(), use_cache=True, replace=True)
OmegaConf.register_new_resolver("job_folder", job_folder, replace=True)


def explain(error: Exception) -> str:
    """Return one sentence for what Hydra has to say, with the nearest key or the options there are."""
    text = str(error)
    first = text.strip().splitlines()[0]
    if isinstance(error, OverrideParseException):
        word = error.override
        if "=" not in word:
            near = difflib.get_close_matches(word, COMMANDS, 1)
            hint = f"did you mean {near[0]}?" if near else f"commands are {', '.join(COMMANDS)}, overrides KEY=VALUE."
            return f"{word} is neither a command nor an override; {hint}"
        return f"{word} cannot be read as KEY=VALUE ({first}); put quotes around values with special signs."
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, option = (error.missing_cfg_file or "").partition("/")
        shown = {name for name in error.options if not name.startswith("_")}
        shown |= {f"{path.parent.name}/{path.stem}" for path in Path(CONFIG_DIR, group).glob("*/*.yaml")}
        return f"There is no {group}={option}; the options of {group} are {', '.join(sorted(shown))}."
    if isinstance(error, ConfigCompositionException) and "Could not override '" in text:
        key = text.split("Could not override '", 1)[1].split("'", 1)[0]
        cause = error.__cause__
        if isinstance(cause, OmegaConfBaseException) and "is not in struct" not in str(cause):
            return f"{key}: {str(cause).strip().splitlines()[0]}"
        return f"There is no key {key}; {_near(key)}"
    return first


def _near(key: str) -> str:
    from hydra import compose
    from hydra.core.global_hydra import GlobalHydra

    try:
        GlobalHydra.instance().clear()
        with hydra.initialize_config_dir(CONFIG_DIR, version_base="1.3"):
            keys = _keys(compose("train"))
    except HydraException:
        keys = []
    near = difflib.get_close_matches(key, keys, 1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else "python -m genreclf --cfg job shows all keys."


def _keys(config: DictConfig, prefix: str = "") -> list[str]:
    keys = []
    for key, value in config.items_ex(resolve=False):
        keys.append(f"{prefix}{key!s}")
        if isinstance(value, DictConfig):
            keys += _keys(value, f"{prefix}{key!s}.")
    return keys


if __name__ == "__main__":
    main()
