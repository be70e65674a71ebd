"""Tables for every medium, out of one list of columns: CSV, Markdown and LaTeX."""

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
    """A column of a table whose rows are objects of one type."""

    key: str
    """Heading in CSV files; empty to leave the column out there."""
    value: Callable[[T], Any]
    """Returns what CSV files hold of a row: fractions, unrounded, None where there is none."""
    title: str = ""
    """Heading for readers; empty to leave the column out for them."""
    text: Callable[[T], str] = str
    """Returns what readers see of a row."""
    words: bool = False
    """Whether it holds words, which stand to the left, and not numbers."""


def of_value(key: str, title: str, value: Callable[[T], Any], text: Callable[[Any], str]) -> Column[T]:
    """Return a column of which readers see `text` of the value."""
    return Column(key, value, title, lambda row: text(value(row)))


def of_interval(
    key: str, title: str, ends: Callable[[T], Sequence[float] | None], missing: str = MISSING
) -> tuple[Column[T], Column[T]]:
    """Return the columns of both ends of an interval, of which readers see one: from the low end to the high one."""

    def end(row: T, index: int) -> float | None:
        return None if (interval := ends(row)) is None else interval[index]

    def text(row: T) -> str:
        return missing if (interval := ends(row)) is None else span(*interval)

    return Column(f"{key}_low", lambda row: end(row, 0), title, text), Column(f"{key}_high", lambda row: end(row, 1))


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table for readers."""

    header: Sequence[str]
    """Names of the columns."""
    cells: Sequence[Sequence[str]]
    """A row each."""
    words: int = 1
    """Number of columns, from the first, that hold words."""

    @classmethod
    def of(cls, columns: Iterable[Column[T]], rows: Iterable[T]) -> "Table":
        """Return the columns that have a title."""
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
        r"""Return the table as a ``tabular`` for the package booktabs, LEAKY in bold."""
        columns = "l" * self.words + "r" * (len(self.header) - self.words)
        lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", _latex_row(self.header), r"\midrule"]
        lines += [_latex_row(row).replace("LEAKY", r"\textbf{LEAKY}") for row in self.cells]
        return "\n".join(["% Needs the package booktabs.", *lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def csv_text(columns: Sequence[Column[T]], rows: Iterable[T]) -> str:
    """Return a CSV file of the columns that have a key: numbers with 6 decimals, empty where there is none."""
    shown = [column for column in columns if column.key]
    cells = ([csv_cell(rounded(column.value(row))) for column in shown] for row in rows)
    return csv_of([csv_cell(column.key) for column in shown], cells)


def percent(value: float | None) -> str:
    """Return a fraction in % with one decimal."""
    return MISSING if value is None else f"{100 * value:.1f}"


def decimal(value: float | None) -> str:
    """Return a number with three decimals."""
    return MISSING if value is None else f"{value:.3f}"


def span(low: float, high: float) -> str:
    """Return an interval of fractions in %."""
    return f"{100 * low:.1f} to {100 * high:.1f}"


def seconds(value: float | None) -> str:
    """Return a time, to the tenth of a second below a minute."""
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
