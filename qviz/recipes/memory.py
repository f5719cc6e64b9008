"""What a model needs while it runs: weights, keys and values, room for computing; and which recipes fit.

Nothing here is measured: weights and cache are counted from the shapes of the model's tensors, and the room for
computing is the largest array that llama.cpp's default settings ask for. A program needs some more for itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qviz._arrays import whole_number
from qviz.errors import RecipeError, shortened
from qviz.recipes.plan import TensorChoice, get_recipe
from qviz.recipes.sizes import MOST, ModelShapes, cache_size, get_shapes, model_plan

BATCH = 512
"""Tokens of a prompt that llama.cpp works on at a time, unless `--ubatch-size` says otherwise."""


@dataclass(frozen=True, slots=True)
class MemoryNeed:
    """Bytes that a model needs to run.

    Parameters
    ----------
    model, recipe : str
    n_ctx : int
        Tokens of each conversation.
    weights : int
        All tensors.
    cache : int
        Keys and values of all conversations.
    buffers : int
        Room for computing: float32 logits and activations of a batch.
    read : int
        Weights and cache of one conversation that are read to write one more token at the end of a full context.
    """

    model: str
    recipe: str
    n_ctx: int
    weights: int
    cache: int
    buffers: int
    read: int

    @property
    def total(self) -> int:
        """Everything."""
        return self.weights + self.cache + self.buffers


def memory_need(
    model: str | ModelShapes,
    recipe: str,
    n_ctx: int = 4096,
    *,
    cache: str | tuple[str, str] = "F16",
    conversations: int = 1,
    batch: int = BATCH,
) -> MemoryNeed:
    """Count what a model needs while it runs.

    Parameters
    ----------
    model : str or ModelShapes
        ``"qwen3-8b"`` ...; see `MODEL_SHAPES`.
    recipe : str
        ``"Q4_K_M"`` ...
    n_ctx : int
        Tokens of a conversation, question and answer together.
    cache : str or (str, str)
        Format of keys and values; see `cache_size`.
    conversations : int
        At the same time, each with `n_ctx` tokens of its own.
    batch : int
        Tokens of a prompt that are worked on at a time. Their logits are the largest array, float32
        (batch, vocabulary); llama.cpp keeps it beside activations (batch, width), with fused attention.

    Returns
    -------
    MemoryNeed

    Raises
    ------
    RecipeError
        An unknown model or recipe; a number that is not whole, or too small.

    Examples
    --------
    >>> need = memory_need("llama-3-8b", "Q4_K_M", 4096)
    >>> [round(n / 2**20, 1) for n in (need.weights, need.cache, need.buffers)]
    [4685.3, 512.0, 258.5]
    """
    shapes = get_shapes(model)
    n_ctx = whole_number(n_ctx, "n_ctx", RecipeError, least=0, most=MOST)
    conversations = whole_number(conversations, "conversations", RecipeError, least=1, most=MOST)
    batch = whole_number(batch, "batch", RecipeError, least=1, most=MOST)
    plan = model_plan(shapes, recipe)
    one = cache_size(shapes, n_ctx, cache)
    return MemoryNeed(
        model=shapes.name,
        recipe=recipe,
        n_ctx=n_ctx,
        weights=sum(choice.nbytes for choice in plan),
        cache=conversations * one,
        buffers=4 * batch * (shapes.vocab + shapes.width),
        read=one + sum(_read(choice, shapes) for choice in plan),
    )


def _read(choice: TensorChoice, shapes: ModelShapes) -> int:
    """Bytes of a tensor that one token needs: one row of an embedding, a few of the experts, all of the others."""
    if choice.name == "token_embd.weight" and not shapes.tied:
        return choice.nbytes // shapes.vocab
    if "_exps." in choice.name:
        return choice.nbytes // shapes.experts * shapes.experts_used
    return choice.nbytes


def what_fits(
    memory: float,
    model: str | ModelShapes,
    n_ctx: int = 4096,
    *,
    cache: str | tuple[str, str] = "F16",
    conversations: int = 1,
    recipes: Iterable[str] = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "IQ3_XXS", "IQ2_M"),
) -> list[MemoryNeed]:
    """Which recipes of a model fit into a memory, the largest first.

    Parameters
    ----------
    memory : float
        Bytes that are free for it: what the system and other programs need is not counted here.
    model, n_ctx, cache, conversations
        As for `memory_need`.
    recipes : iterable of str
        Which to try.

    Returns
    -------
    list of MemoryNeed
        Empty if nothing fits.

    Raises
    ------
    RecipeError
        As for `memory_need`; a memory that is no positive number.

    Examples
    --------
    >>> [need.recipe for need in what_fits(6 * 2**30, "qwen3-8b")][:2]
    ['Q4_K_M', 'IQ4_XS']
    >>> what_fits(2 * 2**30, "qwen3-8b")
    []
    """
    if isinstance(memory, bool) or not isinstance(memory, int | float) or not memory > 0:
        raise RecipeError(f"memory is bytes that are free, such as 8 * 2**30; found {shortened(memory)}")
    if isinstance(recipes, str) or not isinstance(recipes, Iterable) or getattr(recipes, "ndim", 1) == 0:
        raise RecipeError(f"recipes are {shortened(recipes)}; a list of names is wanted")
    wanted = [get_recipe(name).name for name in recipes]
    needs = [memory_need(model, name, n_ctx, cache=cache, conversations=conversations) for name in wanted]
    return sorted((need for need in needs if need.total <= memory), key=lambda need: -need.total)
