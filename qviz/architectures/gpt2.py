"""GPT-2: the grandmother. LayerNorm, learned positions, no gate."""

from __future__ import annotations

from qviz.architectures import common
from qviz.architectures.base import Architecture, Change, Setting, TensorPlace

_SETTINGS = (
    Setting("block_count", "n_layers", most=512, source="n_layer"),
    Setting("context_length", "n_ctx", source="n_positions"),
    Setting("embedding_length", "n_embd", source="n_embd"),
    Setting("feed_forward_length", "n_ff", in_layers=True, source="n_inner"),
    Setting("attention.head_count", "n_head", in_layers=True, source="n_head"),
    Setting("attention.head_count_kv", "n_head_kv", default="n_head", in_layers=True),
    Setting("attention.key_length", "head_size", default="n_embd / n_head"),
    Setting("attention.value_length", "value_size", default="head_size"),
    Setting("vocab_size", "n_vocab", default=None, source="vocab_size"),
    Setting("attention.layer_norm_epsilon", "norm_eps", "number", above=0, source="layer_norm_epsilon"),
)
_LAYER = "transformer.h.{}."


def _both(name: str, source: str, shape: tuple[str, ...], change: tuple[Change, ...] = ()) -> tuple[TensorPlace, ...]:
    """A matrix or a norm, and its bias."""
    where = "blk.{}." if source.startswith(_LAYER) else ""
    return (
        TensorPlace(f"{where}{name}.weight", shape, "matrix" if change else "norm", f"{source}.weight", change=change),
        TensorPlace(f"{where}{name}.bias", shape[:1], "bias", f"{source}.bias"),
    )


def _matrix(name: str, source: str, *shape: str) -> tuple[TensorPlace, ...]:
    return _both(name, f"{_LAYER}{source}", shape, ("transposed",))


GPT2 = Architecture(
    name="gpt2",
    classes={
        "GPT2LMHeadModel": {
            "layer_norm_epsilon": 1e-5,
            "activation_function": "gelu_new",
            "tie_word_embeddings": True,
            "n_inner": "4 * n_embd",
        }
    },
    about="""
    Before Llama. LayerNorm with gains and biases before each half, a bias on every matrix, one matrix for queries, keys
    and values. A learned vector for each position is added to the embedding, and nothing turns. The feed-forward half
    is down(GELU(up x)), without a gate. The embedding serves as output. Hugging Face keeps the matrices transposed.
    """,
    settings=_SETTINGS,
    tensors=(
        TensorPlace("token_embd.weight", ("n_vocab", "n_embd"), "embedding", "transformer.wte.weight"),
        TensorPlace("position_embd.weight", ("n_ctx", "n_embd"), "positions", "transformer.wpe.weight"),
        *_both("output_norm", "transformer.ln_f", ("n_embd",)),
        TensorPlace(
            "output.weight",
            ("n_vocab", "n_embd"),
            "matrix",
            "lm_head.weight",
            optional=True,
            instead="token_embd.weight",
        ),
        *_both("attn_norm", f"{_LAYER}ln_1", ("n_embd",)),
        *_matrix("attn_qkv", "attn.c_attn", f"{common.Q} + 2 * {common.KV}", "n_embd"),
        *_matrix("attn_output", "attn.c_proj", "n_embd", common.Q),
        *_both("ffn_norm", f"{_LAYER}ln_2", ("n_embd",)),
        *_matrix("ffn_up", "mlp.c_fc", "n_ff", "n_embd"),
        *_matrix("ffn_down", "mlp.c_proj", "n_embd", "n_ff"),
    ),
    inactive=common.inactive(_SETTINGS),
    unread=common.UNREAD,
    only={
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    },
    prefix="transformer.",
    norm="layer",
    rope="none",
    activation="gelu",
    source="llama.cpp, src/models/gpt2.cpp",
)
