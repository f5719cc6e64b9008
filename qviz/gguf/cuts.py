r"""How text is cut into words before byte-level BPE: the rules that llama.cpp names (``tokenizer.ggml.pre``), as data.

Merges never cross the end of a word, so a wrong rule gives other tokens without any error. Each rule is a row of
regular expressions. The first cuts the text into what it matches and what lies between; the next cuts each of those
pieces again; and so on. They are written for Oniguruma, the engine of the `tokenizers` library.

llama.cpp differs from the library that made a tokenizer in two places, and a GGUF file means what llama.cpp does:
its upper case of ``tekken`` and ``gpt-4o`` is any letter but a-z (an accented letter is upper and lower at once, a
combining mark is neither), and it never composes characters (NFC), which some tokenizers do first.

Examples
--------
>>> CUTS["llama-bpe"].whole_words, CUTS["llama-bpe"].begins, CUTS["smaug-bpe"].whole_words
(True, True, False)
>>> CUTS["dbrx"].patterns == CUTS["llama-bpe"].patterns
True
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Steps = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Cut:
    """One rule.

    Attributes
    ----------
    names : tuple of str
        What llama.cpp calls it; several models have given one rule several names.
    patterns : tuple of str
        Regular expressions, applied one after the other.
    whole_words : bool
        A word that is a token is taken whole, whatever the merges say (``ignore_merges``).
    begins : bool
        A text begins with BOS unless the file says otherwise.
    no_bos : bool
        There is no BOS token unless the file names one; elsewhere the default is token 11.
    spelled : tuple of Steps
        How a ``tokenizer.json`` writes the same rule, without the regular expressions as they stand in `patterns`:
        ``("split", pattern)``, ``("digits",)``, and ``("bytes",)`` or, with GPT-2's own words, ``("bytes", "words")``.
    """

    names: tuple[str, ...]
    patterns: tuple[str, ...]
    whole_words: bool = False
    begins: bool = False
    no_bos: bool = False
    spelled: tuple[Steps, ...] = ()

    @property
    def steps(self) -> Steps:
        """The rule as a tokenizer.json may write it."""
        *first, last = self.patterns
        rest: Steps = (("bytes", "words"),) if last == _GPT2 else (("split", last), ("bytes",))
        return (*(("split", pattern) for pattern in first), *rest)


def _split(*patterns: str) -> Steps:
    return (*(("split", pattern) for pattern in patterns), ("bytes",))


_SHORT = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"  # English contractions
_SHORT_HF = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_OTHERS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_OTHERS_SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"{_SHORT}|{_WORD}|\p{{N}}{{1,3}}|{_OTHERS}|{_BLANKS}"
_LLAMA3_HF = rf"{_SHORT_HF}|{_WORD}|\p{{N}}{{1,3}}|{_OTHERS}|{_BLANKS}"
_QWEN2 = rf"{_SHORT}|{_WORD}|\p{{N}}|{_OTHERS}|{_BLANKS}"
_QWEN2_HF = rf"{_SHORT_HF}|{_WORD}|\p{{N}}|{_OTHERS}|{_BLANKS}"
_QWEN35 = rf"|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_BLANKS}"
# Tiktoken's spelling of Llama 3's words, as in Phi-4 and OLMo 2
_CL100K_HF = (
    rf"{_SHORT_HF}|[^\r\n\p{{L}}\p{{N}}]?+\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]++[\r\n]*"
    r"|\s*[\r\n]|\s+(?!\S)|\s+"
)
_CASED = (r"((?=[\p{L}])([^a-z]))", r"((?=[\p{L}])([^A-Z]))")
_CASED_HF = (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]")


def _cased(case: tuple[str, str], numbers: str, short: str = "") -> str:
    """Words that change from upper to lower case once: ``camelCase`` is two of them."""
    upper, lower = case
    before, after = r"[^\r\n\p{L}\p{N}]?", f"{short}?" if short else ""
    words = f"{before}{upper}*{lower}+{after}|{before}{upper}+{lower}*{after}"
    return rf"{words}|{numbers}|{_OTHERS_SLASH}|{_BLANKS}"


_TEKKEN, _TEKKEN_HF = _cased(_CASED, r"\p{N}"), _cased(_CASED_HF, r"\p{N}")
_GPT4O, _GPT4O_HF = _cased(_CASED, r"\p{N}{1,3}", _SHORT), _cased(_CASED_HF, r"\p{N}{1,3}", _SHORT_HF)

# escapes where an editor that composes characters would change the range
_DEEPSEEK_LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbeῂ-ῄ"
    "ῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
_DEEPSEEK_MARKS = "!-/:-~！-／：-～‘-‟"
_EAST_ASIAN = "一-龥ࠀ-一가-퟿"
# in ranges of characters llama.cpp takes a blank beyond ASCII for no character of the range: hence &&\S, and no U+3000
_DEEPSEEK_LLM = (
    r"[\r\n]",
    rf"\s?[{_DEEPSEEK_LETTERS}]+",
    rf"\s?[{_DEEPSEEK_MARKS}、-。]+",
    r"\s+$",
    rf"[[{_EAST_ASIAN}]&&\S]+",
    r"\p{N}+",
)
_DEEPSEEK_LLM_HF = (
    ("split", "[\r\n]"),
    ("split", rf"\s?[{_DEEPSEEK_LETTERS}]+"),
    ("split", rf"\s?[{_DEEPSEEK_MARKS}　-。]+"),
    ("split", r"\s+$"),
    ("split", f"[{_EAST_ASIAN}]+"),
    ("digits",),
    ("bytes",),
)
_DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", rf"[[{_EAST_ASIAN}]&&\S]+", r"\p{N}")
_DEEPSEEK_CODER_HF = (
    *(("split", p) for p in ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", f"[{_EAST_ASIAN}]+")),
    ("digits",),
    ("bytes",),
)
_DEEPSEEK_V3 = (
    r"\p{N}{1,3}",
    "[一-龥぀-ゟ゠-ヿ]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_BLANKS}",
)
_DEEPSEEK_V3_HF = (*_DEEPSEEK_V3[:2], _DEEPSEEK_V3[2].replace(r"\r\n", "\r\n"))
_PORO = r" ?[^(\s|.,!?…。，、।۔،)]+"
_FALCON_MARKS = r"[\p{P}\$\+<=>\^~\|`]+"

_TABLE = (
    Cut(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"),
        (_LLAMA3,),
        whole_words=True,
        begins=True,
        spelled=(_split(_LLAMA3_HF), _split(_CL100K_HF)),
    ),
    Cut(("smaug-bpe", "dbrx"), (_LLAMA3,), spelled=(_split(_LLAMA3_HF), _split(_CL100K_HF))),
    Cut(("chatglm-bpe",), (_LLAMA3,), no_bos=True),
    Cut(("glm4", "glm5"), (_LLAMA3,), whole_words=True, no_bos=True),
    Cut(
        ("qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "stablelm2", "hunyuan", "megrez", "solar-open", "grok-2"),
        (_QWEN2,),
        spelled=(_split(_QWEN2_HF),),
    ),
    Cut(("qwen35",), (_SHORT + _QWEN35,), spelled=(_split(_SHORT_HF + _QWEN35),)),
    Cut(("ufakzeka",), (rf"{_WORD}|\p{{N}}|{_OTHERS}|{_BLANKS}",)),
    Cut(("seed-coder",), (rf"{_SHORT}|{_WORD}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_BLANKS}",)),
    Cut(
        ("bailingmoe", "bailingmoe2", "llada-moe"),
        (
            rf"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|{_WORD}|\p{{N}}|{_OTHERS}"
            r"|\s*[\r\n]|\s+(?!\S)|\s+",
        ),
    ),
    Cut(
        (
            *("gpt-2", "phi-2", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "gigachat", "a.x-4.0", "mellum"),
            *("modern-bert", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4"),
        ),
        (_GPT2,),
    ),
    Cut(
        ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"),
        (r"\p{N}", _GPT2),
        spelled=((("digits",), ("bytes", "words")),),
    ),
    Cut(("tekken",), (_TEKKEN,), whole_words=True, begins=True, spelled=(_split(_TEKKEN_HF),)),
    Cut(
        ("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"),
        (_GPT4O,),
        spelled=(_split(_GPT4O_HF),),
    ),
    Cut(("default",), (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    Cut(("falcon",), (_FALCON_MARKS, _GPT2, "[0-9][0-9][0-9]")),
    Cut(("deepseek-llm",), _DEEPSEEK_LLM, spelled=(_DEEPSEEK_LLM_HF,)),
    Cut(("deepseek-coder",), _DEEPSEEK_CODER, spelled=(_DEEPSEEK_CODER_HF,)),
    Cut(("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"), _DEEPSEEK_V3, spelled=(_split(*_DEEPSEEK_V3_HF),)),
    Cut(("bloom", "poro-chat", "gpt3-finnish"), (_PORO,)),
    Cut(("viking",), (_PORO, r"\p{N}")),
    Cut(
        ("minicpm5",),
        (r"\p{N}{1,3}", rf"{_SHORT}|{_WORD}|\p{{N}}+|{_OTHERS}|{_BLANKS}"),
        whole_words=True,
    ),
)

CUTS: Mapping[str, Cut] = {name: cut for cut in _TABLE for name in cut.names}


def recognise(steps: Steps, whole_words: bool) -> str | None:
    """llama.cpp's name for a tokenizer.json's steps, None where it has none that is known here.

    Parameters
    ----------
    steps : Steps
        As in `Cut.spelled`.
    whole_words : bool
        As in `Cut`; it is part of what llama.cpp means by a name.
    """
    for cut in _TABLE:
        if cut.whole_words == whole_words and steps in (cut.steps, _split(*cut.patterns), *cut.spelled):
            return cut.names[0]
    return None


def byte_characters() -> dict[str, int]:
    """GPT-2's printable character of each byte, the other way round."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + k): b for k, b in enumerate(others)}
