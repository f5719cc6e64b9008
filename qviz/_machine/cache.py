"""Compiled kernels on disk: an entry is used only if it is whole, and was made from the same sources.

Numba's own cache believes what it finds: a file that a full disk cut short ends every later run with an error, a
flipped bit crashes it, and a helper that was edited in another file stays compiled into its callers. Here an entry is
one file, which begins with a hash of all that follows and with what it was compiled from; whatever is wrong with it,
the kernel is compiled again, and the entry replaced. Where nothing can be written, nothing is kept.

An entry holds machine code, which runs as its reader: who can write to the folder can run code as you. By default that
is `__pycache__` beside the sources, or a folder of your own.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import pickle
import sys
from pathlib import Path
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

_DIGEST = 32  # bytes
_HERE = Path(__file__).parent
_LLVM = "simd", "native", "kernels", "cache"  # what intrinsics are made of, whoever names them


class UnknownPartError(Exception):
    """A kernel depends on something that cannot be told apart from other such things."""


def cache_of(kernel: Any, form: str = "") -> Any:
    """What numba asks for compiled forms of a kernel.

    Parameters
    ----------
    kernel : Kernel
    form : str
        What its entries' names end in, to tell forms that are compiled with other flags.

    Returns
    -------
    numba.core.caching.FunctionCache

    Raises
    ------
    RuntimeError
        There is no folder for one.
    """
    try:
        return _cache_class()(kernel, form)
    except (UnknownPartError, OSError) as problem:
        raise RuntimeError(str(problem)) from problem


@functools.cache
def _cache_class() -> Any:
    from numba.core import caching

    base: Any = caching.FunctionCache

    class CheckedCache(base):  # type: ignore[misc]
        """Numba's, with files that are checked and a key that sees what a kernel calls."""

        def __init__(self, kernel: Any, form: str) -> None:
            super().__init__(kernel.py_func)
            name = self._impl.filename_base + form
            self._cache_file = _CacheFiles(Path(self._cache_path), name, made_of(kernel))

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            try:
                return super().load_overload(sig, target_context)
            except Exception:  # written by another version of something, say
                return None

        def save_overload(self, sig: Any, data: Any) -> None:
            with contextlib.suppress(Exception):  # a full disk, a folder that is gone, a compilation that was stopped
                super().save_overload(sig, data)

    return CheckedCache


class _CacheFiles:
    """The entries of one kernel.

    Parameters
    ----------
    folder : Path
    name : str
        How their names begin.
    sources : bytes
        Hash of what the kernel is made of.
    """

    def __init__(self, folder: Path, name: str, sources: bytes) -> None:
        self._folder, self._name, self._sources = folder, name, sources

    def _path(self, key: Any) -> tuple[Path, bytes]:
        import numba

        versions = numba.__version__, sys.modules["llvmlite"].__version__, np.__version__
        described = repr((versions, key)).encode()
        which = hashlib.blake2b(described, digest_size=8).hexdigest()
        head = hashlib.blake2b(described + self._sources + self._name.encode(), digest_size=_DIGEST)
        return self._folder / f"{self._name}.{which}.nbc", head.digest()

    def load(self, key: Any) -> Any:
        """What was saved under `key`, or None if that is not there, not whole, or made from something else."""
        path, head = self._path(key)
        try:
            content = memoryview(path.read_bytes())
        except OSError:
            return None
        digest, rest = content[:_DIGEST], content[_DIGEST:]
        if hashlib.blake2b(rest, digest_size=_DIGEST).digest() != digest or rest[:_DIGEST] != head:
            return None
        return pickle.loads(rest[_DIGEST:])

    def save(self, key: Any, data: Any) -> None:
        """Write an entry, whole or not at all."""
        from numba.core import serialize

        dumps: Any = serialize.dumps
        path, head = self._path(key)
        rest = head + dumps(data)
        beside = path.with_name(f"{path.name}.{os.urandom(6).hex()}.tmp")
        try:
            beside.write_bytes(hashlib.blake2b(rest, digest_size=_DIGEST).digest() + rest)
            beside.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise

    def flush(self) -> None:
        """Forget all entries."""
        for path in self._folder.glob(f"{self._name}.*.nbc"):
            with contextlib.suppress(OSError):
                path.unlink()


def made_of(kernel: Any) -> bytes:
    """Hash of all that decides what a kernel compiles to: its code and constants, and those of all that it calls.

    Parameters
    ----------
    kernel : Kernel

    Raises
    ------
    UnknownPartError
        It reads a global of a kind that is not foreseen here.
    """
    if kernel.digest is None:
        hashed = hashlib.blake2b(_llvm(), digest_size=_DIGEST)
        for part in _parts(kernel, {}):
            hashed.update(part)
        kernel.digest = hashed.digest()
    digest: bytes = kernel.digest
    return digest


@functools.cache
def _llvm() -> bytes:
    """Hash of the sources that intrinsics and flags come from."""
    digest = hashlib.blake2b(digest_size=_DIGEST)
    for stem in _LLVM:
        paths = sorted((_HERE / stem).glob("*.py")) or [_HERE / f"{stem}.py"]
        for path in paths:
            digest.update(path.read_bytes())
    return digest.digest()


def _parts(value: Any, seen: dict[int, int]) -> list[bytes]:
    """What tells `value` from others, piece by piece; `seen` numbers what was met before."""
    if id(value) in seen:
        return [b"again %d" % seen[id(value)]]
    kind = type(value)
    if value is None or value is Ellipsis or kind in (bool, int, float, complex, str, bytes):
        return [f"{kind.__name__} {value!r} ".encode()]
    if isinstance(value, np.generic | np.dtype):
        return [f"{value!r} {getattr(value, 'dtype', '')} ".encode()]
    if isinstance(value, type | BuiltinFunctionType | np.ufunc):
        return [f"name {getattr(value, '__module__', '')}.{value.__name__} ".encode()]
    if isinstance(value, MethodType):  # numba has none: it is an attribute of something else with the same name
        return []
    if isinstance(value, ModuleType):
        return [f"module {value.__name__} ".encode()]
    if isinstance(value, np.ndarray):
        return [f"array {value.dtype!r} {value.shape} ".encode(), np.ascontiguousarray(value).tobytes()]
    if isinstance(value, tuple | list | frozenset):
        ordered = sorted(value, key=repr) if isinstance(value, frozenset) else value
        return [f"{kind.__name__} {len(value)} ".encode(), *(p for item in ordered for p in _parts(item, seen))]
    if isinstance(value, CodeType):
        return _parts_of_code(value, seen)
    seen[id(value)] = len(seen)  # only what may lead back to itself: equal constants may be one object, or two
    if isinstance(value, FunctionType):
        return _parts_of_function(value, seen)
    if hasattr(value, "py_func") and hasattr(value, "made_from"):  # a Kernel
        return [b"kernel %d " % value.loose, *_parts_of_function(value.py_func, seen)]
    if hasattr(value, "_defn"):  # an intrinsic: its own code, and all that it may call is in `_llvm`
        cells = [cell.cell_contents for cell in value._defn.__closure__ or ()]
        return [b"intrinsic ", *_parts(value._defn.__code__, seen), *(p for c in cells for p in _closed_over(c, seen))]
    raise UnknownPartError(f"{value!r} ({kind.__module__}.{kind.__qualname__}) in a kernel")


def _closed_over(value: Any, seen: dict[int, int]) -> list[bytes]:
    return _parts(value.__code__ if isinstance(value, FunctionType) else value, seen)


def _parts_of_code(code: CodeType, seen: dict[int, int]) -> list[bytes]:
    constants = [p for constant in code.co_consts for p in _parts(constant, seen)]
    names = repr((code.co_name, code.co_names, code.co_varnames, code.co_freevars, code.co_argcount)).encode()
    return [b"code ", code.co_code, names, *constants]


def _parts_of_function(function: FunctionType, seen: dict[int, int]) -> list[bytes]:
    """What a function is made of: its code, and the globals, cells and defaults that the code reads."""
    parts = [function.__qualname__.encode(), *_parts_of_code(function.__code__, seen)]
    for name in sorted(_names(function.__code__)):
        if name in function.__globals__:
            parts += [name.encode(), *_parts(function.__globals__[name], seen)]
    for cell in function.__closure__ or ():
        parts += _parts(cell.cell_contents, seen)
    return parts + _parts(function.__defaults__, seen)


def _names(code: CodeType) -> set[str]:
    inner = (_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*inner)
