"""What becomes different from one plan to another, and why: what the rules say of each tensor, summed up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from qviz._arguments import checked
from qviz.errors import RecipeError, shortened
from qviz.formats.base import Format
from qviz.recipes.plan import TensorChoice

_LAYER = re.compile(r"layer \d+ of \d+ is")
_STAND_IN = re.compile(r"; but rows of .*")  # true of both plans, and told elsewhere
_BASE = "no rule singles it out"


@dataclass(frozen=True, slots=True)
class Change:
    """Tensors that change from one format to another for one reason.

    Attributes
    ----------
    before, after : Format
    kinds : tuple of (str, int)
        Which kinds of tensors, and how many of each.
    why : str
        What the rules say.
    """

    before: Format
    after: Format
    kinds: tuple[tuple[str, int], ...]
    why: str

    @property
    def tensors(self) -> int:
        """How many tensors change so."""
        return sum(n for _, n in self.kinds)

    @property
    def which(self) -> str:
        """The kinds in words."""
        return ", ".join(kind if n == 1 else f"{n} × {kind}" for kind, n in self.kinds)

    def __str__(self) -> str:
        return f"{self.before} → {self.after}, {self.which}: {self.why}."


@checked(RecipeError)
def plan_changes(before: Sequence[TensorChoice], after: Sequence[TensorChoice]) -> list[Change]:
    """Sum up which tensors have another format in a second plan of the same model.

    Parameters
    ----------
    before, after : sequence of TensorChoice
        From `qviz.recipes.plan`.

    Returns
    -------
    list of Change
        Most tensors first. A rule that holds for some layers counts as one reason.

    Raises
    ------
    RecipeError
        Plans of different tensors, or choices whose format is none or whose texts are no texts.

    Examples
    --------
    >>> from qviz.recipes import model_plan
    >>> for change in plan_changes(model_plan("llama-7b", "Q5_K_S"), model_plan("llama-7b", "Q5_K_M")):
    ...     print(change)
    Q5_K → Q6_K, 16 × attn_v, 16 × ffn_down: its layer is among those that get more bits: the first and last eighth \
and every third between.
    """
    for choice in (*before, *after):  # made by hand, perhaps: the record itself does not look
        texts = choice.name, choice.role, choice.reason
        if not isinstance(choice.format, Format) or not all(isinstance(text, str) for text in texts):
            raise RecipeError(f"{shortened(choice)} is no choice as qviz.recipes.plan makes them")
    if [choice.name for choice in before] != [choice.name for choice in after]:
        raise RecipeError("two plans of one model are compared; these have different tensors")
    found: dict[tuple[Format, Format, str], dict[str, int]] = {}
    for old, new in zip(before, after, strict=True):
        if old.format != new.format:
            kinds = found.setdefault((old.format, new.format, _why(old, new)), {})
            kind = old.role or old.name
            kinds[kind] = kinds.get(kind, 0) + 1
    changes = [Change(old, new, tuple(kinds.items()), why) for (old, new, why), kinds in found.items()]
    return sorted(changes, key=lambda change: -change.tensors)


def _why(old: TensorChoice, new: TensorChoice) -> str:
    """The reason of the side that a rule speaks of."""
    was, now = (_STAND_IN.sub("", _LAYER.sub("its layer is", choice.reason)) for choice in (old, new))
    if not now.startswith(_BASE):
        return now
    return "the base format is another" if was.startswith(_BASE) else f"no rule holds any more. Before: {was}"
