"""Explain errors of Hydra and OmegaConf in a sentence: the key, the closest existing key, and what to do."""

import argparse
import difflib
import re
import traceback
from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra import compose
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from genreclf.config.composition import initialized
from genreclf.config.keys import CONFIG_DIR, hint, without_package
from genreclf.config.options import options_parser
from genreclf.errors import UserError, first_line

SINGLE = ("data", "split", "features", "encoder", "model", "loss", "optimizer", "scheduler", "trainer", "experiment")
"""Groups from which a run uses exactly one option; the options of other groups can be combined."""

OF_A_RESOLVER = "UserError raised while resolving interpolation: "
"""Prefix that OmegaConf adds to the message of a `UserError` raised by one of genreclf's resolvers."""

HELP = "python -m genreclf --help shows how."


def check_options(arguments: Sequence[str]) -> None:
    """Raise a `UserError` for invalid command-line options, for which Hydra would print a list of all its options."""
    parser = options_parser()
    parser.exit_on_error = False
    try:
        options, unknown = parser.parse_known_args(list(arguments))
    except argparse.ArgumentError as error:
        raise UserError(f"{error}; {HELP}") from None
    if unknown and unknown[0].startswith("-"):
        raise UserError(f"There is no option {unknown[0]}; settings are written KEY=VALUE, {HELP}")
    if unknown:
        raise UserError(
            f"{unknown[0]} stands apart from the other settings: write them all before or after the options."
        )
    if options.experimental_rerun is not None:
        raise UserError(
            "--experimental-rerun would run a pickle, which may hold any code: repeat a run with "
            "python -m genreclf --config-dir RUN --config-name config run_dir=NEW."
        )
    if options.config_path and not options.config_path.startswith("pkg://"):
        _check_config_path(options.config_path)
    modes = [f"--{name}" for name in ("run", "multirun", "cfg", "info", "shell_completion") if getattr(options, name)]
    if len(modes) > 1:
        raise UserError(f"{modes[0]} and {modes[1]} exclude each other: leave one of them out.")


def _check_config_path(path: str) -> None:
    if not Path(path).is_absolute():
        raise UserError(
            f'--config-path={path} is looked for inside genreclf: write an absolute path, such as --config-path "$PWD/'
            f"{path}\", or add options to genreclf's own with --config-dir {path}."
        )
    if not Path(path).is_dir():
        raise UserError(f"--config-path={path}: there is no such folder.")


def check_single(overrides: Sequence[str], *, can_sweep: bool) -> None:
    """Raise a `UserError` for several options of a group from which a run uses one, or for an unsupported sweep.

    Args:
        overrides: Overrides that the user typed.
        can_sweep: Whether the command supports sweeps.
    """
    for override in overrides:
        key, _, value = override.partition("=")
        group, chosen = key.lstrip("+"), value.strip().removeprefix("[").removesuffix("]")
        if group == "sweep" and not can_sweep and value not in ("null", ""):
            raise UserError(f"{override} is many trainings, and this command has none; leave it out.")
        if group in SINGLE and value.strip().startswith("[") and "," in chosen:
            way = f"for a run of each: -m {group}={chosen}" if can_sweep else "start the command once for each"
            raise UserError(f"{override} names several options, but a run has one {group}; {way}.")


def explain(
    error: Exception, commands: Sequence[str] = (), *, can_sweep: bool = True, typed: Sequence[str] = ()
) -> str:
    """Return a sentence that explains an error of Hydra, OmegaConf or YAML.

    Args:
        error: Error to explain.
        commands: Names of the commands, to recognize those that were misplaced or misspelled.
        can_sweep: Whether the command supports sweeps.
        typed: Arguments of the command, which tell its own keys from those of a sweep that it chooses.
    """
    if isinstance(error, yaml.YAMLError):
        return _broken_file(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, commands)
    if isinstance(error, MissingConfigException) and error.options is not None:
        return _no_option(error.missing_cfg_file or "", error.options)
    if isinstance(error, MissingConfigException) and str(error).startswith("In 'train': "):
        return _no_option(error.missing_cfg_file or "", _options_beside(error))
    if isinstance(error, OmegaConfBaseException) and str(error).startswith(OF_A_RESOLVER):
        return f"{first_line(error).removeprefix(OF_A_RESOLVER)}."
    if isinstance(error, OmegaConfBaseException):
        key = re.search(r"full_key: (\S+)", str(error))
        if key and "is not in struct" in first_line(error):
            section = error.parent_node
            return f"There is no key {key[1]}; {_near(key[1], section if isinstance(section, DictConfig) else None)}"
        return f"{key[1]}: {first_line(error)}" if key else first_line(error)
    if isinstance(error, ConfigCompositionException):
        return _not_composed(error, commands, can_sweep, typed)
    if "does not support sweep type" in str(error):
        return "An interval is searched, not swept: add hydra/sweeper=optuna, or list values as in seed=1,2,3."
    return first_line(error)


def explain_value_error(error: ValueError | AssertionError, arguments: Sequence[str]) -> str | None:
    """Return a sentence for a `ValueError` or `AssertionError` that Hydra raises on a user's mistake; None for others.

    Args:
        error: Error to explain.
        arguments: Arguments as typed by the user.
    """
    text = str(error)
    if isinstance(error, UnicodeDecodeError):
        return _undecodable_file(error)
    if isinstance(error, AssertionError):
        if traceback.extract_tb(error.__traceback__)[-1].name == "configure_log":
            return "hydra.verbose is true, false, or the name of a logger or a list of them."
        return None
    if "Config group override" in text:
        if nameless := [word for word in arguments if word.startswith("=")]:
            return f"{nameless[0]} has no key before its =; write KEY=VALUE, without spaces."
        return "A group is chosen by the name of one of its options, such as model=crnn."
    if "range() arg 3 must not be zero" in text:
        return "A range needs a step other than 0, as in seed=range(1,10,2)."
    if "--resolve flag" in text or "--package flag" in text:
        return "--resolve and --package belong to --cfg, as in --cfg job --resolve."
    if "Expecting one subcommand" in text:
        return "--shell-completion wants install=SHELL, uninstall=SHELL or query=SHELL before it, such as install=bash."
    return None


def _undecodable_file(error: UnicodeDecodeError) -> str | None:
    """Return a sentence that names the file of options that Hydra could not decode; None for other errors."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    paths = [frame.f_locals["full_path"] for frame in frames if "full_path" in frame.f_locals]
    return f"{paths[-1]} is not UTF-8 text: save it in that encoding." if paths else None


def _broken_file(error: yaml.YAMLError) -> str:
    """Return a sentence that says where and why a file of options is not valid YAML."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        place, problem = getattr(error, "name", "A file of options"), getattr(error, "reason", first_line(error))
        return f"{place} is not YAML: {problem}; correct it there."
    mark, outer = error.problem_mark, error.context_mark
    begins = f", in what begins in line {outer.line + 1}" if outer and outer.line != mark.line else ""
    return f"{mark.name}, line {mark.line + 1}, is not YAML: {error.problem}{begins}; correct it there."


def _unreadable(word: str, commands: Sequence[str]) -> str:
    if word in commands:
        return f"{word} is a command, which stands first: python -m genreclf {word} --help shows how."
    if "=" not in word:
        if word in (keys := _keys_of_a_run()):
            return f"{word} is neither a command nor an override; write {word}=VALUE, without spaces."
        if near := difflib.get_close_matches(word, [*commands, "help"], 1):
            hint = f"did you mean {near[0]}?" if near[0] != "help" else HELP
        elif near := difflib.get_close_matches(word, keys, 1):
            hint = f"did you mean {near[0]}=VALUE?"
        else:
            hint = f"commands are {', '.join(commands)}, overrides KEY=VALUE." if commands else "write KEY=VALUE."
        return f"{word} is {'neither a command nor an' if commands else 'no'} override; {hint}"
    key = word.partition("=")[0]
    if key == "data.genre_map":
        return (
            f"{word} cannot be read; close its brackets, or, for names with special signs such as &, write a file with "
            f"one THEIRS: OURS a line and set {key}=FILE.yaml."
        )
    return (
        f"{word} cannot be read as KEY=VALUE; close its brackets, or quote a value with special characters for the "
        f"shell and for Hydra, as in \"{key}='a b, c'\"."
    )


def _options_beside(error: MissingConfigException) -> list[str]:
    """Return the options of the group whose option is missing; Hydra's error names only the folders it searched."""
    group = (error.missing_cfg_file or "").partition("/")[0]
    places = re.findall(r"path=file://(.*)", str(error))
    return [path.stem for place in places for path in Path(place, group).glob("*.yaml")]


def _no_option(missing: str, options: Sequence[str]) -> str:
    depth = 2 if missing.startswith("hydra/") else 1
    parts = missing.split("/")
    group, option = "/".join(parts[:depth]), "/".join(parts[depth:])
    shown = {name for name in options if not name.startswith("_")}
    shown |= {f"{path.parent.name}/{path.stem}" for path in Path(CONFIG_DIR, group).glob("*/[!_]*.yaml")}
    return f"There is no {group}={option}; the options of {group} are {', '.join(sorted(shown))}."


def _not_composed(
    error: ConfigCompositionException, commands: Sequence[str], can_sweep: bool, typed: Sequence[str]
) -> str:
    text = str(error)
    if "'hydra/sweeper/optuna' is validated against" in text:
        return "Another plugin takes the name of this sweeper: python -m pip uninstall hydra-optuna-sweeper."
    if found := re.search(r"Ambiguous value for argument '(.*)'|Sweep parameters '(.*)' requires", text):
        return _several_values(found[1] or found[2], can_sweep)
    if found := re.search(r"In '((experiment|sweep)/[^']*)': Could not override '[^']*@\2\.", text):
        return without_package(found[1])
    if found := re.search(r"Multiple values for (\S+)\. To override a value use '\S+ \S+ (\S+)'", text):
        return (
            f"The group {found[1]} is set already: write {found[1]}={found[2]} without a +, or in a file of options "
            f"- override /{found[1]}: {found[2]}."
        )
    if found := re.search(r"Either remove \+ prefix: '(.*)'", text):
        return f"There is a key {found[1].partition('=')[0]} already: write {found[1]}, without a +."
    if found := re.search(r"Could not delete from config. '(.*)' does not exist", text):
        return f"There is no key {found[1]} to delete; {_near(found[1])}"
    if found := re.search(r"Error resolving interpolation '(.*)', possible", text):
        return f"A group is chosen by the name of one of its options, such as model=crnn, not by {found[1]}."
    found = re.search(r"Could not override '([^']*)'|merging override ([^=\s]+)", text)
    if not found:
        return first_line(error)
    key, cause = (found[1] or found[2] or "").lstrip("+~"), error.__cause__
    if not key:
        return "A setting has no key before its =; write KEY=VALUE, without spaces."
    if key in commands:
        return f"{key} is a command, not a key: python -m genreclf {key} --help shows how."
    if isinstance(cause, OmegaConfBaseException) and not re.search(r"is not in struct|^Key '\w+' not in", str(cause)):
        return f"{key}: {first_line(cause)}"
    sweeps = [word for word in typed if word.startswith("sweep=")]
    if sweeps and key not in {word.lstrip("+~").partition("=")[0] for word in typed}:
        group = key.partition(".")[0]
        return (
            f"{sweeps[-1]} varies {key}, which the chosen {group} does not have: choose another {group}, or leave "
            f"{sweeps[-1]} out and name the keys to vary, with hydra/sweeper=optuna for a search."
        )
    if isinstance(cause, OmegaConfBaseException) and str(cause.full_key).startswith(f"{key}."):
        key = str(cause.full_key)  # The value of a section names a key that the section lacks.
    section = cause.parent_node if isinstance(cause, OmegaConfBaseException) and cause.full_key == key else None
    return f"There is no key {key}; {_near(key, section if isinstance(section, DictConfig) else None)}"


def _several_values(word: str, can_sweep: bool) -> str:
    key, _, values = word.lstrip("+").partition("=")
    ways = ["add --multirun to sweep over them"] if can_sweep else []
    if "." in key and "(" not in values:  # A key of the root has one value.
        ways += [f"write {key}=[{values}] for a list", f"\"{key}='{values}'\" for one text with commas"]
    return f"{word} stands for several values: {', or '.join(ways) or 'choose one'}."


def _near(key: str, section: DictConfig | None = None) -> str:
    """Return a hint at the key that may have been meant, preferably one of the composed section that lacks `key`."""
    if key.startswith("hydra.sweeper.params."):
        searched = key.removeprefix("hydra.sweeper.params.")
        added = "" if "." in searched else f", or \"+{key}='A,B'\""
        return f"write its values as a setting, {searched}=A,B{added}."
    if key.startswith("hydra."):
        return "--cfg hydra shows Hydra's keys, to which the chosen launcher and sweeper add their own."
    if way := hint(key):
        return way
    keys = _keys_of_a_run()
    if key in keys:
        return (
            f"the {key.partition('.')[0]} that is chosen does not have it, --cfg job shows what it has; a + before the "
            "key adds it."
        )
    parent, dot, name = key.rpartition(".")
    if dot and (near := difflib.get_close_matches(name, map(str, section or ()), 1)):
        return f"did you mean {parent}.{near[0]}?"
    near = difflib.get_close_matches(key, keys, 1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else "python -m genreclf --cfg job shows all keys."


def _keys_of_a_run() -> list[str]:
    """Return all dotted keys of the configuration without overrides."""
    try:
        with initialized():
            return _keys(compose("train"))
    except HydraException:
        return []


def _keys(config: DictConfig, prefix: str = "") -> list[str]:
    keys = []
    for key, value in config.items_ex(resolve=False):
        keys.append(f"{prefix}{key!s}")
        if isinstance(value, DictConfig):
            keys += _keys(value, f"{prefix}{key!s}.")
    return keys
