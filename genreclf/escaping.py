"""Text from elsewhere, such as tags and file names, made harmless for a terminal, a spreadsheet and Markdown."""

import re
import sys
from typing import IO, Any

_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")  # noqa: RUF001
_MARKUP = re.compile(r"([\\`*_\[\]|])")


def printable(text: str, keep: str = "") -> str:
    """Escape unprintable characters, such as those of terminal control sequences.

    Args:
        text: Any text.
        keep: Characters that are left as they are.
    """
    return "".join(
        sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape").decode("ascii") for sign in text
    )


def say(sentence: object, file: IO[str] | None = None) -> None:
    """Print sentences to stderr, or to `file`; of control characters, only line breaks and tabs are kept."""
    print(printable(str(sentence), keep="\n\t"), file=file or sys.stderr)


def csv_cell(value: Any) -> Any:
    """Return a cell of a CSV file that no spreadsheet takes for a formula.

    Text that starts like a formula gets a leading apostrophe, and so does text that could be mistaken for such escaped
    text. Removing one apostrophe before ``'``, ``=``, ``+``, ``-`` or ``@`` restores the original. Numbers, even as
    text, stay as they are.
    """
    if not isinstance(value, str) or not _FORMULA.match(value) or _is_number(value):
        return value
    return f"'{value}"


def markdown(text: str) -> str:
    """Escape in a line of Markdown what would be markup or HTML."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
