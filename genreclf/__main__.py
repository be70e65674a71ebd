"""The entry point: ``python -m genreclf [overrides]`` trains; a first argument such as ``evaluate`` names a command."""

import atexit
import gc
import importlib
import os
import sys
import traceback
import warnings
from contextlib import suppress

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from genreclf import __version__
from genreclf.cli import COMMANDS
from genreclf.config.messages import explain, explain_value_error
from genreclf.errors import BROKEN_PIPE, FULL, INTERRUPTED, TERMINATED, Terminated, UserError, with_notes
from genreclf.escaping import say


def main() -> None:
    """Run a command; report an error that the user can correct in one sentence, without a traceback."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["-h"], ["--help"]) and (asked := [word for word in arguments if word in COMMANDS]):
        arguments = [asked[0], "--help"]
    is_named = bool(arguments) and arguments[0] in COMMANDS
    command, rest = (arguments[0], arguments[1:]) if is_named else ("train", arguments)
    # Make modules of the working directory importable, as `python -m` does: a configuration may name them.
    with suppress(FileNotFoundError):  # The working directory may have been deleted.
        if not sys.flags.safe_path and os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
    # Skip the final garbage collection, which takes more than a second with PyTorch.
    atexit.register(gc.freeze)
    # Let Hydra raise errors instead of printing them and exiting with code 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Our launcher deliberately has the same name, and thus the same schema, as the plugin's.
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/ray' is validated against ConfigStore schema")
    try:
        if arguments == ["--version"]:
            print(f"genreclf {__version__}")
        elif arguments in ([], ["-h"], ["--help"]):
            importlib.import_module("genreclf.cli.overview").main()
        else:
            importlib.import_module(f"genreclf.cli.{command}").main(rest)
        sys.stdout.flush()
    except BrokenPipeError:
        if command == "train":
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # The reader has ended, such as `head`.
        raise SystemExit(BROKEN_PIPE) from None
    except SystemExit as end:
        if command != "train" and isinstance(end.__context__, BrokenPipeError):  # Rich exits by itself.
            raise SystemExit(BROKEN_PIPE) from None
        raise
    except (UserError, HydraException, OmegaConfBaseException, YAMLError) as error:
        debug = "debug=true" in [argument.lower() for argument in arguments]
        raise _end(error, rest, debug=debug, can_sweep=command == "train") from None
    except OSError as error:  # After Hydra's, some of which are of this kind, too.
        if error.errno not in FULL or error.filename is not None or not sys.stdout.seekable():  # Not a full stdout.
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        say("No space is left where the output is written; free some, or choose another file.")
        raise SystemExit(UserError.exit_code) from None
    except (ValueError, AssertionError) as error:
        if (sentence := explain_value_error(error, arguments)) is None:
            raise
        raise _end(UserError(sentence), rest, debug=False, can_sweep=False) from None
    except KeyboardInterrupt as interrupt:
        print(f"Interrupted. {interrupt}", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except Terminated as end:
        print(f"Terminated. {end}", file=sys.stderr)
        raise SystemExit(TERMINATED) from None


def _end(error: Exception, typed: list[str], *, debug: bool, can_sweep: bool) -> SystemExit:
    """Print the error and return the exception that ends the program."""
    if debug:
        traceback.print_exception(error)
    else:
        is_ours = isinstance(error, UserError)
        message = str(error) if is_ours else explain(error, tuple(COMMANDS), can_sweep=can_sweep, typed=typed)
        if message:
            say(with_notes(error, message))
    return SystemExit(error.exit_code if isinstance(error, UserError) else UserError.exit_code)


if __name__ == "__main__":
    main()
