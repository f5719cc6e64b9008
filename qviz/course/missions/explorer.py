"""`CapstoneExplorer`: choose a format under a budget, say what you expect and why, and be measured."""

from __future__ import annotations

import math
import threading
from dataclasses import replace

import ipywidgets

from qviz.course import missions
from qviz.course.missions import MIB, MISSIONS, REASONS, Choice, Mission, Outcome, Verdict
from qviz.course.missions.figure import Chooser, chooser
from qviz.errors import WidgetError, shortened
from qviz.widgets import _text
from qviz.widgets.background import BackgroundExplorer, StoppedError
from qviz.widgets.progress import ProgressBar
from qviz.widgets.scene import Panel, Readout, Scene, Status, Table

_AS_IS = "by the recipe"
_FORMATS = ("Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K")
_SURE = (0.5, 0.7, 0.9)
_WITHIN = 2.0  # a prediction is right within this factor
_NOTHING_YET = "nothing yet: choose"
_WIDE = {"width": "min(100%, 560px)"}


class CapstoneExplorer(BackgroundExplorer):
    """A budget and a model: choose, say what you expect and why, and be measured.

    Sizes are known at once. What each format costs in quality stays hidden until the choice is made, predicted and
    justified; then it is carried out in the background, beside all plain recipes, whose points rise from the foot. The
    verdict says what was left on the table. Every try stays in the picture, so that the next one can be better. The
    wall of the budget can be dragged, to see what a larger or a smaller device would change; verdicts keep to the
    mission's own.

    Parameters
    ----------
    mission : str
        One of `qviz.course.missions.MISSIONS`.
    choice : Choice, optional
        Where the controls start.
    max_tokens : int
        Tokens that a choice is scored on.

    Raises
    ------
    WidgetError
        No such mission, or a choice that the controls cannot show.

    Attributes
    ----------
    controls : dict
        ``mission``, ``recipe``, ``embedding``, ``values``, ``cache``, ``imatrix``, ``predicted``, ``sure``, ``reason``,
        ``measure``, ``stop``, and ``budget``, the wall: MiB or GiB.
    figure : View
        ``figure["chooser"]`` is a `Chooser`.
    verdicts : list of Verdict
        One for each try of the mission on show, the latest last.

    Examples
    --------
    >>> explorer = CapstoneExplorer("7B on a phone")  # looked up, so there is nothing to wait for
    >>> explorer.controls["recipe"].value = "Q2_K"
    >>> explorer.controls["reason"].value = 0
    >>> explorer.measure()
    >>> explorer.wait()
    >>> explorer.verdicts[-1].limits.all, [o.choice.recipe for o in explorer.verdicts[-1].better][:1]
    (True, ['Q3_K_S'])
    """

    _layout = "capstone"

    def __init__(
        self, mission: str = "a watch", choice: Choice | None = None, *, max_tokens: int = missions.MAX_TOKENS
    ) -> None:
        super().__init__()
        start = choice or Choice()
        names = (*missions.RECIPES, *missions.MEASURED_METHODS)
        if mission not in MISSIONS:
            raise WidgetError(f"no mission {shortened(mission)}; there are {', '.join(MISSIONS)}")
        if start.recipe not in names or start.cache not in missions.CACHES:
            raise WidgetError(f"{start} cannot be chosen here; recipes are {', '.join(names)}")
        self._max_tokens = max_tokens
        self._field: dict[str, list[Outcome]] = {}
        self._tries: dict[str, list[tuple[Verdict, float, float, int]]] = {}
        self._bar = ProgressBar()
        self.controls |= _choosing(mission, start) | _saying_why()
        self._on_click("measure", self.measure)
        self._on_click("stop", self.stop)
        self._adapt()
        self._arrange(
            ("mission",),
            ("recipe", "embedding", "values", "cache", "imatrix"),
            ("predicted", "sure"),
            ("reason", "measure", "stop"),
            ("budget",),
        )
        self._bar.layout.visibility = "hidden"  # keeps its place, so that nothing jumps
        column = self.children[0]
        column.children = [*column.children, self._bar]
        column.layout.grid_gap = "2px 0"  # the longest column of all: 616 pixels

    @property
    def mission(self) -> Mission:
        """The mission on show."""
        return MISSIONS[str(self.controls["mission"].value)]

    @property
    def choice(self) -> Choice:
        """What the controls say."""
        names = ("recipe", "embedding", "values", "cache", "imatrix")
        return Choice(*(self.controls[name].value for name in names))

    @property
    def verdicts(self) -> list[Verdict]:
        """One for each try of the mission on show."""
        return [verdict for verdict, *_ in self._tries.get(self.mission.name, [])]

    @property
    def feedback(self) -> tuple[str, ...]:
        """What is said to the latest try, sentence by sentence; empty before the first."""
        tries = self._tries.get(self.mission.name)
        return tuple(self._said(*tries[-1])) if tries else ()

    def measure(self) -> None:
        """Carry the choice out, in the background."""
        self.stop()
        self._note = ""
        if int(self.controls["reason"].value) < 0:
            self._note = "First say why: a choice without a reason teaches nothing, right or wrong."
            self.update()
            return
        predicted, sure = (float(self.controls[name].value) for name in ("predicted", "sure"))
        mission, choice, reason = self.mission, self.choice, int(self.controls["reason"].value)

        def work(halt: threading.Event) -> None:
            verdict = self._judged(mission, choice, halt)
            self._tries.setdefault(mission.name, []).append((verdict, predicted, sure, reason))

        self._begin(work)

    def _judged(self, mission: Mission, choice: Choice, halt: threading.Event) -> Verdict:
        """Measure a choice, and all plain recipes before the first one."""

        def told(what: str, done: int, total: int | None) -> None:
            if halt.is_set():
                raise StoppedError("Stopped. What was measured by then is kept; Measure goes on from there.")
            self._bar(what, done, total)

        if mission.name not in self._field:
            self._field[mission.name] = missions.field(mission, max_tokens=self._max_tokens, progress=told)
        outcome = missions.play(mission, choice, max_tokens=self._max_tokens, progress=told)
        return missions.judge(mission, outcome, self._field[mission.name])

    def _switch(self, busy: bool) -> None:
        super()._switch(busy)
        self._bar.layout.visibility = "visible" if busy else "hidden"  # keeps its place, so that nothing jumps

    def _react(self, control: ipywidgets.Widget) -> None:
        self._note = ""
        if control is self.controls["mission"]:
            self._adapt()

    def _adapt(self) -> None:
        """What nobody published about a large model cannot be chosen for it."""
        small = self.mission.measured
        for name in ("embedding", "values", "imatrix"):
            control = self.controls[name]
            control.disabled = not small
            if not small:
                control.value = False if name == "imatrix" else ""
        if not small and self.choice.recipe in missions.MEASURED_METHODS:
            self.controls["recipe"].value = "Q4_K_M"
        unit, _ = self._unit
        memory = self.mission.memory * MIB / unit
        sizes = [missions.sizes(self.mission, Choice(name)).memory / unit for name in missions.FIELD]
        wall = self.controls["budget"]
        wall.min, wall.max = 0.0, 1.1 * max(*sizes, memory)
        wall.min, wall.step = 0.85 * min(*sizes, memory), (wall.max - 0.85 * min(*sizes, memory)) / 200
        wall.value = memory

    @property
    def _unit(self) -> tuple[int, str]:
        """Bytes of the unit of memory, and its name."""
        return (MIB, "MiB") if self.mission.measured else (MIB << 10, "GiB")

    def _scene(self) -> Scene:
        mission, choice = self.mission, self.choice
        size = missions.sizes(mission, choice)
        tries = self._tries.get(mission.name, [])
        plane, wall = self._plane(mission, choice, size), self.controls["budget"]
        panel = Panel(
            plane,
            f"{mission.name}: at most {_text.size(int(mission.disk * MIB))} on disk, "
            f"{_text.size(int(mission.memory * MIB))} of memory",
            self._caption(mission),
            (
                ("level", "keeps all limits"),
                ("soft", "does not"),
                ("ok", "worth choosing"),
                ("weight", "yours"),
            ),
            self._summary(mission, size, tries),
            {"wall": {"range": (wall.min, wall.max), "step": wall.step}},
        )
        notes = [Status("error", self._note)] if self._note else []
        if self.feedback:  # the verdict, then what was expected and why
            *verdict, why = self.feedback
            notes += [Status("info", " ".join(verdict)), Status("info", why)]
        return Scene(
            self._layout,
            {"chooser": panel},
            self._readouts(mission, size, tries),
            self._summary(mission, size, tries),
            tuple(self._tables(mission, choice)),
            tuple(notes),
        )

    def _plane(self, mission: Mission, choice: Choice, size: Outcome) -> Chooser:
        known = self._field.get(mission.name) if self._tries.get(mission.name) else None
        names = missions.FIELD
        spans = [missions.sizes(mission, Choice(name, cache=choice.cache)) for name in names]
        damage, speeds = None, [span.speed for span in spans]
        if known is not None:
            measured = {o.choice.recipe: o for o in known}
            damage = [measured[name].damage for name in names]
            if mission.measured:
                speeds = [measured[name].speed for name in names]
        unit, name = self._unit
        wall = float(self.controls["budget"].value)
        imagined = replace(mission, memory=wall * unit / MIB)
        kept = [
            missions.limits(imagined, Outcome(s.choice, s.disk, s.memory, s.bpw, speed=speed), known or ()).all
            for s, speed in zip(spans, speeds, strict=True)
        ]
        predicted = float(self.controls["predicted"].value)
        return chooser(
            names,
            [s.memory / unit for s in spans],
            damage,
            kept,
            budget=wall,
            limit=mission.memory * MIB / unit,
            size=size.memory / unit,
            predicted=(predicted / _WITHIN, predicted * _WITHIN),
            tries=[
                (str(v.outcome.choice), v.outcome.memory / unit, v.outcome.damage)
                for v in self.verdicts
                if math.isfinite(v.outcome.damage)
            ],
            across=f"{name} to run, weights and KV caches",
            upwards=_damage(mission),
        )

    def _caption(self, mission: Mission) -> str:
        what = (
            "measured on the small model, with the course's held-out text, once you have chosen"
            if mission.measured
            else "published for LLaMA-7B in ggml-org/llama.cpp#1684 and #2094; it shows once you have chosen"
        )
        cache = _text.plural(mission.chats, "conversation")
        kind = str(self.controls["cache"].value)
        other = "" if kind == "F16" else f" Points: memory with a cache in {kind}, damage with one in F16."
        holds = f"Memory holds the weights, and keys and values of {cache} of {mission.context} tokens."
        return f"Damage: {what}. {holds}{other}"

    def _readouts(
        self, mission: Mission, size: Outcome, tries: list[tuple[Verdict, float, float, int]]
    ) -> tuple[Readout, ...]:
        latest = next((v.outcome for v, *_ in reversed(tries) if v.outcome.choice == size.choice), None)
        speed = latest.speed if latest is not None else size.speed
        rate = f"{_text.number(speed)} tokens/s" if math.isfinite(speed) else "not measured"
        damage = latest.damage if latest is not None else math.nan
        error = f", ± {_text.number(latest.error, 1)}" if latest is not None and math.isfinite(latest.error) else ""
        score = _brier(tries)
        return (
            Readout("On disk", _text.size(size.disk), f"of {_text.size(int(mission.disk * MIB))}; the tensors"),
            Readout("To run", _text.size(size.memory), f"of {_text.size(int(mission.memory * MIB))}; caches counted"),
            Readout("Bits per weight", f"{size.bpw:.2f}", "everything counted"),
            Readout(
                "Speed" if mission.measured else "Speed, at most",
                rate,
                "measured here" if mission.measured else f"bytes a token at {mission.bandwidth / 1e9:.0f} GB/s",
            ),
            Readout("Damage", _text.number(damage, 2) if math.isfinite(damage) else "hidden", _damage(mission) + error),
            Readout(
                "Predictions",
                f"{sum(_hit(v, p) for v, p, *_ in tries)} of {len(tries)}",
                "right within a factor of two" + (f"; Brier score {score:.2f}, 0 is best" if tries else ""),
            ),
        )

    def _summary(self, mission: Mission, size: Outcome, tries: list[tuple[Verdict, float, float, int]]) -> str:
        head = (
            f"{mission.name}: {size.choice} takes {_text.size(size.disk)} on disk and {_text.size(size.memory)} to run."
        )
        if not tries:
            return f"{head} Nothing is measured yet."
        return f"{head} Latest try, {tries[-1][0].outcome.choice}: {' '.join(self.feedback[:2])}"

    def _said(self, verdict: Verdict, predicted: float, sure: float, reason: int) -> list[str]:
        mission, o, kept = self.mission, verdict.outcome, verdict.limits
        said = []
        disk, memory = (_text.size(int(limit * MIB)) for limit in (mission.disk, mission.memory))
        broken = [
            text
            for good, text in (
                (
                    kept.disk,
                    f"it takes {_text.size(o.disk)} on disk, {disk} are allowed",
                ),
                (kept.memory, f"it needs {_text.size(o.memory)}, {memory} are allowed"),
                (
                    kept.speed,
                    f"{_text.number(o.speed)} tokens per second, {_text.number(kept.floor)} are asked for",
                ),
            )
            if not good
        ]
        said.append(f"{o.choice} keeps all limits." if not broken else f"{o.choice} does not do: {'; '.join(broken)}.")
        if not math.isfinite(o.damage):
            said.append(f"Nobody published what {o.choice.recipe} costs a 7B model in that table: nothing to compare.")
        elif verdict.better:
            best = verdict.better[0]
            times = f"{verdict.left:.1f} times" if verdict.left < 100 else "more than a hundred times"
            said.append(
                f"Left on the table: {best.choice.recipe} keeps all limits, and your choice does {times} its damage."
            )
        elif broken:
            said.append("Look for something smaller, or for a smaller cache.")
        else:
            said.append("Nothing was left on the table: no plain recipe keeps the limits and does clearly less damage.")
        if verdict.dominated_by:
            names = ", ".join(rival.choice.recipe for rival in verdict.dominated_by[-3:])
            verbs = ("is", "does") if len(verdict.dominated_by) == 1 else ("are", "do")
            said.append(f"Never worth choosing: {names} {verbs[0]} no larger and {verbs[1]} clearly less damage.")
        earlier = [v for v in self.verdicts if v is not verdict and v.limits.all]
        if earlier and not broken:
            best_try = min(earlier, key=lambda v: v.outcome.damage)
            if best_try.outcome.damage < o.damage:
                said.append(f"Your own {best_try.outcome.choice} did less damage, and kept all limits as well.")
        if math.isfinite(o.damage):
            right = "and were right" if _hit(verdict, predicted) else "and were wrong"
            said.append(
                f"You expected {_text.number(predicted, 2)} and were {sure:.0%} sure, {right}: it is "
                f"{_text.number(o.damage, 2)}."
            )
        why = REASONS[reason]
        if why.holds is None:
            said.append(f"Your reason, “{why.text}”, is a misconception. {why.answer}")
        elif why.holds(mission, verdict):
            said.append(f"Your reason holds: {why.text}. {why.answer}")
        else:
            said.append(f"Your reason does not hold here: it is not so that {why.text}. {why.answer}")
        return said

    def _tables(self, mission: Mission, choice: Choice) -> list[Table]:
        rows = []
        known = {o.choice.recipe: o for o in self._field.get(mission.name, [])} if self.verdicts else {}
        for name in missions.FIELD:
            size = missions.sizes(mission, Choice(name, cache=choice.cache))
            outcome = known.get(name)
            exact = "g" if not mission.measured else ".2g"  # what was published is quoted, digit for digit
            damage = f"{outcome.damage:{exact}}" if outcome is not None else "hidden"
            sizes = (f"{n / MIB:,.0f}" if n >= 1000 * MIB else f"{n / MIB:.2f}" for n in (size.disk, size.memory))
            rows.append((name, f"{size.bpw:.2f}", *sizes, damage))
        columns = ("format", "bits per weight", "MiB on disk", f"MiB to run, {choice.cache} cache", _damage(mission))
        tables = [Table("All plain recipes", columns, tuple(rows))]
        if self.verdicts:
            tries = tuple(
                (
                    str(v.outcome.choice),
                    f"{v.outcome.memory / MIB:.2f}",
                    _text.number(v.outcome.damage, 2),
                    _text.number(p, 2),
                    f"{sure:.0%}",
                    "yes" if v.limits.all else "no",
                )
                for v, p, sure, _ in self._tries[mission.name]
            )
            heads = ("choice", "MiB to run", "damage", "expected", "sure to", "keeps all limits")
            tables.append(Table("Your tries", heads, tries))
        return tables

    def __repr__(self) -> str:
        return f"CapstoneExplorer({self.mission.name})"


def _damage(mission: Mission) -> str:
    return "KL divergence, nats a token" if mission.measured else "published rise in perplexity"


def _hit(verdict: Verdict, predicted: float) -> bool:
    damage = verdict.outcome.damage
    return math.isfinite(damage) and predicted / _WITHIN <= damage <= predicted * _WITHIN


def _brier(tries: list[tuple[Verdict, float, float, int]]) -> float:
    """Mean square of how far each confidence was from what happened (G. W. Brier, 1950); 0 is best, 1 worst."""
    return sum((sure - _hit(v, p)) ** 2 for v, p, sure, _ in tries) / max(1, len(tries))


def _choosing(mission: str, start: Choice) -> dict[str, ipywidgets.Widget]:
    """Make the controls of a choice."""
    parts = [(_AS_IS, ""), *((name, name) for name in _FORMATS)]
    return {
        "mission": ipywidgets.Dropdown(
            options=[(f"{m.name}: {m.story}", m.name) for m in MISSIONS.values()],
            value=mission,
            description="Mission",
            tooltip="the budget, and the model that has to fit it",
            layout=_WIDE,
        ),
        "recipe": ipywidgets.Dropdown(
            options=(*missions.RECIPES, *missions.MEASURED_METHODS),
            value=start.recipe,
            description="Format",
            tooltip="your choice",
            layout={"width": "190px"},
        ),
        "embedding": ipywidgets.Dropdown(
            options=parts,
            value=start.embedding,
            description="Embedding",
            tooltip="overrules the recipe",
            layout={"width": "205px"},
        ),
        "values": ipywidgets.Dropdown(
            options=parts,
            value=start.values,
            description="attn_v, ffn_down",
            tooltip="overrules the recipe",
            layout={"width": "250px"},
        ),
        "cache": ipywidgets.Dropdown(
            options=missions.CACHES,
            value=start.cache,
            description="KV cache",
            tooltip="how keys and values of the tokens before are kept",
            layout={"width": "150px"},
        ),
        "imatrix": ipywidgets.Checkbox(
            start.imatrix,
            description="importance matrix",
            tooltip="round with the mean squares of the inputs, from the calibration text",
            indent=False,
            layout={"width": "160px"},
        ),
    }


def _saying_why() -> dict[str, ipywidgets.Widget]:
    """Make the controls of a prediction and its reason, and the buttons."""
    return {
        "predicted": ipywidgets.FloatLogSlider(
            value=0.02,
            min=-4,
            max=0,
            step=0.05,
            readout_format=".2g",
            description="I expect damage of",
            tooltip="KL divergence in nats a token; at 7B the published rise in perplexity",
            layout={"width": "min(100%, 430px)"},
        ),
        "sure": ipywidgets.ToggleButtons(
            options=[(f"{sure:.0%}", sure) for sure in _SURE],
            description="within a factor of two, sure to",
            tooltip="how sure you are",
            style={"button_width": "60px"},
        ),
        "reason": ipywidgets.Dropdown(
            options=[(_NOTHING_YET, -1), *((reason.text, i) for i, reason in enumerate(REASONS))],
            value=-1,
            description="I choose it, because",
            tooltip="your reason",
            layout=_WIDE,
        ),
        "budget": ipywidgets.FloatSlider(
            description="What if the memory were",
            readout_format=".2f",
            tooltip="moves the wall; verdicts keep to the mission's own",
            layout={"width": "min(100%, 430px)"},
        ),
        "measure": ipywidgets.Button(
            description="Measure", icon="play", tooltip="carry the choice out", layout={"width": "108px"}
        ),
        "stop": ipywidgets.Button(
            description="Stop", disabled=True, tooltip="stop measuring", layout={"width": "58px"}
        ),
    }
