"""Byte-level BPE: text is cut into words, each byte becomes a printable character, then merges run in their order.

The `tokenizers` library does it; this module tells it what the metadata say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from qviz.errors import QvizError
from qviz.gguf.cuts import Cut, byte_characters

# Oniguruma gives up after ten million steps back, and some patterns take several for each character.
_LONGEST = 1 << 21


class Words:
    """Cuts text by words and merges.

    Parameters
    ----------
    tokens : list of str
    merges : list of (str, str)
        Best first.
    cut : Cut
        The rule for words.
    error : callable ``(text) -> QvizError``
        What is raised.
    """

    def __init__(
        self, tokens: list[str], merges: list[tuple[str, str]], cut: Cut, error: Callable[[str], QvizError]
    ) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers

        # Words are spelled in bytes, so a token that is no text can be none of them.
        vocab = {token: i for i, token in enumerate(tokens) if _is_text(token)}
        self._error = error
        # A byte without a token is dropped, but only after merging: what stands beside it never becomes one word.
        self._n = len(tokens)
        missing = [letter for letter in byte_characters() if letter not in vocab]
        vocab |= {letter: self._n + i for i, letter in enumerate(missing)}
        self._drops = bool(missing)
        self._library = Tokenizer(models.BPE(vocab, merges, ignore_merges=cut.whole_words))
        self._library.pre_tokenizer = pre_tokenizers.Sequence([_step(*step) for step in cut.steps])

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Tokens of each text.

        Raises
        ------
        QvizError
            A word or a run of blanks of more than two million characters.
        """
        for text in texts:
            if len(text) > _LONGEST and (run := re.search(rf"\s{{{_LONGEST}}}|\S{{{_LONGEST}}}", text)):
                raise self._error(
                    f"at character {run.start():,} begins a run of over {_LONGEST:,} that nothing cuts into words; "
                    "give the text in smaller parts"
                )
        if len(texts) == 1:
            all_ids = [self._library.encode(texts[0], add_special_tokens=False).ids]
        else:
            all_ids = [encoding.ids for encoding in self._library.encode_batch(texts, add_special_tokens=False)]
        return [[token for token in ids if token < self._n] for ids in all_ids] if self._drops else all_ids


def _is_text(token: str) -> bool:
    try:
        token.encode()
    except UnicodeEncodeError:
        return False
    return True


def _step(kind: str, argument: str = "") -> Any:
    from tokenizers import Regex, pre_tokenizers

    if kind == "bytes":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=argument == "words")
    return pre_tokenizers.Split(Regex(argument), "isolated")
