"""The progress bar of long work that is not a training."""

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def progress_bar(*, beside_rows: bool = False) -> "Progress":
    """Return a bar with a description, a count and the time that is left, apart from the results on stdout.

    It is drawn on stderr, or in a notebook, while it is used as a context manager; elsewhere it is silent.

    Args:
        beside_rows: Whether rows of results are printed meanwhile: on a terminal they say enough, and it is silent.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    is_shown = console.is_terminal or (console.is_jupyter and not lacks_widgets())
    on_terminal = sys.stdout.isatty()
    is_shown = is_shown and not (beside_rows and on_terminal)
    # What is printed to a file or a pipe is to stay there.
    return Progress(*columns, console=console, disable=not is_shown, redirect_stdout=on_terminal)


def lacks_widgets() -> bool:
    """Return whether this is a notebook without ipywidgets, where rich prints a warning in place of a bar."""
    from rich import get_console

    return get_console().is_jupyter and find_spec("ipywidgets") is None
