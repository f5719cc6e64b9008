"""llama.cpp itself, where llama-cpp-python is installed: the oracle for whole files. Not a dependency of the tests."""

import ctypes
import functools
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qviz import recipes

INSTALLED = importlib.util.find_spec("llama_cpp") is not None


_SAID: list[bytes] = []


def version() -> str:
    import llama_cpp

    return str(llama_cpp.__version__)


@functools.cache
def _listening() -> object:
    """What llama.cpp says lands in `_SAID` from now on; the callback must live as long as the process."""
    import llama_cpp

    @llama_cpp.llama_log_callback
    def log(level, text, data):
        _SAID.append(text)

    llama_cpp.llama_log_set(log, None)
    return log


class Opened:
    """A model in llama.cpp, by its C functions.

    Keys and values stay in float32 unless `kv` is another of ggml's type ids, and attention is not fused: what is left
    between two programs is the order of their sums, and how activations are rounded.

    Parameters
    ----------
    path : Path
    n_ctx : int
        Tokens of one window.
    look : callable ``(weight, x, experts)``, optional
        Called for each product of a window of at least 16 tokens, with the name of the matrix and what it receives:
        float32 (n_tokens, n_in); experts (n_tokens, n_used) where each token meets a few of several matrices, and x is
        then (n_tokens, 1 or n_used, n_in).
    """

    def __init__(
        self,
        path: Path,
        n_ctx: int = 256,
        *,
        threads: int = 1,
        kv: int = 0,
        vocab_only: bool = False,
        look: Callable[[str, np.ndarray, np.ndarray | None], object] | None = None,
    ) -> None:
        import llama_cpp as c

        self.c, self.n_ctx = c, n_ctx
        _listening()
        _SAID.clear()
        c.llama_backend_init()
        params = c.llama_model_default_params()
        params.vocab_only, params.use_mmap = vocab_only, True
        self.model = c.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise ValueError(f"llama.cpp does not open {path}: {b''.join(_SAID).decode(errors='replace')[-600:]}")
        self.vocab = c.llama_model_get_vocab(self.model)
        self.n_vocab, self.context = c.llama_vocab_n_tokens(self.vocab), None
        if vocab_only:
            return
        own = c.llama_context_default_params()
        own.n_ctx = own.n_batch = own.n_ubatch = n_ctx
        own.n_threads = own.n_threads_batch = threads
        own.type_k = own.type_v = kv
        own.flash_attn_type, own.no_perf, own.swa_full = 0, True, True
        if look is not None:
            self._callback = c.llama_cpp.ggml_backend_sched_eval_callback(_looker(c, look))
            own.cb_eval = self._callback
        self.context = c.llama_init_from_model(self.model, own)
        if not self.context:
            raise ValueError(f"llama.cpp does not run {path}: {b''.join(_SAID).decode(errors='replace')[-600:]}")

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *exc: object) -> None:
        if self.context:
            self.c.llama_free(self.context)
        self.c.llama_model_free(self.model)

    def logits(self, ids: Sequence[int], *, forget: bool = True) -> np.ndarray:
        """Of what follows each token, float32 (n_tokens, n_vocab); those before are forgotten unless told not to."""
        c, n = self.c, len(ids)
        if forget:
            c.llama_memory_clear(c.llama_get_memory(self.context), True)
        batch = c.llama_batch_init(n, 0, 1)
        try:
            start = c.llama_memory_seq_pos_max(c.llama_get_memory(self.context), 0) + 1
            batch.n_tokens = n
            for i, token in enumerate(ids):
                batch.token[i], batch.pos[i], batch.logits[i] = int(token), start + i, 1
                batch.n_seq_id[i], batch.seq_id[i][0] = 1, 0
            code = c.llama_decode(self.context, batch)
            assert code == 0, f"llama_decode answers {code}: {b''.join(_SAID).decode(errors='replace')[-600:]}"
            found = np.ctypeslib.as_array(c.llama_get_logits(self.context), (n, self.n_vocab))
            return np.array(found)
        finally:
            c.llama_batch_free(batch)

    def tokens(self, text: str, *, bos: bool = False, special: bool = False) -> list[int]:
        """Tokens of a text; whether BOS and EOS are put around it, and whether spelled special tokens count."""
        raw = text.encode()
        out = (ctypes.c_int32 * (len(raw) + 16))()
        n = self.c.llama_tokenize(self.vocab, raw, len(raw), out, len(out), bos, special)
        assert n >= 0, f"llama_tokenize answers {n}"
        return list(out[:n])


class _Tensor(ctypes.Structure):
    """ggml_tensor of ggml 0.25."""


_Tensor._fields_ = [
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(_Tensor) * 10),
    ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * 64),
]


def _values(tensor: _Tensor, dtype: Any) -> np.ndarray:
    """What a tensor in memory holds, of any strides, in NumPy's order (at most three dimensions)."""
    shape, strides = tuple(tensor.ne[:3][::-1]), tuple(tensor.nb[:3][::-1])
    reach = sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + np.dtype(dtype).itemsize
    raw = (ctypes.c_uint8 * reach).from_address(tensor.data)
    return np.array(np.ndarray(shape, dtype, raw, strides=strides))


def _looker(c: Any, look: Callable[[str, np.ndarray, np.ndarray | None], object]) -> Callable[..., bool]:
    """llama.cpp asks before each operation whether it is of interest, and hands it over afterwards."""
    base = ctypes.CDLL(str(Path(c.__file__).parent / "lib" / "libggml-base.so"))
    base.ggml_op_name.restype = ctypes.c_char_p

    def answer(address: int, ask: bool, data: object) -> bool:
        tensor = ctypes.cast(address, ctypes.POINTER(_Tensor)).contents
        kind = base.ggml_op_name(tensor.op)
        if kind not in (b"MUL_MAT", b"MUL_MAT_ID"):
            return not ask
        weight, given = tensor.src[0].contents, tensor.src[1].contents
        name = weight.name.decode()
        several = kind == b"MUL_MAT_ID"
        if not name.endswith(".weight") or given.type != 0 or (given.ne[2 if several else 1] < 16):
            return not ask
        if not ask:
            x = _values(given, np.float32)
            look(name, x if several else x[0], _values(tensor.src[2].contents, np.int32)[0] if several else None)
        return True

    return answer


def quantize(
    src: Path,
    dst: Path,
    recipe: str,
    *,
    imatrix: Mapping[str, np.ndarray] | None = None,
    overrides: Mapping[str, str | int] | None = None,
    pure: bool = False,
    allow_requantize: bool = False,
    dry_run: bool = False,
    threads: int = 2,
) -> tuple[bool, str]:
    """Run ``llama_model_quantize``.

    Returns whether it did what it was asked, and what it said.
    """
    import llama_cpp

    _listening()
    _SAID.clear()
    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread = threads
    params.ftype = recipes.get_recipe(recipe).file_type
    params.pure, params.allow_requantize, params.dry_run = pure, allow_requantize, dry_run
    if imatrix is not None:
        arrays = {name: np.ascontiguousarray(values, np.float32) for name, values in imatrix.items()}
        rows = [
            llama_cpp.llama_model_imatrix_data(
                name.encode(), values.ctypes.data_as(ctypes.POINTER(ctypes.c_float)), values.size
            )
            for name, values in arrays.items()
        ]
        params.imatrix = (llama_cpp.llama_model_imatrix_data * (len(rows) + 1))(*rows)
    if overrides is not None:
        table = (llama_cpp.llama_model_kv_override * (len(overrides) + 1))()
        for row, (key, value) in zip(table, overrides.items(), strict=False):
            row.key = key.encode()
            if isinstance(value, str):
                row.tag, row.value.val_str = 3, value.encode()
            else:
                row.tag, row.value.val_i64 = 0, value
        params.kv_overrides = table
    code = llama_cpp.llama_model_quantize(str(src).encode(), str(dst).encode(), ctypes.byref(params))
    return code == 0, b"".join(_SAID).decode(errors="replace")
