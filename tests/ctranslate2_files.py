"""CTranslate2's ``model.bin``, put together by hand: struct and plain NumPy, no qviz."""

import struct

import numpy as np
import whisper_models as made

TYPES = {"<f4": 0, "|i1": 1, "<i2": 2, "<i4": 3, "<f2": 4}
PROJECTION = {"decoder/projection/weight": "decoder/embeddings/weight"}
WIDTH = 64


def text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def variable(name: str, x: np.ndarray) -> bytes:
    head = struct.pack("<B", x.ndim) + struct.pack(f"<{x.ndim}I", *x.shape)
    return text(name) + head + struct.pack("<BI", TYPES[x.dtype.str], x.nbytes) + x.tobytes()


def model_bin(
    variables: dict[str, np.ndarray],
    aliases: dict[str, str] = PROJECTION,
    spec: str = "WhisperSpec",
    revision: int = 3,
    version: int = 6,
) -> bytes:
    out = struct.pack("<I", version) + text(spec) + struct.pack("<I", revision)
    out += struct.pack("<I", len(variables)) + b"".join(variable(name, x) for name, x in variables.items())
    return out + struct.pack("<I", len(aliases)) + b"".join(text(a) + text(b) for a, b in aliases.items())


def whisper(width: int = WIDTH) -> dict[str, np.ndarray]:
    """The model of `whisper_models` as CTranslate2 keeps it: stacked, keys with a bias of zeros, in float16."""
    x = {name: matrix.values.astype("<f2") for name, matrix in made.tensors(width, half=True).items()}
    zeros = np.zeros(width, "<f2")
    out: dict[str, np.ndarray] = {}

    def norm(to: str, name: str) -> None:
        out[f"{to}/gamma"], out[f"{to}/beta"] = x[f"{name}.weight"], x[f"{name}.bias"]

    def linear(to: str, *names: str) -> None:
        out[f"{to}/weight"] = np.concatenate([x[f"{name}.weight"] for name in names])
        out[f"{to}/bias"] = np.concatenate([x.get(f"{name}.bias", zeros) for name in names])

    for side in ("decoder", "encoder"):
        here, there = f"{side}.blocks.0", f"{side}/layer_0"
        linear(f"{there}/self_attention/linear_0", *(f"{here}.attn.{part}" for part in ("query", "key", "value")))
        linear(f"{there}/self_attention/linear_1", f"{here}.attn.out")
        norm(f"{there}/self_attention/layer_norm", f"{here}.attn_ln")
        if side == "decoder":
            linear(f"{there}/attention/linear_0", f"{here}.cross_attn.query")
            linear(f"{there}/attention/linear_1", f"{here}.cross_attn.key", f"{here}.cross_attn.value")
            linear(f"{there}/attention/linear_2", f"{here}.cross_attn.out")
            norm(f"{there}/attention/layer_norm", f"{here}.cross_attn_ln")
        linear(f"{there}/ffn/linear_0", f"{here}.mlp.0")
        linear(f"{there}/ffn/linear_1", f"{here}.mlp.2")
        norm(f"{there}/ffn/layer_norm", f"{here}.mlp_ln")
        norm(f"{side}/layer_norm", "decoder.ln" if side == "decoder" else "encoder.ln_post")
        out[f"{side}/position_encodings/encodings"] = x[f"{side}.positional_embedding"]
        out[f"{side}/num_heads"] = np.array(2, "<i2")
    for conv in ("conv1", "conv2"):
        out[f"encoder/{conv}/weight"], bias = x[f"encoder.{conv}.weight"], x[f"encoder.{conv}.bias"]
        out[f"encoder/{conv}/bias"] = bias[:, 0]
    out["decoder/embeddings/weight"] = x["decoder.token_embedding.weight"]
    for name, value in {"activation": 3, "alibi": 0, "pre_norm": 1, "scale_embeddings": 0}.items():
        out[f"decoder/{name}"] = np.array(value, "|i1")
    out["decoder/start_from_zero_embedding"] = np.array(0, "|i1")
    out["decoder/alignment_heads"], out["decoder/alignment_layer"] = np.array(1, "<i2"), np.array(-1, "<i2")
    return dict(sorted(out.items()))
