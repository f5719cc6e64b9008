"""Reading the rules: a model's tensors in, one `TensorChoice` for each out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from qviz.errors import RecipeError
from qviz.formats import Format, get
from qviz.recipes.rules import (
    ALIASES,
    CLASS_70B,
    CONDITIONS,
    FALLBACK,
    KEPT,
    RECIPES,
    ROLES,
    RULES,
    Case,
    Recipe,
    Rule,
)

_LAYER = re.compile(r"blk\.\s*([+-]?\d+)")


class TensorLike(Protocol):
    """What a plan needs to know of a tensor; `QTensor` and `gguf.TensorInfo` will do."""

    @property
    def format(self) -> Format:
        """The format it is stored in."""

    @property
    def shape(self) -> tuple[int, ...]:
        """NumPy order, rows last."""


@dataclass(frozen=True, slots=True)
class TensorChoice:
    """What happens to one tensor.

    Parameters
    ----------
    name : str
    shape : tuple of int
        NumPy order, without leading ones.
    role : str
        ``"attn_v"``, ``"output"`` ...; empty if the rules know none.
    source : Format
        What it is stored in now.
    format : Format
        What it becomes.
    reason : str
        Why, for a reader.
    quantized : bool
        False if no recipe touches this tensor.
    fallback_from : Format or None
        What the rules wanted, where its blocks do not divide the rows.
    needs_imatrix : bool
        True if this cannot be done without an importance matrix.
    """

    name: str
    shape: tuple[int, ...]
    role: str
    source: Format
    format: Format
    reason: str
    quantized: bool = False
    fallback_from: Format | None = None
    needs_imatrix: bool = False

    @property
    def n_weights(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes it will take."""
        return self.n_weights // self.format.block_size * self.format.type_size

    @property
    def source_nbytes(self) -> int:
        """Bytes it takes now."""
        return self.n_weights // self.source.block_size * self.source.type_size

    @property
    def bpw(self) -> float:
        """Bits per weight it will have."""
        return self.format.bpw


def get_recipe(name: str | Recipe) -> Recipe:
    """Look a recipe up by name, in any case.

    Raises
    ------
    RecipeError
        With the names that exist.

    Examples
    --------
    >>> get_recipe("q4_k_m").base
    'Q4_K'
    """
    if isinstance(name, Recipe):
        return name
    key = name.upper() if isinstance(name, str) else None
    recipe = RECIPES.get(ALIASES.get(key, key)) if key is not None else None
    if recipe is None:
        raise RecipeError(f"no recipe {name!r}; there are {', '.join(RECIPES)}")
    return recipe


def plan(
    tensors: Mapping[str, TensorLike],
    metadata: Mapping[str, Any],
    recipe: str | Recipe,
    rules: str = "modern",
    *,
    imatrix: bool = False,
) -> list[TensorChoice]:
    """Decide for every tensor of a model which format it gets, and say why.

    Parameters
    ----------
    tensors : mapping of str to QTensor or TensorInfo
        The model; of a `GGUFFile`, only the header is read.
    metadata : mapping
        Of its keys, ``general.architecture`` and the numbers of layers, heads and experts matter.
    recipe : str
        ``"Q4_K_M"`` ...; see `RECIPES`.
    rules : {"modern", "2023-06", "uniform"}
        Which rule set; see `RULES`.
    imatrix : bool
        True if an importance matrix will be given.

    Returns
    -------
    list of TensorChoice
        In the order in which llama.cpp writes a quantized file: tensors outside of layers first, by name; then layer
        by layer.

    Raises
    ------
    RecipeError
        No such recipe or rules, or a recipe that did not exist in June 2023.

    Examples
    --------
    >>> class Weights:
    ...     format, shape = get("F16"), (512, 512)
    >>> choice, = plan({"blk.0.attn_v.weight": Weights}, {}, "Q3_K_L")
    >>> choice.format.name, choice.reason
    ('Q5_K', 'attention values are what attention passes on, and they are a small part of the file')
    """
    found = get_recipe(recipe)
    if not isinstance(rules, str) or rules not in RULES:
        raise RecipeError(f"no rule set {rules!r}; there are {', '.join(map(repr, RULES))}")
    if rules == "2023-06" and not found.in_2023:
        raise RecipeError(f"{found.name} did not exist in June 2023; use rules='modern' or rules='uniform'")
    infos: Mapping[str, TensorLike] = getattr(tensors, "tensor_info", tensors)
    for what, given in (("tensors", infos), ("metadata", metadata)):
        if not isinstance(given, Mapping):
            raise RecipeError(f"{what} must be a mapping by name, got {type(given).__name__}")
    return _Planner(infos, metadata, found, rules, imatrix).choices()


class _Planner:
    """Walks over the tensors in order, counting as it goes: some rules ask for the first few of a kind."""

    def __init__(
        self, tensors: Mapping[str, TensorLike], metadata: Mapping[str, Any], recipe: Recipe, rules: str, imatrix: bool
    ) -> None:
        self._tensors, self._recipe, self._rules, self._imatrix = tensors, recipe, rules, imatrix
        self._base = get(recipe.base)
        self._architecture = str(metadata.get("general.architecture", "llama"))
        self._tied = "output.weight" not in tensors
        layers = {int(m[1]) for m in map(_LAYER.match, tensors) if m}
        self._layers = self._number(metadata, "block_count", len(layers))
        heads = self._number(metadata, "attention.head_count", 0)
        kv_heads = self._number(metadata, "attention.head_count_kv", heads)
        self._gqa = heads // kv_heads if kv_heads > 0 else 0
        self._experts = self._number(metadata, "expert_count", 0)
        self._is_70b = CLASS_70B.get(self._architecture) == self._layers and (
            self._architecture != "llama" or heads != kv_heads
        )
        self._n_values = sum(role_of(name) == "attn_v" for name in tensors)
        self._seen = {"attn_v": 0, "ffn_down": 0}

    def _number(self, metadata: Mapping[str, Any], key: str, default: int) -> int:
        full = f"{self._architecture}.{key}"
        value = metadata.get(full, default)
        if isinstance(value, list):  # one number a layer
            value = value[0] if value else default
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise RecipeError(f"metadata {full!r} is {value!r}; expected a whole number that is not negative")
        return int(value)

    def choices(self) -> list[TensorChoice]:
        return [self._choice(name, self._tensors[name]) for name in sorted(self._tensors, key=file_order)]

    def _choice(self, name: str, tensor: TensorLike) -> TensorChoice:
        shape, source, role = _without_leading_ones(tensor.shape), tensor.format, role_of(name)
        kept = _kept(name, shape)
        if kept is not None:
            return TensorChoice(name, shape, role, source, source, kept)
        rule, case = self._rule(name, role, shape)
        wanted = self._base if rule.format == "base" else get(rule.format)
        fmt, fallback = _fallback(wanted, shape[-1])
        reason = rule.reason.format(base=self._base, i=case.i, n=case.n)
        if fallback:
            reason += f"; {fallback}"
            if self._rules == "2023-06":
                reason += " (in June 2023 such a model was refused)"
        return TensorChoice(
            name,
            shape,
            role,
            source,
            fmt,
            reason,
            quantized=True,
            fallback_from=wanted if fallback else None,
            needs_imatrix=self._recipe.name == "Q2_K_S" and fmt == "Q2_K" and role not in ("output", "token_embd"),
        )

    def _rule(self, name: str, role: str, shape: tuple[int, ...]) -> tuple[Rule, Case]:
        case = self._case(name, role, shape)
        tied = self._tied and self._rules == "modern"
        place = "output" if tied and role == "token_embd" else role
        for rule in RULES[self._rules]:
            if (
                rule.role in ("*", place)
                and (rule.recipes == "*" or self._recipe.name in rule.recipes.split())
                and all(CONDITIONS[word].test(case) for word in rule.when.split(", ") if word)
            ):
                return rule, case
        raise AssertionError("the last rule of each set fits everything")

    def _case(self, name: str, role: str, shape: tuple[int, ...]) -> Case:
        i, n = 0, self._n_values if role == "attn_v" else self._layers
        if role in self._seen:
            i = self._seen[role]
            self._seen[role] += 1
        if role == "ffn_down" and self._experts > 1:
            # experts of one layer may be several tensors, so counting them would not give the layer
            i = _layer(name)
            if not 0 <= i < n:
                raise RecipeError(f"{name!r} names no layer of this model; expected blk.0 … blk.{n - 1}")
        return Case(
            architecture=self._architecture,
            gqa=self._gqa,
            experts=self._experts,
            is_70b=self._is_70b,
            tied=self._tied,
            imatrix=self._imatrix,
            shape=shape,
            whole_blocks=shape[-1] % self._base.block_size == 0,
            i=i,
            n=n,
        )


def role_of(name: str) -> str:
    """What a tensor is for, by its name; empty if the rules know no such part.

    Examples
    --------
    >>> role_of("blk.3.ffn_down.weight"), role_of("rope_freqs.weight")
    ('ffn_down', '')
    """
    if not isinstance(name, str):
        raise RecipeError(f"a tensor's name is a text, not {type(name).__name__}")
    return next((r.role for r in ROLES if _matches(r.how, r.text, name)), "")


def file_order(name: str) -> tuple[int, bytes]:
    """Sort key: tensors outside of layers first, then by layer; by name within one.

    Examples
    --------
    >>> sorted(["blk.10.a", "output", "blk.2.b"], key=file_order)
    ['output', 'blk.2.b', 'blk.10.a']
    """
    return _layer(name), name.encode("utf-8", "surrogateescape")


def _layer(name: str) -> int:
    found = _LAYER.match(name)
    return int(found[1]) if found else -1


def _matches(how: str, text: str, name: str) -> bool:
    return name == text if how == "is" else text in name


def _kept(name: str, shape: tuple[int, ...]) -> str | None:
    """Why no recipe touches this tensor; None if one does."""
    if len(shape) < 2:
        return "a vector, not a matrix: few numbers, each used in every row"
    if not name.endswith("weight"):
        return "its name does not end in 'weight'"
    return next((k.reason for k in KEPT if _matches(k.how, k.text, name)), None)


def _fallback(wanted: Format, row: int) -> tuple[Format, str]:
    """The format that divides the rows, and why it is not the one that was wanted."""
    if row % wanted.block_size == 0:
        return wanted, ""
    problem = f"but rows of {row} are not whole blocks of {wanted.block_size}"
    second = get(FALLBACK.get(wanted.name, wanted.name))
    if row % second.block_size == 0:
        return second, f"{problem}, so {second} takes the place of {wanted}"
    smaller = f" or of {second.block_size}" if second is not wanted else ""
    return get("F16"), f"{problem}{smaller}, so F16 takes the place of {wanted}"


def _without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape as ggml counts it: no dimension of one before the first that is longer."""
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape
