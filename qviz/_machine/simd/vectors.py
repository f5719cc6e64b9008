"""What an intrinsic is made of: pointers into numba arrays, vectors of them, constants, features of the processor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import extending as _extending
from numba.core.registry import cpu_target
from numba.core.typing import templates as _templates
from numba.extending import intrinsic as _intrinsic

_I32 = ir.IntType(32)

# numba's types leave out that the typing context is not the caller's to pass
intrinsic: Callable[[Any], Any] = _intrinsic
extending: Any = _extending
templates: Any = _templates


class _Vectors:
    """What an intrinsic's body needs: pointers into numba arrays, vectors of them, constants."""

    def __init__(self, context: Any, builder: Any, signature: Any, args: Any) -> None:
        self.context, self.b, self.signature, self.args = context, builder, signature, args

    def pointer(self, argument: int, vector: Any, at: Any = None) -> Any:
        array = self.context.make_array(self.signature.args[argument])(self.context, self.b, self.args[argument])
        data = array.data if at is None else self.b.gep(array.data, [at])
        return self.b.bitcast(data, vector.as_pointer())

    def load(self, argument: int, vector: Any, at: Any = None) -> Any:
        return self.b.load(self.pointer(argument, vector, at), align=1)

    def store(self, value: Any, argument: int, at: Any = None) -> None:
        self.b.store(value, self.pointer(argument, value.type, at), align=1)

    def splat(self, value: Any, vector: Any) -> Any:
        first = self.b.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I32, 0))
        zeros = ir.Constant(ir.VectorType(_I32, vector.count), [0] * vector.count)
        return self.b.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)

    def join(self, low: Any, high: Any) -> Any:
        n = low.type.count + high.type.count
        return self.b.shuffle_vector(low, high, ir.Constant(ir.VectorType(_I32, n), list(range(n))))

    def halves(self, value: Any) -> tuple[Any, Any]:
        n = value.type.count // 2
        undefined = ir.Constant(value.type, ir.Undefined)
        low, high = (ir.Constant(ir.VectorType(_I32, n), list(range(k, k + n))) for k in (0, n))
        return self.b.shuffle_vector(value, undefined, low), self.b.shuffle_vector(value, undefined, high)

    def has(self, feature: str) -> bool:
        """Whether numba compiles for an x86 with this feature; numba's cache keeps hosts apart."""
        return _has(self.context.codegen(), feature)


def _vector(n: int, element: Any) -> Any:
    return ir.VectorType(element, n)


def _all(vector: Any, value: int) -> Any:
    return ir.Constant(vector, [value] * vector.count)


_BYTE, _BIT, _FLOAT = ir.IntType(8), ir.IntType(1), ir.FloatType()
_B16, _B32 = _vector(16, _BYTE), _vector(32, _BYTE)


def _function(result: Any, body: Callable[[_Vectors], Any]) -> Callable[..., Any]:
    """Shape an intrinsic's two halves: its signature from the argument types, its code from `body`."""

    def typed(*argument_types: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = body(_Vectors(context, builder, signature, args))
            return context.get_dummy_value() if value is None else value

        return result(*argument_types), codegen

    return typed


def _has(codegen: Any, feature: str) -> bool:
    triple, _, features = codegen.magic_tuple()
    return bool(triple.startswith("x86_64") and f"+{feature}" in features.split(","))


def largest_code() -> int:
    """Up to which code tiles are fast here: 63 if products are summed in 16 bits (AVX2), 255 if in 32 (VNNI), or −1."""
    codegen = cpu_target.target_context.codegen()
    return 255 if _has(codegen, "avx512vnni") else 63 if _has(codegen, "avx2") else -1


def _pick(v: _Vectors, value: Any, lanes: list[int]) -> Any:
    order = ir.Constant(ir.VectorType(_I32, len(lanes)), lanes)
    return v.b.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), order)


def _call(v: _Vectors, name: str, result: Any, *args: Any) -> Any:
    return v.b.call(v.b.module.declare_intrinsic(name, (), ir.FunctionType(result, [a.type for a in args])), args)


def _moved(v: _Vectors, at: Any, by: int) -> Any:
    return v.b.add(at, ir.Constant(at.type, by))
