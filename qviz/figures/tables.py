"""Numbers in rows: a table that reads the same in a notebook, in a terminal and on a web page."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from qviz.errors import WidgetError, shortened


@dataclass(frozen=True, repr=False)
class TextTable:
    """A table of cells that are text already; see `table`.

    Attributes
    ----------
    columns : tuple of str
        The heading.
    rows : tuple of tuple of str
    numeric : tuple of bool
        Columns of numbers; they are set flush right.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]

    def __repr__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        lines = []
        for row in (self.columns, *self.rows):
            cells = zip(row, widths, self.numeric, strict=True)
            line = "  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in cells)
            lines.append(line.rstrip())
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The table as HTML. JupyterLab sets every cell flush right unless told otherwise."""
        lines = []
        for tag, rows in (("th", (self.columns,)), ("td", self.rows)):
            for row in rows:
                cells = zip(row, self.numeric, strict=True)
                line = "".join(
                    f'<{tag} style="text-align: {"right" if right else "left"}">{html.escape(cell)}</{tag}>'
                    for cell, right in cells
                )
                lines.append(f"<tr>{line}</tr>")
        return f"<table><thead>{lines[0]}</thead><tbody>{''.join(lines[1:])}</tbody></table>"


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> TextTable:
    """Lay out rows of numbers and words.

    Parameters
    ----------
    columns : sequence of str
        The heading.
    rows : iterable of sequences
        As long as `columns` each. Whole numbers get commas, other numbers four significant digits; everything else
        is shown as ``str`` has it. An empty string leaves a number out.

    Returns
    -------
    TextTable
        Shown by a notebook as an HTML table, by Python as text.

    Raises
    ------
    WidgetError
        A row has more or fewer cells than there are columns.

    Examples
    --------
    >>> table(("format", "bytes", "RMSE"), [("Q4_0", 497664, 0.0122054), ("Q8_0", 940032, 0.0)])
    format    bytes     RMSE
    Q4_0    497,664  0.01221
    Q8_0    940,032        0
    """
    cells = [tuple(row) for row in rows]
    for row in cells:
        if len(row) != len(columns):
            raise WidgetError(f"a row of {len(row)} cells in a table of {len(columns)} columns: {shortened(row)}")
    numeric = tuple(_numeric([row[i] for row in cells]) for i in range(len(columns)))
    return TextTable(tuple(columns), tuple(tuple(map(_text, row)) for row in cells), numeric)


def _numeric(column: list[Any]) -> bool:
    return any(isinstance(cell, Real) for cell in column) and all(
        isinstance(cell, Real) or (isinstance(cell, str) and not cell) for cell in column
    )


def _words(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # it has none, or none that Python would print
        return shortened(value)


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, Real):
        return _words(value)
    if isinstance(value, Integral):
        return f"{int(value):,}" if int(value).bit_length() < 10_000 else shortened(int(value))
    number = float(value)
    if math.isinf(number):
        return "∞" if number > 0 else "-∞"
    if abs(number) >= 1e4:
        return f"{number:,.0f}"
    return f"{number:.4g}"
