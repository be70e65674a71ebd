"""Tables in CSV, Markdown and LaTeX from one list of columns."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from genreclf.escaping import csv_cell
from genreclf.evaluation.metrics import rounded
from genreclf.run_directory import csv_of

MISSING = "n/a"

T = TypeVar("T")


@dataclass(frozen=True)
class Column(Generic[T]):
    """A column of a table, whose rows are objects of one type."""

    key: str
    """Heading in CSV files; empty to leave the column out of CSV files."""
    value: Callable[[T], Any]
    """Function that returns the value of a row for CSV files: unrounded, shares as fractions, None if missing."""
    title: str = ""
    """Heading for readers; empty to leave the column out of tables for readers."""
    text: Callable[[T], str] = str
    """Function that returns the text of a row for readers."""
    words: bool = False
    """Whether the column contains text, which is aligned to the left, instead of numbers."""


def of_value(key: str, title: str, value: Callable[[T], Any], text: Callable[[Any], str]) -> Column[T]:
    """Return a column that shows readers the value formatted by `text`."""
    return Column(key, value, title, lambda row: text(value(row)))


def of_interval(
    key: str, title: str, ends: Callable[[T], Sequence[float] | None], missing: str = MISSING
) -> tuple[Column[T], Column[T]]:
    """Return a column for each end of an interval; readers see the whole interval in the first of the two columns."""

    def end(row: T, index: int) -> float | None:
        return None if (interval := ends(row)) is None else interval[index]

    def text(row: T) -> str:
        return missing if (interval := ends(row)) is None else span(*interval)

    return Column(f"{key}_low", lambda row: end(row, 0), title, text), Column(f"{key}_high", lambda row: end(row, 1))


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table for readers."""

    header: Sequence[str]
    """Headings of the columns."""
    cells: Sequence[Sequence[str]]
    """Text of the cells, row by row."""
    words: int = 1
    """Number of leading columns that contain text and are aligned to the left."""

    @classmethod
    def of(cls, columns: Iterable[Column[T]], rows: Iterable[T]) -> "Table":
        """Return the table of the given rows, with the columns that have a title."""
        shown = [column for column in columns if column.title]
        return cls(
            header=[column.title for column in shown],
            cells=[[column.text(row) for column in shown] for row in rows],
            words=sum(column.words for column in shown),
        )

    def markdown(self) -> str:
        """Return the table in Markdown."""
        lines = [
            [cell.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for cell in row]
            for row in (self.header, *self.cells)
        ]
        lines.insert(1, ["---"] * self.words + ["---:"] * (len(self.header) - self.words))
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)

    def latex(self) -> str:
        r"""Return the table as a LaTeX ``tabular`` that needs the package booktabs, with LEAKY in bold."""
        columns = "l" * self.words + "r" * (len(self.header) - self.words)
        lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _latex_row(self.header), r"\midrule"]
        lines += [_latex_row(row).replace("LEAKY", r"\textbf{LEAKY}") for row in self.cells]
        return "\n".join(["% Needs the package booktabs.", *lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def csv_text(columns: Sequence[Column[T]], rows: Iterable[T]) -> str:
    """Return CSV text of the columns that have a key, with numbers rounded to 6 decimals and missing values empty."""
    shown = [column for column in columns if column.key]
    cells = ([csv_cell(rounded(column.value(row))) for column in shown] for row in rows)
    return csv_of([csv_cell(column.key) for column in shown], cells)


def percent(value: float | None) -> str:
    """Return a fraction in %, with one decimal."""
    return MISSING if value is None else f"{100 * value:.1f}"


def decimal(value: float | None) -> str:
    """Return a number with three decimals."""
    return MISSING if value is None else f"{value:.3f}"


def span(low: float, high: float) -> str:
    """Return an interval of fractions in %, such as ``70.1 to 82.4``."""
    return f"{100 * low:.1f} to {100 * high:.1f}"


def seconds(value: float | None) -> str:
    """Return a duration in seconds, with one decimal below a minute."""
    return MISSING if value is None else f"{value:.1f}" if value < 60 else f"{value:,.0f}"


_LATEX_SIGNS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}


def _latex_row(words: Sequence[str]) -> str:
    escaped = ("".join(_LATEX_SIGNS.get(sign, sign) for sign in word) for word in words)
    return " & ".join(escaped) + r" \\"
