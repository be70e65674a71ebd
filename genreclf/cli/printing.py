"""What several commands print: notes, a table, and a sentence where a file cannot be written."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from genreclf.errors import UserError
from genreclf.escaping import say


def note(*sentences: str | None) -> None:
    """Print what a user should know to stderr; None says nothing."""
    for sentence in filter(None, sentences):
        say(f"Note: {sentence}")


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table for readers."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*header)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


@contextmanager
def writing(option: str, path: Path) -> Iterator[None]:
    """Turn what keeps a file or folder from being written into a sentence that names the option for it."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{option} {path} cannot be written ({error.strerror}); choose another.") from error
