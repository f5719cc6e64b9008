"""GPTQ: codes packed along the inputs, by GPTQ-for-LLaMa, AutoGPTQ and GPTQModel.

::

    qweight int32 (n_in · bits / 32, n_out)     codes along the input, lowest bits first
    qzeros  int32 (n_groups, n_out · bits / 32) zero points along the output, less one in version 1
    scales  float16 (n_groups, n_out),  g_idx int32 (n_in): the group of each input column

AutoGPTQ writes version 1 and says nothing of it, or ``checkpoint_format: gptq``. GPTQModel writes either, and lets a
module have bits and groups of its own: ``dynamic`` maps patterns to overrides, and ``-:pattern`` to floats. Files of
before act-order have no g_idx. How a model was calibrated (damp_percent, true_sequential, static_groups, mse, meta)
changes nothing in how it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qviz.checkpoints.packed.bits import BITS, unpack_bits, zeros_from_v1
from qviz.checkpoints.packed.dialects.base import (
    Component,
    Dialect,
    Layout,
    MatrixSize,
    MisfitError,
    ModuleRule,
    PackedSettings,
    Shape,
    check_groups,
)
from qviz.checkpoints.packed.patterns import Pattern

if TYPE_CHECKING:
    from qviz.checkpoints.packed.linear import PackedLinear

SCALES = ("F16", "BF16", "F32")


def rules(settings: PackedSettings) -> Callable[[str], ModuleRule | None]:
    """The rule of each module."""
    layout = layout_of(settings)
    settings.refuse("adapter", why=": it adds low-rank matrices to the weights")
    settings.refuse("activation", why=": it rounds activations in a way of its own")
    if settings.word("pack_dtype", "int32").removeprefix("torch.") != "int32":
        raise settings.error("only codes packed into int32 are read", found=settings.values["pack_dtype"])
    bits, size = settings.bits(BITS), settings.group_size()
    order, symmetric = bool(settings.flag("desc_act", False)), settings.flag("sym")
    base = ModuleRule(layout, bits, size, order, symmetric)
    overrides = [_override(settings, pattern, given, base) for pattern, given in settings.table("dynamic").items()]

    def rule(module: str) -> ModuleRule | None:
        return next((own for pattern, own in overrides if pattern.begins(module)), base)

    return rule


def layout_of(settings: PackedSettings) -> str:
    """``gptq`` or ``gptq_v2``; others are refused by name."""
    given = settings.word("checkpoint_format") or settings.word("format") or "gptq"
    if settings.values.get("is_marlin_format") is True:
        given = "marlin"
    if given not in ("gptq", "gptq_v2"):
        raise settings.error(
            "this way of packing GPTQ weights is not read here; use an export as gptq or gptq_v2",
            found=given,
            expected="gptq or gptq_v2",
        )
    return given


def _override(
    settings: PackedSettings, pattern: str, given: Any, base: ModuleRule
) -> tuple[Pattern, ModuleRule | None]:
    """One entry of ``dynamic``: the pattern, and the rule of the modules whose names begin so."""
    if not isinstance(given, dict | None):
        raise settings.error(f"dynamic {pattern!r} must be an object", found=given)
    values: Mapping[str, Any] = given or {}
    compiled = Pattern(pattern.removeprefix("+:").removeprefix("-:"), settings)
    if pattern.startswith("-:"):
        return compiled, None
    order, symmetric = values.get("desc_act", base.act_order), values.get("sym", base.symmetric)
    if not isinstance(order, bool) or not isinstance(symmetric, bool | None):
        raise settings.error(f"desc_act and sym of dynamic {pattern!r} must be true or false", found=values)
    return compiled, ModuleRule(base.layout, settings.bits(BITS, values), settings.group_size(values), order, symmetric)


# -- words


def measure(shapes: Mapping[str, Shape], rule: ModuleRule) -> MatrixSize:
    """Sizes of a matrix, from its tensors."""
    (rows, n_out), (groups, width), scales = shapes["qweight"], shapes["qzeros"], shapes["scales"]
    if scales != (groups, n_out):
        raise MisfitError(f"scales are {scales}, and should be {(groups, n_out)}")
    if width * 32 != n_out * rule.bits:
        stored = width * 32 / n_out
        raise MisfitError(f"the settings say {rule.bits} bits, but zero points of {stored:g} bits are stored")
    if rows * 32 % rule.bits:
        raise MisfitError(f"{rows} rows of words are not whole runs of {rule.bits}-bit codes")
    n_in = rows * 32 // rule.bits
    check_groups(groups, n_in, rule)
    return MatrixSize(n_out, n_in, groups)


def _codes(packed: PackedLinear) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(unpack_bits(packed.qweight, packed.bits).T)


def _zeros(packed: PackedLinear) -> npt.NDArray[np.int32]:
    assert packed.qzeros is not None
    words = zeros_from_v1(packed.qzeros, packed.bits) if packed.format == "gptq" else packed.qzeros
    return unpack_bits(np.ascontiguousarray(words.T), packed.bits).astype(np.int32)


def scales_of_columns(packed: PackedLinear) -> npt.NDArray[np.float32]:
    """Scales that are stored a group a row: float32 (n_out, n_groups)."""
    return np.ascontiguousarray(packed.scales.T, np.float32)


_PARTS = (
    Component("qweight", "qweight", ("I32",)),
    Component("qzeros", "qzeros", ("I32",)),
    Component("scales", "scales", SCALES),
    Component("g_idx", "g_idx", ("I32", "I64"), (1,), required=False),
)
_SOURCE = "GPTQModel nn_modules/qlinear, utils/model.py; bytes that it wrote"
DIALECT = Dialect(
    name="GPTQ",
    methods=("gptq", "auto-gptq", "gptqmodel"),
    rules=rules,
    layouts=tuple(
        Layout(name, _PARTS, measure, _codes, _zeros, scales_of_columns, _SOURCE) for name in ("gptq", "gptq_v2")
    ),
)
