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

from qviz._arrays import whole_number
from qviz.architectures import REQUIRED, Architecture, Setting, TensorPlace, size
from qviz.architectures.base import OF_TWO, Change
from qviz.checkpoints.config_json import ConfigReader, Rope, family_of, language_part, rope_factors, rope_metadata
from qviz.checkpoints.config_keys import check_keys
from qviz.errors import CheckpointError
from qviz.gguf.values import F32, U32, Array, ValueType

# Leftovers of training and of old versions of the library; GGUF has no use for them.
SKIPPED = (".rotary_emb.inv_freq", ".attention.masked_bias", ".attention.bias", ".attn.masked_bias", ".attn.bias")


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
    apart : tuple of str
        Other names of each expert's part, as `qviz.architectures.TensorPlace` has them.
    shares : bool
        Whether such a part holds another tensor's rows, too.
    """

    source: str
    target: str
    shape: tuple[int, ...]
    role: str = "matrix"
    change: tuple[Change, ...] = ()
    heads: int = 0
    announced: bool = True
    mxfp4: bool = False
    apart: tuple[str, ...] = ()
    shares: bool = False

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
        if set(OF_TWO) & set(self.change):
            shape[rows] *= 2
        if "transposed" in self.change:
            shape[-2:] = shape[-1], shape[-2]
        return tuple(shape)

    def as_mxfp4(self) -> Place:
        """The place of this tensor in a folder that keeps it in MXFP4."""
        return dataclasses.replace(self.with_outputs_as_rows(), mxfp4=True)

    def with_outputs_as_rows(self) -> Place:
        """The same in a folder that keeps it packed, and so never transposed."""
        return dataclasses.replace(self, change=tuple(step for step in self.change if step != "transposed"))

    def taken_apart(self, name: str) -> Place:
        """The same in a folder that keeps each expert's part under a name of its own, one of `apart`."""
        rows = tuple(step for step in self.change if self.shares and step in OF_TWO)
        return dataclasses.replace(self, source=name, change=rows)


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
        config = language_part(config)
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
        ).checked(read.meant("query_pre_attn_scalar") if architecture.wide_scale else None)

    def checked(self, stated: Any) -> ModelConfig:
        """Refuse a scale of scores that llama.cpp derives from other numbers, where config.json has another."""
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
            source, *apart = (name.replace("{}", layer) for name in (place.source, *place.apart))
            heads = size(place.shape[0].split(" * ")[0], self.values) if "pairs" in place.change else 0
            announced = True
            if place.optional and place.role == "bias":
                announced = self.attention_bias if ".attn_" in target else self.mlp_bias
            shares = sum(place.apart[:1] == other.apart[:1] for other in self.architecture.tensors) > 1
            yield Place(
                source,
                target,
                shape,
                place.role,
                place.change,
                heads,
                announced,
                apart=tuple(apart),
                shares=shares and bool(apart),
            )

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
    rows, heads = (whole_number(n, what, CheckpointError, least=1) for n, what in ((rows, "rows"), (heads, "heads")))
    if rows % (2 * heads):
        raise CheckpointError(f"{rows} rows are no pairs of {heads} heads")
    return np.arange(rows).reshape(heads, 2, -1).swapaxes(1, 2).reshape(-1)
