"""Progress bars for long operations other than training."""

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


def progress_bar(*, beside_rows: bool = False) -> "Progress":
    """Return a progress bar with a description, a count and the remaining time.

    The bar is drawn while it is used as a context manager, on stderr if that is a terminal, or in a notebook;
    elsewhere it is not shown. Results on stdout are kept apart from it.

    Args:
        beside_rows: Whether rows of results are printed in the meantime. If they go to a terminal, the bar is not
            shown, since the rows show the progress.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    is_shown = console.is_terminal or (console.is_jupyter and not lacks_widgets())
    on_terminal = sys.stdout.isatty()
    is_shown = is_shown and not (beside_rows and on_terminal)
    # Output to a file or a pipe must not be redirected to the console.
    return Progress(*columns, console=console, disable=not is_shown, redirect_stdout=on_terminal)


def lacks_widgets() -> bool:
    """Return whether this is a notebook without ipywidgets, where rich prints a warning instead of a bar."""
    from rich import get_console

    return get_console().is_jupyter and find_spec("ipywidgets") is None
