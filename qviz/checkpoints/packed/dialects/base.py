"""What a dialect of packed checkpoints is: how its settings are spelled, and how its words are laid out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qviz.errors import CheckpointError

if TYPE_CHECKING:
    from qviz.checkpoints.packed.linear import PackedLinear

Shape = tuple[int, ...]


class MisfitError(Exception):
    """Shapes that do not go together; the text says how. Whoever knows the file makes a `CheckpointError` of it."""


class Component(NamedTuple):
    """A tensor of a packed matrix.

    Attributes
    ----------
    field : str
        Which field of `PackedLinear` it fills; one that fills none is only looked at.
    name : str
        The last part of its name in the file.
    dtypes : tuple of str
        As safetensors spells them.
    ndims : tuple of int
    required : bool
    """

    field: str
    name: str
    dtypes: tuple[str, ...]
    ndims: tuple[int, ...] = (2,)
    required: bool = True


class MatrixSize(NamedTuple):
    """What the shapes of a matrix's tensors say: outputs, inputs, and groups in a row."""

    n_out: int
    n_in: int
    groups: int


class ModuleRule(NamedTuple):
    """What the settings say of one matrix.

    Attributes
    ----------
    layout : str
    bits : int
    group_size : int or None
        −1 for a row, 0 for the whole matrix; None if nothing says.
    act_order : bool
        Groups may be of columns that do not follow each other.
    symmetric : bool or None
    """

    layout: str
    bits: int
    group_size: int | None = None
    act_order: bool = False
    symmetric: bool | None = None

    def groups(self, n_in: int) -> int | None:
        """How many groups a row of so many columns has, if the settings say."""
        if self.group_size is None:
            return None
        return 1 if self.group_size <= 0 else -(-n_in // self.group_size)


@dataclass(frozen=True)
class Layout:
    """How the words of a matrix are laid out.

    Parameters
    ----------
    name : str
    components : tuple of Component
        The first one tells that a matrix is packed.
    measure : callable ``(shapes by field, rule) -> MatrixSize``
        Raises `MisfitError`.
    codes : callable ``(packed) -> uint8 (n_out, n_in)``
    zero_points : callable ``(packed) -> int32 (n_out, n_groups)``
        What stands for zero, in unsigned codes.
    scales : callable ``(packed) -> float32 (n_out, n_groups)``
    source : str
        Whose source or bytes say so.
    table : float32 array (2**bits,), optional
        What each code stands for; unless given, itself less the zero point.
    """

    name: str
    components: tuple[Component, ...]
    measure: Callable[[Mapping[str, Shape], ModuleRule], MatrixSize]
    codes: Callable[[PackedLinear], npt.NDArray[np.uint8]]
    zero_points: Callable[[PackedLinear], npt.NDArray[np.int32]]
    scales: Callable[[PackedLinear], npt.NDArray[np.float32]]
    source: str
    table: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class PackedSettings:
    """What a folder says of its quantization.

    Attributes
    ----------
    values : mapping
        Keys in lower case, under the names of today.
    path : pathlib.Path
        The file that says so.
    """

    values: Mapping[str, Any]
    path: Path

    def error(self, problem: str, found: object = None, expected: str | None = None) -> CheckpointError:
        """An error that names the file."""
        return CheckpointError(problem, path=self.path, found=found, expected=expected)

    def word(self, key: str, default: str = "") -> str:
        """A text, in lower case."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.error(f"{key} must be a text", found=value)
        return value.lower()

    def flag(self, key: str, default: bool | None = None) -> bool | None:
        """True or false; `default` if it is not there."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.error(f"{key} must be true or false", found=value)
        return default if value is None else value

    def whole(self, key: str, value: Any) -> int:
        """`value` as a whole number that a setting may have."""
        if type(value) is not int or not -1 <= value < 1 << 31:
            raise self.error(f"{key} must be a whole number", found=value)
        return value

    def table(self, key: str) -> dict[str, Any]:
        """An object; an empty one if it is not there."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, dict):
            raise self.error(f"{key} must be an object", found=value)
        return value or {}

    def bits(self, allowed: tuple[int, ...], values: Mapping[str, Any] | None = None) -> int:
        """Bits of a code."""
        given = values if values is not None and values.get("bits") is not None else self.values
        if "bits" not in given:
            raise self.error("it does not say bits; add what the maker of the model says")
        bits = given["bits"]
        if type(bits) is not int or bits not in allowed:
            raise self.error(
                "codes of so many bits are not read here", found=bits, expected=" or ".join(map(str, allowed))
            )
        return bits

    def group_size(self, values: Mapping[str, Any] | None = None) -> int | None:
        """Columns that share a scale: −1 for all of a row; None if nothing says."""
        given = values if values is not None and values.get("group_size") is not None else self.values
        if given.get("group_size") is None:
            return None
        size = self.whole("group_size", given["group_size"])
        if size == 0:
            raise self.error("group_size must be −1 or positive", found=size)
        return size

    def refuse(self, key: str, harmless: tuple[Any, ...] = (None, False, "", 0), why: str = "") -> None:
        """Name a setting that would have to be applied, and is not."""
        value = self.values.get(key)
        if value in harmless or value == {} or value == []:
            return
        raise self.error(f"{key} is not applied here{why}; use an export without it", found=value)


@dataclass(frozen=True)
class Dialect:
    """Packed checkpoints of one family of writers.

    Parameters
    ----------
    name : str
    methods : tuple of str
        What ``quant_method`` says.
    rules : callable ``(settings) -> (module name -> ModuleRule, or None for floats)``
        Raises `CheckpointError` for what is not read here.
    layouts : tuple of Layout
        Those that are its own.
    markers : tuple of str
        The last parts of names that a packed matrix may have, instead of ``weight``.
    """

    name: str
    methods: tuple[str, ...]
    rules: Callable[[PackedSettings], Callable[[str], ModuleRule | None]]
    layouts: tuple[Layout, ...]
    markers: tuple[str, ...] = ("qweight",)


def check_groups(groups: int, n_in: int, rule: ModuleRule) -> None:
    """Raise `MisfitError` unless there are as many groups as the settings say."""
    wanted = rule.groups(n_in)
    if wanted is not None and groups != wanted:
        size = "rows" if rule.group_size == -1 else f"groups of {rule.group_size}"
        raise MisfitError(f"{n_in} columns in {size} have {wanted} scales a row, its tensors hold {groups}")
    if wanted is None and (not groups or n_in % groups):
        raise MisfitError(f"nothing says group_size, and {n_in} columns are not {groups} equal groups")
