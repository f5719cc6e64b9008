"""Cut ``smollm2-slices.gguf`` out of the SmolLM2-135M-Instruct file, byte for byte the same each time.

    python data/make_slices.py [SOURCE.gguf] [--output data/smollm2-slices.gguf]

Without SOURCE it is fetched (`qviz fetch smollm2`). Tensors keep their type and their bytes; what was chosen, and
why, is in PROVENANCE.md beside this script.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from qviz import gguf, models
from qviz.errors import QvizError

EMBEDDING_ROWS = 1536  # of 49152: the first rows, and the tokens that belong to them

_LAYER_0 = ("attn_norm", "ffn_down", "ffn_gate", "ffn_up", "ffn_norm", "attn_k", "attn_output", "attn_q", "attn_v")
_ATTENTION = ("attn_norm", "attn_k", "attn_output", "attn_q", "attn_v")
CHOSEN = {
    "token_embd.weight",
    *(f"blk.0.{part}.weight" for part in _LAYER_0),
    *(f"blk.{layer}.{part}.weight" for layer in (14, 29) for part in _ATTENTION),
    "blk.27.ffn_gate.weight",
    "output_norm.weight",
}


def cut(source: Path, output: Path) -> Path:
    """Write the slices of `source` to `output`."""
    model = models.KNOWN["smollm2"]
    found = hashlib.sha256(source.read_bytes()).hexdigest()
    if found != model.sha256:
        raise QvizError(f"{source} is another file: sha256 {found}, expected {model.sha256}")
    with gguf.read(source) as file:
        tokens, types = file.metadata["tokenizer.ggml.tokens"], file.metadata["tokenizer.ggml.token_type"]
        metadata = file.metadata.without("tokenizer.ggml.merges") | {
            "tokenizer.ggml.tokens": gguf.Array(tokens[:EMBEDDING_ROWS], tokens.item_type),
            "tokenizer.ggml.token_type": gguf.Array(types[:EMBEDDING_ROWS], types.item_type),
            "qviz.slices.model": "smollm2",
            "qviz.slices.file": source.name,
            "qviz.slices.sha256": found,
            "qviz.slices.tensor_count": len(file),
            "qviz.slices.token_embd_rows": EMBEDDING_ROWS,
            "qviz.slices.note": (
                f"{len(CHOSEN)} of the {len(file)} tensors of SmolLM2-135M-Instruct, bytes unchanged. token_embd, "
                f"tokens and token types are cut to the first {EMBEDDING_ROWS} of {len(tokens)} rows; the merges "
                f"are left out, so this file labels tokens but cannot tokenize, and it is no model to run."
            ),
        }
        tensors = {name: file[name] for name in file if name in CHOSEN}
        tensors["token_embd.weight"] = tensors["token_embd.weight"].rows(0, EMBEDDING_ROWS)
        return gguf.write(output, metadata, tensors)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, nargs="?", help="the whole model; fetched if not given")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("smollm2-slices.gguf"))
    args = parser.parse_args()
    try:
        output = cut(args.source or models.fetch("smollm2"), args.output)
    except (QvizError, OSError) as error:
        sys.exit(f"error: {error}")
    raw = output.read_bytes()
    print(f"{output}: {len(raw)} bytes, sha256 {hashlib.sha256(raw).hexdigest()}")


if __name__ == "__main__":
    main()
