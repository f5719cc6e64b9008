"""Cut ``smollm2-slices.gguf`` out of the SmolLM2-135M-Instruct file, byte for byte the same each time.

    python data/make_slices.py [SOURCE.gguf] [--output data/smollm2-slices.gguf]

Without SOURCE it is fetched (`qviz fetch smollm2`). Tensors keep their type and their bytes; what was chosen, and
why, is in PROVENANCE.md beside this script.
"""

from __future__ import annotations

from pathlib import Path

import slicing

from qviz import gguf

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


def cut(source: Path, sha256: str, output: Path) -> Path:
    """Write the slices of `source` to `output`."""
    with gguf.read(source) as file:
        tokens, types = file.metadata["tokenizer.ggml.tokens"], file.metadata["tokenizer.ggml.token_type"]
        metadata = file.metadata.without("tokenizer.ggml.merges") | {
            "tokenizer.ggml.tokens": gguf.Array(tokens[:EMBEDDING_ROWS], tokens.item_type),
            "tokenizer.ggml.token_type": gguf.Array(types[:EMBEDDING_ROWS], types.item_type),
            "qviz.slices.model": "smollm2",
            "qviz.slices.file": source.name,
            "qviz.slices.sha256": sha256,
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


if __name__ == "__main__":
    slicing.run(__doc__.splitlines()[0], "smollm2", "smollm2-slices.gguf", cut)
