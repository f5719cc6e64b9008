"""Choosing a format under a budget: what fits, what it costs once measured, and what was left on the table.

Sizes are arithmetic and known beforehand. Damage is not: on the small model of the course it is measured, for a model
of 7 billion weights it is looked up in the published table (`qviz.measure.PUBLISHED_PPL`), and the outcome says which.
"""

from __future__ import annotations

import functools
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz import formats, measure, models, recipes, transformer
from qviz.errors import RecipeError
from qviz.grids.affine import AffineGrid
from qviz.models import Model

FloatArray = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], object]

MIB = 1 << 20
CACHES = ("F16", "Q8_0", "Q4_0")
"""Formats of a KV cache."""

FIELD = tuple(name for name in measure.FORMATS if name != "F32")
"""What every choice is compared with: the rows of the table that everybody quotes."""

RECIPES = (*FIELD, "IQ4_XS")
"""What can be chosen."""

METHODS: Mapping[str, tuple[str, int, int]] = {
    "AWQ-4bit-g128": ("awq", 4, 128),
    "GPTQ-Int4-g128": ("gptq", 4, 128),
    "GPTQ-Int3-g128": ("gptq", 3, 128),
}
"""Names as download pages have them, and what they stand for: method, bits, group size."""

MAX_TOKENS = 500
"""Tokens that a choice is scored on."""

CALIBRATION = 2048
"""Tokens that methods and importance matrices are calibrated on."""

_TOGETHER = 5  # recipes that share a run of the unquantized model

_ROLES = ("attn_v", "ffn_down")


@dataclass(frozen=True)
class Mission:
    """A budget, and the model that has to fit it.

    Attributes
    ----------
    name, story : str
    model : str
        ``"tiny"``, which is measured, or a name of `qviz.recipes.ARCHITECTURES`, which is looked up.
    disk, memory : float
        MiB at most: of the tensors; of the tensors and all KV caches.
    context, chats : int
        Tokens of a conversation, and conversations at a time.
    speed : float
        Tokens per second at least, one conversation; for ``"tiny"`` as a share of what Q8_0 reaches on this machine. 0
        if it does not matter.
    bandwidth : float
        Bytes per second of the memory, where the model is looked up.
    """

    name: str
    story: str
    model: str
    disk: float
    memory: float
    context: int
    chats: int = 1
    speed: float = 0.0
    bandwidth: float = math.inf

    @property
    def measured(self) -> bool:
        """True if damage and speed are measured here and now."""
        return self.model == "tiny"


MISSIONS: Mapping[str, Mission] = {
    m.name: m
    for m in (
        Mission("a watch", "one conversation in very little memory", "tiny", 5, 7, 256),
        Mission("eight chats at once", "a small server: every conversation has a cache", "tiny", 16, 16, 256, 8),
        Mission("answer at once", "as fast as Q8_0, nearly, in half its memory", "tiny", 6, 8, 256, 1, 0.8),
        Mission("7B on a laptop", "6 GiB are free", "llama-7b", 8192, 6144, 4096, 1, 8, 50e9),
        Mission("7B on a phone", "4 GiB are free, memory is slow", "llama-7b", 4096, 4096, 2048, 1, 8, 40e9),
    )
}
"""Budgets to choose under; their numbers are made up, as a budget is."""


@dataclass(frozen=True)
class Choice:
    """What somebody wants to run.

    Attributes
    ----------
    recipe : str
        Of `RECIPES`, or of `METHODS`.
    embedding, values : str
        Formats that overrule the recipe, for the embedding and for ``attn_v`` and ``ffn_down``; empty: as it says.
    cache : str
        Of `CACHES`.
    imatrix : bool
        Round with an importance matrix.
    """

    recipe: str = "Q4_K_M"
    embedding: str = ""
    values: str = ""
    cache: str = "F16"
    imatrix: bool = False

    def __str__(self) -> str:
        extra = [f"embedding {self.embedding}"] if self.embedding else []
        extra += [f"attn_v and ffn_down {self.values}"] if self.values else []
        extra += ["imatrix"] if self.imatrix else []
        extra += [f"{self.cache} cache"] if self.cache != "F16" else []
        return ", ".join([self.recipe, *extra])


@dataclass(frozen=True)
class Outcome:
    """A choice, and what became of it.

    Attributes
    ----------
    choice : Choice
    disk, memory : int
        Bytes of the tensors; of the tensors and all KV caches.
    bpw : float
        Bits per weight, everything counted.
    damage, error : float
        KL divergence in nats a token and its standard error where it was measured; else the published rise in
        perplexity, whose error nobody published (NaN). NaN if it is not known.
    speed : float
        Tokens per second; NaN if nothing here runs it as it would be run.
    quality : qviz.transformer.Perplexity or None
        Everything that was measured.
    """

    choice: Choice
    disk: int
    memory: int
    bpw: float
    damage: float = math.nan
    error: float = math.nan
    speed: float = math.nan
    quality: transformer.Perplexity | None = None


def sizes(mission: Mission, choice: Choice) -> Outcome:
    """What a choice takes: arithmetic, no weight is touched.

    Returns
    -------
    Outcome
        Without damage; the speed is the bound that the memory sets, where the mission names a bandwidth.

    Raises
    ------
    RecipeError
        No such recipe, a format that does not fit, or something that only the small model can try.

    Examples
    --------
    >>> laptop = MISSIONS["7B on a laptop"]
    >>> found = sizes(laptop, Choice("Q4_K_M"))
    >>> round(found.disk / 2**30, 2), round((found.memory - found.disk) / 2**30, 2)
    (3.8, 2.0)
    """
    if choice.cache not in CACHES:
        raise RecipeError(f"no KV cache in {choice.cache!r}; there are {', '.join(CACHES)}")
    if not mission.measured and (choice.embedding or choice.values or choice.imatrix or choice.recipe in METHODS):
        raise RecipeError(
            f"{choice}: nobody published what that does to {mission.model}, and it is too large to be measured here; "
            f"choose a recipe as it is, or a mission with the small model"
        )
    plan = _plan(mission, choice)
    n = sum(weights for weights, _, _ in plan.values())
    disk = sum(nbytes for _, nbytes, _ in plan.values())
    cache = mission.chats * _cache_bytes(mission, choice.cache)
    read = disk
    if not mission.measured and not recipes.get_architecture(mission.model).tied:
        read -= plan["token_embd.weight"][1]  # only one row of it is read
    one = cache // mission.chats
    speed = mission.bandwidth / (read + one) if math.isfinite(mission.bandwidth) else math.nan
    return Outcome(choice, disk, disk + cache, 8 * disk / n, speed=speed)


def _plan(mission: Mission, choice: Choice) -> dict[str, tuple[int, int, str]]:
    """Tensor -> weights, bytes, format (empty for a method's grid)."""
    if choice.recipe in METHODS:
        method, bits, group = METHODS[choice.recipe]
        found = {}
        for c in recipes.plan(*_shapes(mission), "F16"):
            if c.quantized and c.role != "token_embd":
                grid = AffineGrid(bits, group)
                order = 4 * c.shape[-1] if method == "gptq" else 0  # g_idx: which group a column belongs to
                found[c.name] = (c.n_weights, grid.nbytes(c.shape) + order, "")
            else:
                found[c.name] = (c.n_weights, c.nbytes, str(c.format))
        return found
    found = {}
    for c in recipes.plan(*_shapes(mission), choice.recipe, imatrix=choice.imatrix):
        fmt = c.format
        wanted = choice.embedding if c.role == "token_embd" else choice.values if c.role in _ROLES else ""
        if wanted and c.quantized:
            fmt = formats.get(wanted)
            fmt.row_size(c.shape[-1])  # raises where its blocks do not divide the rows
        found[c.name] = (c.n_weights, c.n_weights // fmt.block_size * fmt.type_size, str(fmt))
    return found


@functools.cache
def _small() -> Model:
    return models.load("tiny")


def _shapes(mission: Mission) -> tuple[Any, Any]:
    if mission.measured:
        return _small(), _small().metadata
    architecture = recipes.get_architecture(mission.model)
    return architecture.tensors(), architecture.metadata()


def _cache_bytes(mission: Mission, kind: str) -> int:
    """Bytes of the KV cache of one conversation."""
    if mission.measured:
        config = transformer.LlamaConfig.from_metadata(_small().metadata)
        layers, width = config.n_layers, config.n_head_kv * config.head_size
    else:
        a = recipes.get_architecture(mission.model)
        layers, width = a.layers, a.width // a.heads * a.kv_heads
    return 2 * layers * mission.context * formats.get(kind).row_size(width)


class CachedLlama(transformer.Llama):
    """A Llama whose windows go through a KV cache of some format, so that perplexity notices what the cache loses."""

    cache_kind = "F16"

    def window_logits(self, windows: npt.NDArray[np.int64], first: int = 0, last: int | None = None) -> FloatArray:
        """As in `Llama`, one window after the other, each through a cache of its own."""
        length = windows.shape[1]
        last = length if last is None else last
        found = []
        for window in windows:
            logits = self.logits(window[:last], self.new_cache(length, self.cache_kind))
            found.append(logits[first:last])
        return np.stack(found)


class _Rounded(Mapping[str, Any]):
    """A model in other formats, in memory."""

    def __init__(self, metadata: Any, tensors: dict[str, Any]) -> None:
        self.metadata, self._tensors = metadata, tensors

    def __getitem__(self, name: str) -> Any:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def build(model: Model, choice: Choice, progress: Progress | None = None) -> CachedLlama:
    """Round a model as chosen, ready to run; every tensor has the bytes that `qviz.quantize_model` would write.

    Parameters
    ----------
    model : Model
        An unquantized Llama.
    choice : Choice
        A recipe, not one of `METHODS`.
    progress : callable ``(what, done, total)``, optional
        Whatever it raises ends the work.

    Returns
    -------
    CachedLlama
    """
    mission = Mission("", "", "tiny", 0, 0, 1)
    plan = _plan(mission, choice)
    weight = importance(model, progress) if choice.imatrix else {}
    tensors: dict[str, Any] = {}
    for done, (name, (_, _, fmt)) in enumerate(plan.items()):
        if progress is not None:
            progress(f"rounding {choice.recipe}", done, len(plan))
        tensor = model[name]
        if str(tensor.format) != fmt:
            tensor = formats.quantize(tensor.dequantize(), fmt, imatrix=weight.get(name))
        tensors[name] = tensor
    run = CachedLlama(_Rounded(model.metadata, tensors))
    run.cache_kind = choice.cache
    return run


_IMPORTANCE: dict[tuple[Any, ...], dict[str, FloatArray]] = {}


def importance(model: Model, progress: Progress | None = None, n_tokens: int = CALIBRATION) -> dict[str, FloatArray]:
    """Mean square of each input of each matrix, on the calibration text; kept for the next choice.

    Parameters
    ----------
    model : Model
    progress : callable, optional
        Called before each window.
    n_tokens : int
        Of the calibration text, rounded up to whole windows.

    Returns
    -------
    dict of str to float32 array (n_in,)
    """
    seen = model.path.stat()
    key = model.path, seen.st_mtime_ns, seen.st_size, n_tokens
    if key in _IMPORTANCE:
        return _IMPORTANCE[key]
    sums: dict[str, Any] = {}

    def look(name: str, x: FloatArray) -> None:
        found = np.einsum("ij,ij->j", x.astype(np.float64), x)
        sums[name] = sums.get(name, 0) + found

    run = transformer.Llama(model, activations="float", on_linear_input=look)
    windows = transformer.evaluate.windows_of(run, models.calibration_text(), min(run.config.n_ctx, 256), None)
    windows = windows[: -(-n_tokens // windows.shape[1])]
    for done, window in enumerate(windows):
        if progress is not None:
            progress("importance matrix", done, len(windows))
        run.window_logits(window[None])
    # the embedding is the output matrix too, but llama.cpp collects nothing for it
    sums.pop("token_embd.weight", None)
    _IMPORTANCE[key] = {name: (s / windows.size).astype(np.float32) for name, s in sums.items()}
    return _IMPORTANCE[key]


def speed_of(run: CachedLlama, n_tokens: int = 24, repeats: int = 3) -> float:
    """Tokens per second with the cache that was chosen: the median of a few runs."""
    rates = []
    for attempt in range(repeats + 1):
        cache = run.new_cache(n_tokens + 1, run.cache_kind)
        begun = time.perf_counter()
        for token in range(n_tokens):
            run.logits([token % run.config.n_vocab], cache)
        if attempt:  # the first run loads kernels
            rates.append(n_tokens / (time.perf_counter() - begun))
    return float(np.median(rates))


def play(
    mission: Mission, choice: Choice, *, max_tokens: int = MAX_TOKENS, progress: Progress | None = None
) -> Outcome:
    """Carry a choice out: measure it on the small model, or look it up.

    Parameters
    ----------
    mission : Mission
    choice : Choice
    max_tokens : int
        Tokens to score.
    progress : callable ``(what, done, total)``, optional
        Whatever it raises ends the work.

    Returns
    -------
    Outcome

    Raises
    ------
    RecipeError
        As in `sizes`; or a rounding method with a quantized cache, which nothing here measures.
    """
    size = sizes(mission, choice)
    if not mission.measured:
        damage = measure.PUBLISHED_PPL.get(choice.recipe, 0.0 if choice.recipe == "F16" else math.nan)
        return Outcome(choice, size.disk, size.memory, size.bpw, damage, math.nan, size.speed)
    model = _small()
    if choice.recipe in METHODS:
        if choice.cache != "F16" or choice.embedding or choice.values or choice.imatrix:
            raise RecipeError(
                f"{choice}: {choice.recipe} is measured alone, with a cache in F16; leave the rest as it is"
            )
        (row,) = measure.method_table(
            [METHODS[choice.recipe]], model, max_tokens=max_tokens, n_tokens=CALIBRATION, progress=progress
        )
        quality, speed = row.quality, math.nan
    else:
        run = build(model, choice, progress)
        told = None if progress is None else lambda done, total: progress(f"scoring {choice.recipe}", done, total)
        scored: transformer.Llama = (
            run if choice.cache != "F16" else transformer.Llama(run.model)
        )  # all windows at once
        quality = transformer.perplexity(
            scored, models.heldout_text(), transformer.Llama(model), max_tokens=max_tokens, progress=told
        )
        if progress is not None:
            progress(f"timing {choice.recipe}", 0, 1)
        speed = speed_of(run)
    assert quality.kld is not None
    assert quality.kld_se is not None
    return Outcome(choice, size.disk, size.memory, size.bpw, quality.kld, quality.kld_se, speed, quality)


def field(mission: Mission, *, max_tokens: int = MAX_TOKENS, progress: Progress | None = None) -> list[Outcome]:
    """Every plain recipe with a cache in F16: what a choice is compared with.

    Measured once and kept on disk (`qviz.measure.recipe_table`), or looked up.

    Parameters
    ----------
    mission : Mission
    max_tokens, progress
        As for `play`.

    Returns
    -------
    list of Outcome
    """
    if not mission.measured:
        return [play(mission, Choice(name)) for name in FIELD]
    rows: list[measure.RecipeRow] = []
    for start in range(0, len(FIELD), _TOGETHER):  # a few at a time: what is done stays done if the rest is stopped
        some = FIELD[start : start + _TOGETHER]
        rows += measure.recipe_table(_small(), recipes=some, max_tokens=max_tokens, progress=progress)
    found = []
    for row in rows:
        size = sizes(mission, Choice(row.recipe))
        q = row.quality
        assert q.kld is not None
        assert q.kld_se is not None
        found.append(Outcome(size.choice, size.disk, size.memory, size.bpw, q.kld, q.kld_se, row.tokens_per_second, q))
    return found


@dataclass(frozen=True)
class Limits:
    """Which limits of a mission an outcome keeps.

    Attributes
    ----------
    disk, memory, speed : bool
        True if it is kept, or does not matter.
    floor : float
        Tokens per second that are wanted; 0 if none are.
    """

    disk: bool
    memory: bool
    speed: bool
    floor: float

    @property
    def all(self) -> bool:
        """True if every limit is kept."""
        return self.disk and self.memory and self.speed


def limits(mission: Mission, outcome: Outcome, others: Sequence[Outcome] = ()) -> Limits:
    """Check an outcome against its budget.

    Parameters
    ----------
    mission : Mission
    outcome : Outcome
    others : sequence of Outcome
        From `field`: the speed of Q8_0 is the measure for the small model. Without them speed is not judged there.

    Returns
    -------
    Limits

    Examples
    --------
    >>> phone = MISSIONS["7B on a phone"]
    >>> [limits(phone, sizes(phone, Choice(name))).memory for name in ("Q4_K_M", "Q2_K")]
    [False, True]
    """
    floor = mission.speed
    if mission.measured and floor:
        reached = [o.speed for o in others if o.choice.recipe == "Q8_0"]
        floor = floor * reached[0] if reached else 0.0
    fast = not floor or not math.isfinite(outcome.speed) or outcome.speed >= floor
    return Limits(outcome.disk <= mission.disk * MIB, outcome.memory <= mission.memory * MIB, fast, floor)


@dataclass(frozen=True)
class Verdict:
    """How good a choice was.

    Attributes
    ----------
    outcome : Outcome
    limits : Limits
    better : tuple of Outcome
        Plain recipes with the same cache that keep all limits and do clearly less damage, least damage first.
        "Clearly": by more than twice the standard errors.
    dominated_by : tuple of Outcome
        Those among all plain recipes that are no larger and do clearly less damage.
    front : bool
        True if nothing dominates it.
    left : float
        Damage over that of the best of `better`; 1 if there is none.
    """

    outcome: Outcome
    limits: Limits
    better: tuple[Outcome, ...]
    dominated_by: tuple[Outcome, ...]
    front: bool
    left: float


def judge(mission: Mission, outcome: Outcome, others: Sequence[Outcome]) -> Verdict:
    """Compare an outcome with every plain recipe.

    A recipe is compared with the cache of the choice: its memory is counted with that cache, and what the cache costs
    is added to its damage. That cost is how much more damage the choice does than the same recipe with a cache in F16:
    an estimate, since two kinds of damage need not just add up; 0 where the choice is no plain recipe.

    Parameters
    ----------
    mission : Mission
    outcome : Outcome
        From `play`.
    others : sequence of Outcome
        From `field`.

    Returns
    -------
    Verdict
    """
    plain = [o for o in others if o.choice == Choice(outcome.choice.recipe)]
    alike = outcome.choice == Choice(outcome.choice.recipe, cache=outcome.choice.cache)
    extra = max(0.0, outcome.damage - plain[0].damage) if plain and alike and outcome.choice.cache != "F16" else 0.0
    swapped = []
    for other in others:
        size = sizes(mission, Choice(other.choice.recipe, cache=outcome.choice.cache))
        speed = size.speed if not mission.measured else other.speed
        swapped.append(
            Outcome(
                size.choice, size.disk, size.memory, size.bpw, other.damage + extra, other.error, speed, other.quality
            )
        )
    rivals = [o for o in swapped if _clearly_less(o, outcome)]
    better = sorted((o for o in rivals if limits(mission, o, others).all), key=lambda o: o.damage)
    beaten = tuple(o for o in rivals if o.memory <= outcome.memory and o.disk <= outcome.disk)
    kept = limits(mission, outcome, others)
    left = outcome.damage / better[0].damage if better and better[0].damage > 0 else 1.0
    return Verdict(outcome, kept, tuple(better), beaten, not beaten, left)


def _clearly_less(one: Outcome, other: Outcome) -> bool:
    if not (math.isfinite(one.damage) and math.isfinite(other.damage)):
        return False
    noise = math.hypot(*(e if math.isfinite(e) else 0.0 for e in (one.error, other.error)))
    return one.damage < other.damage - 2 * noise


@dataclass(frozen=True)
class Reason:
    """Why somebody might choose a format.

    Attributes
    ----------
    text : str
    holds : callable (Mission, Verdict) -> bool, or None
        None where it is a misconception.
    answer : str
        What to say to it; for a misconception, what is so instead, and where it is taught.
    """

    text: str
    holds: Callable[[Mission, Verdict], bool] | None
    answer: str


def _cache_share(mission: Mission, verdict: Verdict) -> bool:
    o = verdict.outcome
    return verdict.limits.memory and o.memory - o.disk > 0.2 * o.memory


REASONS = (
    Reason(
        "it does the least damage of what fits",
        lambda mission, v: v.limits.all and not v.better,
        "That is the question to ask, of measured formats and with all limits in view.",
    ),
    Reason(
        "nothing smaller does less damage",
        lambda mission, v: v.front,
        "That is what it means to lie on the front (lesson 10).",
    ),
    Reason(
        "it leaves room for the KV cache",
        _cache_share,
        "The cache grows with the context and with every conversation; the weights do not.",
    ),
    Reason(
        "it is fast enough here",
        lambda mission, v: v.limits.speed and math.isfinite(v.outcome.speed),
        "Speed belongs to a format, a kernel and a machine together (lesson 09).",
    ),
    Reason(
        "its name says how many bits a weight takes",
        None,
        "It does not: scales are stored too, and a recipe gives some tensors more bits (lessons 04 and 05).",
    ),
    Reason(
        "K means k-means: its levels are fitted to the weights",
        None,
        "K names a family of super-block formats with evenly spaced levels; nothing is clustered (lesson 05).",
    ),
    Reason(
        "M is for medium-sized models",
        None,
        "S, M and L say how generous the recipe is to sensitive tensors, for a model of any size (lesson 05).",
    ),
    Reason(
        "it computes in 4 bits, so it is fastest",
        None,
        "Weights are stored in 4 bits; these formats multiply in int8 or floating point (lessons 01 and 09).",
    ),
    Reason(
        "AWQ and GPTQ are always better than plain rounding",
        None,
        "They often round better, and sometimes worse; measure, at equal true bits (lessons 07, 08 and 10).",
    ),
)
"""What can be said for a choice; some of it is never true."""


@dataclass(frozen=True)
class Download:
    """What a name on a download page says.

    Attributes
    ----------
    name : str
    kind : str
        Container and method.
    bits : float
        Of a code.
    bpw : float
        Bits per weight at 7B, everything counted; NaN if the name does not say enough.
    runs_on : str
    lesson : str
        Where it is taught.
    """

    name: str
    kind: str
    bits: float
    bpw: float
    runs_on: str
    lesson: str


def read_name(name: str, model: str = "llama-7b") -> Download:
    """Read a format's name as download pages write it.

    Parameters
    ----------
    name : str
        Such as ``"Q4_K_M"``, ``"IQ4_XS"``, ``"AWQ-4bit-g128"``, ``"GPTQ-Int4"``.
    model : str
        Whose bits per weight are computed.

    Returns
    -------
    Download

    Raises
    ------
    RecipeError
        A name that follows none of the patterns.

    Examples
    --------
    >>> read_name("Q4_K_M").kind, round(read_name("Q4_K_M").bpw, 2)
    ('GGUF recipe', 4.84)
    >>> read_name("AWQ-4bit-g128").bpw, read_name("GPTQ-Int4").bpw
    (4.15625, nan)
    """
    key = name.strip()
    upper = key.upper().replace("-", "_")
    if upper in recipes.RECIPES:
        base = formats.get(recipes.RECIPES[upper].base)
        found = re.search(r"\d+", base.name)
        bits = float(found[0]) if found else math.nan
        plan = recipes.model_plan(model, upper)
        bpw = 8 * sum(c.nbytes for c in plan) / sum(c.n_weights for c in plan)
        lesson = "05" if "_K" in base.name else "03" if base.name.startswith(("IQ", "MX")) else "04"
        return Download(key, "GGUF recipe", bits, bpw, "CPU and GPU: llama.cpp and its relatives", lesson)
    match = re.fullmatch(r"(AWQ|GPTQ)[-_ ]?(?:INT)?(\d)(?:[-_ ]?BITS?)?(?:[-_ ]?G(\d+))?", key.upper())
    if match is None:
        raise RecipeError(
            f"cannot read {name!r}; names are like Q4_K_M, IQ4_XS, AWQ-4bit-g128, GPTQ-Int4 (no model in them)"
        )
    method, bits_text, group = match.groups()
    bpw = AffineGrid(int(bits_text), int(group)).bpw((4096, 4096)) if group else math.nan
    lesson = {"AWQ": "08", "GPTQ": "07"}[method]
    return Download(key, f"safetensors, {method}", float(bits_text), bpw, "mostly GPU: vLLM, Transformers", lesson)
