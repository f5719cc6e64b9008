"""A chat as the text that a model was trained to see: the template in its file, rendered in a sandbox.

A template is a program from anywhere. It runs in a sandbox: it sees the messages and nothing of Python, changes none of
them, and cannot make a number, a text or a loop of any size.

Source: `apply_chat_template` of huggingface/transformers, whose functions templates count on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qviz.errors import LlamaError
from qviz.gguf.settings import shown
from qviz.transformer.tokenizer.sandbox import sandbox

_LONGEST = 1 << 18  # characters of a template; the longest in use have a tenth of it


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
    given = {"messages": _checked(messages), "add_generation_prompt": bool(reply), **special, **more}
    if len(template) > _LONGEST:
        raise LlamaError(f"the model's chat template has {len(template):,} characters; no template is so long")
    try:
        return str(sandbox().from_string(template).render(given))
    except Exception as error:  # whatever a program from anywhere raises
        what = str(error) or type(error).__name__
        raise LlamaError(f"the model's chat template cannot render these messages: {what[:300]}") from None


def _checked(messages: Any) -> list[dict[str, Any]]:
    if isinstance(messages, str | Mapping) or not isinstance(messages, Sequence) or not messages:
        raise LlamaError(f"messages are {shown(messages)}; a list of mappings with 'role' and 'content' is wanted")
    for message in messages:
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise LlamaError(f"a message is {shown(message)}; a mapping with 'role' and 'content' is wanted")
    return [dict(message) for message in messages]
