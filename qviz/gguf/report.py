"""A `Summary` for the eyes: aligned columns for a terminal or a pipe.

Names and texts come from the file, so whatever is not printable is escaped: a file must not move the cursor,
ring the bell or colour the screen of the person who looks into it.

The columns are laid out by hand: a table library takes ten times as long as everything else here together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from qviz.errors import printable
from qviz.gguf.foreign import ForeignFormat
from qviz.gguf.summary import MetadataEntry, Summary

_LONGEST_ITEM = 60
_GAP = "  "


def lines(
    summary: Summary,
    *,
    metadata: bool = True,
    tensors: bool = True,
    full: bool = False,
    width: int = 80,
) -> Iterator[str]:
    """A summary, line by line, with terminal styles.

    Parameters
    ----------
    summary : Summary
    metadata, tensors : bool, optional
        Which of the two tables to include.
    full : bool, optional
        Keep long texts whole.
    width : int, optional
        Columns of the terminal: metadata values are cut to fit.

    Yields
    ------
    str
    """
    for path in summary.paths:
        yield click.style(printable(str(path)), bold=True)
    yield (
        f"{summary.container} version {summary.version}, {summary.endian}-endian, {_size(summary.file_bytes)}; "
        f"tensors from byte {summary.data_offset:,}, aligned to {summary.alignment}"
    )
    if metadata:
        yield ""
        yield from _metadata_table(summary, full, width)
    if tensors and summary.tensors:
        yield ""
        yield from _tensor_table(summary)
    yield ""
    yield from _totals(summary)


def value_text(entry: MetadataEntry, full: bool = False) -> str:
    """A metadata value on one line; what is left out of an array is counted.

    Examples
    --------
    >>> value_text(MetadataEntry("tokens", "arr[str]", ["a", "b"], 49152))
    "['a', 'b', ...] 49,152 items"
    """
    if entry.length is None:
        return printable(str(entry.value))
    if isinstance(entry.value, str):
        return f"{printable(entry.value)}... {entry.length:,} bytes"
    items = [printable(_cut(repr(item), None if full else _LONGEST_ITEM)) for item in entry.value]
    if len(items) == entry.length:
        return f"[{', '.join(items)}]"
    return f"[{', '.join([*items, '...'])}] {entry.length:,} items"


def _metadata_table(summary: Summary, full: bool, width: int) -> Iterator[str]:
    rows = [("metadata", "type", "value")]
    rows += [(printable(entry.key), entry.type, value_text(entry, full)) for entry in summary.metadata]
    left = max(len(row[0]) for row in rows) + max(len(row[1]) for row in rows) + 2 * len(_GAP)
    room = None if full else max(width - left, 20)
    yield from _columns([(key, type_, _cut(value, room)) for key, type_, value in rows], "<<<")


def _tensor_table(summary: Summary) -> Iterator[str]:
    rows = [("tensor", "format", "shape", "bytes", "at byte")]
    for info in summary.tensors:
        shape = " × ".join(map(str, info.shape))
        rows.append((printable(info.name), info.format.name, shape, f"{info.nbytes:,}", f"{info.offset:,}"))
    yield from _columns(rows, "<<>>>")
    example = max(summary.tensors, key=lambda info: len(info.shape))
    yield (
        f"Shapes are NumPy's, the row length last. The file stores the reverse: {printable(example.name)} "
        f"is {list(example.dims)} there."
    )


def _totals(summary: Summary) -> Iterator[str]:
    rows = [("format", "tensors", "weights", "bytes", "bits/weight")]
    rows += [
        _numbers(printable(total.format.name), total.tensors, total.weights, total.nbytes, total.bpw)
        for total in summary.totals
    ]
    if len(summary.totals) > 1:
        sums = (len(summary.tensors), summary.weights, summary.tensor_bytes, summary.bpw)
        rows.append(_numbers("all tensors", *sums))
    rest = summary.file_bytes - summary.tensor_bytes
    rows.append(_numbers("header, padding", None, None, rest, 8 * rest / summary.weights if summary.weights else None))
    yield from _columns(rows, "<>>>>")
    for total in summary.totals:
        if isinstance(total.format, ForeignFormat):
            whose = printable(f"{total.format}: {total.format.source}")
            yield f"{whose}. It can be listed, not decoded; its bytes are those up to the next tensor."


def _numbers(
    name: str, tensors: int | None, weights: int | None, nbytes: int, bpw: float | None
) -> tuple[str, str, str, str, str]:
    counts = ["" if n is None else f"{n:,}" for n in (tensors, weights, nbytes)]
    return name, counts[0], counts[1], counts[2], "" if bpw is None or bpw != bpw else f"{bpw:.4g}"


def _columns(rows: Sequence[Sequence[str]], aligns: str) -> Iterator[str]:
    """Rows as lines; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for index, row in enumerate(rows):
        cells = zip(row, aligns, widths, strict=True)
        line = _GAP.join(f"{cell:{align}{width}}" for cell, align, width in cells).rstrip()
        yield line if index else click.style(line, bold=True)


def _cut(text: str, length: int | None) -> str:
    return text if length is None or len(text) <= length else text[: length - 3] + "..."


def _size(nbytes: int) -> str:
    return f"{nbytes:,} bytes" + (f" ({nbytes / 2**20:,.1f} MiB)" if nbytes >= 1 << 20 else "")
