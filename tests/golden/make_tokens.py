"""Tokens that llama.cpp finds, for vocabularies small enough to ship: every rule that cuts text into words, kinds of
tokens, tokens cut out whole, defaults.

Run with gguf, tokenizers and a shared library that exports llama.cpp's C API, such as the one in the wheel of
xllamacpp 2026.10::

    PYTHONPATH=.. python make_tokens.py LIBRARY
"""

import ctypes
import json
import sys
import tempfile
from pathlib import Path

from gguf import GGUFWriter
from odd_texts import odd_texts
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

HERE = Path(__file__).resolve().parent
CORPUS = (HERE.parents[1] / "data" / "tiny-heldout.txt").read_text("utf-8")
RULES = (
    *("default", "llama-bpe", "smaug-bpe", "dbrx", "glm4", "chatglm-bpe", "qwen2", "stablelm2", "qwen35", "ufakzeka"),
    *("seed-coder", "bailingmoe", "gpt-2", "olmo", "mpt", "smollm", "refact", "starcoder", "command-r", "tekken"),
    *("gpt-4o", "llama4", "falcon", "deepseek-llm", "deepseek-coder", "deepseek-v3", "bloom", "viking", "minicpm5"),
)
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)
SPECIAL = [
    *(("<|bos|>", CONTROL), ("<|im_end|>", NORMAL), ("<|im_start|>", CONTROL), ("<unk>", UNKNOWN), ("    ", USER)),
    *(("  ", USER), ("[USER]", USER), ("USER", USER), ("[USER][U", USER), ("\n\n", USER), ("<tool>", USER)),
    *(("</s>", NORMAL), ("</tool", CONTROL), ("été", USER), ("<|fim_prefix|>", NORMAL), ("<|end|>", USER)),
    *(("<|return|>", CONTROL), ("<|call|>", CONTROL), ("<|channel|>", CONTROL), ("[PAD]", UNUSED), ("<0x41>", BYTE)),
]


class Params(ctypes.Structure):
    """llama_model_params of llama.cpp 0c1e570 and of the library named above; the rest is passed on as it is."""

    _fields_ = [("head", ctypes.c_int64 * 9), ("vocab_only", ctypes.c_bool), ("rest", ctypes.c_byte * 7)]


def opened(library, path):
    library.llama_model_default_params.restype = Params
    library.llama_model_load_from_file.restype = ctypes.c_void_p
    library.llama_model_load_from_file.argtypes = [ctypes.c_char_p, Params]
    library.llama_model_get_vocab.restype = ctypes.c_void_p
    library.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
    params = library.llama_model_default_params()
    params.vocab_only = True
    return library.llama_model_get_vocab(library.llama_model_load_from_file(str(path).encode(), params))


def tokens_of(library, vocab, text, special):
    raw = text.encode()
    out = (ctypes.c_int32 * (len(raw) + 16))()
    n = library.llama_tokenize(ctypes.c_void_p(vocab), raw, len(raw), out, len(out), False, special)
    return list(out[:n])


def described(library, vocab, n):
    answers = {}
    for name in ("bos", "eos", "get_add_bos", "get_add_eos"):
        function = getattr(library, f"llama_vocab_{name}")
        function.restype = ctypes.c_bool if "add" in name else ctypes.c_int32
        answers[name.removeprefix("get_")] = function(ctypes.c_void_p(vocab))
    is_end = library.llama_vocab_is_eog
    is_end.restype = ctypes.c_bool
    return answers | {"ends": [i for i in range(n) if is_end(ctypes.c_void_p(vocab), i)]}


def write(path, model, tokens, kinds, merges=None, scores=None, pre=None, name="tokens"):
    writer = GGUFWriter(path, "llama")
    writer.add_name(name)
    for key, value in (("context_length", 64), ("embedding_length", 32), ("block_count", 1), ("head_count", 1)):
        getattr(writer, f"add_{key}")(value)
    writer.add_feed_forward_length(32)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(model)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    if merges is not None:
        writer.add_token_merges(merges)
        writer.add_tokenizer_pre(pre)
    if scores is not None:
        writer.add_token_scores(scores)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def byte_level():
    """Merges learned without any cut into words, so that each cut shows."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    more = ["1234567 12 345 ", "Don't we'll I'VE ", "naïve été ", "北京東京 ", "a\n\nb \n\t\tc    d\r\n", "!!! ... (x)"]
    lines = [CORPUS[i : i + 400] for i in range(0, 40000, 400)] + [3 * text for text in more for _ in range(90)]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=520, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(lines, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), [" ".join(merge) for merge in model["merges"]]


def pieces():
    """SentencePiece's kind; some scores are equal, so that the order of merges among them shows."""
    words = ["▁t", "he", "▁the", "in", "an", "▁a", "er", "on", "re", "nd", "▁and", "ab", "bc", "abc", "bcd"]
    words += ["▁▁", "▁▁▁▁", "aa", "aaa", "aaaa"]
    letters = [*"▁etaoinshrdlucmfwypvbgkjqxz.,'!<>[]", "é", "北"]
    special = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    users = [
        ("[USER]", USER),
        ("USER", USER),
        ("<|im_end|>", CONTROL),
        ("<|endoftext|>", CONTROL),
        ("  ", USER),
        ("ba", UNUSED),
    ]
    tokens = [*special, *((f"<0x{b:02X}>", BYTE) for b in range(256)), *((w, NORMAL) for w in words + letters), *users]
    scores = [0.0] * 259 + [-float(i // 3) for i in range(len(words))] + [-50.0 - i for i in range(len(letters))]
    return tokens, scores + [-1000.0] * len(users)


def main():
    library = ctypes.CDLL(sys.argv[1])
    base, merges = byte_level()
    golden = {"tokens": base, "merges": merges, "special": SPECIAL}
    golden["texts"] = list(odd_texts(50, 3, [text for text, _ in SPECIAL], CORPUS))
    golden["rules"], variants = {}, [[] for _ in golden["texts"] * 2]
    names, kinds = base + [text for text, _ in SPECIAL], [NORMAL] * len(base) + [kind for _, kind in SPECIAL]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.gguf"
        for rule in RULES:
            write(path, "gpt2", names, kinds, merges, pre=rule)
            vocab, found = opened(library, path), []
            for special in (False, True):
                for i, text in enumerate(golden["texts"]):
                    place = i + special * len(golden["texts"])
                    ids = tokens_of(library, vocab, text, special)
                    if ids not in variants[place]:
                        variants[place].append(ids)
                    found.append(variants[place].index(ids))
            golden["rules"][rule] = described(library, vocab, len(names)) | {"which": found}
        golden["variants"] = variants
        tokens, scores = pieces()
        golden["pieces"] = {"tokens": tokens, "scores": scores, "models": {}}
        for name in ("plain", "Phi-3-mini"):  # llama.cpp tells by the name whose tokens swallow blanks
            write(path, "llama", [t for t, _ in tokens], [k for _, k in tokens], scores=scores, name=name)
            vocab = opened(library, path)
            ids = [[tokens_of(library, vocab, text, special) for text in golden["texts"]] for special in (False, True)]
            if name != "plain":  # the same is not stored twice
                plain = golden["pieces"]["models"]["plain"]["ids"]
                ids = [
                    [a if a != b else None for a, b in zip(*both, strict=True)] for both in zip(ids, plain, strict=True)
                ]
            golden["pieces"]["models"][name] = described(library, vocab, len(tokens)) | {"ids": ids}
    (HERE / "tokens.json").write_text(json.dumps(golden, ensure_ascii=True, separators=(",", ":")) + "\n", "utf-8")


if __name__ == "__main__":
    main()
