"""Reading the rules: a model's tensors in, one `TensorChoice` for each out."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from qviz._arrays import flag
from qviz.errors import RecipeError, shortened
from qviz.formats import Format, get
from qviz.recipes.rules import (
    ALIASES,
    CLASS_70B,
    CONDITIONS,
    FALLBACK,
    KEPT,
    NEED_IMATRIX,
    RECIPES,
    ROLES,
    RULES,
    Case,
    Recipe,
    Rule,
)
from qviz.recipes.switches import NO_SWITCHES, Switches

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
    source_name : str
        Its name in the source, which differs where layers were pruned.
    switch : str
        The one of `Switches` that decided here, as on a command line; empty if the rules did.
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
    source_name: str = ""
    switch: str = ""

    def __post_init__(self) -> None:
        if not self.source_name:
            object.__setattr__(self, "source_name", self.name)

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
        raise RecipeError(f"no recipe {shortened(name)}; there are {', '.join(RECIPES)}")
    return recipe


def plan(
    tensors: Mapping[str, TensorLike],
    metadata: Mapping[str, Any],
    recipe: str | Recipe,
    rules: str = "modern",
    *,
    imatrix: bool = False,
    switches: Switches = NO_SWITCHES,
) -> list[TensorChoice]:
    """Decide for every tensor of a model which format it gets, and say why.

    Parameters
    ----------
    tensors : mapping of str to QTensor or TensorInfo
        The model; of a `GGUFFile`, only the header is read.
    metadata : mapping
        Only ``general.architecture`` and the numbers of layers, heads and experts matter.
    recipe : str
        ``"Q4_K_M"`` ...; see `RECIPES`.
    rules : {"modern", "2023-06", "uniform"}
        Which rule set; see `RULES`.
    imatrix : bool
        True if an importance matrix will be given.
    switches : Switches
        How the recipe is changed.

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
    chosen = get_recipe(recipe)
    if not isinstance(rules, str) or rules not in RULES:
        raise RecipeError(f"no rule set {shortened(rules)}; there are {', '.join(map(repr, RULES))}")
    if rules == "2023-06" and not chosen.in_2023:
        raise RecipeError(f"{chosen.name} did not exist in June 2023; use rules='modern' or rules='uniform'")
    infos: Mapping[str, TensorLike] = getattr(tensors, "tensor_info", tensors)
    for what, given in (("tensors", infos), ("metadata", metadata)):
        if not isinstance(given, Mapping):
            raise RecipeError(f"{what} must be a mapping by name, got {type(given).__name__}")
    for name, info in infos.items():
        shape = getattr(info, "shape", None)
        if (
            not isinstance(name, str)
            or not isinstance(getattr(info, "format", None), Format)
            or type(shape) is not tuple
        ):
            raise RecipeError(f"tensors[{shortened(name)}] is {shortened(info)}; a QTensor or TensorInfo is wanted")
    imatrix = flag(imatrix, "imatrix", RecipeError)
    if not isinstance(switches, Switches):
        raise RecipeError(f"switches is {shortened(switches)}; a qviz.recipes.Switches is wanted")
    names = switches.new_names(infos)
    moved = {names[old]: info for old, info in infos.items() if old in names}
    known = {**metadata, **switches.override_kv} if switches.override_kv else metadata
    planner = _Planner(moved, known, chosen, "uniform" if switches.pure else rules, imatrix, switches)
    origins = {new: old for old, new in names.items()}
    order = sorted(moved, key=file_order)
    if switches.keep_split:  # in the order of the source, file after file
        order = [
            names[old] for part in getattr(tensors, "parts", ()) for old in _by_offset(part.tensor_info) if old in names
        ]
    return [dataclasses.replace(choice, source_name=origins[choice.name]) for choice in planner.choices(order)]


class _Planner:
    """Walks over the tensors in order, counting as it goes: some rules ask for the first few of a kind."""

    def __init__(
        self,
        tensors: Mapping[str, TensorLike],
        metadata: Mapping[str, Any],
        recipe: Recipe,
        rules: str,
        imatrix: bool,
        switches: Switches,
    ) -> None:
        self._switches = switches
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
        self._seen = dict.fromkeys(("attn_v", "ffn_down", "ffn_gate", "ffn_up"), 0)

    def _number(self, metadata: Mapping[str, Any], key: str, default: int) -> int:
        full = f"{self._architecture}.{key}"
        value = metadata.get(full, default)
        if isinstance(value, list):  # one number a layer
            value = value[0] if value else default
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise RecipeError(f"metadata {full!r} is {shortened(value)}; expected a whole number that is not negative")
        return int(value)

    def choices(self, order: Sequence[str]) -> list[TensorChoice]:
        return [self._choice(name, self._tensors[name]) for name in order]

    def _choice(self, name: str, tensor: TensorLike) -> TensorChoice:
        shape, source, role = _without_leading_ones(tensor.shape), tensor.format, role_of(name)
        kept = _kept(name, shape)
        if kept is not None:
            return TensorChoice(name, shape, role, source, source, kept)
        if name == "output.weight" and self._switches.leave_output_tensor:
            reason = "--leave-output-tensor: it stays as it is"
            return TensorChoice(name, shape, role, source, source, reason, switch="--leave-output-tensor")
        if (forced := self._forced(name, role)) is not None:
            return self._as_told(name, shape, role, source, *forced)
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
            needs_imatrix=self._needs_imatrix(fmt, role),
        )

    def _forced(self, name: str, role: str) -> tuple[Format, str, bool] | None:
        """A format that the switches ask for, which of them, and whether another may take its place."""
        told = self._switches
        named = next((row for row in told.tensor_type if row.fits(name)), None)
        asked = told.token_embedding_type
        # the table of per-layer embeddings is large: it may be named
        apart = name == "per_layer_token_embd.weight" and named is not None
        if isinstance(asked, Format) and role == "token_embd" and not apart:
            return asked, f"--token-embedding-type {asked.name.lower()}", False
        asked = told.output_tensor_type
        if isinstance(asked, Format) and role == "output":
            return asked, f"--output-tensor-type {asked.name.lower()}", False
        if self._base.is_float:
            return None
        if named is not None:
            return named.format, f"--tensor-type {named}", True
        if isinstance(asked, Format) and self._tied and role == "token_embd" and not told.pure:
            return asked, f"--output-tensor-type {asked.name.lower()}", True
        return None

    def _as_told(
        self, name: str, shape: tuple[int, ...], role: str, source: Format, wanted: Format, switch: str, falls: bool
    ) -> TensorChoice:
        fmt, fallback = _fallback(wanted, shape[-1]) if falls else (wanted, "")
        if shape[-1] % fmt.block_size:
            raise RecipeError(f"{switch}: {name!r} has rows of {shape[-1]}, no whole blocks of {fmt.block_size}")
        return TensorChoice(
            name,
            shape,
            role,
            source,
            fmt,
            f"{switch} asks for it" + (f"; {fallback}" if fallback else ""),
            quantized=True,
            fallback_from=wanted if fallback else None,
            needs_imatrix=self._needs_imatrix(fmt, role),
            switch=switch,
        )

    def _needs_imatrix(self, fmt: Format, role: str) -> bool:
        if role in ("output", "token_embd"):
            return fmt.needs_imatrix
        return fmt.name in NEED_IMATRIX or (self._recipe.name == "Q2_K_S" and fmt == "Q2_K")

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
        visited = i
        if role.startswith("ffn_") and self._experts > 1:
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
            visited=visited,
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
    if not isinstance(name, str):
        raise RecipeError(f"the name of a tensor is a text, not {type(name).__name__}")
    return _layer(name), name.encode("utf-8", "surrogatepass")


def _by_offset(infos: Mapping[str, Any]) -> list[str]:
    return sorted(infos, key=lambda name: infos[name].offset)


def _layer(name: str) -> int:
    match = _LAYER.match(name)
    return int(match[1]) if match else -1


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
    if wanted.block_size > 32 and wanted.name not in FALLBACK:
        raise RecipeError(
            f"{wanted} needs whole blocks of {wanted.block_size}, but this model has rows of {row}, and no format "
            f"takes its place; choose another recipe"
        )
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
