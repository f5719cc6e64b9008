"""The recipes as data: one row says which tensor gets which format, when, and why.

Nothing here computes. `qviz.recipes.plan` reads the rows from top to bottom and takes the first that fits. The rules
are those of llama.cpp, today (``src/llama-quant.cpp``, commit 0c1e570 of 2026-10-01) and as the k-quants arrived
(pull request ggml-org/llama.cpp#1684, commit 99009e7 of 2023-06-05).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Recipe:
    """A name that a file can carry, such as ``Q4_K_M``.

    Parameters
    ----------
    name : str
    base : str
        The format of every tensor that no rule singles out.
    file_type : int
        What the file says under ``general.file_type`` (llama.h: ``enum llama_ftype``).
    about : str
        In a few words.
    in_2023 : bool
        True if the recipe existed in June 2023.
    """

    name: str
    base: str
    file_type: int
    about: str
    in_2023: bool = True


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        r.name: r
        for r in (
            Recipe("F32", "F32", 0, "nothing lost, nothing saved"),
            Recipe("F16", "F16", 1, "half precision: 10 bits of fraction, largest value 65504"),
            Recipe("BF16", "BF16", 32, "the upper half of float32: its range, 7 bits of fraction", in_2023=False),
            Recipe("Q8_0", "Q8_0", 7, "8-bit codes, one scale for 32 weights"),
            Recipe("Q6_K", "Q6_K", 18, "6-bit codes in super-blocks"),
            Recipe("Q5_K_M", "Q5_K", 17, "5-bit super-blocks; half of attn_v and ffn_down in 6 bits"),
            Recipe("Q5_K_S", "Q5_K", 16, "5-bit super-blocks"),
            Recipe("Q5_1", "Q5_1", 9, "5-bit codes, scale and min for 32 weights"),
            Recipe("Q5_0", "Q5_0", 8, "5-bit codes, one scale for 32 weights"),
            Recipe("Q4_K_M", "Q4_K", 15, "4-bit super-blocks; half of attn_v and ffn_down in 6 bits"),
            Recipe("Q4_K_S", "Q4_K", 14, "4-bit super-blocks; a few early tensors in 5 bits"),
            Recipe("Q4_1", "Q4_1", 3, "4-bit codes, scale and min for 32 weights"),
            Recipe("Q3_K_L", "Q3_K", 13, "3-bit super-blocks; attention values, outputs and ffn_down in 5 bits"),
            Recipe("Q4_0", "Q4_0", 2, "4-bit codes, one scale for 32 weights"),
            Recipe("Q3_K_M", "Q3_K", 12, "3-bit super-blocks; attention values, outputs and ffn_down in 4 bits"),
            Recipe("Q3_K_S", "Q3_K", 11, "3-bit super-blocks"),
            Recipe("Q2_K", "Q2_K", 10, "2-bit super-blocks; attention values, outputs and ffn_down in 3 bits"),
            Recipe("Q2_K_S", "Q2_K", 21, "2-bit super-blocks; needs an importance matrix", in_2023=False),
            Recipe("IQ4_NL", "IQ4_NL", 25, "4-bit codes into a table of 16 uneven levels", in_2023=False),
            Recipe("IQ4_XS", "IQ4_XS", 30, "the same levels as IQ4_NL, in super-blocks", in_2023=False),
            Recipe("TQ1_0", "TQ1_0", 36, "ternary weights −1, 0, 1, five in a byte", in_2023=False),
            Recipe("TQ2_0", "TQ2_0", 37, "ternary weights −1, 0, 1, two bits each", in_2023=False),
            Recipe(
                "IQ3_M", "IQ3_S", 27, "IQ3_S; attention values, outputs and early ffn_down in 4 bits", in_2023=False
            ),
            Recipe("IQ3_S", "IQ3_S", 26, "groups of four from a codebook of 512", in_2023=False),
            Recipe(
                "IQ3_XS",
                "IQ3_S",
                22,
                "IQ3_S; queries, keys and the middle of ffn_gate and ffn_up IQ3_XXS",
                in_2023=False,
            ),
            Recipe("IQ3_XXS", "IQ3_XXS", 23, "groups of four from a codebook of 256", in_2023=False),
            Recipe("IQ2_M", "IQ2_S", 29, "groups of eight from a codebook of 1024", in_2023=False),
            Recipe(
                "IQ2_S", "IQ2_XS", 28, "groups of eight from a codebook of 512; attention outputs IQ3_S", in_2023=False
            ),
            Recipe("IQ2_XS", "IQ2_XS", 20, "groups of eight from a codebook of 512", in_2023=False),
            Recipe("IQ2_XXS", "IQ2_XXS", 19, "groups of eight from a codebook of 256", in_2023=False),
            Recipe("IQ1_M", "IQ1_M", 31, "levels −1, 0, 1 in groups of eight, a scale for 16 weights", in_2023=False),
            Recipe("IQ1_S", "IQ1_S", 24, "levels −1, 0, 1 in groups of eight, a scale for 32 weights", in_2023=False),
            Recipe("Q2_0", "Q2_0", 41, "2-bit codes, one scale for 64 weights; for ternary models", in_2023=False),
            Recipe("Q1_0", "Q1_0", 40, "signs, one scale for 128 weights; for binary models", in_2023=False),
            Recipe("MXFP4", "MXFP4", 38, "4-bit floats for a mixture's experts, Q8_0 for the rest", in_2023=False),
        )
    }
)
"""Every recipe by name, in the order in which they lose precision, newer kinds last."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M", "MXFP4_MOE": "MXFP4"}
)
"""Other names that llama.cpp takes."""


# -- what a tensor is for


class Role(NamedTuple):
    """A name that stands for a tensor's place in the transformer."""

    role: str
    how: str
    text: str


ROLES = (
    # the first that fits
    Role("output", "is", "output.weight"),
    Role("token_embd", "is", "token_embd.weight"),
    Role("token_embd", "is", "per_layer_token_embd.weight"),
    Role("attn_v", "contains", "attn_qkv.weight"),  # queries, keys and values in one tensor count as values
    Role("attn_v", "contains", "attn_kv_b.weight"),
    Role("attn_v", "contains", "attn_v.weight"),
    Role("attn_k", "contains", "attn_k.weight"),
    Role("attn_q", "contains", "attn_q.weight"),
    Role("attn_output", "contains", "attn_output.weight"),
    Role("ffn_up", "contains", "ffn_up"),
    Role("ffn_gate", "contains", "ffn_gate"),
    Role("ffn_down", "contains", "ffn_down"),
)


class Kept(NamedTuple):
    """Tensors that no recipe touches: they keep the format of the source, byte for byte."""

    how: str
    text: str
    reason: str


KEPT = (
    Kept("contains", "_norm.weight", "the scales of a normalisation: few, and every activation passes through them"),
    Kept(
        "contains",
        "ffn_gate_inp.weight",
        "the router of a mixture of experts: small, and it decides where a token goes",
    ),
    Kept("contains", "ffn_gate_tid2eid.weight", "a table of whole numbers from token to expert"),
    Kept("contains", "altup", "a tiny matrix"),
    Kept("contains", "laurel", "a tiny matrix"),
    Kept("contains", "per_layer_model_proj", "not large enough to be worth it"),
    Kept("is", "position_embd.weight", "position embeddings: small, read directly"),
    Kept("is", "token_types.weight", "token-type embeddings: small, read directly"),
    Kept("contains", "ssm_conv1d", "a small convolution"),
    Kept("contains", "shortconv.conv.weight", "a small convolution"),
    Kept("contains", "indexer.k_proj.weight", "a tiny projection of an indexer"),
    Kept("contains", "indexer.q_proj.weight", "a tiny projection of an indexer"),
    *(
        Kept("contains", f"time_mix_{part}.weight", "a small matrix of RWKV's time mixing")
        for part in (
            *("first", "w0", "w1", "w2", "v0", "v1", "v2", "a0", "a1", "a2", "g1", "g2"),
            *("decay_w1", "decay_w2", "lerp_fused"),
        )
    ),
    Kept("contains", "attn_rel_b.weight", "the bias of relative positions"),
    Kept("contains", ".position_embd", "position embeddings of an image or audio encoder"),
    Kept("contains", "sam.pos_embd", "part of an image encoder"),
    Kept("contains", "sam.neck.", "part of an image encoder"),
    Kept("contains", "sam.net_", "part of an image encoder"),
    Kept("contains", ".rel_pos", "relative positions of an image encoder"),
    Kept("contains", ".patch_embd", "the patch embedding of an image encoder"),
    Kept("contains", ".patch_merger", "the patch merger of an image encoder"),
    Kept("contains", "a.rvq.codebook", "a codebook of an audio encoder"),
    Kept("contains", "mm.a.code_embd", "a codebook of an audio encoder"),
)


# -- when a rule applies


@dataclass(frozen=True, slots=True)
class Case:
    """What a condition may ask about: one tensor, its place in the model, and the job.

    `i` of `n` is its layer, or among attention values its place; `visited` is how many of its role came before it.
    """

    architecture: str
    gqa: int
    experts: int
    is_70b: bool
    tied: bool
    imatrix: bool
    shape: tuple[int, ...]
    whole_blocks: bool
    i: int
    n: int
    visited: int


@dataclass(frozen=True, slots=True)
class Condition:
    """A question with its answer in words."""

    meaning: str
    test: Callable[[Case], bool]


def _more_bits(c: Case) -> bool:
    return c.i < c.n // 8 or c.i >= 7 * c.n // 8 or (c.i - c.n // 8) % 3 == 2


CONDITIONS: Mapping[str, Condition] = MappingProxyType(
    {
        "more bits": Condition("in the first or last eighth of the layers, or every third between", _more_bits),
        "fewer bits": Condition("not one of the layers that get more bits", lambda c: not _more_bits(c)),
        "first 2": Condition("one of the first two", lambda c: c.i < 2),
        "first 4": Condition("one of the first four", lambda c: c.i < 4),
        "first eighth": Condition("in the first eighth of the layers", lambda c: c.i < c.n // 8),
        "first sixteenth": Condition("in the first sixteenth of the layers", lambda c: c.i < c.n // 16),
        "first eighth by count": Condition(
            "one of the first as many of its kind as an eighth of the layers", lambda c: c.visited < c.n // 8
        ),
        "middle": Condition("in the six middle eighths of the layers", lambda c: c.n // 8 <= c.i < 7 * c.n // 8),
        "gqa or experts": Condition(
            "at least four query heads share a key-value head, or a mixture of at least four experts",
            lambda c: c.gqa >= 4 or c.experts >= 4,
        ),
        "gqa": Condition("at least four query heads share a key-value head", lambda c: c.gqa >= 4),
        "70B": Condition("a model of the 70B class", lambda c: c.is_70b),
        "8 experts": Condition("a mixture of eight experts", lambda c: c.experts == 8),
        "falcon": Condition("a Falcon model", lambda c: c.architecture == "falcon"),
        "not falcon": Condition("not a Falcon model", lambda c: c.architecture != "falcon"),
        "tied": Condition("the model has no output.weight", lambda c: c.tied),
        "imatrix": Condition("with an importance matrix", lambda c: c.imatrix),
        "no imatrix": Condition("without an importance matrix", lambda c: not c.imatrix),
        "odd rows": Condition("rows are not whole blocks of the base format", lambda c: not c.whole_blocks),
        "experts in one": Condition(
            "all experts in one three-dimensional tensor", lambda c: len(c.shape) > 2 and c.shape[-3] > 1
        ),
    }
)
"""What the words in a rule's `when` mean."""


class Rule(NamedTuple):
    """One row: `role` in one of `recipes`, when all of `when` hold, gets `format`.

    Attributes
    ----------
    role : str
        See `ROLES`; ``"*"`` is any.
    recipes : str
        Names with spaces between; ``"*"`` is any.
    when : str
        Names from `CONDITIONS`, with commas between; empty is always.
    format : str
        ``"base"`` is the recipe's own.
    reason : str
        Why. ``{base}``, ``{i}`` and ``{n}`` (layer i of n) are filled in.
    """

    role: str
    recipes: str
    when: str
    format: str
    reason: str


_FLOAT = Rule("*", "F32 F16 BF16", "", "base", "a float recipe makes no exceptions: every matrix becomes {base}")
_REST = Rule("*", "*", "", "base", "no rule singles it out: the recipe's base format")
_OUTPUT = "the output matrix turns straight into probabilities, so its errors are not averaged away"
_TIED = "there is no output.weight: the embedding is used as the output matrix too, and is stored as one"
_MORE = "layer {i} of {n} is among those that get more bits: the first and last eighth and every third between"
_GQA = (
    "grouped-query attention makes it small, and its errors reach every query head of the group, so more bits are cheap"
)
_8X = "in a mixture of eight experts attention is a small part of the file, so more bits are cheap"
_70B = "at 70B attn_v is an eighth of attn_q, so more bits are cheap"
_VALUES = "attention values are what attention passes on, and they are a small part of the file"
_DOWN = "ffn_down adds straight into the residual stream, so its errors reach every layer above"
_OUT = "attn_output adds straight into the residual stream, so its errors reach every layer above"
_EARLY = "layer {i} of {n} is early: its error passes through all layers above"
_FALCON = "Falcon has rules of its own"
_EMBEDDING = "an embedding is looked up, not multiplied: no importance matrix knows which of its errors matter"
_LOW = "below three bits what is sensitive gets another format; this is not"
_MIDDLE = "layer {i} of {n} is in the middle, where errors do least harm"
_LESS = "queries and keys only decide where attention looks, so they bear fewer bits"

# Below three bits a weight llama.cpp has rules of their own.
_BELOW_3 = "IQ1_S IQ1_M IQ2_XXS IQ2_XS IQ2_S IQ2_M"

RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {
        "modern": (
            _FLOAT,
            Rule("output", "MXFP4", "", "Q8_0", _OUTPUT),
            Rule("output", "*", "falcon", "Q8_0", _FALCON),
            Rule("output", "*", "odd rows", "Q8_0", f"{_OUTPUT}; its rows do not divide into {{base}} blocks"),
            Rule("output", f"{_BELOW_3} IQ3_XXS", "tied", "Q5_K", _TIED),
            Rule("output", f"{_BELOW_3} IQ3_XXS", "", "Q5_K", _OUTPUT),
            Rule("output", "Q8_0", "", "base", "8 bits are enough for the output matrix"),
            Rule("output", "*", "tied", "Q6_K", _TIED),
            Rule("output", "*", "", "Q6_K", _OUTPUT),
            Rule("*", "MXFP4", "experts in one", "MXFP4", "the experts are most of a mixture's weights"),
            Rule("*", "MXFP4", "", "Q8_0", "only experts become MXFP4"),
            Rule("token_embd", "TQ1_0 TQ2_0 Q2_0", "", "Q4_K", "an embedding is not ternary"),
            Rule("token_embd", "IQ1_S IQ1_M IQ2_XXS IQ2_XS", "", "Q2_K", _EMBEDDING),
            Rule("token_embd", "IQ2_S IQ2_M IQ3_XXS", "", "IQ3_S", _EMBEDDING),
            Rule("attn_v", _BELOW_3, "gqa or experts", "Q4_K", f"{_VALUES} where heads share it or experts dwarf it"),
            Rule("attn_v", "IQ2_S IQ2_M", "", "IQ3_S", _VALUES),
            Rule("attn_v", _BELOW_3, "", "Q2_K", _VALUES),
            Rule("attn_k", _BELOW_3, "8 experts", "Q4_K", _8X),
            Rule("attn_k", _BELOW_3, "", "base", _LOW),
            Rule("ffn_down", "IQ2_S IQ2_M", "first eighth by count", "IQ3_S", _EARLY),
            Rule("ffn_down", _BELOW_3, "first eighth by count", "Q2_K", _EARLY),
            Rule("ffn_down", _BELOW_3, "", "base", _LOW),
            Rule("attn_output", _BELOW_3, "8 experts", "Q5_K", _8X),
            Rule("attn_output", "IQ1_S IQ1_M", "", "IQ2_XXS", _OUT),
            Rule("attn_output", "IQ2_S IQ2_M", "", "IQ3_S", _OUT),
            Rule("attn_output", _BELOW_3, "", "base", _LOW),
            Rule("attn_v", "*", "8 experts", "Q8_0", _8X),
            Rule("attn_v", "Q2_K Q3_K_S Q3_K_M Q4_K_S IQ3_M", "70B", "Q5_K", _70B),
            Rule("attn_v", "Q2_K_S IQ3_XXS IQ3_XS IQ3_S", "70B, gqa", "Q5_K", _70B),
            Rule("attn_v", "Q4_K_M", "70B, fewer bits", "Q5_K", _70B),
            Rule("attn_v", "Q2_K Q2_K_S IQ3_XXS IQ3_XS IQ3_S", "gqa", "Q4_K", _GQA),
            Rule("attn_v", "IQ3_XXS", "no imatrix", "IQ3_S", _VALUES),
            Rule("attn_v", "IQ3_M", "", "Q4_K", _VALUES),
            Rule("attn_v", "Q2_K", "", "Q3_K", _VALUES),
            Rule("attn_v", "Q3_K_M", "first 2", "Q5_K", f"{_VALUES}, and this is one of the first two"),
            Rule("attn_v", "Q3_K_M", "", "Q4_K", _VALUES),
            Rule("attn_v", "Q3_K_L", "", "Q5_K", _VALUES),
            Rule("attn_v", "IQ4_NL IQ4_XS", "gqa", "Q5_K", _GQA),
            Rule("attn_v", "Q4_K_M Q5_K_M", "more bits", "Q6_K", _MORE),
            Rule("attn_v", "Q4_K_S", "first 4", "Q5_K", f"{_VALUES}, and this is one of the first four"),
            Rule("attn_k", "*", "8 experts", "Q8_0", _8X),
            Rule("attn_k", "IQ3_XS", "", "IQ3_XXS", _LESS),
            Rule("attn_k", "IQ3_XXS", "", "IQ2_S", _LESS),
            Rule("attn_q", "IQ3_XS", "", "IQ3_XXS", _LESS),
            Rule("attn_q", "IQ3_XXS", "", "IQ2_S", _LESS),
            Rule("ffn_gate", "IQ3_XS", "middle", "IQ3_XXS", _MIDDLE),
            Rule("ffn_up", "IQ3_XS", "middle", "IQ3_XXS", _MIDDLE),
            Rule("ffn_down", "Q2_K", "", "Q3_K", _DOWN),
            Rule("ffn_down", "Q2_K_S", "first eighth", "Q4_K", _EARLY),
            Rule("ffn_down", "IQ3_XXS", "no imatrix, first eighth", "Q4_K", _EARLY),
            Rule("ffn_down", "IQ3_XXS", "no imatrix", "Q3_K", _DOWN),
            Rule("ffn_down", "IQ3_M", "first eighth", "Q4_K", _EARLY),
            Rule("ffn_down", "IQ3_M", "8 experts, more bits", "Q4_K", _MORE),
            Rule("ffn_down", "Q3_K_M", "first sixteenth", "Q5_K", _EARLY),
            Rule("ffn_down", "Q3_K_M", "falcon, fewer bits", "Q3_K", _FALCON),
            Rule("ffn_down", "Q3_K_M", "", "Q4_K", _DOWN),
            Rule("ffn_down", "Q3_K_L", "falcon", "Q4_K", _FALCON),
            Rule("ffn_down", "Q3_K_L", "", "Q5_K", _DOWN),
            Rule("ffn_down", "Q4_K_M", "falcon, first sixteenth", "Q6_K", _EARLY),
            Rule("ffn_down", "Q4_K_M", "falcon, more bits", "Q5_K", _MORE),
            Rule("ffn_down", "Q4_K_M", "falcon", "Q4_K", _FALCON),
            Rule("ffn_down", "Q4_K_M Q5_K_M", "more bits", "Q6_K", _MORE),
            Rule("ffn_down", "IQ4_NL IQ4_XS", "first eighth, no imatrix", "Q5_K", _EARLY),
            Rule("ffn_down", "Q4_K_S", "not falcon, first eighth", "Q5_K", _EARLY),
            Rule("ffn_down", "Q4_0", "imatrix, first eighth", "Q4_1", f"{_EARLY}; with an imatrix a min is safe"),
            Rule("ffn_down", "Q5_0", "imatrix, first eighth", "Q5_1", f"{_EARLY}; with an imatrix a min is safe"),
            Rule("attn_output", "Q3_K_L", "falcon", "Q4_K", _FALCON),
            Rule("attn_output", "*", "falcon", "base", _FALCON),
            Rule(
                "attn_output",
                "Q2_K Q3_K_S Q3_K_M Q4_K_S Q4_K_M IQ3_XXS IQ3_XS IQ3_S IQ3_M IQ4_NL IQ4_XS",
                "8 experts",
                "Q5_K",
                _8X,
            ),
            Rule("attn_output", "*", "8 experts", "base", "no rule for a mixture of eight experts"),
            Rule("attn_output", "Q2_K", "", "Q3_K", _OUT),
            Rule("attn_output", "IQ3_XXS", "", "IQ3_S", _OUT),
            Rule("attn_output", "Q3_K_M IQ3_M", "", "Q4_K", _OUT),
            Rule("attn_output", "Q3_K_L", "", "Q5_K", _OUT),
            _REST,
        ),
        "2023-06": (
            _FLOAT,
            Rule("output", "*", "", "Q6_K", _OUTPUT),
            Rule("attn_v", "Q2_K Q3_K_M", "", "Q4_K", _VALUES),
            Rule("attn_v", "Q3_K_L", "", "Q5_K", _VALUES),
            Rule("attn_v", "Q4_K_M Q5_K_M", "more bits", "Q6_K", _MORE),
            Rule("ffn_down", "Q2_K Q3_K_M", "", "Q4_K", _DOWN),
            Rule("ffn_down", "Q3_K_L", "", "Q5_K", _DOWN),
            Rule("ffn_down", "Q4_K_M Q5_K_M", "more bits", "Q6_K", _MORE),
            Rule("attn_output", "Q2_K Q3_K_M", "", "Q4_K", _OUT),
            Rule("attn_output", "Q3_K_L", "", "Q5_K", _OUT),
            _REST,
        ),
        "uniform": (Rule("*", "*", "", "base", "uniform rules: every matrix gets the base format"),),
    }
)
"""The rule sets: today's, those of June 2023, and none at all (before the k-quants, and llama.cpp's ``--pure``)."""

FALLBACK: Mapping[str, str] = MappingProxyType(
    {
        "Q2_K": "Q4_0",
        "Q3_K": "Q4_0",
        "TQ1_0": "Q4_0",
        "TQ2_0": "Q4_0",
        "Q4_K": "Q5_0",
        "Q5_K": "Q5_1",
        "Q6_K": "Q8_0",
        "IQ4_XS": "IQ4_NL",
        "IQ3_S": "IQ4_NL",
        "IQ3_XXS": "IQ4_NL",
        "IQ2_S": "IQ4_NL",
        "IQ2_XS": "IQ4_NL",
        "IQ2_XXS": "IQ4_NL",
        "IQ1_M": "IQ4_NL",
        "IQ1_S": "IQ4_NL",
        "Q2_0": "Q4_0",
    }
)
"""Format of large blocks -> the 32-weight format that takes its place where those do not divide a row.

Where a row is not a multiple of 32 either, a tensor becomes F16.
"""

NEED_IMATRIX = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS")
"""Formats that llama.cpp writes only with an importance matrix, but for embeddings and the output matrix."""

CLASS_70B: Mapping[str, int] = MappingProxyType({"llama": 80, "qwen2": 80, "deci": 80, "olmo": 80, "jais2": 68})
"""Architecture -> number of layers that llama.cpp takes for a 70B model (of ``llama``: only with grouped queries)."""
