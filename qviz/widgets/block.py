"""`BlockExplorer`: one block of a real tensor, from bytes to weights and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
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
    bits that make it do. The arrow keys do the same. A click on a bit, or a digit 0 … 7 on a byte, flips it. A riddle
    flips a bit at random, and asks which weights change.

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
        ``row``, ``block``, ``reset``, ``riddle`` and, for a model, ``tensor``.
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
        self._riddle: tuple[int, int] | None = None  # a byte and a bit that were flipped, their effect not shown yet
        self._verdict = ""
        self._random = np.random.default_rng()
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
            "riddle": ipywidgets.Button(
                description="Riddle", icon="random", tooltip="flip a bit at random: which weights does it change?"
            ),
        }
        rows, per_row = self._blocks.shape
        if row not in range(rows) or block not in range(per_row):
            raise WidgetError(
                f"no block {block} in row {row}: {self.tensor_name} has rows 0 … {rows - 1} of {per_row} blocks each"
            )
        self._set_ranges(row, block)
        self._on_click("reset", self.reset)
        self._on_click("riddle", self.ask)
        self._arrange(("tensor",), ("row", "block", "reset", "riddle"))

    def _open(self) -> None:
        tensor = self._source.tensor
        if not isinstance(tensor, QTensor):
            raise WidgetError(
                f"{self.tensor_name} is a plain array and has no blocks; quantize it first, "
                f'e.g. qviz.quantize(x, "Q4_0")'
            )
        self._tensor = tensor
        self._blocks = tensor.blocks.reshape(self._source.rows, -1)
        self._clear()
        if "row" in self.controls:
            self._set_ranges(0, 0)

    def _clear(self) -> None:
        self._flips.clear()
        self._riddle, self._verdict = None, ""

    def _set_ranges(self, row: int, block: int) -> None:
        for name, value, n in zip(("row", "block"), (row, block), self._blocks.shape, strict=True):
            control = self.controls[name]
            control.max = n - 1
            control.value = value
            control.disabled = n == 1

    def _react(self, _control: ipywidgets.Widget) -> None:
        self._clear()

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
        self._riddle, self._verdict = None, ""
        self.update()

    def reset(self) -> None:
        """Undo all flips."""
        self._clear()
        self.update()

    def ask(self, byte: int | None = None, bit: int | None = None) -> None:
        """Flip one bit, and ask which weights it changes; they show it when that is answered.

        Parameters
        ----------
        byte, bit : int, optional
            Which one; at random unless given.

        Raises
        ------
        WidgetError
            No such bit.
        """
        place = divmod(int(self._random.integers(8 * self._tensor.format.type_size)), 8)
        place = (place[0] if byte is None else byte), (place[1] if bit is None else bit)
        block_lens(self._tensor, self.index, [place])  # raises if there is none
        self._clear()
        self._riddle = place
        self.update()

    def guess(self, weights: Iterable[int]) -> bool:
        """Answer the riddle: whether these are the weights that change.

        Weights that the bit feeds but that stay as they are, such as a zero under another scale, may be named or not.

        Parameters
        ----------
        weights : iterable of int
            Places of weights in the block.

        Returns
        -------
        bool

        Raises
        ------
        WidgetError
            Nothing was asked.
        """
        if self._riddle is None:
            raise WidgetError("no riddle has been asked; ask() flips a bit")
        byte, bit = self._riddle
        lens = block_lens(self._tensor, self.index, [self._riddle])
        changed = set(np.flatnonzero(lens.broken).tolist())
        fed = set(np.flatnonzero(np.unpackbits(lens.feeds[8 * byte + bit], bitorder="little")).tolist())
        right = changed <= set(weights) <= fed | changed
        field = next(f for f in lens.fields if f.offset <= byte < f.offset + f.size * f.count)
        which = _listed(sorted(changed))
        self._clear()
        self._flips = {(byte, bit)}
        self._verdict = (
            f"{'Right' if right else 'Not quite'}: bit {bit} of byte {byte} belongs to {field.name}, {field.note}. "
            f"It changes {which}."
        )
        self.update()
        return right

    def _event(self, event: dict[str, Any]) -> None:
        if event["event"] == "flip":
            self.flip(int(event["byte"]), int(event["bit"]))
        elif event["event"] == "guess":
            self.guess(int(place) for place in event["weights"])

    def _options(self) -> dict[str, Any] | None:
        if self._riddle is None:
            return {"solved": next(iter(self._flips))[0]} if self._verdict else None
        byte, bit = self._riddle
        text = f"Bit {bit} of byte {byte} has been flipped. Which weights does that change? Choose them, then check."
        return {"riddle": {"key": f"{self.index} {byte} {bit}", "text": text}}

    def _scene(self) -> Scene:
        lens = block_lens(self._tensor, self.index, sorted(self._flips), self._source.address)
        if self._riddle is not None:  # the byte is seen to have changed; what comes of it is not
            lens = replace(lens, raw=block_lens(self._tensor, self.index, [self._riddle]).raw)
        self.controls["reset"].disabled = not self._flips and self._riddle is None
        self.controls["riddle"].disabled = lens.weights.size < 2
        fmt = self._tensor.format
        broken = int(lens.broken.sum())
        notes = [Status("info", self._verdict)] if self._verdict else []
        if not fmt.can_decode:
            notes.append(
                Status(
                    "info",
                    f"{fmt} can be listed and copied, but not decoded here: its bytes are all there is.",
                )
            )
        return Scene(
            self._layout,
            {
                "lens": Panel(
                    lens,
                    label=f"one {fmt} block: {fmt.type_size} bytes, {fmt.block_size} weights",
                    options=self._options(),
                )
            },
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


def _listed(places: list[int]) -> str:
    """Weights by their places, and by their number where they are many."""
    if not places:
        return "no weight at all"
    if len(places) > 6:
        return f"{len(places)} weights"
    return ("weight " if len(places) == 1 else "weights ") + ", ".join(map(str, places))


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
