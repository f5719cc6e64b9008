"""The exercises keep their promises: executed, canonical, failing before the solution and passing after it; a wrong
answer is told which misconception it comes from, and nbgrader makes, runs and scores them.

That their outputs are right is for ``pytest --nbval notebooks/``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from exercises import SOURCES, UNSOLVED, Play, exercises, grading, solved, unsolved, visible
from test_notebooks import LESSONS, LINK, build

COURSE = SOURCES.parent
MAX_BYTES = 30_000

# Lesson; answer; what in its solution is written otherwise, and how; what the check says to that. Where only the hidden
# check notices, "hidden:" stands before it: in a student's notebook such an answer passes.
WRONG = [
    ("00", "levels", "return 2**bits, 2**bits - 1", "return bits**2, bits**2 - 1", "** is the power"),
    ("00", "levels", "2**bits - 1", "2**bits", "steps are one fewer"),
    ("00", "sqnr", "10 * np.log10", "20 * np.log10", "ratio of squares"),
    ("00", "sqnr", "(x**2).sum() / (noise**2).sum()", "(noise**2).sum() / (x**2).sum()", "upside down"),
    ("00", "sqnr", "np.log10", "np.log", "natural logarithm"),
    ("00", "sqnr", "noise = x - rounded", "noise = rounded", "not the rounded weights"),
    ("00", "fewest", "range(2, 9)", "range(8, 1, -1)", "not the fewest"),
    ("00", "fewest", "group_size=group_size", "group_size=128", "pass group_size on"),
    ("00", "fewest", "return None", "return 8", "hidden:the answer is None"),
    ("01", "nearest", "(2**bits - 1)\n", "2**bits\n", "`high` must be a level"),
    ("01", "nearest", "np.rint", "np.floor", "truncated, not rounded"),
    ("01", "nearest", "np.rint", "np.ceil", "closer to the one below"),
    ("01", "nearest", "low + code * step", "code * step", "hidden:"),
    ("01", "unlucky", "return [bits for", "return [bits + 1 for", "*before* the bad step"),
    (
        "01",
        "unlucky",
        "abs(x - nearest(x, bits, low, high)[1])",
        "x - nearest(x, bits, low, high)[1]",
        "absolute errors",
    ),
    ("01", "affine", "int(np.rint(-low / scale))", "-low / scale", "so it is a whole number"),
    ("01", "affine", "-low / scale", "low / scale", "the sign"),
    ("01", "affine", "(2**bits - 1)", "2**bits", "15 steps"),
    ("01", "affine", "min(float(group.min()), 0.0)", "float(group.min())", "hidden:0 must be in the range"),
    (
        "02",
        "bpw",
        "return bits + groups * (16 + (0 if sym else bits)) / (rows * columns)",
        "return bits",
        "left out the scales",
    ),
    ("02", "bpw", "(16 + (0 if sym else bits))", "16", "stores its zero point"),
    ("02", "bpw", "(0 if sym else bits)", "16", "not 16"),
    ("02", "bpw", "(0 if sym else bits)", "bits", "no zero point"),
    ("02", "bpw", "rows * -(-columns // size)", "rows * columns / size", "the fifth is short"),
    ("02", "scale", "np.clip(np.rint(group / scale), -8, 7)", "np.rint(group / scale)", "smaller always looks better"),
    ("02", "scale", "candidates[int(np.argmin(errors))]", "int(np.argmin(errors))", "not its number"),
    ("02", "scale", "** 2", "** 8", "less squared error"),
    (
        "03",
        "encode",
        "np.abs(values[:, None] - levels).argmin(axis=1)",
        "np.searchsorted(levels, values, side='right').clip(1) - 1",
        "the next level below",
    ),
    (
        "03",
        "encode",
        "np.abs(values[:, None] - levels).argmin(axis=1)",
        "np.searchsorted(levels, values).clip(0, len(levels) - 1)",
        "the next level above",
    ),
    ("03", "lloyd", " if (codes == k).any() else levels[k]", "", "NaN"),
    ("03", "lloyd", "values[codes == k].mean()", "(levels[k] + values[codes == k].mean()) / 2", "means 0.5 and 11"),
    ("03", "nf4", "return scale * ", "return ", "multiply by the scale"),
    ("03", "nf4", "np.abs(group).max()", "group.max()", "largest *magnitude*"),
    ("03", "nf4", "encode(group / scale,", "encode(group,", "*before* you encode"),
    ("04", "pack", "q[:16] | q[16:] << 4", "q[::2] | q[1::2] << 4", "not neighbours"),
    ("04", "pack", "q[:16] | q[16:] << 4", "q[16:] | q[:16] << 4", "*low* four bits"),
    ("04", "pack", "np.float32(15)", "np.float32(16)", "15 steps"),
    (
        "04",
        "pack",
        'd.astype("<f2").tobytes() + m.astype("<f2").tobytes()',
        'm.astype("<f2").tobytes() + d.astype("<f2").tobytes()',
        "the scale comes first",
    ),
    ("04", "pack", 'd.astype("<f2").tobytes()', 'd.astype("<f2").tobytes()[::-1]', "little-endian"),
    ("04", "pack", ' + m.astype("<f2").tobytes()', "", "a block of Q4_0"),
    ("04", "pack", "m.astype", "(-m).astype", "*adds* its minimum"),
    ("04", "pack", "m = x.min()", "m = x[np.abs(x).argmin()]", "smallest magnitude"),
    (
        "04",
        "pack",
        "np.trunc((x - m) * inverse + np.float32(0.5))",
        "np.trunc((x - m) * inverse)",
        "cut off the fraction",
    ),
    (
        "04",
        "pack",
        "np.trunc((x - m) * inverse + np.float32(0.5))",
        "np.rint((x - m) * inverse)",
        "cut off the fraction",
    ),
    ("04", "pack", "(x - m) * inverse", "(x - np.float32(np.float16(m))) * inverse", "bytes of codes are not right"),
    ("04", "unpack", "+ m", "- m", "*adds* its minimum"),
    ("04", "unpack", " + m", "", "the minimum is missing"),
    ("04", "unpack", ".astype(np.float32) + m", ".astype(np.float32) + m - 8 * d", "belongs to Q4_0"),
    (
        "04",
        "unpack",
        "np.concatenate([qs & 15, qs >> 4])",
        "np.stack([qs & 15, qs >> 4], 1).ravel()",
        "low halves first",
    ),
    ("05", "sixes", " | s[4:] >> 4 << 6", "", "bytes 0 … 3 should be"),
    (
        "05",
        "sixes",
        "first = s[:4] | s[4:] >> 4 << 6\n    second = m[:4] | m[4:] >> 4 << 6",
        "first, second = s[:4], m[:4]",
        "top two bits",
    ),
    ("05", "sixes", "first = s[:4] | s[4:] >> 4", "first = s[:4] | m[4:] >> 4", "you put the minimums there"),
    ("05", "sixes", "second = m[:4] | m[4:] >> 4", "second = m[:4] | s[4:] >> 4", "top of the *minimums*"),
    ("05", "sixes", "first = s[:4] | s[4:] >> 4 << 6", "first = s[:4] << 2 | s[4:] >> 4", "the six lower bits"),
    ("05", "sixes", "s[4:] & 15 | (m[4:] & 15) << 4", "m[4:] & 15 | (s[4:] & 15) << 4", "into the lower four bits"),
    ("05", "sixes", " | (m[4:] & 15) << 4", "", "where are the bottoms"),
    ("05", "sixes", "np.concatenate([first, second, third])", "np.concatenate([s, m])", "one byte for each number"),
    ("05", "fit", "x + minimum", "x - minimum", "*subtracted*"),
    ("05", "fit", "part in (x, w, codes)", "part in (x, np.ones(len(x)), codes)", "use the weights w"),
    (
        "05",
        "fit",
        "(w * q * (x + minimum)).sum() / (w * q**2).sum()",
        "np.polyfit(q, x, 1, w=np.sqrt(w))[0]",
        "belongs to another minimum",
    ),
    (
        "05",
        "fit",
        "return float((w * q * (x + minimum)).sum() / (w * q**2).sum())",
        "return (w * q * (x + minimum)).sum() / (w * q**2).sum(), minimum",
        "one number is wanted",
    ),
    ("06", "starts", "found, at = [], end", "found, at = [], 0", "in front of the data section"),
    ("06", "starts", "        at = -(-at // alignment) * alignment\n", "", "not right after the header"),
    ("06", "starts", "-(-at // alignment) * alignment", "at // alignment * alignment", "not down"),
    ("06", "starts", "-(-at // alignment) * alignment", "(at // alignment + 1) * alignment", "no padding is needed"),
    (
        "06",
        "starts",
        "found, at = [], end\n    for size in sizes:\n        at = -(-at // alignment) * alignment",
        "found, at = [], -(-end // alignment) * alignment\n    for size in sizes:",
        "padding between them",
    ),
    ("06", "starts", "-(-at // alignment) * alignment", "-(-at // 32) * 32", "hidden:another number"),
    ("06", "text", ".decode()", "", "decode the bytes"),
    ("06", "text", "end = start + 8 + length", "end = start + length", "the first key is"),
    ("06", "info", "tuple(reversed(dims))", "tuple(dims)", "turn the dimensions round"),
    ("06", "info", "at += 8 * count + 4", "at += 8 * count", "number of the format"),
    ("06", "diagnose", '"byte order" if big in (1, 2, 3) else "version"', '"version"', "look at it both ways"),
    ("06", "diagnose", '"cut short" if len(raw) < 352 + 46336 else "fine"', '"fine"', "as good as new"),
    ("06", "diagnose", "len(raw) < 352 + 46336", "len(raw) != 352 + 46336", "hidden:do no harm"),
    ("07", "hessian", "2 / len(x) * x.T @ x", "2 / len(x) * x @ x.T", "compares tokens with tokens"),
    ("07", "hessian", "2 / len(x)", "1 / len(x)", "factor 2"),
    ("07", "hessian", "2 / len(x)", "2", "number of tokens"),
    ("07", "hessian", "2 / len(x)", "2 / x.shape[1]", "not of channels"),
    ("07", "step", "    w[:, i + 1 :] -= np.outer(error, inverse[i, i + 1 :])\n", "", "that is round-to-nearest"),
    ("07", "step", "-= np.outer(error", "+= np.outer(error", "the sign"),
    ("07", "step", "(w[:, i] - q) / inverse[i, i]", "w[:, i] - q", "divide the error"),
    (
        "07",
        "step",
        "np.array(w, np.float64), np.array(inverse, np.float64)",
        "w, np.array(inverse, np.float64)",
        "change copies",
    ),
    ("07", "step", "    w[:, i] = q\n", "", "must end on its level"),
    ("07", "step", "(w[:, i] - q) / inverse[i, i]", "(w[:, i] - q) / inverse[i, i] ** 2", "not the moves"),
    ("07", "step", "    inverse -= np.outer(inverse[:, i], inverse[i]) / inverse[i, i]\n", "", "still holds column i"),
    ("07", "step", "inverse -= np.outer", "inverse += np.outer", "subtract in step 3"),
    ("07", "step", "inverse[i]) / inverse[i, i]", "inverse[i])", "in step 3, too"),
    ("07", "loss", ".sum(axis=0) / 2", ".sum(axis=0)", "½ e²"),
    ("07", "loss", ".sum(axis=0) / 2", ".sum(axis=1) / 2", "sum over the rows"),
    ("07", "loss", "((adjusted - levels) / np.diagonal(U))", "(adjusted - levels)", "divided by U"),
    ("08", "scaled", ") / s", ")", "divide by s again"),
    ("08", "scaled", "grid.fake_quantize(w * s) / s", "grid.fake_quantize(w / s) * s", "upside down"),
    ("08", "scaled", "act_scale**alpha", "act_scale", "to the power alpha"),
    (
        "08",
        "fault",
        "off.mean() > 0.5 * off.std()",
        "np.abs(off).mean() > 0.5 * off.std()",
        "rounding alone is no fault",
    ),
    ("08", "fault", "off.mean() > 0.5 * off.std()", "off.std() > before.std() / 3", "go up and down alike"),
    ("08", "fault", "alike < -0.5", "alike < -2", "you found nothing"),
    ("08", "fault", "off.mean() > 0.5 * off.std()", "False", "you found nothing"),
    ("08", "fault", "> max(alike, 0.5)", "> 2", "transposed"),
    (
        "08",
        "fault",
        "off.mean() > 0.5 * off.std()",
        "off.mean() > 0.02",
        "hidden:small as the error of rounding may be",
    ),
    ("09", "limit", "nbytes / seconds / bandwidth", "seconds * bandwidth / nbytes / 4", "upside down"),
    (
        "09",
        "limit",
        'return most if shares[most] >= 0.5 else "kernel"',
        'return "memory" if operations / nbytes < peak / bandwidth else "arithmetic"',
        "look at the time",
    ),
    ("09", "limit", ">= 0.5", "> 0.5", "hidden:exactly one half"),
    (
        "09",
        "users",
        "weight_bytes + (users + 1) * cache_bytes",
        "(users + 1) * (weight_bytes + cache_bytes)",
        "one copy of the weights",
    ),
    (
        "09",
        "users",
        "read * speed / bandwidth",
        "(users + 1) * (weight_bytes + cache_bytes) * speed / bandwidth",
        "read once in a step",
    ),
    ("09", "users", '            "memory": read / memory,\n', "", "count the bytes"),
    (
        "09",
        "users",
        '            "memory": read / memory,\n            "bandwidth": read * speed / bandwidth,\n',
        "",
        "only the arithmetic",
    ),
    ("09", "users", "read * speed / bandwidth", "read / bandwidth", "so many steps each second"),
    ("09", "users", "used[worst] > 1", "used[worst] >= 1", "hidden:fit exactly"),
    ("09", "room", "2 ** (bits - 1)", "2**bits", "one bit is the sign"),
    ("09", "room", " * 127", "", "the *product* counts"),
    ("09", "room", "max(abs(low), abs(high))", "high", "larger than 7"),
    ("10", "surprise", "total - logits[", "-total + logits[", "the sign"),
    ("10", "surprise", "    logits = logits - logits.max(axis=1, keepdims=True)\n", "", "overflows"),
    ("10", "surprise", "np.log(np.exp(logits).sum(axis=1))", "np.log2(np.exp(logits).sum(axis=1))", "not log2"),
    ("10", "divergence", "np.exp(logs[0]) *", "np.exp(logs[1]) *", "expected"),
    ("10", "divergence", "(logs[0] - logs[1])", "(logs[1] - logs[0])", "never negative"),
    ("10", "divergence", ".sum(axis=1)\n", ".sum()\n", "sum over the vocabulary only"),
    (
        "10",
        "paired",
        "np.std(b - a, ddof=1) / np.sqrt(len(a))",
        "np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a))",
        "token by token",
    ),
    ("10", "paired", " / np.sqrt(len(a))", "", "√n times as certain"),
    ("10", "paired", "np.sqrt(len(a))", "len(a)", "not by n"),
    ("10", "paired", ", ddof=1", "", "hidden:n − 1"),
    ("11", "card", 'card["kv_heads"]', 'card["heads"]', "8 key-value heads"),
    ("11", "card", "2 * card", "card", "keys *and* values"),
    ("11", "card", "nbytes + cache <=", "nbytes <=", "do you count it"),
    ("11", "card", "* context *", '* card["context"] *', "you have []"),
    ("11", "card", " and reads and", " and", "not GGUF"),
    ("11", "card", ' and (name != "NVFP4" or machine["fp4"])', "", "no hardware for 4-bit floats"),
    ("11", "card", "<= machine", "< machine", "hidden:"),
    ("11", "spend", "size <= budget and harm < least", "harm < least", "and the budget is"),
    (
        "11",
        "spend",
        "size, harm = (sum(part) for part in zip(*chosen, strict=True))",
        "size = harm = sum(chosen_size for chosen_size, _ in chosen)",
        "the budget allows more",
    ),
    ("11", "spend", "harm < least", "len(set(formats)) == 1 and harm < least", "spend a byte where"),
    (
        "11",
        "spend",
        "best, least = None, np.inf",
        "best, least = dict.fromkeys(options, 'Q3_K'), np.inf",
        "hidden:nothing fits",
    ),
    ("11", "spend", "size <= budget", "size < budget", "Q4_K for every matrix"),
    ("12", "names", "{TABLE[rest]}.{kind}", "{TABLE[rest]}", "belongs to the name"),
    ("12", "names", "blk.{head}.", "blk.{head[0]}.", "cut at the dot"),
    ("12", "names", "{TABLE[rest]}.{kind}", "{TABLE[rest]}.weight", "a bias stays a bias"),
    ("12", "names", "    if module in OUTSIDE:", "    if module in {}:", "ValueError"),
    ("12", "names", "raise ValueError(name)", "return name", "do not guess"),
    ("12", "names", 'not module.startswith("model.layers.") or ', "", "hidden:has no place"),
    ("12", "order", "size = rows // heads", "size, heads = rows, 1", "half a *head* apart"),
    ("12", "order", "[first, first + size // 2]", "[head * size + 2 * i, head * size + 2 * i + 1]", "no row has moved"),
    ("12", "order", "return np.array(order)", "return np.argsort(order)", "the way back"),
    ("12", "order", "[first, first + size // 2]", "[first + size // 2, first]", "This looks like"),
    ("12", "chat", 'return said + "<|im_start|>assistant\\n"', "return said", "begun and not ended"),
    ("12", "chat", 'if messages[0]["role"] != "system":', "if False:", "nobody has spoken as system"),
    ("12", "chat", "{m['content']}<|im_end|>\\n", "{m['content']}<|im_end|>", "one after <|im_end|>"),
    ("12", "chat", '"<|im_start|>assistant\\n"', '"<|im_start|>assistant"', "the model's answer begins"),
    ("12", "chat", 'if messages[0]["role"] != "system":', "if True:", "put no second one"),
    (
        "12",
        "words",
        "return row[-1]",
        "return sum(a != b for a, b in zip(said, text, strict=False))",
        "do not compare place by place",
    ),
    ("12", "words", "(heard != word)", "2 * (heard != word)", "not one out and one in"),
    ("12", "words", "row = list(range(len(text) + 1))", "row = [0] * (len(text) + 1)", "one word was left out"),
    ("12", "words", "diagonal, row[0] = row[0], i", "diagonal, row[0] = row[0], 0", "one word too many"),
    ("12", "words", "return row[-1]", "return row[-1] or len(said)", "the same words"),
    ("13", "decode", "(1 + m / 8)", "(m / 8)", "hidden 1 is missing"),
    ("13", "decode", "2.0 ** (e - 7)", "2.0 ** (e - 8)", "the bias is 7"),
    ("13", "decode", "(1 + m / 8)", "(1 + m / 16)", "worth a half"),
    ("13", "decode", "-size if sign else size", "size", "bit 7 is the sign"),
    ("13", "decode", "m / 8 * 2.0**-6", "m / 8 * 2.0**-7", "there is no hidden 1"),
    ("13", "encode", "steps = round(size / 2.0 ** (power - 3))", "steps = int(size / 2.0 ** (power - 3))", "truncated"),
    ("13", "encode", "(128 if x < 0 else 0)", "0", "bit 7 set"),
    ("13", "encode", "min(abs(x), 448.0)", "abs(x)", "saturate"),
    ("13", "encode", "max(math.floor(math.log2(size)), -6)", "math.floor(math.log2(size))", "a subnormal"),
    (
        "13",
        "encode",
        "round(size / 2.0 ** (power - 3))",
        "math.floor(size / 2.0 ** (power - 3) + 0.5)",
        "half-way between 1 and",
    ),
    (
        "13",
        "encode",
        "round(size / 2.0 ** (power - 3))",
        "math.ceil(size / 2.0 ** (power - 3) - 0.5)",
        "not always down",
    ),
    ("13", "encode", " if size else -6", "", "math domain error"),
    ("13", "block", "bits + scale_bits * -(-n // block) / n + once / n", "bits", "counting only the codes"),
    ("13", "block", " / n + once / n", " / n + once", "counted for every value"),
    ("13", "block", " + once / n", "", "its float32 counts"),
    ("13", "block", "-(-n // block)", "n / block", "hidden:the last is short"),
    ("14", "signs", "    bits.append(sum(bits) % 2)\n", "", "seven bits give eight signs"),
    ("14", "signs", "1 - 2 * bit", "bit", "signs are 1 and −1"),
    ("14", "signs", "sum(bits) % 2", "0", "one weight alone is negative"),
    ("14", "signs", "sum(bits) % 2", "1 - sum(bits) % 2", "0 is even"),
    ("14", "signs", "1 - 2 * bit", "2 * bit - 1", "means a *negative* weight"),
    ("14", "signs", "seven >> i & 1", "seven >> 6 - i & 1", "weight 0 has the lowest bit"),
    ("14", "signs", "sum(bits) % 2", "bits[0]", "for 1000001 expected"),
    ("14", "decode", "word & 511", "word & 255", "nine bits"),
    ("14", "decode", "scale + 0.5", "scale", "not nothing"),
    ("14", "decode", " * np.float32(0.25)", "", "divide by four"),
    ("14", "decode", "4 * (k // 2 % 2)", "4 * (1 - k // 2 % 2)", "in the *low* half"),
    ("14", "decode", "4 * (k // 2 % 2)", "4 * (k % 2)", "sixteen weights share a scale"),
    ("14", "decode", " * eight_signs(word >> 9)", "", "where are the signs"),
    ("14", "decode", "word >> 9", "word >> 8", "the signs begin at bit 9"),
    ("14", "decode", "return np.concatenate(weights)", "return np.concatenate(weights[:16])", "256 weights are wanted"),
    ("14", "decode", "scales[k // 4]", "scales[k % 8]", "weights of a real block come out otherwise"),
    ("14", "decode", ".astype(np.float32)\n", ".astype(np.float64)\n", "hidden:float32, please"),
    ("14", "spend", "<= budget", "<= budget + 10", "and the budget is 40"),
    ("14", "spend", "o[2] + price * o[1]", "o[2] + price", "every tensor needs a format"),
    (
        "14",
        "spend",
        "    return best and {name: option[0] for name, option in best.items()}",
        '    return {"a": "small", "b": "large"} if budget == 40 else best',
        "damage *for each byte*",
    ),
    (
        "14",
        "spend",
        "    return best and {name: option[0] for name, option in best.items()}",
        '    return {"a": "middle", "b": "large"} if budget == 40 else best',
        "never worth it",
    ),
    ("14", "spend", "range(200)", "range(10)", "one format for all"),
    ("14", "spend", "range(200)", "range(20)", "within the budget"),
    ("14", "spend", "<= budget", "< budget", "expected a large and b small"),
    ("14", "spend", "return best and", "return", "hidden:NoneType"),
    ("16", "forward", "s * np.clip(np.rint(w / s), -2, 1)\n", "s * np.rint(w / s)\n", "clip them"),
    ("16", "forward", "return s * np.clip", "return np.clip", "multiply codes by the scale"),
    ("16", "forward", "s * np.clip(np.rint", "s * np.clip(np.trunc", "expected -2, -2, 0, 1, 1"),
    ("16", "backward", "np.where(inside, g, 0)", "0 * g", "slope of the stairs"),
    ("16", "backward", "np.where(inside, g, 0)", "g", "clipped weights hear nothing"),
    ("16", "backward", "np.where(inside, g, 0)", "np.where(inside, 1, 0)", "not the slope alone"),
    ("16", "backward", "float(np.sum(g * by_scale))", "g * by_scale", "add up what each says"),
    ("16", "backward", "np.where(inside, q - w / s, q)", "q", "inside, moving the scale also moves"),
    (
        "16",
        "backward",
        "np.where(inside, q - w / s, q)",
        "np.where(inside, q - w / s, 0)",
        "say something about the scale",
    ),
    ("16", "backward", "np.sum(g * by_scale)", "np.sum(by_scale)", "multiply by g there, too"),
    ("16", "train", "return best", "return w", "return rounded weights"),
    ("16", "train", "if loss < least", "if True", "should become 0 and 1"),
    ("16", "train", "w = w - rate", "w = w + rate", "*against* their gradient"),
    (
        "16",
        "diagnose",
        '    if np.mean((code < -2) | (code > 1)) > 0.5:\n        return "clipped"\n',
        "",
        "was called 'fine'",
    ),
    ("16", "diagnose", "(before == after).all()", "False", "more than slow"),
    ("16", "diagnose", "forward(before, s) != forward(after, s)", "before != after", "the *rounded* ones"),
    ("16", "diagnose", "changed < 0.005", "changed < 0.9", "not to blame"),
    ("15", "choose", "x[: len(x) * 3 // 4], x[len(x) * 3 // 4 :]", "x, x", "judge by tokens that GPTQ has seen"),
    ("15", "choose", "(0.01, 0.1, 1.0)", "(0.01,)", "worse than rounding to nearest"),
    ("15", "choose", "(0.01, 0.1, 1.0)", "(1.0,)", "too much for many"),
    (
        "15",
        "choose",
        'key=errors.get), "act_order": True, "static_groups": True}',
        'key=errors.get), "act_order": True}',
        "scattered",
    ),
    ("15", "choose", "return {", "return options, {", "return a dictionary"),
    ("15", "block", "        w[i + 1 :] -= error * U[i, i + 1 :]\n", "", "nothing has moved"),
    ("15", "block", "codes[:16] | codes[16:] << 4", "codes[::2] | codes[1::2] << 4", "not neighbours"),
    ("15", "block", "codes[:16] | codes[16:] << 4", "codes[16:] | codes[:16] << 4", "*lower* four bits"),
    ("15", "block", "d.tobytes() +", "", "18 bytes"),
    ("15", "block", "d.tobytes() +", "d.tobytes()[::-1] +", "the lowest byte first"),
    ("15", "block", " / U[i, i]", "", "other codes than elimination"),
    (
        "15",
        "block",
        "    d = np.float16(d)\n    w, step,",
        "    step = float(d)\n    d = np.float16(d)\n    w, _,",
        "hidden:in float16",
    ),
    ("15", "version", "return min(means, key=means.get)", 'return "gptq_v2"', "decode the weights both ways"),
    ("15", "version", "min(means", "max(means", "the other way round"),
    ("15", "version", "return min(means, key=means.get)", "return 2", "not 2"),
    ("17", "flips", "return lost, won, min(1.0, 2 * tail)", "return lost, won", "three numbers"),
    ("17", "flips", "return lost, won,", "return won, lost,", "the other way round"),
    ("17", "flips", "return lost, won,", "return sum(before), sum(after),", "count flips, not right answers"),
    ("17", "flips", "a and not b", "a or b", "three were lost and one was won"),
    ("17", "flips", "2 * tail", "tail", "two-sided"),
    ("17", "flips", "range(fewer + 1)", "range(fewer, fewer + 1)", "*or fewer*"),
    ("17", "flips", "2 * tail", "3 * tail", "4 tosses, 1 or fewer"),
    ("17", "flips", "min(1.0, 2 * tail)", "2 * tail", "a probability is at most 1"),
    ("17", "flips", "min(1.0, 2 * tail)", "min(1.0, 2 * tail) if m else 0.0", "nothing speaks against chance"),
    ("17", "flips", "zip(before, after, ", "zip(before[:12], after[:12], ", "hidden:other counts"),
    ("17", "flips", "range(fewer + 1)", "range(min(fewer, 1) + 1)", "hidden:another p-value"),
    ("17", "causes", "return proved", "return list(proved)", "a set of words is wanted"),
    ("17", "causes", 'kld["Q4_1"] < kld["Q8_0"]', 'kld["Q4_1"] > kld["Q8_0"]', "nothing is wrong with this one"),
    ("17", "causes", 'kld["Q4_1"] < kld["Q8_0"]', 'kld["Q4_1"] < 0.01', "its levels were there before"),
    ("17", "causes", '"Q2_K" not in formats', '"source" in proved or "Q2_K" not in formats', "only the source"),
    ("17", "causes", '"Q2_K" not in formats', '"Q6_K" not in formats and "Q2_K" in formats', "the rows did not fit"),
    ("17", "causes", '("Q6_K", "Q8_0")', '("Q4_0", "Q6_K", "Q8_0")', "what rows fell back to"),
    ("17", "causes", "> 0.5", "> 0.7", "three fifths"),
    ("17", "causes", '"Q2_K" not in formats', 'formats.get("Q2_K", 0) < 0.5', "so rows did fit"),
    ("17", "causes", 'if "Q2_K" not in', 'if not proved and "Q2_K" not in', "there may be several causes"),
    ("17", "causes", '("Q6_K", "Q8_0")', '("Q6_K",)', "hidden:table A"),
    ("17", "causes", 'kld["Q4_1"] < kld["Q8_0"]', 'kld["Q4_1"] <= kld["Q8_0"]', "hidden:equal damage"),
    ("17", "design", "a != b", "a and not b", "both directions are flips"),
    ("17", "design", "max(share, points)", "max(2 * share, points)", "8 of 100 flip"),
    ("17", "design", "p * (1 - q) + q * (1 - p)", "max(share, points)", "know nothing of each other"),
    ("17", "design", "q = p - points", "q = p", "q is lower than p"),
    ("17", "design", "p * (1 - q)", "p * q", "accuracies 0.6 and 0.58"),
    ("17", "design", "max(share, points)", "share or 0.5", "at least `points` must flip"),
    ("17", "design", "strict=True)) / len(before)", "strict=True)) / 100", "hidden:another number"),
]


@pytest.fixture(params=exercises(), ids=lambda path: path.stem)
def source(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def notebook(source: Path) -> Any:
    return nbformat.read(source, 4)


def prose(notebook: Any) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def graded(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if grading(cell)]


# -- the files


def test_every_lesson_has_exercises():
    assert {path.stem for path in exercises()} >= {path.stem for path in LESSONS}
    assert all(path.parent.name == path.stem for path in exercises())


def test_file_is_canonical_and_small(source, notebook):
    assert source.read_text(encoding="utf-8") == build.canonical(notebook, source.name)
    assert source.stat().st_size <= MAX_BYTES


def test_every_cell_was_executed_in_order(notebook):
    """Strict nbval compares nothing in a cell whose execution count is null."""
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_nothing_is_stored_that_differs_between_machines(source):
    raw = source.read_text(encoding="utf-8")
    for unwanted in ("application/vnd.jupyter.widget", "image/png", "ipykernel_", "Traceback", "/tmp/", "/home/"):
        assert unwanted not in raw


def test_every_exercise_has_its_parts(source, notebook):
    first, text = notebook.cells[0].source, "\n".join(prose(notebook))
    assert first.startswith(f"# {source.stem[:2]} · Exercises: ")
    assert re.search(r"\*\*\d+ minutes · [●○]{3} · You need\*\*.*\*\*10 points\.?\*\*", first)
    for part in ("**Explore first.**", "**What to keep.**", f"{source.stem}.ipynb"):
        assert part in text


def test_points_are_ten_and_stand_in_the_headings(notebook):
    points = {grading(cell)["grade_id"]: grading(cell)["points"] for cell in graded(notebook) if grading(cell)["grade"]}
    assert sum(points.values()) == 10
    headings = re.findall(r"^## (\d+) · .*\((\d+) points", "\n".join(prose(notebook)), re.MULTILINE)
    assert [int(number) for number, _ in headings] == list(range(1, len(points) + 1))
    assert [int(p) for _, p in headings] == list(points.values())


def test_every_answer_has_a_check_with_a_hidden_part(notebook):
    answers = [grading(c)["grade_id"] for c in graded(notebook) if grading(c)["solution"] and c.cell_type == "code"]
    checks = {grading(c)["grade_id"]: c.source for c in graded(notebook) if grading(c)["locked"]}
    assert [f"test_{name}" for name in answers] == list(checks)
    for name, check in checks.items():
        assert visible(check) != check, f"{name} has no hidden part"
        assert visible(check).count('"') >= 4, f"{name} says too little"


def test_a_graded_cell_says_what_was_earned(notebook):
    for cell in graded(notebook):
        if grading(cell)["locked"]:
            points = grading(cell)["points"]
            assert cell.source.startswith(f"with qviz.lesson.graded(points={points}):\n")
            assert re.search(r"^\S", cell.source.split("\n", 1)[1], re.MULTILINE) is None, "a check outside of it"
            shown = "".join(output.get("text", "") for output in cell.outputs)
            assert shown == f"✓ passed, {points} point{'s' * (points != 1)}\n"


def test_graded_cells_are_free_of_widgets_and_others_explore(notebook):
    """nbgrader waits in vain for a widget's answer."""
    widgets = re.compile(r"ipywidgets|Explorer\(|\.observe\(")
    explored = False
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not (grading(cell) and widgets.search(cell.source)), cell.source
            explored |= bool(widgets.search(cell.source))
    assert explored, "nothing to explore"


def test_links_lead_somewhere(source, notebook):
    for text in prose(notebook):
        for _, url in LINK.findall(text):
            assert url.startswith("https://") or (source.parent / url).is_file(), url


# -- right, wrong and empty answers


def test_answers_fail_before_the_solution_and_are_told_their_mistakes(source, capsys):
    """Everything runs with the solutions; without one its check fails; a wrong answer is told what is wrong with it."""
    play = Play(source)
    tries = {name: [(unsolved(answer), False)] for name, answer in play.answers.items()}
    wanted: dict[str, list[str | None]] = {name: [UNSOLVED[6:].split("(")[0]] for name in tries}
    for lesson, name, old, new, message in WRONG:
        if source.stem.startswith(lesson):
            answer, hidden = solved(play.answers[name], old, new), message.startswith("hidden:")
            tries[name].append((answer, hidden))
            wanted[name].append(message.removeprefix("hidden:"))
            if hidden:
                tries[name].append((answer, False))
                wanted[name].append(None)
    said = play.run(tries)
    for name, messages in wanted.items():
        for (answer, _), message, got in zip(tries[name], messages, said[name], strict=True):
            fits = got is None if message is None else got is not None and message in got
            assert fits, f"{name}: wanted {message!r}, got {got!r}, for\n{answer}"


def test_every_answer_was_tried_wrongly():
    tried = {(lesson, name) for lesson, name, *_ in WRONG}
    assert tried == {(path.stem[:2], name) for path in exercises() for name in Play(path).answers}


# -- nbgrader


def run(*command: str, cwd: Path) -> str:
    env = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A course folder of its own, with what students get of all exercises."""
    folder = tmp_path_factory.mktemp("course")
    told = run(str(COURSE / "release.py"), "--course", str(folder), cwd=folder)
    assert told.split() == [f"release/{path.stem}" for path in exercises()]
    return folder


def test_students_get_neither_solutions_nor_hidden_checks(course, source, notebook):
    released = nbformat.read(course / "release" / source.stem / source.name, 4)
    for mine, theirs in zip(notebook.cells, released.cells, strict=True):
        assert "### BEGIN" not in theirs.source
        if mine.cell_type == "code":
            plain = theirs.source.replace("    # your code here\n", "")
            assert plain.strip() == visible(unsolved(mine.source)).strip()  # as the tests above play it
            assert not theirs.outputs
        if grading(mine).get("locked"):
            assert theirs.metadata["editable"] is False
    if source.stem.startswith("11"):
        assert "*Your answer here.*" in "\n".join(prose(released))


def hand_in(course: Path, student: str, name: str, answers: dict[str, str]) -> None:
    notebook = nbformat.read(course / "release" / name / f"{name}.ipynb", 4)
    for cell in notebook.cells:
        cell.source = answers.get(grading(cell).get("grade_id", ""), cell.source)
    to = course / "submitted" / student / name / f"{name}.ipynb"
    to.parent.mkdir(parents=True)
    nbformat.write(notebook, to)


def test_nbgrader_scores_a_right_a_wrong_and_an_empty_submission(course):
    from nbgrader.api import Gradebook

    name = "09_speed"
    right = Play(SOURCES / name / f"{name}.ipynb").answers
    hand_in(course, "right", name, right)
    hand_in(course, "wrong", name, right | {"room": solved(right["room"], "2 ** (bits - 1)", "2**bits")})
    hand_in(course, "empty", name, {})
    run("-m", "nbgrader", "autograde", name, "--create", cwd=course)
    with Gradebook(f"sqlite:///{course / 'gradebook.db'}") as book:
        scores = {entry.student.id: entry.score for entry in book.assignment_submissions(name)}
        most = {entry.max_score for entry in book.assignment_submissions(name)}
    assert (scores, most) == ({"right": 10, "wrong": 7, "empty": 0}, {10})
    graded_by_machine = course / "autograded" / "wrong" / name / f"{name}.ipynb"
    assert "one bit is the sign" in graded_by_machine.read_text(encoding="utf-8")


def test_release_refuses_an_exercise_that_does_not_exist(course):
    with pytest.raises(AssertionError, match="no exercise '99'; there are 00_start_here"):
        run(str(COURSE / "release.py"), "--course", str(course), "99", cwd=course)
