"""How large a model gets, from the shapes of its tensors alone, beside the sizes that llama.cpp once published.

The published column mixes two rule sets and two roundings; `size_table` computes all of them and says which
explains each row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

from qviz._arguments import check_record
from qviz._arrays import whole_number
from qviz.architectures import ARCHITECTURES, size
from qviz.errors import RecipeError, shortened
from qviz.formats import Format, get
from qviz.recipes.plan import TensorChoice, plan
from qviz.recipes.rules import RECIPES, Recipe

GIB = 1 << 30


class TensorSpec(NamedTuple):
    """A tensor without its weights."""

    format: Format
    shape: tuple[int, ...]


MOST = 1 << 40
"""Of tokens, and of any width: what is more is a mistake."""

_MOST_LAYERS = 1 << 16


@dataclass(frozen=True, slots=True)
class ModelShapes:
    """The shapes of a model, as its F16 GGUF file has them.

    Parameters
    ----------
    name : str
    vocab, width, ffn, layers, heads, kv_heads : int
        Sizes of the vocabulary, the residual stream and the feed-forward layer (or of one expert); numbers of layers,
        query heads and key-value heads.
    tied : bool
        True if the embedding is the output matrix too.
    experts, experts_used : int
        How many a layer has, and how many a token meets; 0 unless it is a mixture of experts.
    head_size : int
        0 where it is `width` / `heads`.
    architecture : str
        A name of `qviz.architectures.ARCHITECTURES`, whose record says which tensors there are.
    """

    name: str
    vocab: int
    width: int
    ffn: int
    layers: int
    heads: int
    kv_heads: int
    tied: bool = False
    experts: int = 0
    experts_used: int = 0
    head_size: int = 0
    architecture: str = "llama"

    def __post_init__(self) -> None:
        for name in ("vocab", "width", "heads", "kv_heads", "ffn"):
            whole_number(getattr(self, name), name, RecipeError, least=1, most=MOST)
        for name in ("layers", "experts", "experts_used", "head_size"):
            whole_number(getattr(self, name), name, RecipeError, least=0, most=_MOST_LAYERS)
        if self.architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            raise RecipeError(f"architecture is {shortened(self.architecture)}; one of {known} is wanted")

    @property
    def kv_width(self) -> int:
        """Numbers in the key of one token and layer, all key-value heads together; a value has as many."""
        return self._head * self.kv_heads

    @property
    def _head(self) -> int:
        return self.head_size or self.width // self.heads

    def tensors(self) -> dict[str, TensorSpec]:
        """Name -> format and shape; matrices are F16, vectors and routers F32."""
        values = {
            "n_vocab": self.vocab,
            "n_embd": self.width,
            "n_ff": self.ffn,
            "n_ff_expert": self.ffn,
            "n_head": self.heads,
            "n_head_kv": self.kv_heads,
            "head_size": self._head,
            "n_expert": self.experts,
        }
        f32, f16 = get("F32"), get("F16")
        found = {}
        for name, place in ARCHITECTURES[self.architecture].names(self.layers, experts=self.experts > 0):
            if place.optional and (name != "output.weight" or self.tied):
                continue
            shape = tuple(size(length, values) for length in place.shape)
            found[name] = TensorSpec(f32 if len(shape) == 1 or "gate_inp" in name else f16, shape)
        return found

    def metadata(self) -> dict[str, Any]:
        """The keys that the rules look at."""
        return {
            "general.architecture": self.architecture,
            f"{self.architecture}.block_count": self.layers,
            f"{self.architecture}.attention.head_count": self.heads,
            f"{self.architecture}.attention.head_count_kv": self.kv_heads,
            f"{self.architecture}.expert_count": self.experts,
        }


check_record(ModelShapes, RecipeError)


MODEL_SHAPES: Mapping[str, ModelShapes] = MappingProxyType(
    {
        a.name: a
        for a in (
            ModelShapes("llama-7b", 32000, 4096, 11008, 32, 32, 32),
            ModelShapes("llama-13b", 32000, 5120, 13824, 40, 40, 40),
            ModelShapes("llama-33b", 32000, 6656, 17920, 60, 52, 52),
            ModelShapes("llama-65b", 32000, 8192, 22016, 80, 64, 64),
            ModelShapes("llama-2-70b", 32000, 8192, 28672, 80, 64, 8),
            ModelShapes("llama-3-8b", 128256, 4096, 14336, 32, 32, 8),
            ModelShapes("mistral-7b", 32000, 4096, 14336, 32, 32, 8),
            ModelShapes("mixtral-8x7b", 32000, 4096, 14336, 32, 32, 8, experts=8, experts_used=2),
            ModelShapes("tinyllama-1.1b", 32000, 2048, 5632, 22, 32, 4),
            ModelShapes("smollm2-135m", 49152, 576, 1536, 30, 9, 3, tied=True),
            ModelShapes("smollm2-360m", 49152, 960, 2560, 32, 15, 5, tied=True),
            ModelShapes("smollm2-1.7b", 49152, 2048, 8192, 24, 32, 32, tied=True),
            ModelShapes("qwen3-4b", 151936, 2560, 9728, 36, 32, 8, tied=True, head_size=128, architecture="qwen3"),
            ModelShapes("qwen3-8b", 151936, 4096, 12288, 36, 32, 8, architecture="qwen3"),
            ModelShapes(
                "qwen3-30b-a3b", 151936, 2048, 768, 48, 32, 4, False, 128, 8, head_size=128, architecture="qwen3moe"
            ),
        )
    }
)
"""Models whose sizes can be computed by name. Source: their published config.json / params.json."""

_OTHER_NAMES = {
    "llama-30b": "llama-33b",  # Meta's paper says 33B, its download 30B
    "llama-2-7b": "llama-7b",
    "llama-2-13b": "llama-13b",
}

PUBLISHED: Mapping[str, str] = MappingProxyType(
    {
        "F32": "26.00",
        "F16": "13.00",
        "Q8_0": "6.70",
        "Q6_K": "5.15",
        "Q5_K_M": "4.45",
        "Q5_K_S": "4.33",
        "Q5_1": "4.70",
        "Q5_0": "4.30",
        "Q4_K_M": "3.80",
        "Q4_K_S": "3.56",
        "Q4_1": "3.90",
        "Q3_K_L": "3.35",
        "Q4_0": "3.50",
        "Q3_K_M": "3.06",
        "Q3_K_S": "2.75",
        "Q2_K": "2.67",
    }
)
"""Sizes at 7B, as the help text of llama.cpp's `quantize` prints them (ggml-org/llama.cpp#1787, 2023-06-13)."""


def get_shapes(name: str | ModelShapes) -> ModelShapes:
    """Look a model's shapes up by name, in any case.

    Raises
    ------
    RecipeError
        With the names that exist.
    """
    if isinstance(name, ModelShapes):
        return name
    key = name.lower() if isinstance(name, str) else None
    shapes = MODEL_SHAPES.get(_OTHER_NAMES.get(key, key)) if key is not None else None
    if shapes is None:
        raise RecipeError(
            f"no shapes of a model {shortened(name)}; there are {', '.join(MODEL_SHAPES)}. "
            f"For a file, use qviz.recipes.plan(file, file.metadata, recipe)"
        )
    return shapes


def model_plan(
    model: str | ModelShapes, recipe: str | Recipe, rules: str = "modern", *, imatrix: bool = False
) -> list[TensorChoice]:
    """`plan` for a model of which only the shapes are known."""
    shapes = get_shapes(model)
    return plan(shapes.tensors(), shapes.metadata(), recipe, rules, imatrix=imatrix)


def model_size(model: str | ModelShapes, recipe: str | Recipe, rules: str = "modern", *, imatrix: bool = False) -> int:
    """Bytes that a model's tensors take.

    Parameters
    ----------
    model : str or ModelShapes
        ``"llama-7b"`` ...; see `MODEL_SHAPES`.
    recipe : str
        ``"Q4_K_M"`` ...
    rules : {"modern", "2023-06", "uniform"}
        Which rule set; see `RULES`.
    imatrix : bool
        True if made with an importance matrix: a few recipes then choose differently.

    Returns
    -------
    int
        Bytes. A file adds its header and vocabulary, about 0.7 MB for Llama's 32000 tokens.

    Examples
    --------
    >>> round(model_size("llama-7b", "Q4_K_M", rules="2023-06") / 2**30, 2)
    3.8
    """
    return sum(choice.nbytes for choice in model_plan(model, recipe, rules, imatrix=imatrix))


def cache_size(model: str | ModelShapes, n_ctx: int, kind: str | tuple[str, str] = "F16") -> int:
    """Bytes that keys and values of a context take.

    Parameters
    ----------
    model : str or ModelShapes
        ``"llama-7b"`` ...; see `MODEL_SHAPES`.
    n_ctx : int
        Tokens.
    kind : str or (str, str)
        Format of both, or of keys and of values: ``"F16"``, ``"Q8_0"`` ...

    Returns
    -------
    int
        Bytes: for each layer and token a key and a value for every key-value head.

    Examples
    --------
    >>> cache_size("llama-7b", 2048) / 2**20
    1024.0
    """
    a = get_shapes(model)
    n_ctx = whole_number(n_ctx, "n_ctx", RecipeError, least=0, most=MOST)
    if isinstance(kind, tuple) and len(kind) != 2:
        raise RecipeError(f"a KV cache of {shortened(kind)}; give one format, or two, of keys and of values")
    keys, values = kind if isinstance(kind, tuple) else (kind, kind)
    return a.layers * n_ctx * (get(keys).row_size(a.kv_width) + get(values).row_size(a.kv_width))


@dataclass(frozen=True, slots=True)
class SizeRow:
    """One recipe of `size_table`.

    Parameters
    ----------
    recipe : str
    published : float
        What the help text of 2023 says, in its own unit: see `explanation`.
    published_rules : str
        The rule set whose computed size explains it.
    modern, june_2023, uniform : int
        Bytes under the three rule sets.
    weights : int
        Weights of the model.
    formats : mapping of str to str
        Role -> format names under the modern rules.
    explanation : str
        Why the published figure is what it is, and how today's differs.
    """

    recipe: str
    published: float
    published_rules: str
    modern: int
    june_2023: int
    uniform: int
    weights: int
    formats: Mapping[str, str]
    explanation: str

    @property
    def bpw(self) -> float:
        """Bits per weight under the modern rules, everything counted."""
        return 8 * self.modern / self.weights


def size_table() -> list[SizeRow]:
    """The sixteen published sizes of LLaMA 7B beside the computed ones, every difference explained.

    Returns
    -------
    list of SizeRow
        In the order of `PUBLISHED`.

    Examples
    --------
    >>> print(size_table()[1].explanation)
    12.552 GiB is 13.477 GB: the table has it rounded up to whole GiB, as `ls -lh` does.
    """
    return [_row(name) for name in PUBLISHED]


def _row(recipe: str) -> SizeRow:
    plans = {rules: model_plan("llama-7b", recipe, rules) for rules in ("modern", "2023-06", "uniform")}
    modern, june, uniform = (sum(choice.nbytes for choice in choices) for choices in plans.values())
    base = get(RECIPES[recipe].base)
    explains = "2023-06" if base.block_size == 256 else "uniform"
    if base.is_float:
        text = (
            f"{uniform / GIB:.3f} GiB is {uniform / 1e9:.3f} GB: the table has it rounded up to whole GiB, "
            f"as `ls -lh` does."
        )
    elif explains == "uniform":
        text = (
            f"{uniform / GIB:.3f} GiB, rounded to one decimal: the row is older than the k-quants, when every "
            f"matrix got the same format."
        )
    else:
        text = f"{june / GIB:.4f} GiB under the rules of June 2023, rounded to two decimals."
    then = plans[explains]
    if changes := _changes(then, plans["modern"]):
        was = sum(choice.nbytes for choice in then)
        text += f" Today: {modern / GIB:.3f} GiB ({100 * (modern / was - 1):+.1f} %): {changes}."
    return SizeRow(
        recipe=recipe,
        published=float(PUBLISHED[recipe]),
        published_rules=explains,
        modern=modern,
        june_2023=june,
        uniform=uniform,
        weights=sum(choice.n_weights for choice in plans["modern"]),
        formats=MappingProxyType({role: ", ".join(names) for role, names in _formats(plans["modern"]).items()}),
        explanation=text,
    )


def _formats(choices: list[TensorChoice]) -> dict[str, dict[str, int]]:
    """Role -> how many tensors got each format."""
    by_role: dict[str, dict[str, int]] = {}
    for choice in choices:
        if choice.quantized:
            counts = by_role.setdefault(choice.role, {})
            counts[choice.format.name] = counts.get(choice.format.name, 0) + 1
    return by_role


def _changes(before: list[TensorChoice], after: list[TensorChoice]) -> str:
    """``"attn_v Q3_K instead of Q4_K, ..."``, by role."""
    old, new = _formats(before), _formats(after)
    return ", ".join(
        f"{role} {_counted(new[role])} instead of {_counted(old[role])}" for role in old if old[role] != new[role]
    )


def _counted(counts: Mapping[str, int]) -> str:
    if len(counts) == 1:
        return next(iter(counts))
    return " and ".join(f"{count} × {name}" for name, count in counts.items())
