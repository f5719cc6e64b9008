"""A model between Hugging Face's folder and GGUF: its sizes, where each of its tensors goes, and what becomes of it.

Hugging Face keeps the two halves of a head's rotary pairs apart; where ggml wants partners side by side, the rows of
q_proj and k_proj change places on the way: see `interleaved`. Other tensors are transposed, cut in two, or one larger.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qviz.architectures import ARCHITECTURES, REQUIRED, Architecture, Setting, TensorPlace, size
from qviz.architectures.base import Change
from qviz.checkpoints.config_json import ConfigReader, Rope, family_of, rope_factors, rope_metadata
from qviz.checkpoints.config_keys import check_keys
from qviz.errors import CheckpointError
from qviz.gguf.values import F32, U32, Array, ValueType

# Leftovers of training and of old versions of the library; GGUF has no use for them.
SKIPPED = (".rotary_emb.inv_freq", ".attention.masked_bias", ".attention.bias", ".attn.masked_bias", ".attn.bias")
_LARGEST = 1 << 31


@dataclass(frozen=True)
class Place:
    """Where a tensor of the model goes.

    Attributes
    ----------
    source, target : str
        Its names; ``{expert}`` in `source` stands for each expert's number.
    shape : tuple of int
        In the GGUF file.
    role : str
        See `qviz.architectures.TensorPlace`.
    change : tuple of str
        What becomes of it on the way.
    heads : int
        Number of heads whose rows change places; 0 for none.
    announced : bool
        config.json says that there is such a tensor, or every model has one.
    mxfp4 : bool
        Whether it is stored as blocks and exponents, under two names.
    """

    source: str
    target: str
    shape: tuple[int, ...]
    role: str = "matrix"
    change: tuple[Change, ...] = ()
    heads: int = 0
    announced: bool = True
    mxfp4: bool = False

    @property
    def sources(self) -> list[str]:
        """The names of all tensors that it is made of."""
        if self.mxfp4:
            return [f"{self.source}_blocks", f"{self.source}_scales"]
        if "{expert}" not in self.source:
            return [self.source]
        return [self.source.format(expert=expert) for expert in range(self.shape[0])]

    @property
    def source_shape(self) -> tuple[int, ...]:
        """The shape of each of these."""
        shape = list(self.shape[1:] if "{expert}" in self.source else self.shape)
        rows = len(shape) - 1 if self.role == "bias" or len(shape) == 1 else len(shape) - 2
        if {"even rows", "odd rows", "first half", "second half"} & set(self.change):
            shape[rows] *= 2
        if "transposed" in self.change:
            shape[-2:] = shape[-1], shape[-2]
        return tuple(shape)

    def as_mxfp4(self) -> Place:
        """The place of this tensor in a folder that keeps it in MXFP4, where rows are outputs."""
        change = tuple(step for step in self.change if step != "transposed")
        return dataclasses.replace(self, change=change, mxfp4=True)


@dataclass(frozen=True)
class ModelConfig:
    """The numbers of a model, by the names that its family's record gives them.

    Attributes
    ----------
    architecture : Architecture
    values : mapping of str to object
        Setting -> its value.
    stated : frozenset of str
        Settings that config.json gives, so that a GGUF file must, too.
    tied : bool
        The output shares the token embedding.
    attention_bias, mlp_bias : bool
        Whether config.json announces biases.
    rope : mapping
        The rope scaling as config.json has it.
    window_rope : mapping or None
        That of windowed layers, where it is told apart.
    path : pathlib.Path or None
        For errors.
    """

    architecture: Architecture
    values: Mapping[str, Any]
    stated: frozenset[str]
    tied: bool
    attention_bias: bool
    mlp_bias: bool
    rope: Rope = field(default_factory=dict)
    window_rope: Rope | None = None
    path: Path | None = None

    @property
    def n_vocab(self) -> int:
        """Rows of the embedding."""
        return int(self.values["n_vocab"])

    @property
    def n_layers(self) -> int:
        """How many layers there are."""
        return int(self.values["n_layers"])

    @classmethod
    def from_json(cls, config: Mapping[str, Any], path: Path) -> ModelConfig:
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
        architecture, assumed = family_of(config, path)
        read = ConfigReader(config, path, architecture, assumed)
        if config.get("quantization_config"):
            method = config["quantization_config"]
            how = method.get("quant_method") if isinstance(method, dict) else method
            raise CheckpointError("its weights are quantized already", path=path, found=how, expected="floats")
        read.check_only()
        check_keys(config, path, architecture)
        values: dict[str, Any] = {}
        stated = set()
        for setting in architecture.settings:
            if setting.source:
                values[setting.name] = read.setting(setting, values)
                if read.said(setting.source) is not None or values[setting.name] != _default(setting, values):
                    stated.add(setting.name)
            elif setting.default is not None:
                values[setting.name] = _default(setting, values)
        _check_sizes(values, path, whole=read.said("head_dim") is None)
        rope, windowed = ({}, None) if architecture.rope == "none" else read.rope(values)
        values |= {"n_ctx": read.context(rope, values["n_ctx"]), "value_size": values["head_size"]}
        values["rope_size"] = read.turned_part(rope, values["head_size"])
        read.check_layers(values)
        if "head_size" in stated:
            stated.add("value_size")
        return cls(
            architecture,
            values,
            frozenset(stated),
            tied=_tied(architecture, read),
            attention_bias=read.flag("attention_bias"),
            mlp_bias=read.flag("mlp_bias"),
            rope=rope,
            window_rope=windowed,
            path=path,
        ).checked(config)

    def checked(self, config: Mapping[str, Any]) -> ModelConfig:
        """Refuse a scale of scores that llama.cpp derives from other numbers, where config.json has another."""
        stated = config.get("query_pre_attn_scalar")
        if stated is None:
            return self
        v = self.values
        wide = v["n_layers"] == self.architecture.wide_scale
        derived = v["n_embd"] // v["n_head"] if wide else v["head_size"]
        if stated != derived:
            raise CheckpointError(
                "llama.cpp scales scores by the width of a head",
                path=self.path,
                found=f"query_pre_attn_scalar {stated}",
                expected=derived,
            )
        return self

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any], tensors: Mapping[str, Any]) -> ModelConfig:
        """Read the keys of a GGUF file, and check that its tensors are those of a plain model of its family.

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
        name = metadata.get("general.architecture")
        if name != "llama":
            raise CheckpointError("only Llama models can be written as a folder", found=name, expected="llama")
        architecture = ARCHITECTURES["llama"]
        infos = getattr(tensors, "tensor_info", tensors)
        values: dict[str, Any] = {}
        for setting in architecture.settings:
            values[setting.name] = _stored(metadata, architecture, setting, values)
        if values["n_expert"]:
            raise CheckpointError("only Llama models without experts can be written as a folder", found="experts")
        scaled = values["rope_scaling"] != "none" and f"{architecture.name}.rope.scaling.type" in metadata
        if scaled or "rope_freqs.weight" in infos:
            cause = values["rope_scaling"] if scaled else "rope_freqs.weight"
            raise CheckpointError("scaled rotary positions cannot be written as config.json here", found=cause)
        if (turned := values["rope_size"]) != values["head_size"]:
            raise CheckpointError("only whole heads can turn", found=turned, expected=values["head_size"])
        embedding = infos["token_embd.weight"].shape if "token_embd.weight" in infos else (0,)
        values |= {"n_vocab": embedding[0]}
        config = cls(
            architecture,
            values,
            frozenset({"head_size"} if values["head_size"] * values["n_head"] != values["n_embd"] else ()),
            tied="output.weight" not in infos,
            attention_bias="blk.0.attn_q.bias" in infos,
            mlp_bias="blk.0.ffn_up.bias" in infos,
            rope={"rope_theta": values["rope_base"]},
        )
        config._check_stored(infos)
        return config

    def _check_stored(self, infos: Mapping[str, Any]) -> None:
        left = dict.fromkeys(infos)
        for place in self.places():
            if not place.announced:
                continue
            if place.target not in infos or infos[place.target].shape != place.shape:
                shape = infos[place.target].shape if place.target in infos else None
                is_bias = place.target.endswith("bias")
                hint = "; config.json has words for biases of all matrices only" if is_bias else ""
                raise CheckpointError(
                    f"tensor {place.target!r} is missing, or of another shape{hint}", found=shape, expected=place.shape
                )
            del left[place.target]
        if left:
            raise CheckpointError(
                "there are tensors that a plain Llama does not have", found=", ".join(sorted(left)[:3])
            )

    def as_json(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """What Hugging Face's config.json says of this model.

        Parameters
        ----------
        metadata : mapping
            The GGUF file's, which say what tokens begin and end a text.
        """
        v = self.values
        values: dict[str, Any] = {
            "architectures": [next(iter(self.architecture.classes))],
            "model_type": self.architecture.name,
            "vocab_size": self.n_vocab,
            "hidden_size": v["n_embd"],
            "intermediate_size": v["n_ff"],
            "num_hidden_layers": self.n_layers,
            "num_attention_heads": v["n_head"],
            "num_key_value_heads": v["n_head_kv"],
            "max_position_embeddings": v["n_ctx"],
            "rms_norm_eps": _shortest(v["norm_eps"]),
            "rope_theta": _shortest(self.rope["rope_theta"]),
            "hidden_act": "silu",
            "attention_bias": self.attention_bias,
            "mlp_bias": self.mlp_bias,
            "tie_word_embeddings": self.tied,
            "torch_dtype": "float16",
        }
        if "head_size" in self.stated:
            values["head_dim"] = v["head_size"]
        for name in ("bos", "eos"):
            if (token := metadata.get(f"tokenizer.ggml.{name}_token_id")) is not None:
                values[f"{name}_token_id"] = int(token)
        return values

    def places(self) -> Iterator[Place]:
        """Every tensor that the model may have, as the table of its architecture has them, in the order of a file."""
        names = self.architecture.names
        outside = list(names(0, self._experts))
        yield from self._placed(outside[:1])
        yield from self._placed(item for item in names(self.n_layers, self._experts) if item[1].in_layers)
        yield from self._placed(outside[1:])

    @property
    def _experts(self) -> bool:
        return bool(self.values.get("n_expert"))

    def _placed(self, named: Iterable[tuple[str, TensorPlace]]) -> Iterator[Place]:
        for target, place in named:
            if not place.source or (self.tied and place.instead):
                continue
            shape = tuple(size(words, self.values) for words in place.shape)
            layer = target.split(".")[1] if place.in_layers else ""
            source = place.source.replace("{}", layer)
            heads = size(place.shape[0].split(" * ")[0], self.values) if "pairs" in place.change else 0
            announced = True
            if place.optional and place.role == "bias":
                announced = self.attention_bias if ".attn_" in target else self.mlp_bias
            yield Place(source, target, shape, place.role, place.change, heads, announced)

    def metadata(self) -> dict[str, Any]:
        """The keys of a GGUF file that begin with the architecture's name."""
        always = {"n_ff", "n_head_kv", "n_vocab", "window", "window_pattern"}
        entries: dict[str, Any] = {}
        for setting in self.architecture.settings:
            value = self.values.get(setting.name)
            ours = bool(setting.source) or setting.name in always | {"value_size"}
            if value is None or not ours:
                continue
            if setting.name in always | self.stated or setting.default is REQUIRED:
                entries[setting.key] = _encoded(setting, value)
        if self.rope:
            entries |= rope_metadata(self.rope, self.window_rope, self.values)
        return {f"{self.architecture.name}.{key}": value for key, value in entries.items()}

    def rope_factors(self) -> dict[str, npt.NDArray[np.float32]]:
        """What rotary frequencies are divided by, float32 (rope_size / 2,), by tensor name; empty for most models."""
        return rope_factors(self.rope, self.values["rope_size"], self.path or Path("config.json"))


def _encoded(setting: Setting, value: Any) -> Any:
    if setting.kind == "pattern" and isinstance(value, list):
        return Array(value, ValueType.BOOL)
    return F32(value) if setting.kind == "number" else U32(value)


def _tied(architecture: Architecture, read: ConfigReader) -> bool:
    has_output = any(place.name == "output.weight" for place in architecture.tensors)
    return read.flag("tie_word_embeddings") if has_output else True


def _default(setting: Setting, values: Mapping[str, Any]) -> Any:
    if isinstance(setting.default, str):
        return size(setting.default, values) if setting.kind == "count" else values.get(setting.default)
    return setting.default


def _stored(metadata: Mapping[str, Any], family: Architecture, setting: Setting, values: Mapping[str, Any]) -> Any:
    """A setting out of a GGUF file, for a folder."""
    value = metadata.get(f"{family.name}.{setting.key}")
    if value is None and setting.default is not REQUIRED:
        return _default(setting, values)
    if setting.kind == "text" and isinstance(value, str):
        return value
    zero = setting.least == 0
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not (0 < value < _LARGEST or (zero and value == 0))
    ):
        raise CheckpointError(f"{family.name}.{setting.key} must be a positive number", found=value)
    return value


def _check_sizes(values: Mapping[str, Any], path: Path, *, whole: bool) -> None:
    n_embd, heads, shared, width = (values[name] for name in ("n_embd", "n_head", "n_head_kv", "head_size"))
    if heads % shared or width % 2 or (whole and width * heads != n_embd and n_embd // heads == width):
        sizes = f"width {n_embd}, {heads} heads, {shared} key-value heads of {width}"
        raise CheckpointError("its heads do not fit together", path=path, found=sizes)
    there, used = values.get("n_expert", 0), values.get("n_expert_used", 0)
    if used > there or (there and not used):
        raise CheckpointError(f"{used} experts of {there} cannot be used for each token", path=path)


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
