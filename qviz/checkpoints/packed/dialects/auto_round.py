"""AutoRound: the layouts of GPTQ and AWQ under settings of its own.

``packing_format`` (``backend`` in older files) says which. What names gptq is GPTQ version 1; what names gptqmodel,
version 2; what names awq, AWQ's GEMM. A name without either (``auto_round:exllamav2``, ``auto_round:tritonv2``) meant
zero points less one in 2024, and means them as they are today, so there the zero points have to tell: with a
symmetric grid they all lie in the middle. ``extra_config`` gives single modules bits and groups of their own, by name
or by pattern; 16 bits are floats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qviz.checkpoints.packed.bits import BITS
from qviz.checkpoints.packed.dialects.base import Dialect, ModuleRule, PackedSettings
from qviz.checkpoints.packed.patterns import Pattern

_SPECIAL = set("*+?^$()[]{}|\\")
_KNOWN = ("auto", "auto_round", "auto_gptq", "gptq", "auto_awq", "awq", "gptqmodel", "auto_gptqmodel")
_ENGINES = ("exllamav2", "exllamav1", "triton", "tritonv2", "cuda", "qigen", "marlin", "torch", "gemm", "auto")
EITHER = "gptq or gptq_v2"
"""A layout that the zero points have to tell."""


def rules(settings: PackedSettings) -> Callable[[str], ModuleRule | None]:
    """The rule of each module."""
    layout = _layout(settings)
    act_bits = settings.values.get("act_bits")
    if settings.word("data_type", "int") not in ("int", "int_sym", "int_asym") or act_bits not in (None, 16, 32):
        raise settings.error(
            "only AutoRound's integer codes beside float activations are read",
            found=(settings.values.get("data_type"), act_bits),
            expected="data_type int, and no act_bits",
        )
    allowed = (4,) if layout == "gemm" else BITS
    base = ModuleRule(layout, settings.bits(allowed), settings.group_size(), False, settings.flag("sym"))
    if layout == EITHER and not base.symmetric:
        raise settings.error(
            "two versions of AutoRound store the zero points of this packing_format differently; "
            "export it as auto_round:auto_gptq",
            found=settings.values.get("packing_format") or settings.values.get("backend"),
        )
    exact: dict[str, ModuleRule | None] = {}
    patterns: list[tuple[Pattern, ModuleRule | None]] = []
    for name, values in settings.table("extra_config").items():
        if not isinstance(values, dict):
            raise settings.error(f"extra_config {name!r} must be an object", found=values)
        exact[name] = _override(settings, name, values, base, allowed)
        if set(name) & _SPECIAL:
            patterns.append((Pattern(name, settings), exact[name]))

    def rule(module: str) -> ModuleRule | None:
        if module in exact:
            return exact[module]
        return next((own for pattern, own in patterns if pattern.within(module)), base)

    return rule


def _layout(settings: PackedSettings) -> str:
    given = settings.word("packing_format") or settings.word("backend") or "auto_round:auto_gptq"
    words = given.replace("-", "_").removeprefix("autoround").split(":")
    if any(word and word not in _KNOWN and word not in _ENGINES for word in words):
        raise settings.error(
            "this packing_format of AutoRound is not read here; export it as auto_round:auto_gptq, or as GGUF",
            found=given,
            expected="auto_round:auto_gptq, auto_round:auto_awq or auto_round:gptqmodel",
        )
    if any("gptqmodel" in word for word in words):
        return "gptq_v2"
    if any("awq" in word for word in words):
        return "gemm"
    return "gptq" if any("gptq" in word for word in words) or given == "auto" else EITHER


def _override(
    settings: PackedSettings, name: str, values: Mapping[str, Any], base: ModuleRule, allowed: tuple[int, ...]
) -> ModuleRule | None:
    kind = values.get("data_type", "int")
    bits = values.get("bits", base.bits)
    if type(bits) is int and bits >= 16:
        return None
    symmetric = values.get("sym", base.symmetric)
    if not isinstance(symmetric, bool | None) or not isinstance(kind, str) or not kind.startswith("int"):
        raise settings.error(f"extra_config {name!r} is not understood", found=dict(values))
    return ModuleRule(base.layout, settings.bits(allowed, values), settings.group_size(values), False, symmetric)


DIALECT = Dialect(
    name="AutoRound",
    methods=("auto-round", "intel/auto-round", "auto_round", "autoround"),
    rules=rules,
    layouts=(),
)
