"""`BlockExplorer`: one block of a real tensor, from bytes to weights and back."""

from __future__ import annotations

from typing import Any

import ipywidgets
import numpy as np

from qviz.errors import WidgetError
from qviz.figures import BlockLens, block_lens
from qviz.formats import QTensor
from qviz.widgets import _text
from qviz.widgets.base import SourceExplorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table


class BlockExplorer(SourceExplorer):
    """Look into one block: which bit makes which weight, and what breaks when it flips.

    Point at a byte and its field, its bits and the weights that it feeds light up; point at a weight and the
    bits that make it do. The arrow keys do the same. A click on a bit, or a digit 0 … 7 on a byte, flips it.

    Parameters
    ----------
    given : QTensor, or a model
        The tensor; of a model, `tensor` says which.
    tensor : str, optional
        Name of a model's tensor; the first one unless given.
    row, block : int
        Which block: its row, and its place in the row.
    name : str, optional
        What to call a tensor that comes without a name.

    Raises
    ------
    WidgetError
        Not a quantized tensor, no such tensor, or no such block.

    Attributes
    ----------
    controls : dict
        ``row``, ``block``, ``reset`` and, for a model, ``tensor``.
    figure : View
        ``figure["lens"]`` is a `BlockLens`.

    Examples
    --------
    >>> from qviz import quantize
    >>> explorer = BlockExplorer(quantize(np.arange(64.0), "Q8_0"), name="a ramp")
    >>> explorer
    BlockExplorer(a ramp 64)
    >>> explorer.controls["block"].value = 1
    >>> explorer.figure["lens"].column
    32
    >>> explorer.flip(1, 6)  # the highest bit but one of the scale's upper byte: an exponent bit
    >>> int(explorer.figure["lens"].broken.sum())
    32
    """

    _layout = "block"

    def __init__(
        self, given: Any, tensor: str | None = None, *, row: int = 0, block: int = 0, name: str | None = None
    ) -> None:
        self._flips: set[tuple[int, int]] = set()
        super().__init__(given, tensor, name)
        self.controls |= {
            "row": ipywidgets.IntSlider(
                0, 0, 0, description="Row", tooltip="row of the tensor", layout={"width": "330px"}
            ),
            "block": ipywidgets.IntSlider(
                0, 0, 0, description="Block in the row", tooltip="block of the row", layout={"width": "330px"}
            ),
            "reset": ipywidgets.Button(
                description="Undo all flips", tooltip="show the block as it is in the file", icon="undo"
            ),
        }
        rows, per_row = self._blocks.shape
        if row not in range(rows) or block not in range(per_row):
            raise WidgetError(
                f"no block {block} in row {row}: {self.tensor_name} has rows 0 … {rows - 1} of {per_row} blocks each"
            )
        self._set_ranges(row, block)
        self._on_click("reset", self.reset)
        self._arrange(("tensor",), ("row", "block", "reset"))

    def _open(self) -> None:
        tensor = self._source.tensor
        if not isinstance(tensor, QTensor):
            raise WidgetError(
                f"{self.tensor_name} is a plain array and has no blocks; quantize it first, "
                f'e.g. qviz.quantize(x, "Q4_0")'
            )
        self._tensor = tensor
        self._blocks = tensor.blocks.reshape(self._source.rows, -1)
        self._flips.clear()
        if "row" in self.controls:
            self._set_ranges(0, 0)

    def _set_ranges(self, row: int, block: int) -> None:
        for name, value, n in zip(("row", "block"), (row, block), self._blocks.shape, strict=True):
            control = self.controls[name]
            control.max = n - 1
            control.value = value
            control.disabled = n == 1

    def _react(self, _control: ipywidgets.Widget) -> None:
        self._flips.clear()

    @property
    def index(self) -> int:
        """The block on show, counted through the tensor."""
        return int(self.controls["row"].value * self._blocks.shape[1] + self.controls["block"].value)

    def flip(self, byte: int, bit: int) -> None:
        """Flip one bit of the block; a second time flips it back.

        Parameters
        ----------
        byte : int
            Byte of the block, from 0.
        bit : int
            0 (the lowest) to 7.

        Raises
        ------
        WidgetError
            No such bit.
        """
        block_lens(self._tensor, self.index, [(byte, bit)])  # raises if there is none
        self._flips ^= {(byte, bit)}
        self.update()

    def reset(self) -> None:
        """Undo all flips."""
        self._flips.clear()
        self.update()

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] == "flip":
            self.flip(int(event["byte"]), int(event["bit"]))

    def _scene(self) -> Scene:
        lens = block_lens(self._tensor, self.index, sorted(self._flips), self._source.address)
        self.controls["reset"].disabled = not self._flips
        fmt = self._tensor.format
        broken = int(lens.broken.sum())
        notes = []
        if not fmt.can_decode:
            notes.append(
                Status(
                    "info",
                    f"{fmt} can be listed and copied, but not decoded here: its bytes are all there is.",
                )
            )
        return Scene(
            self._layout,
            {"lens": Panel(lens, label=f"one {fmt} block: {fmt.type_size} bytes, {fmt.block_size} weights")},
            self._readouts(lens),
            f"{self.tensor_name}, row {lens.row}, block {self.controls['block'].value}: a {fmt} block, "
            f"{fmt.type_size} bytes for {fmt.block_size} weights."
            + (
                f" {_text.plural(len(self._flips), 'bit')} flipped: {_text.plural(broken, 'weight')} changed."
                if self._flips
                else ""
            ),
            _tables(lens),
            tuple(notes),
        )

    def _readouts(self, lens: BlockLens) -> tuple[Readout, ...]:
        fmt = self._tensor.format
        if lens.address is None:
            start, where = self.index * fmt.type_size, "counted from the tensor's first byte"
        else:
            start, where = lens.address, "counted from the start of the file"
        last = lens.column + fmt.block_size - 1
        readouts = [
            Readout("Format", str(fmt), fmt.source),
            Readout("Row", str(lens.row), f"of {self._blocks.shape[0]}"),
            Readout(
                "Columns",
                str(lens.column) if fmt.block_size == 1 else f"{lens.column} … {last}",
                "weights of the row",
            ),
            Readout("Bytes", str(fmt.type_size), f"{fmt.bpw:g} bits per weight"),
            Readout(
                "At byte" if lens.address is not None else "At byte of tensor",
                f"0x{start:x}",
                f"{_text.count(start)}, {where}",
            ),
        ]
        if self._flips:
            worst = (
                float(np.abs(np.nan_to_num(lens.weights - lens.before, nan=np.inf)).max()) if lens.weights.size else 0.0
            )
            readouts += [
                Readout("Bits flipped", str(len(self._flips))),
                Readout("Weights changed", f"{int(lens.broken.sum())} of {fmt.block_size}"),
                Readout("Largest change", _text.number(worst)),
            ]
        return tuple(readouts)


def _tables(lens: BlockLens) -> tuple[Table, ...]:
    fields = Table(
        "Fields",
        ("field", "bytes", "elements", "what for"),
        tuple(
            (f.name, f"{f.offset} … {f.offset + f.size * f.count - 1}", f"{f.count} × {f.type}", f.note)
            for f in lens.fields
        ),
    )
    weights = tuple(
        (
            str(i),
            str(lens.codes[i]) if lens.codes.size else "",
            _text.number(float(lens.before[i]), 4),
            _text.number(float(lens.weights[i]), 4),
        )
        for i in range(lens.weights.size)
    )
    return (fields, Table("Weights", ("weight", "code", "in the file", "now"), weights))
