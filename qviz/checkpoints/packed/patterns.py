r"""Patterns for names of modules, matched in time proportional to name and pattern, whoever wrote them.

Settings of packed checkpoints select modules by regular expressions. Python's own matcher tries one way after the
other, and a pattern such as ``(a+)+$`` keeps it busy for ever; a settings file comes from anywhere. Here all ways are
followed at once, as Ken Thompson did (1968), in a set of places within the pattern. What cannot be followed so (back
references, look-behind, flags) is refused; look-ahead, which some settings use to leave out modules, is not.

Examples
--------
>>> Pattern(r"model\.layers\.(0|1[0-5])\..*_proj").begins("model.layers.12.mlp.up_proj")
True
>>> Pattern("(a+)+$").begins("a" * 1000 + "b")
False
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from qviz.errors import CheckpointError

_LONGEST_PATTERN, _LONGEST_NAME, _MOST_STEPS, _DEEPEST = 1000, 1000, 4000, 40
_CLASSES: dict[str, Callable[[str], bool]] = {
    "d": str.isdecimal,
    "w": lambda c: c.isalnum() or c == "_",
    "s": str.isspace,
    "D": lambda c: not c.isdecimal(),
    "W": lambda c: not (c.isalnum() or c == "_"),
    "S": lambda c: not c.isspace(),
}
_CONTROL = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}


class _PatternStep(NamedTuple):
    """One place in a pattern: what to do there, and where to go on."""

    kind: str  # "char", "split", "start", "end", "look", "match"
    what: Any
    then: tuple[int, ...]


class _UnknownError(Exception):
    pass


class Pattern:
    """A compiled pattern.

    Parameters
    ----------
    text : str
    settings : PackedSettings, optional
        Whose error it is if the pattern cannot be read.

    Raises
    ------
    CheckpointError
        Not a regular expression, or one that cannot be followed here.
    """

    def __init__(self, text: str, settings: Any = None) -> None:
        self.text = text
        try:
            self._steps = _Compiler(text).steps
        except _UnknownError as problem:
            what = f"the pattern {text[:80]!r} is not understood: {problem}"
            raise (settings.error(what) if settings is not None else CheckpointError(what)) from None

    def begins(self, name: str) -> bool:
        """Whether a beginning of `name` matches, as with `re.match`."""
        return len(name) <= _LONGEST_NAME and _follow(self._steps, name, 0, anchored=True)

    def within(self, name: str) -> bool:
        """Whether any part of `name` matches, as with `re.search`."""
        return len(name) <= _LONGEST_NAME and _follow(self._steps, name, 0, anchored=False)


def _follow(steps: list[_PatternStep], text: str, first: int, *, anchored: bool, start: int = 0) -> bool:
    here: set[int] = set()
    for at in range(first, len(text) + 1):
        if at == first or not anchored:
            _reach(steps, start, text, at, here)
        if any(steps[i].kind == "match" for i in here):
            return True
        if at == len(text):
            return False
        following: set[int] = set()
        for i in here:
            if steps[i].kind == "char" and steps[i].what(text[at]):
                _reach(steps, steps[i].then[0], text, at + 1, following)
        here = following
        if not here and anchored:
            return False
    return False


def _reach(steps: list[_PatternStep], start: int, text: str, at: int, here: set[int]) -> None:
    """Add a place, and all that can be reached from it without reading a character."""
    todo = [start]
    while todo:
        i = todo.pop()
        if i in here:
            continue
        here.add(i)
        step = steps[i]
        if (
            step.kind == "split"
            or (step.kind == "start" and at == 0)
            or (step.kind == "end" and text[at:] in ("", "\n"))
        ):
            todo.extend(step.then)
        elif step.kind == "look":
            inner, wanted = step.what
            if _follow(steps, text, at, anchored=True, start=inner) == wanted:
                todo.extend(step.then)


@dataclass
class _Compiler:
    """Turns a pattern into steps, from its end to its beginning: each piece is told where to go on."""

    text: str
    steps: list[_PatternStep] = field(default_factory=list)
    at: int = 0
    looks: int = 0
    emitted: int = 0

    def __post_init__(self) -> None:
        if len(self.text) > _LONGEST_PATTERN:
            raise _UnknownError(f"it has {len(self.text)} characters, at most {_LONGEST_PATTERN} are read")
        tree = self._either(0)
        if self.at < len(self.text):
            raise _UnknownError("a bracket is closed that was not opened")
        # the first place must be number 0
        self.steps = [_PatternStep("split", None, (0,))]
        end = self._add("match", None)
        start = self._emit(tree, end)
        self.steps[0] = _PatternStep("split", None, (start,))

    # -- reading: trees of ("char", test), ("all", parts), ("any", parts), ("repeat", part, low, high) ...

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _take(self) -> str:
        c = self._peek()
        if not c:
            raise _UnknownError("it ends too early")
        self.at += 1
        return c

    def _either(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise _UnknownError("it is nested too deeply")
        ways = [self._sequence(depth)]
        while self._peek() == "|":
            self._take()
            ways.append(self._sequence(depth))
        return ways[0] if len(ways) == 1 else ("any", ways)

    def _sequence(self, depth: int) -> Any:
        parts: list[Any] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom(depth)))
        return ("all", parts)

    def _atom(self, depth: int) -> Any:
        c = self._take()
        if c == "(":
            return self._group(depth)
        if c == "[":
            return ("char", self._set())
        if c == ".":
            return ("char", lambda x: x != "\n")
        if c in "^$":
            return ("start",) if c == "^" else ("end",)
        if c == "\\":
            return self._escaped()
        if c in "*+?{":
            if c == "{" and not self._counts_follow():
                return ("char", lambda x: x == "{")
            raise _UnknownError(f"nothing to repeat before {c!r}")
        return ("char", lambda x: x == c)

    def _group(self, depth: int) -> Any:
        look = None
        if self._peek() == "?":
            self._take()
            kind = self._take()
            if kind in "=!":
                look = kind == "="
                self.looks += 1
                if self.looks > 4 or depth > 8:
                    raise _UnknownError("too much look-ahead")
            elif kind != ":":
                raise _UnknownError(f"'(?{kind}' is not followed here")
        inner = self._either(depth + 1)
        if self._take() != ")":
            raise _UnknownError("a bracket is not closed")
        return inner if look is None else ("look", inner, look)

    def _escaped(self) -> Any:
        c = self._take()
        if c in _CLASSES:
            return ("char", _CLASSES[c])
        if c == "Z":
            raise _UnknownError("'\\Z' is not followed here; use $")
        if c in _CONTROL:
            return ("char", lambda x: x == _CONTROL[c])
        if c.isalnum():
            raise _UnknownError(f"'\\{c}' is not followed here")
        return ("char", lambda x: x == c)

    def _set(self) -> Callable[[str], bool]:
        negated = self._peek() == "^"
        if negated:
            self._take()
        singles: list[tuple[str, str]] = []
        classes: list[Callable[[str], bool]] = []
        first = True
        while first or self._peek() != "]":
            low = self._member(classes)
            first = False
            if low is None:
                continue
            if self._peek() == "-" and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                self._take()
                high = self._member(classes)
                if high is None or high < low:
                    raise _UnknownError("a range in brackets runs backwards")
                singles.append((low, high))
            else:
                singles.append((low, low))
        self._take()

        def test(x: str) -> bool:
            inside = any(low <= x <= high for low, high in singles) or any(known(x) for known in classes)
            return inside != negated

        return test

    def _member(self, classes: list[Callable[[str], bool]]) -> str | None:
        """One character of a set; None if it was a class, which is noted."""
        c = self._take()
        if c != "\\":
            return c
        c = self._take()
        if c in _CLASSES:
            classes.append(_CLASSES[c])
            return None
        if c in _CONTROL:
            return _CONTROL[c]
        if c.isalnum():
            raise _UnknownError(f"'\\{c}' is not followed here")
        return c

    def _counts_follow(self) -> bool:
        close = self.text.find("}", self.at)
        low, _, high = self.text[self.at : max(close, self.at)].partition(",")
        return close > 0 and (low + high).isdecimal() and all(not part or part.isdecimal() for part in (low, high))

    def _repeated(self, atom: Any) -> Any:
        c = self._peek()
        if c == "{":
            self.at += 1
            if not self._counts_follow():
                self.at -= 1
                return atom
            low, comma, high = self.text[self.at : self.text.index("}", self.at)].partition(",")
            self.at = self.text.index("}", self.at) + 1
            least = int(low or 0)
            most = int(high) if high else None if comma else least
            if least > _MOST_STEPS or (most or 0) > _MOST_STEPS or (most is not None and most < least):
                raise _UnknownError("a count in braces is out of range")
        elif c and c in "*+?":
            self.at += 1
            least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[c]
        else:
            return atom
        if atom[0] in ("start", "end", "look"):
            raise _UnknownError("a place is repeated")
        if self._peek() == "?":  # reluctant: the same names match
            self.at += 1
        if self._peek() in ("*", "+", "?") and self._peek():
            raise _UnknownError("a repetition is repeated")
        return ("repeat", atom, least, most)

    # -- writing

    def _add(self, kind: str, what: Any, *then: int) -> int:
        if len(self.steps) > _MOST_STEPS:
            raise _UnknownError(f"it has more than {_MOST_STEPS} places")
        self.steps.append(_PatternStep(kind, what, then))
        return len(self.steps) - 1

    def _emit(self, tree: Any, then: int) -> int:
        """Steps of a tree; returns where they begin."""
        self.emitted += 1
        if self.emitted > 4 * _MOST_STEPS:  # counts within counts, of nothing
            raise _UnknownError("it repeats too often")
        kind = tree[0]
        if kind == "char":
            return self._add("char", tree[1], then)
        if kind in ("start", "end"):
            return self._add(kind, None, then)
        if kind == "all":
            for part in reversed(tree[1]):
                then = self._emit(part, then)
            return then
        if kind == "any":
            return self._add("split", None, *[self._emit(way, then) for way in tree[1]])
        if kind == "look":
            inner = self._emit(tree[1], self._add("match", None))
            return self._add("look", (inner, tree[2]), then)
        _, part, least, most = tree
        if most is None:
            loop = self._add("split", None)
            self.steps[loop] = _PatternStep("split", None, (self._emit(part, loop), then))
            then = loop
        else:
            end = then
            for _ in range(most - least):
                then = self._add("split", None, self._emit(part, then), end)
        for _ in range(least):
            then = self._emit(part, then)
        return then
