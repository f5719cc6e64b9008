"""The few places where numba's loop vectoriser is not enough: explicit, portable LLVM vectors.

Every function here has a plain-loop twin that computes the same bits, and tests compare the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from qviz._numba import kernel

_LANES = 16  # 16 float32 = one cache line


@intrinsic
def _stream16(typingctx: Any, out: Any, codes: Any, at: Any, scale: Any, low: Any) -> Any:  # noqa: ARG001
    """``out[at:at+16] = codes[at:at+16] * scale - low`` as one vector, stored past the cache.

    A plain store first reads the line it is about to overwrite; a non-temporal one does not. On outputs larger
    than the cache that makes decoding twice as fast. `out` must be 64-byte aligned.
    """
    signature = types.void(out, codes, types.uint64, types.float32, types.float32)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out_value, codes_value, at_value, scale_value, low_value = args
        out_data = context.make_array(sig.args[0])(context, builder, out_value).data
        codes_data = context.make_array(sig.args[1])(context, builder, codes_value).data
        floats = ir.VectorType(ir.FloatType(), _LANES)
        lane = ir.IntType(32)

        def splat(value: Any) -> Any:
            first = builder.insert_element(ir.Constant(floats, ir.Undefined), value, ir.Constant(lane, 0))
            zeros = ir.Constant(ir.VectorType(lane, _LANES), [0] * _LANES)
            return builder.shuffle_vector(first, ir.Constant(floats, ir.Undefined), zeros)

        bytes_at = builder.bitcast(
            builder.gep(codes_data, [at_value]), ir.VectorType(ir.IntType(8), _LANES).as_pointer()
        )
        loaded = builder.load(bytes_at, align=1)
        weights = builder.fsub(builder.fmul(builder.sitofp(loaded, floats), splat(scale_value)), splat(low_value))
        store = builder.store(
            weights, builder.bitcast(builder.gep(out_data, [at_value]), floats.as_pointer()), align=64
        )
        store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(lane, 1)]))
        return context.get_dummy_value()

    return signature, codegen


@kernel
def decode_streaming(codes, scales, mins, out):  # type: ignore[no-untyped-def]
    """`qviz.formats.base.decode` for large outputs, 64-byte aligned, width a multiple of 16."""
    n, width = codes.shape
    for b in range(n):
        scale, low = scales[b], mins[b]
        for j in range(width // _LANES):
            _stream16(out, codes, np.uint64(b * width + j * _LANES), scale, low)
