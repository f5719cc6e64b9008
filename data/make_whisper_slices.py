"""Cut ``whisper-slices.gguf`` out of Whisper tiny.en, byte for byte the same each time.

    python data/make_whisper_slices.py [ggml-tiny.en.bin] [--output data/whisper-slices.gguf]

Without a file it is fetched (`qviz fetch whisper-tiny.en`). Tensors keep their type and their bytes, and whisper.cpp's
names; what was chosen, and why, is in PROVENANCE.md beside this script.
"""

from __future__ import annotations

from pathlib import Path

import slicing

from qviz import gguf, models

CHOSEN = (
    "decoder.blocks.3.cross_attn.value.weight",
    "encoder.blocks.1.attn.key.weight",
    "encoder.conv1.weight",
    "encoder.ln_post.weight",
    "encoder.ln_post.bias",
)


def cut(source: Path, sha256: str, output: Path) -> Path:
    """Write the slices of `source` to `output`."""
    model = models.load(source)
    metadata = {
        "general.architecture": "whisper",
        "general.name": "Whisper tiny.en",
        "general.license": "mit",
        "whisper.block_count": gguf.U32(model.metadata["n_audio_layer"]),
        "whisper.embedding_length": gguf.U32(model.metadata["n_audio_state"]),
        "whisper.vocab_size": gguf.U32(model.metadata["n_vocab"]),
        "qviz.slices.model": "whisper-tiny.en",
        "qviz.slices.file": models.KNOWN["whisper-tiny.en"].filename,
        "qviz.slices.sha256": sha256,
        "qviz.slices.tensor_count": gguf.U32(len(model)),
        "qviz.slices.note": (
            f"{len(CHOSEN)} of the {len(model)} tensors of Whisper tiny.en, bytes and names unchanged. "
            f"GGUF is only what holds them here: whisper.cpp has a format of its own."
        ),
    }
    return gguf.write(output, metadata, {name: model[name] for name in model if name in CHOSEN})


if __name__ == "__main__":
    slicing.run(__doc__.splitlines()[0], "whisper-tiny.en", "whisper-slices.gguf", cut)
