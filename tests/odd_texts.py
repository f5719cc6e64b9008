"""Texts on which tokenizers differ: scripts, digits, blanks, contractions, marks, controls, spelled tokens."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence

_WORDS = (
    "The quick brown fox isn't lazy I'VE they'll WE'RE don't 'S 'Ll 'tis camelCase HTTPServer iPhone naïve café Über "
    "straße ÉCOLE Ångström été Привет мир Ελληνικά Ωμέγα 北京 東京 カタカナ ひらがな 한국어 हिन्दी नमस्ते தமிழ் "
    "ไทย עברית العربية e\u0301 A\u030a \ufb01 Ⅷ ½ ² ① ٣٤ १२ 12345 1234567 3.14 0x1F 1,000,000 x+1 a=b foo_bar $5 <= "
    ">= ^ ` | ~ (x) [y] {z} /// ... !? -- 🚀 👩\u200d👩\u200d👧 🇩🇪 \u200b \ufeff \u00ad \u2019s “x” — … ℃ "
    "\u212a \u212b \u017f '\u017f 〒 、。 「」 ￥ \uff01 \U0001d54f \U00010400 \ue000 \uffff \U000e0001 "
    "\u2581 \u2581\u2581 Ġ Ċ <0x41> <0x0A> \x00 \x01 \x7f \x1c \x1f"
)
WORDS = _WORDS.split(" ")
BLANKS = (
    *(" ", " ", " ", "", "", "  ", "   ", "\n", "\n\n", "\r\n", "\r", "\t", " \n", "\n ", "\t\t\n", "\x0b", "\x0c"),
    *("\x85", "\xa0", "\u1680", "\u2003", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", " " * 17),
)


def fuzz(default: int) -> int:
    """How many cases to try: QVIZ_FUZZ raises it."""
    return max(default, int(os.environ.get("QVIZ_FUZZ", "0")))


def odd_texts(n: int, seed: int, spelled: Sequence[str] = (), corpus: str = "") -> Iterator[str]:
    """`n` texts, the same for each seed: odd words and blanks, spellings of tokens, pieces of a corpus."""
    rng = random.Random(seed)
    for _ in range(n):
        parts = []
        for _ in range(rng.randrange(1, 12)):
            kind = rng.random()
            if kind < 0.1:
                limits = rng.choice([(0, 0x80), (0, 0x3000), (0, 0xD800), (0xE000, 0x110000)])
                parts.append(chr(rng.randrange(*limits)) * rng.choice([1, 1, 1, 2, 9]))
            elif kind < 0.3 and spelled:
                parts.append(rng.choice(spelled))
            elif kind < 0.45 and corpus:
                start = rng.randrange(len(corpus) - 60)
                parts.append(corpus[start : start + rng.randrange(1, 60)])
            else:
                parts.append(rng.choice(WORDS))
            parts.append(rng.choice(BLANKS))
        yield "".join(parts)
