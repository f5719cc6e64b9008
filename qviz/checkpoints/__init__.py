"""Models as Hugging Face keeps them: safetensors to read, and a way to GGUF.

`convert` makes a GGUF file of a Llama-family folder, `read` opens its safetensors as a mapping from name to `QTensor`.
"""

from __future__ import annotations

from qviz.checkpoints.safetensors import Safetensors, StoredTensor, read
from qviz.checkpoints.to_gguf import convert

__all__ = ["Safetensors", "StoredTensor", "convert", "read"]
