"""The tables of this field, measured: every recipe, every method, on a model that runs here.

Results are kept on disk under a key of everything they depend on (model, text, settings, version), so that a table
that was measured once is there at once the next time. Nothing here is typed in but `PUBLISHED_PPL`, which says where it
comes from.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from qviz import models, transformer
from qviz._arguments import reporter
from qviz._files import read_bytes, write_bytes
from qviz._machine.buffers import give_back
from qviz._types import Progress
from qviz._version import __version__
from qviz.errors import QvizError
from qviz.metrics import rank_correlation
from qviz.models import Model
from qviz.whole import by_layer, by_recipe

PUBLISHED_PPL: Mapping[str, float] = {
    "Q8_0": 0.0004,
    "Q6_K": 0.0044,
    "Q5_K_M": 0.0142,
    "Q5_K_S": 0.0353,
    "Q5_1": 0.0415,
    "Q5_0": 0.0796,
    "Q4_K_M": 0.0535,
    "Q4_K_S": 0.1149,
    "Q4_1": 0.1846,
    "Q3_K_L": 0.1803,
    "Q4_0": 0.2499,
    "Q3_K_M": 0.2437,
    "Q3_K_S": 0.5505,
    "Q2_K": 0.8698,
}
"""Rise in perplexity of LLaMA-7B on WikiText-2, as published for the rules of June 2023.

Source: ggml-org/llama.cpp#1684 and #2094, repeated in the help text of ``llama-quantize``.
"""

TABLE_RECIPES = ("F32", "F16", *PUBLISHED_PPL)
"""The sixteen rows of the table, largest file first, as it is usually printed."""


_ROOM = 60 << 20  # bytes of models that are scored against one run of the baseline; one model may be larger
_SCHEMA = 1  # raised when what is measured, or how, changes


@dataclass(frozen=True)
class RecipeRow:
    """One recipe on one model.

    Attributes
    ----------
    recipe : str
    nbytes : int
        Bytes of all tensors.
    bpw : float
        Bits per weight, everything counted.
    memory : int
        Bytes to run it: tensors, and a KV cache in F16 for the whole context.
    quality : qviz.transformer.Perplexity
        With its differences from the unquantized model.
    tokens_per_second : float
        Generating, one token after the other, on this machine.
    published : float or None
        `PUBLISHED_PPL` of a 7B model, for comparison.
    """

    recipe: str
    nbytes: int
    bpw: float
    memory: int
    quality: transformer.Perplexity
    tokens_per_second: float
    published: float | None


def recipe_table(
    model: Model | None = None,
    text: str | None = None,
    recipes: Sequence[str] = TABLE_RECIPES,
    *,
    max_tokens: int | None = 45_000,
    speed: bool = True,
    progress: Progress | None = None,
    cache: bool = True,
) -> list[RecipeRow]:
    """Quantize a model by every recipe, and measure each against the unquantized one.

    Parameters
    ----------
    model : Model, optional
        An unquantized Llama; the small model of the course unless given.
    text : str, optional
        What to predict; the course's held-out text unless given.
    recipes : sequence of str
        Recipe names, such as ``"Q4_K_M"``.
    max_tokens : int, optional
        Tokens to score: 45,000 separate all groups of recipes; 10,000 are quicker, with error bars twice as wide.
    speed : bool
        Also time generation; NaN otherwise.
    progress : callable ``(what, done, total)``, optional
        Called after each piece of work; whatever it raises ends the run, and what is measured by then stays measured.
    cache : bool
        Keep results on disk, and take them from there.

    Returns
    -------
    list of RecipeRow
        In the order of `recipes`.

    Raises
    ------
    QvizError
        A model that cannot be run or quantized, or a text that is too short.
    """
    source = models.load("tiny") if model is None else model
    words = models.heldout_text() if text is None else text
    store = _Store({"model": _digest(source.path), "text": _hash(words), "max_tokens": max_tokens}, cache)
    kinds = ("size", "quality", "speed") if speed else ("size", "quality")
    missing = [r for r in dict.fromkeys(recipes) if any(store.get(kind, r) is None for kind in kinds)]

    report = reporter(progress, QvizError)
    base = transformer.Transformer(source)
    done = 0
    while done < len(missing):
        with tempfile.TemporaryDirectory(prefix="qviz-table-") as folder:
            runs: dict[str, transformer.Transformer] = {}
            room = _ROOM
            while done < len(missing) and (room > 0 or not runs):
                recipe = missing[done]
                report(f"quantizing {recipe}", done, len(missing))
                path = Path(folder) / f"{recipe}.gguf"
                by_recipe.quantize_model(source.path, path, recipe)
                runs[recipe] = transformer.Transformer(models.load(path))
                tensors = [runs[recipe].model[name] for name in runs[recipe].model]
                nbytes = sum(t.nbytes for t in tensors)
                store.put("size", recipe, {"nbytes": nbytes, "n": sum(t.n_weights for t in tensors)})
                room, done = room - nbytes, done + 1
            _measure_runs(store, runs, words, base, max_tokens, speed, report)
            del runs, tensors  # the files that they map, before the folder goes
        give_back()
    kv = base.new_cache(base.config.n_ctx).nbytes
    return [_row(store, recipe, kv, speed) for recipe in recipes]


def _measure_runs(
    store: _Store,
    runs: Mapping[str, transformer.Transformer],
    words: str,
    base: transformer.Transformer,
    max_tokens: int | None,
    speed: bool,
    report: Progress,
) -> None:
    """Score and time models that are there at the same time."""
    unknown = {r: run for r, run in runs.items() if store.get("quality", r) is None}
    scores = transformer.compare(unknown, words, base, max_tokens=max_tokens, progress=report)
    for recipe, quality in scores.items():
        store.put("quality", recipe, quality.as_dict())
    if speed:
        for k, (recipe, run) in enumerate(runs.items()):
            report(f"timing {recipe}", k, len(runs))
            if store.get("speed", recipe) is None:
                store.put("speed", recipe, {"tokens_per_second": generation_speed(run)})


def _row(store: _Store, recipe: str, kv: int, speed: bool) -> RecipeRow:
    size, quality = store.get("size", recipe), store.get("quality", recipe)
    assert size is not None
    assert quality is not None
    rate = (store.get("speed", recipe) or {}).get("tokens_per_second", float("nan")) if speed else float("nan")
    return RecipeRow(
        recipe,
        size["nbytes"],
        8 * size["nbytes"] / size["n"],
        size["nbytes"] + kv,
        transformer.Perplexity(**quality),
        rate,
        PUBLISHED_PPL.get(recipe),
    )


def generation_speed(run: transformer.Transformer, n_tokens: int = 48, repeats: int = 3) -> float:
    """Tokens per second while generating, the median of a few runs; every matrix is read once a token.

    Parameters
    ----------
    run : Transformer
        Keys and values are kept in its own format.
    n_tokens, repeats : int

    Returns
    -------
    float
    """
    n = min(n_tokens, run.config.n_ctx - 1)
    rates = []
    for attempt in range(repeats + 1):
        room = run.new_cache(n + 1)
        begun = time.perf_counter()
        for token in range(n):
            run.logits([token % run.config.n_vocab], room)
        if attempt:  # the first run loads kernels
            rates.append(n / (time.perf_counter() - begun))
    return float(np.median(rates))


@dataclass(frozen=True)
class Agreement:
    """How alike a measured column and the published one order the recipes.

    Attributes
    ----------
    kld, delta : float
        Spearman's rank correlation of the KL divergence, and of the rise in perplexity, with `PUBLISHED_PPL`.
    n : int
        Recipes compared.
    """

    kld: float
    delta: float
    n: int


def agreement(rows: Sequence[RecipeRow]) -> Agreement:
    """Rank correlation of a measured table with the published one.

    Raises
    ------
    QvizError
        Fewer than three rows have a published figure.
    """
    shared = [row for row in rows if row.published is not None]
    if len(shared) < 3:
        raise QvizError(f"{len(shared)} recipes have a published figure; at least 3 are needed for a rank correlation")
    published = [row.published for row in shared]
    return Agreement(
        rank_correlation([row.quality.kld for row in shared], published),
        rank_correlation([row.quality.delta for row in shared], published),
        len(shared),
    )


GROUPS = (
    ("Q8_0",),
    ("Q6_K",),
    ("Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0"),
    ("Q4_K_M", "Q4_K_S", "Q4_1", "Q4_0"),
    ("Q3_K_L", "Q3_K_M"),
    ("Q3_K_S",),
    ("Q2_K",),
)
"""Recipes in groups: on the course's small model every KL divergence of a group is below every one of the next."""


def groups_in_order(rows: Sequence[RecipeRow]) -> list[bool]:
    """For each two neighbours of `GROUPS`, whether the worse half of one is better than the better half of the next."""
    kld = {row.recipe: float(row.quality.kld or 0.0) for row in rows}
    present = [[kld[name] for name in group if name in kld] for group in GROUPS]
    return [max(better) < min(worse) for better, worse in itertools.pairwise(filter(None, present))]


_ENTRIES = {"size": ("nbytes", "n"), "speed": ("tokens_per_second",), "method": ("bpw", "seconds")}
_MOST_BYTES = 1 << 16
_MOST = 1 << 63  # no size and no rate is larger


class _Store:
    """Results on disk, one small file each; a damaged or foreign one counts as absent."""

    def __init__(self, key: Mapping[str, Any], use: bool) -> None:
        self.use = use
        self.key = {**key, "schema": _SCHEMA, "version": __version__, "host": _host()}
        self.known: dict[tuple[str, str], dict[str, Any]] = {}

    def _path(self, kind: str, name: str) -> Path:
        key = self.key if kind == "speed" else {k: v for k, v in self.key.items() if k != "host"}
        digest = _hash(json.dumps([kind, name, key], sort_keys=True))
        return models.cache_dir().parent / "measured" / f"{digest[:32]}.json"

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        if (kind, name) in self.known:
            return self.known[kind, name]
        if not self.use:
            return None
        with suppress(OSError, ValueError, RecursionError, QvizError):
            value = json.loads(read_bytes(self._path(kind, name), limit=_MOST_BYTES))
            if _fits(kind, value):
                self.known[kind, name] = value
                return dict(value)
        return None

    def put(self, kind: str, name: str, value: dict[str, Any]) -> None:
        self.known[kind, name] = value
        if not self.use:
            return
        path = self._path(kind, name)
        with suppress(OSError, QvizError):  # a cache that cannot be written is no reason to fail
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, json.dumps(value).encode(), QvizError, durable=False)


def _fits(kind: str, value: Any) -> bool:
    """Whether what was read is what `_Store.put` was given: every entry there, and a number where there was one."""
    if not isinstance(value, dict):
        return False
    if kind == "quality":
        optional = {f.name for f in fields(transformer.Perplexity) if f.default is None}
        numbers = {key: v for key, v in value.items() if v is not None or key not in optional}
        return set(value) == {f.name for f in fields(transformer.Perplexity)} and all(map(_number, numbers.values()))
    if kind == "method" and not _fits("quality", value.get("quality")):
        return False
    numbers = {key: v for key, v in value.items() if key != "quality"}
    return set(numbers) == set(_ENTRIES[kind]) and all(map(_number, numbers.values()))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not abs(value) > _MOST


def _host() -> str:
    import platform

    return f"{platform.machine()} {os.cpu_count()} {platform.processor()}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# --------------------------------------------------------------------------------------------- methods, layer by layer


@dataclass(frozen=True)
class MethodRow:
    """One rounding method with its settings on one model.

    Attributes
    ----------
    method : str
        As given to `method_table`.
    bits, group_size : int
        0 where the method is a format.
    bpw : float
        True bits per weight of the matrices that were rounded: codes, scales and zero points.
    seconds : float
        To quantize the model, calibration included.
    quality : qviz.transformer.Perplexity
    tokens_per_second : float
        Generating on this machine, from the codes as they are stored, activations rounded to int8; NaN if not timed.
    """

    method: str
    bits: int
    group_size: int
    bpw: float
    seconds: float
    quality: transformer.Perplexity
    tokens_per_second: float = math.nan

    @property
    def recipe(self) -> str:
        """A short name, such as ``"gptq 3 bit, 128"``."""
        return f"{self.method} {self.bits} bit, {self.group_size}" if self.bits else self.method


_VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "gptq": ("gptq", {"act_order": True}),
    "gptq in order": ("gptq", {}),
    "awq+clip": ("awq", {"clip": True}),
}
_METHOD_SCHEMA = 2  # raised when what a method does to a model changes
_TOGETHER = 2  # models in float32 that are scored against one run of the baseline


def method_table(
    settings: Sequence[tuple[str, int, int]],
    model: Model | None = None,
    text: str | None = None,
    *,
    max_tokens: int | None = 10_000,
    n_tokens: int = 8192,
    speed: bool = False,
    progress: Progress | None = None,
    cache: bool = True,
) -> list[MethodRow]:
    """Measure rounding methods on a whole model.

    Parameters
    ----------
    settings : sequence of (method, bits, group_size)
        Methods of `qviz.whole.by_layer.round_model`; ``"gptq"`` stands for GPTQ with ``act_order``, ``"gptq in
        order"`` for GPTQ without, ``"awq+clip"`` for AWQ with its clip search. Formats (``"Q4_K"``, ``"gptq
        Q4_K"``) have their own bits and groups: give 0, 0. See `METHODS` for the whole table.
    n_tokens : int
        Calibration tokens.
    speed : bool
        Also time generation; NaN otherwise. Integer grids run as groups of codes, GGML formats as blocks.
    model, text, max_tokens, progress, cache
        As for `recipe_table`.

    Returns
    -------
    list of MethodRow
        In the order of `settings`.

    Raises
    ------
    QvizError
        As from `qviz.whole.by_layer.round_model`, or a text that is too short.
    """
    source = models.load("tiny") if model is None else model
    words = models.heldout_text() if text is None else text
    key = {"model": _digest(source.path), "text": _hash(words), "max_tokens": max_tokens, "methods": _METHOD_SCHEMA}
    store = _Store({**key, "calibration": _hash(models.calibration_text()), "n_tokens": n_tokens}, cache)
    missing = [row for row in dict.fromkeys(settings) if not _known(store, row, speed)]
    base = transformer.Transformer(source, activations="float") if missing else None
    for first in range(0, len(missing), _TOGETHER):
        part = missing[first : first + _TOGETHER]
        made: dict[str, tuple[Any, float]] = {}
        for row in part:
            method, options = _VARIANTS.get(row[0], (row[0], {}))
            begun = time.perf_counter()
            rounded = by_layer.round_model(
                source, method, *(row[1:] if row[1] else ()), n_tokens=n_tokens, progress=progress, **options
            )
            made[_name(row)] = rounded, time.perf_counter() - begun
        runs = {name: transformer.Transformer(rounded, activations="float") for name, (rounded, _) in made.items()}
        scores = transformer.compare(runs, words, base, max_tokens=max_tokens, progress=progress)
        for row in part:
            name = _name(row)
            rounded, seconds = made[name]
            store.put("method", name, {"bpw": rounded.bpw, "seconds": seconds, "quality": asdict(scores[name])})
            if speed:
                rate = generation_speed(transformer.Transformer(rounded.as_stored()))
                store.put("speed", name, {"tokens_per_second": rate})
        del made, rounded, runs
        give_back()
    return [_method_row(store, row) for row in settings]


def _name(row: tuple[str, int, int]) -> str:
    return " ".join(map(str, row))


def _known(store: _Store, row: tuple[str, int, int], speed: bool) -> bool:
    timed = not speed or store.get("speed", _name(row)) is not None
    return timed and store.get("method", _name(row)) is not None


def _method_row(store: _Store, row: tuple[str, int, int]) -> MethodRow:
    kept = store.get("method", _name(row))
    assert kept is not None
    rate = (store.get("speed", _name(row)) or {}).get("tokens_per_second", math.nan)
    return MethodRow(*row, kept["bpw"], kept["seconds"], transformer.Perplexity(**kept["quality"]), rate)


METHODS: tuple[tuple[str, int, int], ...] = (
    *((m, bits, g) for bits in (3, 4) for g in (128, 64) for m in ("rtn", "awq", "awq+clip", "gptq", "recommended")),
    *((m, bits, -1) for bits in (3, 4) for m in ("rtn", "awq", "gptq", "recommended")),
    *((m, bits, g) for bits in (2, 8) for g in (128, 64) for m in ("rtn", "awq", "gptq", "recommended")),
    *((f, 0, 0) for f in ("Q8_0", "Q6_K", "Q4_K", "Q4_0", "Q3_K", "Q2_K")),
    *((f"gptq {f}", 0, 0) for f in ("Q4_K", "Q4_0", "Q3_K", "Q2_K")),
)
"""The whole table of methods: bits and group sizes for `method_table`, GGML's formats beside them."""
