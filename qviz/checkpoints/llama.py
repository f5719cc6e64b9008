"""What the config.json of a Llama-family model says, and what that makes of its tensors.

Hugging Face keeps the two halves of a head's rotary pairs apart, ggml wants partners side by side, so the rows of
q_proj and k_proj change places on the way: see `interleaved`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from qviz.architectures import size
from qviz.architectures.llama import LLAMA
from qviz.checkpoints.config_keys import check_keys
from qviz.errors import CheckpointError
from qviz.gguf.values import F32, U32

ARCHITECTURES = (*LLAMA.classes, "LLaMAForCausalLM")
# The order in which a layer's tensors are written.
_KINDS = (
    "attn_norm",
    "ffn_norm",
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_output",
    "ffn_gate",
    "ffn_down",
    "ffn_up",
)
# Leftovers of training and of old versions of the library; GGUF has no use for them.
SKIPPED = (".rotary_emb.inv_freq", ".attention.masked_bias", ".attention.bias")

_REQUIRED: Any = object()
_LARGEST = 1 << 31


class Place(NamedTuple):
    """Where a tensor of the model goes.

    Attributes
    ----------
    source, target : str
        Its names.
    shape : tuple of int
    heads : int
        Number of heads whose rows change places; 0 for none.
    announced : bool
        config.json says that there is such a tensor.
    """

    source: str
    target: str
    shape: tuple[int, ...]
    heads: int = 0
    announced: bool = True

    def bias(self) -> Place | None:
        """Where the bias of a layer's matrix would go; None for other tensors."""
        if not self.target.startswith("blk.") or len(self.shape) != 2:
            return None
        source, target = (name.removesuffix(".weight") + ".bias" for name in (self.source, self.target))
        return Place(source, target, self.shape[:1], self.heads, announced=False)


@dataclass(frozen=True)
class LlamaConfig:
    """The numbers of a Llama-family model.

    Parameters
    ----------
    n_vocab, n_embd, n_ff, n_layer, n_head, n_head_kv, head_size, context_length : int
    rms_eps, rope_theta : float
    tied : bool
        The output shares the token embedding.
    attention_bias, mlp_bias : bool
    rope : mapping
        The rope scaling as config.json has it; empty if there is none.
    names_head_size : bool
        config.json gives head_dim, so GGUF must too.
    prefix : str
        What the names of all tensors but the output's start with.
    """

    n_vocab: int
    n_embd: int
    n_ff: int
    n_layer: int
    n_head: int
    n_head_kv: int
    head_size: int
    context_length: int
    rms_eps: float
    rope_theta: float
    tied: bool
    attention_bias: bool
    mlp_bias: bool
    rope: Mapping[str, Any]
    names_head_size: bool
    prefix: str

    @classmethod
    def from_json(cls, config: Mapping[str, Any], path: Path) -> LlamaConfig:
        """Read and check a config.json.

        Parameters
        ----------
        config : mapping
            Its contents.
        path : pathlib.Path
            For errors.

        Raises
        ------
        CheckpointError
            Another architecture, a model that is quantized already, numbers that do not fit together, or a setting that
            would be left out.
        """
        read = _Reader(config, path)
        architecture = read.architecture()
        check_keys(config, path)
        n_embd, n_head = read.count("hidden_size"), read.count("num_attention_heads")
        head_size = read.count("head_dim", n_embd // n_head)
        n_head_kv = read.count("num_key_value_heads", n_head)
        if n_head % n_head_kv or head_size % 2 or (config.get("head_dim") is None and n_embd % n_head):
            found = f"width {n_embd}, {n_head} heads, {n_head_kv} key-value heads of {head_size}"
            raise CheckpointError("its heads do not fit together", path=path, found=found)
        rope = read.rope()
        return cls(
            n_vocab=read.count("vocab_size"),
            n_embd=n_embd,
            n_ff=read.count("intermediate_size"),
            n_layer=read.count("num_hidden_layers"),
            n_head=n_head,
            n_head_kv=n_head_kv,
            head_size=head_size,
            context_length=read.context(rope),
            rms_eps=read.number("rms_norm_eps", 1e-6),
            rope_theta=read.theta(rope),
            tied=read.flag("tie_word_embeddings"),
            attention_bias=read.flag("attention_bias"),
            mlp_bias=read.flag("mlp_bias"),
            rope=rope,
            names_head_size=config.get("head_dim") is not None,
            prefix="" if architecture == "LlamaModel" else "model.",
        )

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], tensors: Mapping[str, Any]) -> LlamaConfig:
        """Read the ``llama.*`` keys of a GGUF file, and check that its tensors are a plain Llama's.

        Parameters
        ----------
        metadata : mapping
        tensors : mapping of str to QTensor or TensorInfo
            Only their names and shapes matter.

        Raises
        ------
        CheckpointError
            Another architecture, a missing number, tensors that are missing, too many or of another shape, or what
            config.json has no words for.
        """
        if (found := metadata.get("general.architecture")) != "llama":
            raise CheckpointError("only Llama models can be written as a folder", found=found, expected="llama")

        def number(key: str, default: Any = _REQUIRED) -> Any:
            value = metadata.get(f"llama.{key}", default)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < _LARGEST:
                raise CheckpointError(f"llama.{key} must be a positive number", found=value)
            return value

        infos = getattr(tensors, "tensor_info", tensors)
        n_embd, n_head = number("embedding_length"), number("attention.head_count")
        head_size = number("attention.key_length", n_embd // n_head)
        scaling = metadata.get("llama.rope.scaling.type", "none")
        if scaling != "none" or "rope_freqs.weight" in infos:
            found = "rope_freqs.weight" if scaling == "none" else scaling
            raise CheckpointError("scaled rotary positions cannot be written as config.json here", found=found)
        if (turned := number("rope.dimension_count", head_size)) != head_size:
            raise CheckpointError("only whole heads can turn", found=turned, expected=head_size)
        embedding = infos["token_embd.weight"].shape if "token_embd.weight" in infos else (0,)
        config = cls(
            n_vocab=embedding[0],
            n_embd=n_embd,
            n_ff=number("feed_forward_length"),
            n_layer=number("block_count"),
            n_head=n_head,
            n_head_kv=number("attention.head_count_kv", n_head),
            head_size=head_size,
            context_length=number("context_length"),
            rms_eps=_shortest(number("attention.layer_norm_rms_epsilon")),
            rope_theta=_shortest(number("rope.freq_base", 10000.0)),
            tied="output.weight" not in infos,
            attention_bias="blk.0.attn_q.bias" in infos,
            mlp_bias="blk.0.ffn_up.bias" in infos,
            rope={},
            names_head_size=head_size * n_head != n_embd,
            prefix="model.",
        )
        left = dict.fromkeys(infos)
        for place in config.places():
            if place.target not in infos or infos[place.target].shape != place.shape:
                found = infos[place.target].shape if place.target in infos else None
                hint = (
                    "; config.json has words for biases of all matrices only" if place.target.endswith("bias") else ""
                )
                raise CheckpointError(
                    f"tensor {place.target!r} is missing, or of another shape{hint}", found=found, expected=place.shape
                )
            del left[place.target]
        if left:
            raise CheckpointError(
                "there are tensors that a plain Llama does not have", found=", ".join(sorted(left)[:3])
            )
        return config

    def as_json(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """What Hugging Face's config.json says of this model.

        Parameters
        ----------
        metadata : mapping
            Of the GGUF file: which tokens begin and end a text.
        """
        values: dict[str, Any] = {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.n_vocab,
            "hidden_size": self.n_embd,
            "intermediate_size": self.n_ff,
            "num_hidden_layers": self.n_layer,
            "num_attention_heads": self.n_head,
            "num_key_value_heads": self.n_head_kv,
            "max_position_embeddings": self.context_length,
            "rms_norm_eps": self.rms_eps,
            "rope_theta": self.rope_theta,
            "hidden_act": "silu",
            "attention_bias": self.attention_bias,
            "mlp_bias": self.mlp_bias,
            "tie_word_embeddings": self.tied,
            "torch_dtype": "float16",
        }
        if self.names_head_size:
            values["head_dim"] = self.head_size
        for name in ("bos", "eos"):
            if (token := metadata.get(f"tokenizer.ggml.{name}_token_id")) is not None:
                values[f"{name}_token_id"] = int(token)
        return values

    def places(self) -> Iterator[Place]:
        """Every tensor of the model, as the table of its architecture has them."""
        yield self._place("token_embd.weight")
        for layer in range(self.n_layer):
            for kind in _KINDS:
                yield self._place("blk.{}." + f"{kind}.weight", layer)
                if (self.attention_bias, self.mlp_bias)[kind.startswith("ffn")] and not kind.endswith("norm"):
                    yield self._place("blk.{}." + f"{kind}.bias", layer)
        yield self._place("output_norm.weight")
        if not self.tied:
            yield self._place("output.weight")

    def _place(self, name: str, layer: int = 0) -> Place:
        place = LLAMA.place(name)
        shape = tuple(size(words, vars(self)) for words in place.shape)
        heads = {"attn_q": self.n_head, "attn_k": self.n_head_kv}.get(name.split(".")[-2], 0)
        source = place.source.format(layer)
        if not self.prefix:
            source = source.removeprefix("model.")
        return Place(source, name.format(layer), shape, heads)

    def announces(self, bias: Place) -> bool:
        """Whether config.json says that there is this bias."""
        return self.attention_bias if ".self_attn." in bias.source else self.mlp_bias

    def metadata(self) -> dict[str, Any]:
        """The ``llama.`` keys of a GGUF file."""
        values: dict[str, Any] = {
            "block_count": U32(self.n_layer),
            "context_length": U32(self.context_length),
            "embedding_length": U32(self.n_embd),
            "feed_forward_length": U32(self.n_ff),
            "attention.head_count": U32(self.n_head),
            "attention.head_count_kv": U32(self.n_head_kv),
            **self._rope_scaling(),
            "rope.freq_base": F32(self.rope_theta),
            "attention.layer_norm_rms_epsilon": F32(self.rms_eps),
        }
        if self.names_head_size:
            values |= {"attention.key_length": U32(self.head_size), "attention.value_length": U32(self.head_size)}
        values |= {"vocab_size": U32(self.n_vocab), "rope.dimension_count": U32(self.head_size)}
        return {f"llama.{key}": value for key, value in values.items()}

    def _rope_scaling(self) -> dict[str, Any]:
        kind = self.rope.get("rope_type")
        if kind not in ("linear", "yarn"):
            return {}
        values: dict[str, Any] = {"type": kind, "factor": F32(self.rope["factor"])}
        if kind == "yarn":
            values["original_context_length"] = U32(self.rope["original_max_position_embeddings"])
            for key, names in _YARN.items():
                if found := [self.rope[name] for name in names if name in self.rope]:
                    values[key] = F32(found[0])
        return {f"rope.scaling.{key}": value for key, value in values.items()}

    def rope_factors(self) -> npt.NDArray[np.float32] | None:
        """What Llama 3 divides each rotary frequency by, float32 (head_size / 2,); None for other models."""
        if self.rope.get("rope_type") != "llama3":
            return None
        factor, low, high = (float(self.rope[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
        context = float(self.rope["original_max_position_embeddings"])
        exponents = np.arange(0, self.head_size, 2, dtype=np.float32) / np.float32(self.head_size)
        wavelength = 2 * math.pi * np.float64(self.rope_theta) ** exponents
        # short waves stay, long ones are stretched by the whole factor, those between by part of it
        smooth = np.clip((context / wavelength - low) / (high - low), 0, 1)
        return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


_YARN = {
    "yarn_ext_factor": ("extrapolation_factor",),
    "yarn_attn_factor": ("attention_factor", "attn_factor"),
    "yarn_beta_fast": ("beta_fast",),
    "yarn_beta_slow": ("beta_slow",),
}
_YARN_KEYS = tuple(name for names in _YARN.values() for name in names)
# What any kind may have, or says a second time.
_ROPE_KEYS = ("rope_type", "type", "rope_theta", "finetuned", "original_max_position_embeddings")
_ROPE_NEUTRAL = {"partial_rotary_factor": 1, "factor": 1, "truncate": True}
_ROPE_NUMBERS = {
    "linear": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
# Without scaling; and dynamic NTK scaling, which begins only behind the context length.
_ROPE_UNSCALED = (None, "default", "dynamic")


def interleaved(rows: int, heads: int) -> npt.NDArray[np.intp]:
    """Which row of q_proj or k_proj comes where: rotary partners i and i + half become 2i and 2i + 1.

    Parameters
    ----------
    rows, heads : int

    Returns
    -------
    intp array (rows,)

    Examples
    --------
    >>> interleaved(8, 2).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    return np.arange(rows).reshape(heads, 2, -1).swapaxes(1, 2).reshape(-1)


def _shortest(value: float) -> float:
    """A float32 as the shortest decimal that means it: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))


class _Reader:
    """Takes values out of config.json, checking each."""

    def __init__(self, config: Mapping[str, Any], path: Path) -> None:
        self._config, self._path = config, path

    def architecture(self) -> str:
        named = self._config.get("architectures") or [None]
        found = named[0] if isinstance(named, list) else named
        if found not in ARCHITECTURES:
            raise CheckpointError(
                "this architecture cannot be converted here",
                path=self._path,
                found=found or self._config.get("model_type"),
                expected=", ".join(ARCHITECTURES),
            )
        if self._config.get("quantization_config"):
            method = self._config["quantization_config"]
            found = method.get("quant_method") if isinstance(method, dict) else method
            raise CheckpointError("its weights are quantized already", path=self._path, found=found, expected="floats")
        if (activation := self._config.get("hidden_act", "silu")) != "silu":
            raise CheckpointError("llama.cpp runs this architecture with silu only", path=self._path, found=activation)
        return str(found)

    def count(self, key: str, default: Any = _REQUIRED) -> int:
        value = self._value(key, default)
        if type(value) is not int or not 1 <= value < _LARGEST:
            raise CheckpointError(f"{key} must be a positive whole number", path=self._path, found=value)
        return value

    def number(self, key: str, default: float) -> float:
        return _positive({key: self._value(key, default)}, key, self._path)

    def theta(self, rope: Mapping[str, Any]) -> float:
        """The base of rotary frequencies: beside the scaling, or within it, as transformers 5 has it."""
        outside = self._config.get("rope_theta")
        if "rope_theta" not in rope:
            return self.number("rope_theta", 1e4)
        if outside is not None and outside != rope["rope_theta"]:
            what = "rope_theta is given twice; delete one"
            raise CheckpointError(what, path=self._path, found=outside, expected=str(rope["rope_theta"])[:80])
        return _positive(rope, "rope_theta", self._path)

    def flag(self, key: str, default: bool = False) -> bool:
        value = self._value(key, default)
        if not isinstance(value, bool):
            raise CheckpointError(f"{key} must be true or false", path=self._path, found=value)
        return value

    def context(self, rope: Mapping[str, Any]) -> int:
        """Tokens up to which the converted model computes what the original does.

        Attention within a window, and scaling that begins behind some length, are not written into a GGUF file of this
        architecture; so the context ends where they begin.
        """
        longest = self.count("max_position_embeddings", 2048)
        if self._config.get("sliding_window") and self.flag("use_sliding_window", True):
            longest = min(longest, self.count("sliding_window"))
        if rope.get("rope_type") == "dynamic":
            first = rope.get("original_max_position_embeddings", longest)
            longest = min(longest, self.count("original_max_position_embeddings", first))
        return longest

    def rope(self) -> dict[str, Any]:
        """Scaling under the names of today; older files say `type` and `rope_scaling`."""
        values = [self._config[key] for key in ("rope_parameters", "rope_scaling") if self._config.get(key)]
        value = values[0] if values else {}
        if not all(isinstance(given, dict) for given in values):
            raise CheckpointError("rope_scaling must be an object", path=self._path, found=value)
        rope = {"rope_type": value.get("type"), **{key: item for key, item in value.items() if item is not None}}
        kind = rope["rope_type"]
        for other in values[1:]:
            if any(rope.get("rope_type" if key == "type" else key) != given for key, given in other.items()):
                what = "rope_parameters and rope_scaling contradict each other; delete one"
                raise CheckpointError(what, path=self._path, found=other, expected=str(value)[:80])
        if not isinstance(kind, str | None) or kind not in (*_ROPE_UNSCALED, *_ROPE_NUMBERS):
            raise CheckpointError(
                "this kind of rope scaling cannot be converted here",
                path=self._path,
                found=kind,
                expected=", ".join(_ROPE_NUMBERS),
            )
        known = {*_ROPE_KEYS, *_ROPE_NUMBERS.get(str(kind), ()), *(_YARN_KEYS if kind == "yarn" else ())}
        if kind == "dynamic":
            known |= {"factor", "alpha"}
        if left := [key for key in rope if key not in known and rope[key] != _ROPE_NEUTRAL.get(key, "")]:
            what = f"rope scaling {kind!r} has a setting that is not known here: {left[0]!r}"
            raise CheckpointError(what, path=self._path, found=rope[left[0]])
        for key in _ROPE_NUMBERS.get(str(kind), ()):
            if key == "original_max_position_embeddings" and key not in rope:
                rope[key] = self.count("original_max_position_embeddings", self.count("max_position_embeddings", 8192))
            _positive(rope, key, self._path)
        for key in (name for names in _YARN.values() for name in names if kind == "yarn"):
            if type(rope.get(key, 0)) not in (int, float):
                raise CheckpointError(f"{key} must be a number", path=self._path, found=rope[key])
        if kind == "llama3" and rope["low_freq_factor"] == rope["high_freq_factor"]:
            raise CheckpointError("low_freq_factor and high_freq_factor must differ", path=self._path, found=rope)
        return rope

    def _value(self, key: str, default: Any) -> Any:
        value = self._config.get(key)
        if value is None:
            if default is _REQUIRED:
                raise CheckpointError(f"it does not say {key}", path=self._path)
            return default
        return value


def _positive(values: Mapping[str, Any], key: str, path: Path) -> float:
    value: Any = values.get(key, "nothing")
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise CheckpointError(f"{key} must be a positive number", path=path, found=value)
    return float(value)
