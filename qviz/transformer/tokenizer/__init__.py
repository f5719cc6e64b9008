"""Text to tokens and back, as llama.cpp does it with what a GGUF file says of its tokenizer.

`special` cuts whole tokens out of a text; what lies between goes to `pieces` (SentencePiece's way) or `words`
(byte-level BPE). `strings` finds a token by its bytes.
"""

from qviz.transformer.tokenizer.tokenizer import Tokenizer

__all__ = ["Tokenizer"]
