"""Make untrusted text, such as tags and file names, harmless in a terminal, a spreadsheet and Markdown."""

import re
import sys
from typing import IO, Any

_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")  # noqa: RUF001
_MARKUP = re.compile(r"([\\`*_\[\]|])")


def printable(text: str, keep: str = "") -> str:
    """Escape unprintable characters, such as those of terminal control sequences.

    Args:
        text: Text to escape.
        keep: Unprintable characters that are not escaped.
    """
    return "".join(
        sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape").decode("ascii") for sign in text
    )


def say(sentence: object, file: IO[str] | None = None) -> None:
    """Print sentences to stderr, or to `file`; control characters other than line breaks and tabs are escaped."""
    print(printable(str(sentence), keep="\n\t"), file=file or sys.stderr)


def csv_cell(value: Any) -> Any:
    """Return the value of a CSV cell in a form that no spreadsheet interprets as a formula.

    Text that starts like a formula gets a leading apostrophe, and so does text that could be mistaken for escaped text.
    Removing one apostrophe before ``'``, ``=``, ``+``, ``-`` or ``@`` restores the original. Numbers, also those given
    as text, are returned unchanged.
    """
    if not isinstance(value, str) or not _FORMULA.match(value) or _is_number(value):
        return value
    return f"'{value}"


def markdown(text: str) -> str:
    """Escape text for a line of Markdown, so that nothing in it is taken for markup or HTML."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
