"""Choosing a format under a budget: what fits, what it costs once measured, and what was left on the table.

Sizes are arithmetic and known beforehand. Damage is not: on the small model of the course it is measured, for a model
of 7 billion weights it is looked up in the published table (`qviz.measure.PUBLISHED_PPL`), and the outcome says which.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from qviz import formats, measure, models, recipes, transformer
from qviz._arrays import whole_number
from qviz.errors import RecipeError, shortened
from qviz.grids.affine import AffineGrid
from qviz.models import Model

MIB = 1 << 20
CACHES = ("F16", "Q8_0", "Q4_0")
"""Formats of a KV cache."""

FIELD = tuple(name for name in measure.TABLE_RECIPES if name != "F32")
"""What every choice is compared with: the rows of the table that everybody quotes."""

RECIPES = (*FIELD, "IQ4_XS")
"""What can be chosen."""

MEASURED_METHODS: Mapping[str, tuple[str, int, int]] = {
    "AWQ-4bit-g128": ("awq", 4, 128),
    "GPTQ-Int4-g128": ("gptq", 4, 128),
    "GPTQ-Int3-g128": ("gptq", 3, 128),
}
"""Names as download pages have them, and what they stand for: method, bits, group size."""

MAX_TOKENS = 500
"""Tokens that a choice is scored on."""

CALIBRATION = 2048
"""Tokens that methods and importance matrices are calibrated on."""

_ROLES = ("attn_v", "ffn_down")


@dataclass(frozen=True)
class Mission:
    """A budget, and the model that has to fit it.

    Attributes
    ----------
    name, story : str
    model : str
        ``"tiny"``, which is measured, or a name of `qviz.recipes.MODEL_SHAPES`, which is looked up.
    disk, memory : float
        MiB at most: of the tensors; of the tensors and all KV caches.
    context, chats : int
        Tokens of a conversation, and conversations at a time.
    speed : float
        Tokens per second at least, one conversation; for ``"tiny"`` as a share of what Q8_0 reaches on this machine. 0
        if it does not matter.
    bandwidth : float
        Bytes per second of the memory, where the model is looked up.

    Raises
    ------
    RecipeError
        No tokens, no conversation, or a negative budget.
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

    def __post_init__(self) -> None:
        for what in ("context", "chats"):
            whole_number(getattr(self, what), what, RecipeError, least=1)
        for what in ("disk", "memory", "speed", "bandwidth"):
            if not getattr(self, what) >= 0:
                raise RecipeError(f"{what} is {getattr(self, what)}; a budget is a number from 0 on")

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
        One of `RECIPES` or of `MEASURED_METHODS`.
    embedding, values : str
        Formats that overrule the recipe, for the embedding and for ``attn_v`` and ``ffn_down``; empty: as it says.
    cache : str
        One of `CACHES`.
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
        raise RecipeError(f"no KV cache in {shortened(choice.cache)}; there are {', '.join(CACHES)}")
    if not mission.measured and (
        choice.embedding or choice.values or choice.imatrix or choice.recipe in MEASURED_METHODS
    ):
        raise RecipeError(
            f"{choice}: nobody published what that does to {mission.model}, and it is too large to be measured here; "
            f"choose a recipe as it is, or a mission with the small model"
        )
    n, disk, embedding = _totals(mission, replace(choice, cache="F16"))
    cache = mission.chats * _cache_bytes(mission, choice.cache)
    read = disk
    if not mission.measured and not recipes.get_shapes(mission.model).tied:
        read -= embedding  # only one row of it is read
    one = cache // mission.chats
    speed = mission.bandwidth / (read + one) if math.isfinite(mission.bandwidth) else math.nan
    return Outcome(choice, disk, disk + cache, 8 * disk / n, speed=speed)


@functools.lru_cache(maxsize=512)  # a picture asks for all recipes at each move, and they stay what they are
def _totals(mission: Mission, choice: Choice) -> tuple[int, int, int]:
    """Weights, bytes, and those of them that the embedding takes."""
    plan = formats_of(mission, choice)
    embedding = plan["token_embd.weight"][1]
    return sum(weights for weights, _, _ in plan.values()), sum(nbytes for _, nbytes, _ in plan.values()), embedding


def formats_of(mission: Mission, choice: Choice) -> dict[str, tuple[int, int, str]]:
    """Tensor -> weights, bytes, format (empty for a method's grid)."""
    if choice.recipe in MEASURED_METHODS:
        method, bits, group = MEASURED_METHODS[choice.recipe]
        tensors = {}
        for c in recipes.plan(*_shapes(mission), "F16"):
            if c.quantized and c.role != "token_embd":
                grid = AffineGrid(bits, group)
                order = 4 * c.shape[-1] if method == "gptq" else 0  # g_idx: which group a column belongs to
                tensors[c.name] = (c.n_weights, grid.nbytes(c.shape) + order, "")
            else:
                tensors[c.name] = (c.n_weights, c.nbytes, str(c.format))
        return tensors
    tensors = {}
    for c in recipes.plan(*_shapes(mission), choice.recipe, imatrix=choice.imatrix):
        fmt = c.format
        wanted = choice.embedding if c.role == "token_embd" else choice.values if c.role in _ROLES else ""
        if wanted and c.quantized:
            fmt = formats.get(wanted)
            fmt.row_size(c.shape[-1])  # raises where its blocks do not divide the rows
        tensors[c.name] = (c.n_weights, c.n_weights // fmt.block_size * fmt.type_size, str(fmt))
    return tensors


@functools.cache
def small() -> Model:
    """The small model of the course, opened once."""
    return models.load("tiny")


def _shapes(mission: Mission) -> tuple[Any, Any]:
    if mission.measured:
        return small(), small().metadata
    shapes = recipes.get_shapes(mission.model)
    return shapes.tensors(), shapes.metadata()


def _cache_bytes(mission: Mission, kind: str) -> int:
    """Bytes of the KV cache of one conversation."""
    if not mission.measured:
        return recipes.cache_size(mission.model, mission.context, kind)
    config = transformer.TransformerConfig.from_metadata(small().metadata)
    return 2 * config.n_layers * mission.context * formats.get(kind).row_size(config.n_head_kv * config.head_size)
