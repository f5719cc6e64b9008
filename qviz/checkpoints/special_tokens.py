"""Which tokens have a part to play, and chat templates: out of a Hugging Face folder, into the keys of a GGUF file."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qviz._files import read_json, read_text
from qviz.errors import CheckpointError
from qviz.gguf.values import U32, Array, ValueType

# Hugging Face's name, and the key
_ROLES = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",  # ggml's spelling
    "pad": "padding_token_id",
    "mask": "mask_token_id",
}
_NEEDED = ("bos", "eos")


def special_names(config: Mapping[str, Any], others: Mapping[str, Any]) -> set[str]:
    """Texts of the tokens that tokenizer_config.json and special_tokens_map.json call special."""
    names = set()
    for source in (config, others):
        for role in (*_ROLES, "cls"):
            names.add(_text(source.get(f"{role}_token")))
        more = source.get("additional_special_tokens")
        names |= {_text(token) for token in more} if isinstance(more, list) else set()
    return {name for name in names if name is not None}


def special_tokens(
    numbers: Mapping[str, int],
    configs: tuple[Mapping[str, Any], ...],
    ids: tuple[tuple[Path, Mapping[str, Any]], ...],
    frame: list[str | None],
    n_vocab: int,
) -> dict[str, Any]:
    """Keys ``ggml.*_token_id``.

    Parameters
    ----------
    numbers : mapping of str to int
        The vocabulary.
    configs : tuple of mapping
        tokenizer_config.json and special_tokens_map.json, which give texts.
    ids : tuple of (path, mapping)
        config.json and generation_config.json, which give numbers.
    frame : list of str or None
        What the post-processor puts around a text (None).
    n_vocab : int
        Rows of the embedding.

    Raises
    ------
    CheckpointError
        A BOS or EOS token that is not in the vocabulary; a number that is none, or beyond the vocabulary.
    """
    around = {"bos": frame[0], "eos": frame[-1]}
    values: dict[str, Any] = {}
    for role, key in _ROLES.items():
        texts = [text for config in configs if (text := _text(config.get(f"{role}_token"))) is not None]
        number = next((numbers[text] for text in texts if text in numbers), None)
        for path, config in ids:
            stated = _stated(path, f"{role}_token_id", config.get(f"{role}_token_id"), n_vocab)
            number = stated if number is None else number
        if number is None:
            number = numbers.get(around.get(role) or "")
        if number is not None:
            values[f"ggml.{key}"] = U32(number)
        elif texts and role in _NEEDED:
            raise CheckpointError(
                f"{role}_token is not in the vocabulary",
                path=ids[0][0].parent / "tokenizer_config.json",
                found=texts[0],
                expected=f"a token, or {role}_token_id in config.json",
            )
    return values


def _stated(path: Path, key: str, value: Any, n_vocab: int) -> int | None:
    """The number of a token as a configuration gives it; of several, the first: llama.cpp knows others by name."""
    numbers = value if isinstance(value, list) else [value]
    for number in numbers:
        if number in (None, -1) and type(number) is not bool:  # -1 means none in older folders
            continue
        if type(number) is not int or not 0 <= number < n_vocab:
            raise CheckpointError(
                f"{key} is no token's number", path=path, found=number, expected=f"0 to {n_vocab - 1}, or null"
            )
    return next((number for number in numbers if number not in (None, -1)), None)


def _text(token: Any) -> str | None:
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) and text else None


def chat_templates(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of the chat template, and of others that have names.

    They stand in tokenizer_config.json, else in chat_template.jinja and additional_chat_templates/NAME.jinja, else in
    chat_template.json.
    """
    template = config.get("chat_template")
    if template is None:
        template = list(_template_files(folder)) or None
    if template is None:
        template = read_json(folder / "chat_template.json", required=False).get("chat_template")
    if isinstance(template, str):
        return {"chat_template": template}
    if template is not None and not isinstance(template, list):
        raise CheckpointError("chat_template must be a text or a list", path=folder, found=template)
    values: dict[str, Any] = {}
    names = []
    for choice in template or []:
        name, text = (choice.get("name"), choice.get("template")) if isinstance(choice, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(text, str) or not name:
            raise CheckpointError("a chat template has no name or no text", path=folder, found=choice)
        if name == "default":
            values["chat_template"] = text
            continue
        names.append("".join(c if c in string.ascii_letters + string.digits else "_" for c in name))
        values[f"chat_template.{names[-1]}"] = text
    return {**values, "chat_templates": Array(names, ValueType.STR)} if names else values


def _template_files(folder: Path) -> Iterator[dict[str, str]]:
    main = folder / "chat_template.jinja"
    for path in [main, *sorted((folder / "additional_chat_templates").glob("*.jinja"))]:
        if path.is_file():
            text = read_text(path, error=CheckpointError)
            yield {"name": "default" if path == main else path.stem, "template": text}
