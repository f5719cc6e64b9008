"""Where a chat template runs: Jinja's immutable sandbox, with a limit to what a template may make.

Jinja keeps a template away from Python, but not from the machine: a text that is doubled sixty times, six loops inside
one another, ``'%999999999d' % 1`` are all allowed. Here every step is weighed before it is done: what goes into a call,
a filter, an operator or a loop, and what comes out, has at most as many characters and items as no chat has. A list
that holds another one twice weighs twice as much, so nothing can grow unseen.

Concatenations, loops and literals are no calls in Jinja; they become filters, whose names no template can spell.
"""

from __future__ import annotations

import datetime
import functools
import json
import re
from collections.abc import ItemsView, Iterable, KeysView, Mapping, ValuesView
from typing import Any

from qviz.gguf.settings import shown

_MOST = 1 << 20  # characters and items of one value; turns of loops; calls
_WORK = 1 << 28  # characters and items that all steps together may handle
_ITEM = 8  # characters that are as much work as an item of a list, or as much as a call is of turns
_WIDTH = 10_000  # columns that a text is filled up to, digits that a number is rounded to
_WHOLE = 1 << 64
_WIDE = re.compile(r"\d{5}|[:.%][^}a-zA-Z]*[{*]")  # a width of five digits, or one that is computed
_JOINED, _TURNS, _WEIGHED = " joined", " turns", " weighed"
_WITH_NUMBERS = ("center", "indent", "wordwrap", "round", "batch", "slice", "tojson")
_DROPPED = ("urlize", "pprint", "xmlattr", "random")


def sandbox() -> Any:
    """An environment for one template.

    Examples
    --------
    >>> sandbox().from_string("{% for m in messages %}{{ loop.index ~ m }} {% endfor %}").render(messages="ab")
    '1a 2b '
    >>> sandbox().from_string("{{ 'a'.center(99999999) }}").render()
    Traceback (most recent call last):
    jinja2.exceptions.SecurityError: 99999999 is more than a template may ask for
    """
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    budget = _Budget(SecurityError, Namespace)

    class Sandbox(ImmutableSandboxedEnvironment):
        intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})
        concat = staticmethod(budget.joined)

        def _parse(self, *args: Any) -> Any:
            tree = _guarded(super()._parse(*args))
            tree.set_environment(self)
            return tree

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            budget.operator(operator, left, right)
            return budget.made(super().call_binop(context, operator, left, right))

        def call(self, context: Any, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            args = budget.call(function, args, kwargs)
            return budget.made(super().call(context, function, *args, **kwargs))

    made = Sandbox(
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # it would compute what is constant without asking
        finalize=budget.made,
        extensions=["jinja2.ext.loopcontrols"],
    )
    made.filters["tojson"] = _to_json
    made.filters = {name: budget.filter(name, f) for name, f in made.filters.items() if name not in _DROPPED}
    made.filters |= {_JOINED: budget.joined, _TURNS: budget.turns, _WEIGHED: budget.made}
    made.globals |= {"raise_exception": _refuse, "strftime_now": _now, "range": budget.range}
    for name in ("lipsum", "cycler", "joiner"):
        made.globals.pop(name, None)
    return made


def _guarded(tree: Any) -> Any:
    """A parsed template with filters where Jinja has none."""
    from jinja2 import nodes
    from jinja2.visitor import NodeTransformer

    def through(node: Any, name: str) -> Any:
        return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)

    class Guards(NodeTransformer):
        def generic_visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
            node = super().generic_visit(node, *args, **kwargs)
            if isinstance(node, nodes.Concat):
                return through(nodes.List(node.nodes, lineno=node.lineno), _JOINED)
            if isinstance(node, nodes.For):
                node.iter = through(node.iter, _TURNS)
            literal = isinstance(node, nodes.List | nodes.Dict | nodes.Tuple)
            return through(node, _WEIGHED) if literal and getattr(node, "ctx", "load") == "load" else node

    return Guards().visit(tree)


def _refuse(text: object = "") -> None:
    from jinja2 import TemplateError

    raise TemplateError(str(text))


def _to_json(value: Any, indent: int | None = None, **_: Any) -> str:
    from jinja2 import TemplateError, Undefined

    if isinstance(value, Undefined):
        raise TemplateError("what shall become JSON is not there")
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


class _Budget:
    """What one template may still do.

    Parameters
    ----------
    error : type
        Raised when it asks for more.
    namespace : type
        Jinja's: the one value that a template may change.
    """

    def __init__(self, error: type[Exception], namespace: type) -> None:
        self._error, self._namespace, self._turns, self._work = error, namespace, _MOST, _WORK

    def made(self, value: Any) -> Any:
        """`value`, if it is no larger than a value may be."""
        self._weigh(value)
        return value

    def range(self, *edges: int) -> Any:
        """Python's; the turns are counted where it is gone through."""
        numbers = range(*edges)
        if numbers and len(numbers) > self._turns:
            raise self._error(f"its loops take more than {_MOST:,} turns")
        return numbers

    def turns(self, items: Any) -> list[Any]:
        """What a loop goes through."""
        found = list(items)
        self._step(len(found))
        return found

    def joined(self, pieces: Iterable[Any]) -> str:
        """The pieces as one text."""
        texts, length = [], 0
        for piece in pieces:
            texts.append(str(self.made(piece)))
            length += len(texts[-1])
            if length > _MOST:
                raise self._error(f"it makes a text of more than {_MOST:,} characters; no chat is so long")
        self._step(len(texts))
        return "".join(texts)

    def operator(self, operator: str, left: Any, right: Any) -> None:
        """Refuse ``left operator right`` before it takes for ever."""
        self._step()
        weights = self._weigh(left), self._weigh(right)
        if operator == "%" and isinstance(left, str):
            self._pattern(left, left.count("%"), weights[1])
        elif operator == "**" and (not isinstance(right, int | float) or abs(right) > 64):
            raise self._error(f"a power of {shown(right)} is more than a template may compute")
        elif operator == "*":
            texts = [x for x in (left, right) if not isinstance(x, int | float)]
            times = [int(x) for x in (left, right) if isinstance(x, int | float)]
            if texts and times:
                self._most(self._weigh(texts[0]) * max(times[0], 0))

    def call(self, function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """The arguments of a call, if it may be done: a generator among them has become a list."""
        self._step(_ITEM)
        args = tuple(self._listed(x) for x in args)
        self._weigh([*args, *kwargs.values()])
        method = getattr(function, "__wrapped__", function)  # Jinja wraps str.format
        owner, name = getattr(method, "__self__", None), getattr(method, "__name__", "")
        if isinstance(owner, bytes):
            raise self._error("bytes are nothing for a template")
        if isinstance(owner, int | float | str):
            self._numbers([*args, *kwargs.values()])
        if isinstance(owner, str):
            self._text(name, owner, [*args, *kwargs.values()])
        return args

    def filter(self, name: str, function: Any) -> Any:
        """`function`, weighed before and after."""

        @functools.wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            self._step()
            own = 1 if hasattr(function, "jinja_pass_arg") else 0  # then Jinja's argument comes first
            head, (value, *rest) = args[:own], (self._listed(x) for x in args[own:])
            others = [*rest, *kwargs.values()]
            weight = self._weigh(value)
            self._weigh(others)
            if name in _WITH_NUMBERS:
                self._numbers(others)
            if name in ("indent", "tojson"):
                widths = [len(x) if isinstance(x, str) else x for x in others if isinstance(x, str | int)]
                self._most((value.count("\n") + 1 if isinstance(value, str) else weight) * max(widths, default=0))
            if name == "sum" and not all(x is None or isinstance(x, int | float | str) for x in others):
                raise self._error("a template may add numbers only")
            if name == "join":
                self._text("join", str(others[0]) if others else "", [value])
            elif name in ("replace", "format"):
                self._text(name, str(value), others)
            return self.made(function(*head, value, *rest, **kwargs))

        return guarded

    def _text(self, name: str, text: str, others: list[Any]) -> None:
        """Refuse a method of a text, or a filter of that name, whose result would be too long."""
        weight = self._weigh(others)
        if name in ("format", "format_map"):
            self._pattern(text, text.count("{") + text.count("%"), weight)
        elif name == "join" and others and hasattr(others[0], "__len__"):
            self._most(len(text) * len(others[0]) + weight)
        elif name == "replace" and len(others) > 1:
            self._most(text.count(str(others[0])) * len(str(others[1])))
        elif name == "translate":
            self._most(len(text) * weight)
        elif name == "expandtabs":
            self._most((text.count("\t") + 1) * max((x for x in others if isinstance(x, int)), default=8))

    def _pattern(self, text: str, places: int, weight: int) -> None:
        if _WIDE.search(text):
            raise self._error(f"the width in {shown(text)} is more than a template may ask for")
        self._most(places * (weight + _WIDTH // 10))

    def _numbers(self, values: Iterable[Any]) -> None:
        for x in values:
            if isinstance(x, int | float) and not abs(x) <= _WIDTH:
                raise self._error(f"{shown(x)} is more than a template may ask for")

    def _most(self, size: int) -> None:
        if size > _MOST:
            raise self._error(f"a text or a list of {size:,} is more than a template may make")

    def _step(self, turns: int = 1) -> None:
        self._turns -= turns
        if self._turns < 0:
            raise self._error(f"its loops take more than {_MOST:,} turns")

    @staticmethod
    def _listed(x: Any) -> Any:
        return list(x) if hasattr(x, "__next__") else x

    def _weigh(self, value: Any) -> int:
        """Characters and items, however often the same are in it."""
        weight, waiting = 0, [value]
        while waiting:
            x = waiting.pop()
            weight += _ITEM
            if isinstance(x, str | bytes):
                weight += len(x)
            elif isinstance(x, list | tuple | set | KeysView | ValuesView | ItemsView):
                self._most(weight + _ITEM * (len(waiting) + len(x)))
                waiting.extend(x)
            elif isinstance(x, range):
                weight += len(x)
            elif isinstance(x, Mapping):
                waiting += [*x.keys(), *x.values()]
            elif type(x) is self._namespace:
                waiting.append(object.__getattribute__(x, "_Namespace__attrs"))
            elif isinstance(x, int) and abs(x) > _WHOLE:
                raise self._error(f"{shown(x)} is more than a template may compute")
            self._most(weight + _ITEM * len(waiting))
        self._work -= weight
        if self._work < 0:
            raise self._error(f"it goes through more than {_WORK:,} characters")
        return weight
