"""Output shared by several commands: notes, tables, and errors about files that cannot be written."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from genreclf.errors import UserError
from genreclf.escaping import printable, say
from genreclf.evaluation.provenance import MARKS


def note(*sentences: str | None) -> None:
    """Print sentences for the user to stderr, each marked as a note; None and empty texts are skipped."""
    for sentence in filter(None, sentences):
        say(f"Note: {sentence}")


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table with a header and, if given, a title with LEAKY in red and other marks in yellow."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    words = Text(printable(title))
    words.highlight_words(["LEAKY"], "bold red")
    words.highlight_words([mark.upper() for mark in MARKS], "bold yellow")
    table = Table(*header, title=words if title else None, title_style="bold")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """Turn an `OSError` while writing a file or folder into a `UserError` that names the option of its path."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{option} {path} cannot be written ({error.strerror}); choose another.") from error
