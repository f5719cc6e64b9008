"""`DuelExplorer`: one prompt, two formats, and the token at which they part."""

from __future__ import annotations

import shutil
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Any

import ipywidgets

from qviz import models, transformer
from qviz._types import FloatArray
from qviz.errors import WidgetError, shortened
from qviz.figures.duel import TokenDuel, TokenOdds, token_duel, token_odds
from qviz.measure import TABLE_RECIPES
from qviz.models import Model
from qviz.whole import by_recipe
from qviz.widgets import _text
from qviz.widgets.background import BackgroundExplorer
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

_SIDES = ("left", "right")


class DuelExplorer(BackgroundExplorer):
    """Two formats of one model continue the same prompt side by side.

    Both always take their likeliest token, so nothing is left to chance: where the texts part, rounding has changed
    what the model prefers. The first token that differs is coloured. Point at a token, or walk over them with the arrow
    keys: below stands what both formats held probable at that place. Writing goes on in the background and can be
    stopped.

    Parameters
    ----------
    model : Model, optional
        An unquantized Llama; the small model of the course unless given.
    left, right : str
        Recipes, such as ``"F16"`` and ``"Q2_K"``.
    prompt : str
    max_tokens : int
        Tokens that each side writes.

    Raises
    ------
    QvizError
        A model that cannot be run, or an unknown recipe.

    Attributes
    ----------
    controls : dict
        ``prompt``, ``left``, ``right``, ``tokens``, ``go``, ``stop``.
    figure : View
        ``figure["duel"]`` is a `TokenDuel`, ``figure["odds"]`` a `TokenOdds` once both have written.
    """

    _layout = "duel"

    def __init__(
        self,
        model: Model | None = None,
        left: str = "F16",
        right: str = "Q2_K",
        prompt: str = "The people of the United States",
        max_tokens: int = 40,
    ) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(prefix="qviz-duel-"))
        self._tidy = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._model = models.load("tiny") if model is None else model
        self._runs: dict[str, transformer.Transformer] = {}
        self._written: tuple[list[int], list[int]] = ([], [])
        self._logits: list[FloatArray] = []
        self._current: int | None = None
        self._shown = ("", left, right)
        for recipe in (left, right):
            if recipe not in TABLE_RECIPES:
                raise WidgetError(f"no format {shortened(recipe)} to duel with; choose from {', '.join(TABLE_RECIPES)}")
        self.controls |= {
            "prompt": ipywidgets.Text(
                prompt, description="Prompt", continuous_update=False, layout={"width": "min(100%, 620px)"}
            ),
            **{
                side: ipywidgets.Dropdown(options=TABLE_RECIPES, value=recipe, description=side.capitalize())
                for side, recipe in zip(_SIDES, (left, right), strict=True)
            },
            "tokens": ipywidgets.IntSlider(max_tokens, 5, 120, description="Tokens"),
            "go": ipywidgets.Button(description="Write", icon="play", tooltip="let both continue the prompt"),
            "stop": ipywidgets.Button(description="Stop", icon="stop", disabled=True, tooltip="stop writing"),
        }
        self._on_click("go", self.start)
        self._on_click("stop", self.stop)
        self._arrange(("prompt",), ("left", "right", "tokens", "go", "stop"))
        self.start()
        self.wait()  # the first picture is complete

    def start(self) -> None:
        """Write anew, in the background."""
        self.stop()
        prompt, first, second = (str(self.controls[name].value) for name in ("prompt", *_SIDES))
        self._shown = (prompt, first, second)
        self._written, self._logits, self._current = ([], []), [], None
        self._begin(self._write)

    def close(self) -> None:
        """Stop writing, and remove the files of both formats; the kernel's end does so, too."""
        self.stop()
        super().close()
        self._tidy()

    def _changed(self, change: Any) -> None:
        self.start()

    def _run(self, recipe: str) -> transformer.Transformer:
        if recipe not in self._runs:
            path = self._folder / f"{recipe}.gguf"
            by_recipe.quantize_model(self._model.path, path, recipe)
            self._runs[recipe] = transformer.Transformer(models.load(path))
        return self._runs[recipe]

    def _write(self, halt: threading.Event) -> None:
        prompt, *recipes = self._shown
        runs = [self._run(recipe) for recipe in recipes]
        read = runs[0].tokenizer.encode(prompt)
        n = int(self.controls["tokens"].value)
        sides = [transformer.generate_tokens(run, read, n) for run in runs]
        open_sides = [0, 1]
        while open_sides and not halt.is_set():
            for side in list(open_sides):
                token = next(sides[side], None)
                if token is None:
                    open_sides.remove(side)
                else:
                    self._written[side].append(token)
            self.update()
        if all(self._written):
            texts = ([*read, *written[:-1]] for written in self._written)
            self._logits = [run.logits(ids)[len(read) - 1 :] for run, ids in zip(runs, texts, strict=True)]

    def _piece(self, token: int) -> str:
        """The text of a token."""
        run = next(iter(self._runs.values()))
        return str(run.tokenizer.piece(token).decode("utf-8", "replace"))

    def _event(self, event: dict[str, Any]) -> None:
        if event.get("event") == "token" and self._logits:
            self._current = int(event["token"])
            self.update()

    def _odds(self, duel: TokenDuel) -> dict[str, Panel]:
        """What both held probable at the place on show."""
        if not self._logits or duel.current < 0:
            return {}
        i = duel.current
        odds = token_odds(
            duel.names,
            [logits[i] for logits in self._logits],
            [written[i] for written in self._written],
            self._piece,
            same=i <= duel.parts,
        )
        read = "both have read the same text" if odds.same else "by now they have read different texts"
        keys = tuple(zip(("weight", "level"), odds.names, strict=True))
        return {"odds": Panel(odds, f"Token {i + 1}: {read}", legend=keys, label=_in_words(odds))}

    def _scene(self) -> Scene:
        prompt, left, right = self._shown
        texts = [[self._piece(token) for token in written] for written in self._written]
        duel = token_duel(prompt, (left, right), texts, self._current)
        odds = self._odds(duel)
        done = min(len(side) for side in duel.tokens)
        parted = duel.parts < done
        first = str(duel.parts + 1) if parted else "none yet" if done else "–"
        summary = self._summary(duel) if done else f"{left} and {right} are about to continue “{prompt}”."
        return Scene(
            self._layout,
            {"duel": Panel(duel, "The same prompt, two formats", label=summary), **odds},
            (
                Readout("Tokens written", _text.count(done)),
                Readout("In common at the start", _text.count(duel.parts)),
                Readout("First that differs", first, "counted from the prompt"),
            ),
            " ".join([summary, *(panel.label for panel in odds.values())]),
            (
                *(_odds_table(panel.figure) for panel in odds.values()),
                Table(
                    "Token by token",
                    ("token", left, right),
                    tuple((str(i + 1), a, b) for i, (a, b) in enumerate(zip(*duel.tokens, strict=False))),
                ),
            ),
            (Status("error", self._note),) if self._note else (),
        )

    def _summary(self, duel: TokenDuel) -> str:
        texts = [f"{name} writes “{''.join(side).strip()}”" for name, side in zip(duel.names, duel.tokens, strict=True)]
        where = f"They share {_text.plural(duel.parts, 'token')}" + (
            ", then part." if duel.parts < min(map(len, duel.tokens)) else " and never part."
        )
        return f"{texts[0]}; {texts[1]}. {where}"

    def __repr__(self) -> str:
        return f"DuelExplorer({self.controls['left'].value} and {self.controls['right'].value})"


def _in_words(odds: TokenOdds) -> str:
    """What both would write, and how sure they are."""
    sides = zip(odds.names, odds.odds, odds.chosen, strict=True)
    texts = (f"{name} writes “{odds.tokens[i].strip()}” with {_text.percent(chances[i])}" for name, chances, i in sides)
    return "; ".join(texts) + "."


def _odds_table(odds: TokenOdds) -> Table:
    rows = tuple(
        (token, *map(_text.percent, chances)) for token, chances in zip(odds.tokens, odds.odds.T.tolist(), strict=True)
    )
    return Table("Most probable at the place on show", ("token", *odds.names), rows)
