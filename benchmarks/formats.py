"""Block formats beside libggml's C and gguf-py, in one run on one thread.

    python benchmarks/formats.py [Q4_K Q6_K ...] [--size 4096] [--rounds 5] [--skip-gguf-py]

For each format: quantize, quantize with an importance matrix, dequantize. The contenders take turns, so that a busy
machine slows all of them; times are CPU seconds of this thread. The table gives millions of weights a second (best of
all rounds) and how many times faster qviz is, by best and by median. libggml is the one in the wheel pywhispercpp.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

from qviz.formats import FORMATS, Format, QTensor, quantize

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import ggml


def c_decoder(fmt: Format, raw: np.ndarray, out: np.ndarray) -> Callable[[], object] | None:
    """ggml's decoder straight into `out`: `ggml.dequantize` would count its copies too."""
    if fmt == "F32":
        return None
    symbol = {"F16": "ggml_fp16_to_fp32_row", "BF16": "ggml_bf16_to_fp32_row"}.get(
        fmt.name, f"dequantize_row_{fmt.name.lower().replace('_k', '_K')}"
    )
    function = getattr(ggml.library(), symbol)
    function.restype, function.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    return lambda: function(raw.ctypes.data, out.ctypes.data, out.size)


def c_encoder(fmt: Format, x: np.ndarray, raw: np.ndarray, imatrix: np.ndarray | None) -> Callable[[], object]:
    """ggml's encoder straight into `raw`."""
    weights = None if imatrix is None else imatrix.ctypes.data
    arguments = (fmt.type_id, x.ctypes.data, raw.ctypes.data, 0, *x.shape, weights)
    return lambda: ggml.library().ggml_quantize_chunk(*arguments)


def measure(contenders: dict[str, Callable[[], object] | None], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name, run in contenders.items() if run is not None}
    for name in seconds:
        contenders[name]()  # compiles; fills caches
    for _ in range(rounds):
        for name, times in seconds.items():
            start = time.thread_time()
            contenders[name]()
            times.append(time.thread_time() - start)
    return seconds


def report(label: str, n: int, seconds: dict[str, list[float]]) -> None:
    ours = seconds["qviz"]
    line = f"{label:<26}{n / min(ours) / 1e6:9.1f}"
    for name in ("libggml", "gguf-py"):
        times = seconds.get(name)
        if times is None:
            line += f"{'-':>12}{'-':>9}{'-':>9}"
        else:
            best, median = min(times) / min(ours), np.median(times) / np.median(ours)
            line += f"{n / min(times) / 1e6:12.1f}{best:8.2f}×{median:8.2f}×"
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("formats", nargs="*", help="names; all encodable ones unless given")
    parser.add_argument("--size", type=int, default=4096, help="rows and columns of the matrix")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip-gguf-py", action="store_true", help="it takes most of the time")
    args = parser.parse_args()
    chosen = args.formats or [name for name, fmt in FORMATS.items() if fmt.can_encode or fmt.needs_imatrix]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((args.size, args.size)).astype(np.float32)
    imatrix = (rng.standard_normal(args.size) ** 2).astype(np.float32)
    out = np.empty_like(x)

    print(f"{args.size} × {args.size} float32, one thread, {args.rounds} rounds, million weights a second")
    print(f"{'':26}{'qviz':>9}{'libggml':>12}{'best':>9}{'median':>9}{'gguf-py':>12}{'best':>9}{'median':>9}")
    for name in chosen:
        fmt = FORMATS[name.upper()]
        raw = np.empty(x.size // fmt.block_size * fmt.type_size, np.uint8)
        known = fmt.type_id in {kind.value for kind in gguf.GGMLQuantizationType}
        peer = gguf.GGMLQuantizationType(fmt.type_id) if known else None

        def peer_call(function: Callable[..., np.ndarray], data: np.ndarray, kind: object = peer) -> Callable | None:
            try:
                function(data[:1], kind)
            except (NotImplementedError, AttributeError):
                return None
            return None if args.skip_gguf_py else lambda: function(data, kind)

        for weights in (imatrix,) if fmt.needs_imatrix else (None, imatrix) if fmt.quantize_weighted else (None,):
            contenders = {
                "qviz": lambda f=fmt, w=weights: quantize(x, f, w),
                "libggml": c_encoder(fmt, x, raw, weights),
                "gguf-py": peer_call(gguf.quants.quantize, x) if weights is None else None,
            }
            label = f"{name} quantize" + ("" if weights is None else ", imatrix")
            report(label, x.size, measure(contenders, args.rounds))
        tensor = QTensor.from_bytes(fmt, raw, x.shape)
        contenders = {
            "qviz": lambda t=tensor: t.dequantize(out),
            "libggml": c_decoder(fmt, raw, out),
            "gguf-py": peer_call(gguf.quants.dequantize, raw.reshape(args.size, -1)),
        }
        report(f"{name} dequantize", x.size, measure(contenders, args.rounds))


if __name__ == "__main__":
    main()
