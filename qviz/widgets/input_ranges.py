"""`InputRangeExplorer`: a range for a layer's inputs, fixed beforehand or found at run time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import metrics
from qviz._arrays import real_array
from qviz._types import FloatArray
from qviz.errors import WidgetError
from qviz.grids import AffineGrid
from qviz.grids.ranges import choose_range, range_errors, round_inputs
from qviz.widgets.ranges import WIDTHS, RangeExplorer


class InputRangeExplorer(RangeExplorer):
    """A range for a layer's inputs: fixed beforehand (static), against ranges found at run time (dynamic).

    A static range is chosen on the calibration inputs, and everything is measured on the others, which it never saw.

    Parameters
    ----------
    given : mapping of str to (calibration, inputs)
        Name of a matrix -> what it received while calibrating, float32 (n_tokens, n_in), and afterwards, float32
        (m_tokens, n_in); as `qviz.models.captured_inputs` returns. Or one such pair.
    tensor : str, optional
        Which to start with.
    bits : int
        2 to 8.
    shared : {"static", −1, 128, 64, 32}
        One range chosen beforehand; or at run time for each token, or for so many values of it.
    chooser : str
        As in `RangeExplorer`.
    name : str, optional

    Raises
    ------
    WidgetError
        Not such inputs, or no such setting.

    Attributes
    ----------
    controls, figure
        As in `RangeExplorer`; its rows are tokens.

    Examples
    --------
    >>> x = np.sin(np.arange(512, dtype=np.float32)).reshape(4, 128)
    >>> explorer = InputRangeExplorer((x, 3 * x), bits=8, name="a wave that grew")
    >>> static = explorer.figure["range"]
    >>> explorer.controls["shared"].value = -1
    >>> static.below > 0, explorer.figure["range"].below  # clipped beforehand, fitted at run time
    (True, 0)
    """

    _kind = "inputs"
    _one = "input"
    _row_word = "Token"
    _sharing: Mapping[str, int | str] = {
        "all tokens, beforehand (static)": "static",
        "each token, at run time (dynamic)": -1,
        "128 values of a token": 128,
        "64 values of a token": 64,
        "32 values of a token": 32,
    }

    def __init__(
        self,
        given: Any,
        tensor: str | None = None,
        *,
        bits: int = 8,
        shared: int | str = "static",
        chooser: str = "min–max",
        name: str | None = None,
    ) -> None:
        pairs = given if isinstance(given, Mapping) else {name or "inputs": given}
        self._before_of: dict[str, FloatArray] = {}
        live = {}
        for key, pair in pairs.items():
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise WidgetError(f"{key}: expected (calibration inputs, inputs), two arrays (n_tokens, n_in)")
            before, after = (real_array(part, key, WidgetError) for part in pair)
            if before.ndim != 2 or after.ndim != 2 or before.shape[1] != after.shape[1] or not before.size:
                raise WidgetError(
                    f"{key}: calibration {before.shape} and inputs {after.shape} must be (n_tokens, n_in)"
                )
            self._before_of[key], live[key] = before, after
        super().__init__(live, tensor, bits=bits, shared=shared, chooser=chooser)

    def _reference(self) -> FloatArray:
        return self._before_of[self.tensor_name]

    def _first_row(self, largest: FloatArray) -> int:
        return int(np.argsort(largest)[largest.size // 2])  # a usual token: what is the outlier to it?

    def _basis(self, values: FloatArray) -> FloatArray:
        return self.reference

    def _behind(self) -> FloatArray | None:
        return self.reference

    def _before(self) -> tuple[npt.NDArray[np.float64], float] | None:
        if not self._whole:
            return None
        ends = choose_range(self.reference, self.grid)
        errors = self._once("before", lambda: range_errors(self.reference, self.grid, WIDTHS, ends))
        return errors.total, float(np.square(self.reference, dtype=np.float64).sum())

    def _bits(self, grid: AffineGrid, shape: tuple[int, ...]) -> float:
        return float(grid.bits) if grid.group_size == 0 else grid.bpw(shape)

    def _plain(self, values: FloatArray, grid: AffineGrid, shared: int | str) -> float:
        ends = choose_range(self.reference, grid) if shared == "static" else None
        return metrics.sqnr_db(values, round_inputs(values, grid, ends))

    def _range_title(self, row: int, place: int, size: int) -> str:
        if self._whole:
            return "Inputs at run time, and the range chosen beforehand"
        return super()._range_title(row, place, size)

    def _range_legend(self) -> tuple[tuple[str, str], ...]:
        if not self._whole:
            return super()._range_legend()
        return (("weight", "at run time"), ("soft", "while calibrating"), ("level", "range"), ("changed", "clipped"))

    def _curve_legend(self) -> tuple[tuple[str, str], ...]:
        return (*super()._curve_legend(), *((("soft", "on the calibration inputs"),) if self._whole else ()))
