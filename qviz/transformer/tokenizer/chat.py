"""A chat as the text that a model was trained to see: the template in its file, rendered in a sandbox.

A template is a program from anywhere. It runs in Jinja's immutable sandbox: it sees the messages and nothing of Python,
changes none of them, and cannot make a number, a text or a loop of any size.

Source: `apply_chat_template` of huggingface/transformers, whose functions templates count on.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

from qviz.errors import LlamaError
from qviz.gguf.settings import shown

_MOST = 1 << 20  # characters, items, turns of loops


def render(
    template: str, messages: Sequence[Mapping[str, Any]], *, reply: bool = True, special: Mapping[str, str], **more: Any
) -> str:
    """Render a chat template.

    Parameters
    ----------
    template : str
    messages : sequence of mappings
        Each with ``"role"`` (``"system"``, ``"user"``, ``"assistant"``) and ``"content"``.
    reply : bool
        Whether the text ends where the model shall answer.
    special : mapping of str to str
        ``"bos_token"``, ``"eos_token"`` ... as the vocabulary spells them.
    **more
        What the template knows beside these: ``tools``, ``enable_thinking`` ...

    Returns
    -------
    str

    Raises
    ------
    LlamaError
        A template that is none, refuses these messages, or goes beyond the sandbox.

    Examples
    --------
    >>> template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}<|assistant|>"
    >>> render(template, [{"role": "user", "content": "Hello"}], special={"eos_token": "</s>"})
    '<|user|>Hello</s><|assistant|>'
    """
    import jinja2

    given = {"messages": _checked(messages), "add_generation_prompt": bool(reply), **special, **more}
    try:
        text = _sandbox().from_string(template).render(given)
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        what = str(error) or type(error).__name__
        raise LlamaError(f"the model's chat template cannot render these messages: {what[:300]}") from None
    if len(text) > _MOST:
        raise LlamaError(f"the model's chat template makes a text of {len(text):,} characters; no chat is so long")
    return str(text)


def _checked(messages: Any) -> list[dict[str, Any]]:
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise LlamaError(f"messages are {shown(messages)}; a list of mappings with 'role' and 'content' is wanted")
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise LlamaError(f"a message is {shown(message)}; a mapping with 'role' and 'content' is wanted")
    return [dict(message) for message in messages]


def _sandbox() -> Any:
    from jinja2 import Undefined
    from jinja2.exceptions import SecurityError, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        """Jinja's, with limits to what a loop, a product and a power may make."""

        intercepted_binops = frozenset({"*", "**"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            sizes = [len(x) if isinstance(x, str | list | tuple) else x for x in (left, right)]
            if not all(isinstance(x, int | float) and abs(x) <= _MOST for x in sizes):
                raise SecurityError(f"{shown(left)} {operator} {shown(right)} is more than a template may compute")
            if operator == "**" and abs(sizes[1]) > 64:
                raise SecurityError(f"a power of {sizes[1]} is more than a template may compute")
            if operator == "*" and sizes[0] * sizes[1] > _MOST and (sizes[0] is not left or sizes[1] is not right):
                raise SecurityError(f"a text of {sizes[0] * sizes[1]:,} characters is more than a template may make")
            return super().call_binop(context, operator, left, right)

    left = [_MOST]

    def bounded(*edges: int) -> Any:
        turns = range(*edges)
        left[0] -= len(turns)
        if left[0] < 0:
            raise SecurityError(f"its loops take more than {_MOST:,} turns")
        return turns

    def refuse(text: object = "") -> None:
        raise TemplateError(str(text))

    def to_json(value: Any, indent: int | None = None, **_: Any) -> str:
        if isinstance(value, Undefined):
            raise TemplateError("what shall become JSON is not there")
        return json.dumps(value, ensure_ascii=False, indent=indent)

    def now(form: str) -> str:
        return datetime.datetime.now().strftime(form)

    sandbox = Sandbox(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    sandbox.filters["tojson"] = to_json
    sandbox.globals |= {"raise_exception": refuse, "strftime_now": now, "range": bounded}
    for name in ("lipsum", "cycler", "joiner"):
        sandbox.globals.pop(name, None)
    return sandbox
