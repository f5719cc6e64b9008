"""The float arithmetic between the matrices of a transformer: norms, rotation, attention, gates, log-probabilities.

Sums here may be taken in any order (`loose_kernel`): they decide no byte. All arrays are float32.
"""

from __future__ import annotations

import numpy as np

from qviz._machine.kernels import f32, half_float, i32, kernel, loose_kernel, simd

_LOG2E, _LN2_HIGH, _LN2_LOW = f32(1.4426950408889634), f32(0.693359375), f32(-2.12194440e-4)


@loose_kernel
def exp(x):
    """e^x for x ≤ 0 to about 1e-7, in a form that LLVM can put into vectors (Cephes' expf polynomial)."""
    x = max(x, f32(-87))
    n = np.floor(x * _LOG2E + f32(0.5))
    r = x - n * _LN2_HIGH
    r = r - n * _LN2_LOW
    p = f32(1.9875691500e-4)
    p = p * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    p = p * r * r + r + f32(1)
    return p * i32(i32(i32(n) + i32(127)) << i32(23)).view(np.float32)


@loose_kernel
def rms_norm(x, gain, eps, out):
    """``x / sqrt(mean x² + eps) · gain`` for each row (ggml.c: ggml_rms_norm)."""
    rows, n = x.shape
    for t in range(rows):
        total = f32(0)
        for i in range(n):
            total += x[t, i] * x[t, i]
        scale = f32(1) / np.sqrt(total / f32(n) + eps)
        for i in range(n):
            out[t, i] = x[t, i] * scale * gain[i]


@loose_kernel
def layer_norm(x, gain, bias, eps, out):
    """``(x − mean) / sqrt(variance + eps) · gain + bias`` for each row (ggml.c: ggml_norm)."""
    rows, n = x.shape
    for t in range(rows):
        total = f32(0)
        for i in range(n):
            total += x[t, i]
        mean, squares = total / f32(n), f32(0)
        for i in range(n):
            squares += (x[t, i] - mean) * (x[t, i] - mean)
        scale = f32(1) / np.sqrt(squares / f32(n) + eps)
        for i in range(n):
            out[t, i] = (x[t, i] - mean) * scale * gain[i] + bias[i]


@loose_kernel
def rotate(x, positions, cos, sin, head_size):
    """RoPE in place: each pair (2i, 2i + 1) of each head turns by its position's angle (ggml's NORM mode)."""
    rows, n = x.shape
    pairs = cos.shape[1]
    for t in range(rows):
        p = positions[t]
        for h in range(0, n, head_size):
            for i in range(pairs):
                a, b = x[t, h + 2 * i], x[t, h + 2 * i + 1]
                x[t, h + 2 * i] = a * cos[p, i] - b * sin[p, i]
                x[t, h + 2 * i + 1] = a * sin[p, i] + b * cos[p, i]


@loose_kernel
def rotate_halves(x, positions, cos, sin, head_size):
    """`rotate` for values half a turning part apart: (i, i + pairs) of each head (ggml's NEOX mode)."""
    rows, n = x.shape
    pairs = cos.shape[1]
    for t in range(rows):
        p = positions[t]
        for h in range(0, n, head_size):
            for i in range(pairs):
                a, b = x[t, h + i], x[t, h + pairs + i]
                x[t, h + i] = a * cos[p, i] - b * sin[p, i]
                x[t, h + pairs + i] = a * sin[p, i] + b * cos[p, i]


@loose_kernel
def cap(x, limit):
    """``limit · tanh(x / limit)`` in place, over rows."""
    rows, n = x.shape
    for t in range(rows):
        for i in range(n):
            x[t, i] = limit * np.tanh(x[t, i] / limit)


@loose_kernel
def causal_softmax(scores, first):
    """Softmax in place over scores (n, rows, keys): row t sees keys 0 … first + t; the rest becomes 0."""
    n, rows, keys = scores.shape
    for b in range(n):
        for t in range(rows):
            row = scores[b, t]
            seen = first + t + 1
            top = row[0]
            for j in range(seen):
                top = max(top, row[j])
            total = f32(0)
            for j in range(seen):
                row[j] = exp(row[j] - top)
                total += row[j]
            inverse = f32(1) / total
            for j in range(seen):
                row[j] *= inverse
            for j in range(seen, keys):
                row[j] = f32(0)


@loose_kernel
def masked_softmax(scores, first, window, limit, sinks, head):
    """`causal_softmax` with a window, a cap and sinks; apart from it, so that its sums keep their order.

    Parameters
    ----------
    scores : float32 array (n, rows, keys)
    first : int
    window : int
        How many keys a row sees, itself included; 0 for all.
    limit : float32
        Scores s become ``limit · tanh(s / limit)`` first; 0 for none.
    sinks : float32 array (n_heads,), or empty
        One more score of each head, which takes its share and gives nothing.
    head : int
        The head of ``scores[0]``; the next has the next one.
    """
    n, rows, keys = scores.shape
    for b in range(n):
        if limit > f32(0):
            cap(scores[b], limit)
        for t in range(rows):
            row = scores[b, t]
            seen = first + t + 1
            low = max(seen - window, 0) if window > 0 else 0
            for j in range(low):
                row[j] = f32(0)
            top = row[low]
            for j in range(low, seen):
                top = max(top, row[j])
            sink = f32(0)
            if sinks.size:
                sink = sinks[(head + b) % sinks.size]
                top = max(top, sink)
            total = f32(0)
            for j in range(low, seen):
                row[j] = exp(row[j] - top)
                total += row[j]
            if sinks.size:
                total += exp(sink - top)
            inverse = f32(1) / total
            for j in range(low, seen):
                row[j] *= inverse
            for j in range(seen, keys):
                row[j] = f32(0)


@loose_kernel
def sigmoid(x):
    """``1 / (1 + e^-x)``."""
    part = f32(1) / (f32(1) + exp(-abs(x)))
    return part if x >= f32(0) else f32(1) - part


@loose_kernel
def gelu(x):
    """``x · (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2``, in place."""
    rows, n = x.shape
    for t in range(rows):
        for i in range(n):
            v = x[t, i]
            x[t, i] = v * sigmoid(f32(1.5957691216057308) * v * (f32(1) + f32(0.044715) * v * v))


@loose_kernel
def geglu(gate, up):
    """``gelu(gate) · up``, written over `gate`."""
    gelu(gate)
    rows, n = gate.shape
    for t in range(rows):
        for i in range(n):
            gate[t, i] *= up[t, i]


@loose_kernel
def clamped_gate(gate, up):
    """``g · sigmoid(1.702 g) · (u + 1)`` with g at most 7 and u within ±7, written over `gate`."""
    rows, n = gate.shape
    for t in range(rows):
        for i in range(n):
            g, u = min(gate[t, i], f32(7)), max(min(up[t, i], f32(7)), f32(-7))
            gate[t, i] = g * sigmoid(f32(1.702) * g) * (u + f32(1))


@loose_kernel
def swiglu(gate, up):
    """``gate / (1 + e^-gate) · up``, written over `gate`."""
    rows, n = gate.shape
    for t in range(rows):
        for i in range(n):
            g = gate[t, i]
            e = exp(-abs(g))
            sigmoid = f32(1) / (f32(1) + e)
            gate[t, i] = g * (sigmoid if g >= f32(0) else f32(1) - sigmoid) * up[t, i]


@loose_kernel
def log_softmax(logits):
    """Logits (rows, n) -> natural logarithms of probabilities, in place."""
    rows, n = logits.shape
    for t in range(rows):
        row = logits[t]
        top = row[0]
        for i in range(n):
            top = max(top, row[i])
        total = 0.0
        for i in range(n):
            total += np.float64(exp(row[i] - top))
        shift = f32(np.float64(top) + np.log(total))
        for i in range(n):
            row[i] -= shift


@loose_kernel
def divergence(base, log_probs, kld, same_top):
    """Kullback–Leibler divergence Σ p_base (log p_base − log p) of each row, and whether both prefer the same token."""
    rows, n = base.shape
    for t in range(rows):
        total = 0.0
        best, ours = 0, 0
        for i in range(n):
            p = base[t, i]
            total += np.float64(exp(p) * (p - log_probs[t, i]))
        for i in range(n):
            best = i if base[t, i] > base[t, best] else best
            ours = i if log_probs[t, i] > log_probs[t, ours] else ours
        kld[t], same_top[t] = total, best == ours


@loose_kernel
def attend(q, keys, values, at, scale, limit, sinks, scores, out):
    """One new token against the cache: query heads that share a key head, each key and value read once for all.

    Parameters
    ----------
    q, out : float32 arrays (n_heads, head_size)
    keys, values : uint16 arrays (length, width)
        Bits of float16; the head's begin at column `at`.
    scale : float32
        What a score is multiplied with.
    limit : float32
        Scores s become ``limit · tanh(s / limit)``; 0 for none.
    sinks : float32 array (n_heads,), or empty
        One more score of each head.
    scores : float32 array (n_heads, at least length)
        Scratch.
    """
    n_heads, head = q.shape
    length = keys.shape[0]
    part = np.empty(head, np.float32)
    for j in range(length):
        _widen(keys[j], at, part)
        for h in range(n_heads):
            total = f32(0)
            for i in range(head):
                total += q[h, i] * part[i]
            scores[h, j] = total * scale
    if limit > f32(0):
        cap(scores[:, :length], limit)
    for h in range(n_heads):
        row = scores[h]
        top = row[0]
        for j in range(length):
            top = max(top, row[j])
        if sinks.size:
            top = max(top, sinks[h])
        total = f32(0)
        for j in range(length):
            row[j] = exp(row[j] - top)
            total += row[j]
        if sinks.size:
            total += exp(sinks[h] - top)
        for j in range(length):
            row[j] /= total
        for i in range(head):
            out[h, i] = f32(0)
    for j in range(length):
        _widen(values[j], at, part)
        for h in range(n_heads):
            p = scores[h, j]
            for i in range(head):
                out[h, i] += p * part[i]


@kernel
def _widen(row, at, out):
    """Float16 bits from `at` on -> float32."""
    whole = out.size // 8 * 8
    for i in range(0, whole, 8):
        simd.widen_halves(row, at + i, out[i : i + 8])
    for i in range(whole, out.size):
        out[i] = half_float(row[at + i])
