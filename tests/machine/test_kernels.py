"""Kernels: compiled late, from the cache, and with SciPy's BLAS still within reach."""

import ast
import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.caching import NullCache
from numba.core.errors import TypingError
from numba.core.event import Listener, install_listener

import qviz
from qviz._machine.kernels import Kernel, f32, half_bits, half_float, kernel, nothing_is_compiled, specialise
from qviz.transformer import linear


def run(code, **environment):
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_importing_kernels_does_not_import_numba():
    code = "import sys, qviz.formats, qviz.grids.affine, qviz.metrics, qviz.gguf; print('numba' in sys.modules)"
    assert run(code) == ["False"]


def test_numba_starts_whatever_its_number_of_threads_is():
    code = "from qviz._machine.kernels import nothing_is_compiled as nothing; print(nothing())"
    assert run(code, NUMBA_NUM_THREADS="0", NUMBA_DISABLE_JIT="0") == ["False"]


def test_a_first_result_does_not_import_scipy():
    code = (
        "import sys, qviz; qviz.quantize([1.0] * 32, 'Q4_0');"
        "print(*(m in sys.modules for m in ('numba', 'scipy.linalg')))"
    )
    assert run(code) == ["True", "False"]


def test_a_matrix_product_inside_a_kernel_still_finds_its_blas():
    pytest.importorskip("scipy")
    code = (
        "import numpy as np, qviz, numba; qviz.quantize([1.0] * 32, 'Q4_0');"
        "product = numba.njit(lambda a, b: a @ b); print(product(np.eye(2), 3 * np.eye(2))[1, 1])"
    )
    assert run(code) == ["3.0"]


def test_kernels_work_where_nothing_can_be_cached():
    """A read-only package and no writable home: compiled anew each time, but never an error at import."""
    code = (
        "from numba.core.caching import CacheImpl\n"
        "CacheImpl._locator_classes = []\n"
        "from qviz._machine.kernels import half_float; print(half_float(0x3C00))"
    )
    assert run(code) == ["1.0"]


def test_a_second_process_loads_from_the_cache(tmp_path):
    code = (
        "import qviz; qviz.QTensor.from_bytes('Q4_0', bytes(18), (32,)).dequantize();"
        "print(len(qviz.formats.FORMATS['Q4_0'].decoder.compiled.stats.cache_hits))"
    )
    cache = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert run(code, **cache) == ["0"]
    assert run(code, **cache) == ["1"]


@kernel
def _twice(x):
    return _step(_step(x))


@kernel
def _step(x):
    return x + 1


@kernel
def _double(x):
    return 2 * x


def test_a_template_takes_other_functions():
    assert _twice(5) == 7
    quadruple = specialise(_twice, "quadruple", _step=_double)
    assert isinstance(quadruple, Kernel)
    assert quadruple(5) == 20
    assert _twice(5) == 7


@pytest.mark.skipif(nothing_is_compiled(), reason="nothing is compiled")
def test_what_kernels_call_has_no_wrapper_for_python():
    """And what Python calls, too, gets a form of its own: without a wrapper that would end the process."""

    @kernel
    def inner(x):
        return x + 1

    @kernel
    def outer(x):
        return 2 * inner(x)

    assert outer(1) == 4
    forms = inner.within, inner.compiled, outer.within, outer.compiled
    assert [len(form.overloads) for form in forms] == [1, 0, 0, 1]
    assert inner(1) == 2


@pytest.mark.skipif(nothing_is_compiled(), reason="nothing is compiled")
@pytest.mark.parametrize("name", ["Q4_0", "Q8_0", "F16"])
def test_what_may_be_written_and_what_may_not_share_a_kernel(name):
    """An array in memory and one of a mapped file: the second costs no compilation."""
    fmt, free = qviz.formats.get(name), np.ones((2, 256), np.float32)
    locked = free.copy()
    locked.flags.writeable = False
    kernels = [k for k in (fmt.quantize_blocks, fmt.decoder, linear.float_product(fmt)) if isinstance(k, Kernel)]

    def forms(x):
        made = qviz.quantize(x, fmt)
        made.blocks.flags.writeable = x.flags.writeable
        made.dequantize()
        linear.Linear(made, activations="float")(free[:1])
        return [len(k.compiled.overloads) for k in kernels]

    assert forms(free) == forms(locked) == forms(free)


def test_every_float16_survives():
    bits = np.arange(1 << 16, dtype=np.uint16)
    values = bits.view(np.float16)
    ours = np.array([half_float(b) for b in bits[::7]], np.float32)
    theirs = values[::7].astype(np.float32)
    assert np.array_equal(ours, theirs, equal_nan=True)
    finite = values[np.isfinite(values)][::11]
    assert [half_bits(f32(v)) for v in finite] == finite.view(np.uint16).tolist()


@pytest.mark.skipif(nothing_is_compiled(), reason="nothing is compiled")
@pytest.mark.parametrize("on", [True, False])
def test_no_garbage_is_looked_for_while_a_kernel_is_compiled(on):
    """And whoever had switched the collector off finds it so; a kernel that cannot be compiled changes nothing."""

    @kernel
    def inner(x):
        return x + f32(1)

    @kernel
    def outer(x):
        return inner(x) * f32(2)

    @kernel
    def impossible(x):
        return x.nothing

    inner.within._cache = outer.compiled._cache = NullCache()  # an earlier run must not have left them there
    seen = []

    class Watch(Listener):
        def on_start(self, event):
            seen.append(gc.isenabled())

        def on_end(self, event):
            pass

    was = gc.isenabled()
    (gc.enable if on else gc.disable)()
    try:
        with install_listener("numba:compile", Watch()):
            assert outer(f32(1)) == 4
        assert gc.isenabled() == on
        with pytest.raises(TypingError, match="nothing"):
            impossible(f32(1))
        assert gc.isenabled() == on
    finally:
        (gc.enable if was else gc.disable)()
    assert seen == [on, False]  # outer's announcement, and inner's in the midst of outer's compilation


def kernels_of(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and any("kernel" in ast.unparse(mark) for mark in node.decorator_list):
            yield node


def test_arrays_go_into_slices_by_loops():
    """What Numba compiles for such an assignment, the text of an error, took 2 s of every process that met one."""
    found = []
    for path in sorted(Path(qviz.__file__).parent.rglob("*.py")):
        for node in (n for f in kernels_of(ast.parse(path.read_text("utf-8"))) for n in ast.walk(f)):
            if isinstance(node, ast.Assign) and ":" in ast.unparse(node.targets):
                values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
                if any(isinstance(v, ast.Name) or ":" in ast.unparse(v) for v in values):
                    found.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert found == []
