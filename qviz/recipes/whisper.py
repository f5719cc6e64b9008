"""The recipes of whisper.cpp: one format for every matrix, as its ``quantize`` tool writes it.

There are no roles, no fallbacks and no importance matrices: whisper.cpp loads a file only if all its matrices are in
the format that the header names. So a format that does not fit the rows is refused here; the tool itself writes a
damaged file then (of Whisper tiny, whose rows have 384 weights, with any K-quant).

Source: ``examples/quantize/quantize.cpp`` and ``examples/common-ggml.cpp`` of ggml-org/whisper.cpp, commit 233fe1f.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from qviz.errors import RecipeError
from qviz.formats import get
from qviz.recipes.plan import TensorChoice, TensorLike
from qviz.recipes.rules import Recipe

# ggml.h: enum ggml_ftype, which gives the K-quants other numbers than llama.cpp does
RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        name: Recipe(name, name, file_type, "every matrix in this format", in_2023=True)
        for name, file_type in {
            "Q8_0": 7,
            "Q6_K": 14,
            "Q5_K": 13,
            "Q5_1": 9,
            "Q5_0": 8,
            "Q4_K": 12,
            "Q4_1": 3,
            "Q4_0": 2,
            "Q3_K": 11,
            "Q2_K": 10,
        }.items()
    }
)
"""Every recipe by name, in the order in which they lose precision."""

KEPT: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("encoder.conv1.bias", "encoder.conv2.bias"), "the bias of a convolution, stored as a column"),
        **dict.fromkeys(
            ("encoder.positional_embedding", "decoder.positional_embedding"),
            "position embeddings: small, added as read",
        ),
    }
)
"""Matrices that no recipe touches, and why."""


def get_recipe(name: str | Recipe) -> Recipe:
    """Look a recipe of whisper.cpp up by name, in any case.

    Raises
    ------
    RecipeError
        With the names that exist.

    Examples
    --------
    >>> get_recipe("q5_k").file_type
    13
    """
    recipe = RECIPES.get((name.name if isinstance(name, Recipe) else str(name)).upper())
    if recipe is None:
        shown = repr(name.name if isinstance(name, Recipe) else name)
        raise RecipeError(
            f"a whisper.cpp file has one format throughout: no recipe {shown}; there are {', '.join(RECIPES)}"
        )
    return recipe


def plan(tensors: Mapping[str, TensorLike], recipe: str | Recipe) -> list[TensorChoice]:
    """Decide for every tensor of a whisper model which format it gets, and say why.

    Parameters
    ----------
    tensors : mapping of str to QTensor or TensorInfo
    recipe : str
        One of `RECIPES`.

    Returns
    -------
    list of TensorChoice
        In the order of the file, which stays.

    Raises
    ------
    RecipeError
        No such recipe, or one whose blocks do not divide the rows.

    Examples
    --------
    >>> class Weights:
    ...     format, shape = get("F16"), (384, 384)
    >>> plan({"decoder.blocks.0.attn.key.weight": Weights}, "Q5_1")[0].format.name
    'Q5_1'
    """
    chosen = get_recipe(recipe)
    return [_choice(name, tensor, chosen) for name, tensor in tensors.items()]


def _choice(name: str, tensor: TensorLike, recipe: Recipe) -> TensorChoice:
    reason = KEPT.get(name) or _not_a_matrix(tensor.shape)
    if reason:
        if tensor.format not in ("F32", "F16"):
            raise RecipeError(f"{name!r} is stored in {tensor.format}; whisper.cpp wants F32 or F16 there")
        return TensorChoice(name, tensor.shape, "", tensor.format, tensor.format, reason)
    fmt, row = get(recipe.base), tensor.shape[-1]
    if row % fmt.block_size:
        fitting = [other for other in RECIPES if row % get(other).block_size == 0]
        raise RecipeError(
            f"{recipe.name} does not fit {name!r}: its rows of {row} are not whole blocks of {fmt.block_size}, and a "
            f"whisper.cpp file has one format throughout; what fits is {', '.join(fitting) or 'none'}"
        )
    return TensorChoice(
        name, tensor.shape, "", tensor.format, fmt, "a matrix: all of them get this format", quantized=True
    )


def _not_a_matrix(shape: tuple[int, ...]) -> str:
    if len(shape) == 2:
        return ""
    return "a vector: few numbers, each used in every row" if len(shape) == 1 else "the kernels of a convolution"
