"""compressed-tensors: what llm-compressor and AutoRound write for vLLM: integers, and floats of eight and four bits.

::

    pack-quantized   weight_packed int32 (n_out, n_in · bits / 32, rounded up)  codes along the input, lowest bits first
                     weight_shape  int (2,): n_out, n_in
                     weight_zero_point, if not symmetric: int32 (n_out · bits / 32, rounded up, n_groups)
    int-quantized    weight int8 (n_out, n_in), weight_zero_point int8 (n_out, n_groups)
    both             weight_scale (n_out, n_groups), weight_g_idx int32 (n_in) where columns are out of order
    float-quantized  weight float8 E4M3 (n_out, n_in), weight_scale of the matrix or of each row
    nvfp4-pack-quantized
                     weight_packed uint8 (n_out, n_in / 2)   E2M1, the even column in the lower half of a byte
                     weight_scale float8 E4M3 (n_out, n_in / 16), to be divided by weight_global_scale, float32

Codes are signed; stored words hold them plus half their range, zero points likewise. Writers of before 2026 left bits
of a word unused where they are not a power of two (ten 3-bit codes a word), and some stored zero points unpacked;
both are read.

``config_groups`` gives each scheme its targets: names of modules, ``re:`` patterns that names begin with, or
``Linear``. Schemes for activations and for the key-value cache round what passes through a model, not the model: a
GGUF file leaves that out, and is closer to the original for it. Rotations that belong to a running model
(``transform_config``), sparsity, scales of blocks (rows and columns) and other small floats are refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from qviz.checkpoints.packed.bits import unpack_stream
from qviz.checkpoints.packed.dialects.base import (
    Component,
    Dialect,
    Layout,
    MatrixSize,
    MisfitError,
    ModuleRule,
    PackedSettings,
    Shape,
)
from qviz.checkpoints.packed.dialects.gptq import SCALES
from qviz.checkpoints.packed.patterns import Pattern
from qviz.errors import printable
from qviz.grids import E2M1, E4M3

if TYPE_CHECKING:
    from qviz.checkpoints.packed.linear import PackedLinear

_PACKED, _PLAIN = "pack-quantized", "int-quantized"
_FP8, _NVFP4 = "float-quantized", "nvfp4-pack-quantized"
_FORMATS = {_PACKED: _PACKED, _PLAIN: _PLAIN, "naive-quantized": _PLAIN}
_FLOATS = {_FP8: (_FP8, 8), "naive-quantized": (_FP8, 8), _NVFP4: (_NVFP4, 4)}
_NVFP4_GROUP = 16
# None and static leave groups to columns that follow each other.
_ORDERS = (None, False, True, "group", "dynamic", "weight", "static")
_CLASSES = ("Linear", "LlamaAttention", "LlamaMLP")
Matches = Callable[[str], bool]


def rules(settings: PackedSettings) -> Callable[[str], ModuleRule | None]:
    """The rule of each module."""
    whole = settings.word("format", "dense")
    for key in ("transform_config", "moe_sparsity_config"):
        settings.refuse(key, why=": it changes what weights mean")
    sparsity = settings.table("sparsity_config")
    if sparsity.get("format", "dense") != "dense":
        raise settings.error("sparse weights are not read here; use an export without sparsity", found=sparsity)
    groups = settings.table("config_groups")
    if not groups:
        raise settings.error("it names no config_groups, so nothing says how weights are packed")
    ignored = [_matches(settings, target) for target in _targets(settings, settings.values.get("ignore") or [])]
    schemes = [_scheme(settings, name, group, whole) for name, group in groups.items()]
    _warn_of_rounding(settings, [*groups.values(), {"keys and values": settings.values.get("kv_cache_scheme")}])

    def rule(module: str) -> ModuleRule | None:
        if any(matches(module) for matches, _ in ignored):
            return None
        matching = [(rank, given) for targets, given in schemes for matches, rank in targets if matches(module)]
        return min(matching, key=lambda pair: pair[0])[1] if matching else None

    return rule


def _warn_of_rounding(settings: PackedSettings, groups: list[dict[str, Any]]) -> None:
    """Say what else is rounded where such a model runs: weights alone do not give its answers."""
    found: dict[str, None] = {}
    for group in groups:
        for part, scheme in group.items():
            if part.endswith(("activations", "values")) and isinstance(scheme, dict):
                found[f"{part.replace('_', ' ')} to {scheme.get('num_bits')} bits"] = None
    if found:
        what = f"its makers round {', '.join(found)} as well; only its weights are read here"
        warnings.warn(printable(f"{settings.path.parent.name}: {what}"), stacklevel=2)


def _targets(settings: PackedSettings, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(target, str) for target in value):
        raise settings.error("targets and ignore must be lists of names", found=value)
    return value


def _matches(settings: PackedSettings, target: str) -> tuple[Matches, int]:
    """Whether a module is meant, and how precisely: 0 by name, 1 by pattern, 2 by its class."""
    if target.startswith("re:"):
        pattern = Pattern(target.removeprefix("re:"), settings)
        return pattern.begins, 1
    if target in _CLASSES:
        return (lambda module: target == "Linear"), 2
    return (lambda module: module == target), 0


def _scheme(
    settings: PackedSettings, name: str, group: Any, whole: str
) -> tuple[list[tuple[Matches, int]], ModuleRule | None]:
    if not isinstance(group, dict) or not isinstance(group.get("weights"), dict | None):
        raise settings.error(f"config_groups {name!r} must be an object with weights", found=group)
    targets = [_matches(settings, target) for target in _targets(settings, group.get("targets") or [])]
    weights, kind = group.get("weights"), group.get("format") or whole
    if weights is None:
        return targets, None
    if weights.get("type") == "float" and kind in _FLOATS:
        return targets, _float_rule(settings, name, weights, *_FLOATS[kind])
    layout = _FORMATS.get(kind) if isinstance(kind, str) else None
    if layout is None or weights.get("type", "int") != "int":
        raise settings.error(
            "weights in this format are not read here; use an export as pack-quantized",
            found=f"{kind} of {weights.get('type')}",
            expected=", ".join((*_FORMATS, _FP8, _NVFP4)),
        )
    bits = weights.get("num_bits")
    if type(bits) is not int or not 1 <= bits <= 8:
        raise settings.error(f"num_bits of {name!r} must be 1 to 8", found=bits)
    size, strategy = settings.group_size(weights), weights.get("strategy")
    symmetric, order = weights.get("symmetric", True), weights.get("actorder")
    if strategy is None:
        strategy = "tensor" if size is None else "channel" if size == -1 else "group"
    sizes = {"tensor": 0, "channel": -1, "group": size}
    fits = isinstance(strategy, str) and strategy in sizes and isinstance(symmetric, bool)
    known = order in _ORDERS if isinstance(order, str | bool | None) else False
    if not fits or not known or (strategy == "group" and (size or 0) < 1):
        raise settings.error(
            f"this strategy of {name!r} is not read here",
            found=(strategy, size, symmetric, order),
            expected="tensor, channel, or group with a group_size",
        )
    return targets, ModuleRule(layout, bits, sizes[strategy], order in (True, "group", "dynamic"), symmetric)


def _float_rule(settings: PackedSettings, name: str, weights: dict[str, Any], layout: str, bits: int) -> ModuleRule:
    size, strategy = settings.group_size(weights), weights.get("strategy")
    known = {"tensor": 0, "channel": -1} if layout == _FP8 else {"tensor_group": _NVFP4_GROUP, "group": _NVFP4_GROUP}
    fits = isinstance(strategy, str) and strategy in known and size in (None, -1, known[strategy])
    if not fits or weights.get("num_bits") != bits or weights.get("symmetric", True) is not True:
        raise settings.error(
            f"this way to round weights of {name!r} to floats is not read here",
            found=(weights.get("num_bits"), strategy, size, weights.get("symmetric")),
            expected=f"{bits} bits, symmetric, by {' or '.join(known)}",
        )
    return ModuleRule(layout, bits, known[str(strategy)], symmetric=True)


# -- words


def _measure_packed(shapes: Mapping[str, Shape], rule: ModuleRule) -> MatrixSize:
    n_out, words = shapes["qweight"]
    n_in = words * 32 // rule.bits
    if "shape" in shapes and shapes["shape"] != (2,):
        raise MisfitError(f"weight_shape holds {shapes['shape']} values, and should hold two")
    return MatrixSize(n_out, n_in, _scales(shapes["scales"], n_out, rule))


def _measure_plain(shapes: Mapping[str, Shape], rule: ModuleRule) -> MatrixSize:
    n_out, n_in = shapes["qweight"]
    return MatrixSize(n_out, n_in, _scales(shapes["scales"], n_out, rule))


def _scales(shape: Shape, n_out: int, rule: ModuleRule) -> int:
    """Groups of a row; a scale for all, or one for each row, may have fewer dimensions."""
    if rule.group_size == 0:
        if shape not in ((), (1,), (1, 1)):
            raise MisfitError(f"one scale for the matrix is {shape}")
        return 1
    if shape == (n_out,) and rule.group_size == -1:
        return 1
    if len(shape) != 2 or shape[0] != n_out:
        raise MisfitError(f"scales of {n_out} rows are {shape}")
    return shape[1]


def padded_width(n_in: int, bits: int) -> tuple[int, int]:
    """Words that hold a row: as one stream of bits, and with codes that never cross into the next word."""
    return -(-n_in * bits // 32), -(-n_in // (32 // bits))


def _unpacked(words: npt.NDArray[np.int32], bits: int, count: int) -> npt.NDArray[np.uint8]:
    """Codes along the first axis: int32 (n, m) -> uint8 (count, m)."""
    dense, padded = padded_width(count, bits)
    if len(words) == dense:
        return unpack_stream(words, bits, count)
    assert len(words) == padded
    shifts = np.arange(32 // bits, dtype=np.uint32)[:, None] * np.uint32(bits)
    codes = words.view(np.uint32)[:, None, :] >> shifts & np.uint32((1 << bits) - 1)
    return codes.astype(np.uint8).reshape(-1, words.shape[1])[:count]


def _packed_codes(packed: PackedLinear) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(_unpacked(np.ascontiguousarray(packed.qweight.T), packed.bits, packed.n_in).T)


def _plain_codes(packed: PackedLinear) -> npt.NDArray[np.uint8]:
    half = 1 << packed.bits - 1
    codes = packed.qweight.astype(np.int16) + np.int16(half)
    if codes.size and not 0 <= codes.min() <= codes.max() < 2 * half:
        raise MisfitError(f"weights of {packed.qweight.min()} … {packed.qweight.max()} do not fit {packed.bits} bits")
    return codes.astype(np.uint8)


def _zeros(packed: PackedLinear) -> npt.NDArray[np.int32]:
    half = 1 << packed.bits - 1
    shape = (packed.n_out, packed.n_groups)
    stored = packed.qzeros
    if stored is None:
        return np.full(shape, half, np.int32)
    if stored.dtype == np.int32:
        return _unpacked(stored, packed.bits, packed.n_out).astype(np.int32)
    return np.ascontiguousarray(np.broadcast_to(stored.reshape(-1, packed.n_groups), shape).astype(np.int32) + half)


def _float_scales(packed: PackedLinear) -> npt.NDArray[np.float32]:
    scales = packed.scales.reshape(-1, packed.n_groups).astype(np.float32)
    return np.ascontiguousarray(np.broadcast_to(scales, (packed.n_out, packed.n_groups)))


def _measure_nvfp4(shapes: Mapping[str, Shape], rule: ModuleRule) -> MatrixSize:
    n_out, half = shapes["qweight"]
    groups = half * 2 // _NVFP4_GROUP
    if shapes["scales"] != (n_out, groups) or half * 2 % _NVFP4_GROUP:
        raise MisfitError(f"scales of {n_out} rows of {half * 2} weights are {shapes['scales']}")
    return MatrixSize(n_out, half * 2, groups)


def _float_codes(packed: PackedLinear) -> npt.NDArray[np.uint8]:
    return packed.qweight


def _nvfp4_codes(packed: PackedLinear) -> npt.NDArray[np.uint8]:
    low, high = packed.qweight & np.uint8(15), packed.qweight >> np.uint8(4)
    return np.stack([low, high], axis=-1).reshape(len(low), -1)


def _no_zeros(packed: PackedLinear) -> npt.NDArray[np.int32]:
    return np.zeros((packed.n_out, packed.n_groups), np.int32)


def _nvfp4_scales(packed: PackedLinear) -> npt.NDArray[np.float32]:
    assert packed.global_scale is not None
    return E4M3.decode(packed.scales) / np.float32(packed.global_scale.reshape(-1)[0])


_NDIMS = (0, 1, 2)
_SHARED = (
    Component("scales", "weight_scale", SCALES, _NDIMS),
    Component("qzeros", "weight_zero_point", ("I32", "I8"), _NDIMS, required=False),
    Component("g_idx", "weight_g_idx", ("I32", "I64"), (1,), required=False),
    # statistics of activations, and of keys and values: see the module's text
    *(
        Component(name, name, ("F32", "F16", "BF16", "I8", "I32"), _NDIMS, required=False)
        for name in ("input_scale", "input_zero_point", "output_scale", "output_zero_point", "input_global_scale")
    ),
)
_SOURCE = "compressed-tensors compressors/pack_quantized; bytes that it wrote"
_SOURCE_FLOATS = "compressed-tensors compressors/naive_quantized, compressors/nvfp4; bytes that it wrote"
DIALECT = Dialect(
    name="compressed-tensors",
    methods=("compressed-tensors", "compressed_tensors"),
    rules=rules,
    layouts=(
        Layout(
            _PACKED,
            (
                Component("qweight", "weight_packed", ("I32",)),
                Component("shape", "weight_shape", ("I64", "I32"), (1,)),
                *_SHARED,
            ),
            _measure_packed,
            _packed_codes,
            _zeros,
            _float_scales,
            _SOURCE,
        ),
        Layout(
            _FP8,
            (
                Component("qweight", "weight", ("F8_E4M3",)),
                Component("scales", "weight_scale", SCALES, _NDIMS),
                *_SHARED[3:],
            ),
            _measure_plain,
            _float_codes,
            _no_zeros,
            _float_scales,
            _SOURCE_FLOATS,
            E4M3.table,
        ),
        Layout(
            _NVFP4,
            (
                Component("qweight", "weight_packed", ("U8",)),
                Component("scales", "weight_scale", ("F8_E4M3",)),
                Component("global_scale", "weight_global_scale", ("F32",), (0, 1)),
                *_SHARED[3:],
            ),
            _measure_nvfp4,
            _nvfp4_codes,
            _no_zeros,
            _nvfp4_scales,
            _SOURCE_FLOATS,
            E2M1.table,
        ),
        Layout(
            _PLAIN,
            (Component("qweight", "weight", ("I8",)), *_SHARED),
            _measure_plain,
            _plain_codes,
            _zeros,
            _float_scales,
            _SOURCE,
        ),
    ),
    markers=("weight_packed", "weight_scale"),
)
