"""What lies in a run directory, written so that a reader never meets half a file."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, which takes the place of `path` in one step when the block ends well.

    The folder is made if it is missing. If the block raises, `path` is as it was before.

    Args:
        path: The file to make or to replace.

    Yields:
        A hidden path in the same folder with the same suffix; nothing is there yet.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def atomic_write_text(path: Path, text: str) -> None:
    r"""Write `text` in UTF-8, line ends as ``\n`` everywhere, in one step.

    Args:
        path: The file to make or to replace.
        text: The whole content.
    """
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
