"""A GGUF file's metadata -> config.json: the counterpart of `ModelConfig.from_json`, for every family that runs.

Each setting goes back to the key that its family's record names. What config.json has no word for is refused, and so is
a tensor that such a model does not have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qviz.architectures import ARCHITECTURES, Architecture, Setting
from qviz.checkpoints.config_json import YARN, Rope, rope_factors
from qviz.checkpoints.model_config import ModelConfig
from qviz.errors import CheckpointError, shortened
from qviz.gguf.family import read_settings
from qviz.gguf.settings import Settings

_CLASS_TELLS = ("n_expert", "window")
"""Settings that a class of a family has, and another has not."""
_NONE_IS_ONE = ("embedding_scale", "residual_scale")
_LLAMA3_FACTORS, _LLAMA3_CONTEXTS = (8.0, 32.0, 16.0, 4.0, 2.0), tuple(1 << n for n in range(13, 4, -1))
_CLOSE = 8 * float(np.finfo(np.float32).eps)  # for factors that another program computed in float32


def config_of(metadata: Mapping[str, Any], tensors: Mapping[str, Any]) -> ModelConfig:
    """Read the keys of a GGUF file, and check that its tensors are those of a model of its family.

    Parameters
    ----------
    metadata : mapping
    tensors : mapping of str to QTensor
        Names and shapes matter, and the values of what rotary frequencies are divided by.

    Returns
    -------
    ModelConfig

    Raises
    ------
    CheckpointError
        A family that does not run here, a setting that is missing, wrong or unknown, tensors that are missing, too many
        or of another shape, or what config.json has no words for.
    """
    name = metadata.get("general.architecture")
    family = ARCHITECTURES.get(name) if isinstance(name, str) else None
    if family is None:
        known = ", ".join(ARCHITECTURES)
        raise CheckpointError("models of this family cannot be written as a folder", found=name, expected=known)
    infos = getattr(tensors, "tensor_info", tensors)
    values = {"rope_size": 0, **read_settings(family, metadata, CheckpointError)}
    values |= {"n_vocab": _vocabulary(metadata, values["n_vocab"], infos)}
    rope = {} if family.rope == "none" else _rope(family, values, metadata, tensors)
    config = ModelConfig(
        family,
        values,
        frozenset(),
        tied=not any(place.name == "output.weight" and place.name in infos for place in family.tensors),
        attention_bias="blk.0.attn_q.bias" in infos,
        mlp_bias="blk.0.ffn_up.bias" in infos,
        rope=rope,
        window_rope=_window_rope(family, values),
    )
    _check_tensors(config, infos)
    return config


def config_json(config: ModelConfig, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What Hugging Face's config.json says of a model.

    Parameters
    ----------
    config : ModelConfig
        As `config_of` reads it.
    metadata : mapping
        The GGUF file's, which say what tokens begin and end a text.
    """
    family, values = config.architecture, config.values
    class_name = _class_of(config)
    assumed = family.classes[class_name]
    said: dict[str, Any] = {"architectures": [class_name], "model_type": assumed.get("model_type", family.name)}
    for setting in family.settings:
        if setting.source and (setting.name != "window" or _has_windows(config, assumed)):
            value = _spelled(setting, values, assumed)
            said |= {} if value == "" else {setting.source.split(" or ")[0]: value}
    said |= {key: list(one) if isinstance(one := allowed[0], tuple) else one for key, allowed in family.only.items()}
    optional = {place.name for place in family.tensors if place.optional and place.role == "bias"}
    if "blk.{}.attn_q.bias" in optional:
        said["attention_bias"] = config.attention_bias
    if "blk.{}.ffn_up.bias" in optional and not values.get("n_expert"):
        said["mlp_bias"] = config.mlp_bias
    if "tie_word_embeddings" not in said:
        said["tie_word_embeddings"] = config.tied
    said |= _positions(config, assumed) | _layers(config, assumed)
    tokens = Settings(metadata, "tokenizer.ggml.", CheckpointError)
    for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        said[f"{name}_token_id"] = tokens.count(f"{key}_token_id", None, least=0)
    return said | {"torch_dtype": "float16"}


def _class_of(config: ModelConfig) -> str:
    """The class of a family that has experts or windows where the model has some."""
    family, sources = config.architecture, {s.name: s.source.split(" or ") for s in config.architecture.settings}
    there = {name for name in _CLASS_TELLS if config.values.get(name)}
    for name, assumed in family.classes.items():
        has = {told for told in _CLASS_TELLS if set(sources.get(told, ())) & set(assumed)}
        if has == there:
            return name
    return next(iter(family.classes))


def _has_windows(config: ModelConfig, assumed: Mapping[str, object]) -> bool:
    return bool(config.values.get("window")) or "sliding_window" in assumed


def _spelled(setting: Setting, values: Mapping[str, Any], assumed: Mapping[str, object]) -> Any:
    """The value of a key of config.json; an empty text where the key is better left out."""
    name, value = setting.name, values[setting.name]
    key = setting.source.split(" or ")[0]
    if name == "head_size":
        return value if key in assumed or value * values["n_head"] != values["n_embd"] else ""
    if name in ("n_expert", "n_expert_used") and not value:
        return ""
    if name == "attention_scale":
        return _shortest(value) if value else float(values["head_size"] ** -0.5)
    if name in _NONE_IS_ONE:
        return _shortest(value or 1.0)
    if not value:  # no window, no cap
        return None
    return _shortest(value) if setting.kind == "number" else int(value)


def _positions(config: ModelConfig, assumed: Mapping[str, object]) -> dict[str, Any]:
    if not config.rope:
        return {}
    scaling = {key: value for key, value in config.rope.items() if key != "rope_theta"}
    said: dict[str, Any] = {"rope_theta": config.rope["rope_theta"]}
    if scaling.get("type") == "longrope":  # transformers 4 knows three of its keys
        said["original_max_position_embeddings"] = scaling.pop("original_max_position_embeddings")
    if scaling or "rope_parameters" in assumed:  # where silence would mean some
        said["rope_scaling"] = scaling or {"rope_type": "default"}
    alike = "window_rope_base" not in {setting.name for setting in config.architecture.settings}
    if alike and config.values.get("window") and said["rope_theta"] != assumed.get("rope_theta", said["rope_theta"]):
        # transformers 5 gives rope_theta to one kind of layers only
        full = {"rope_type": "default", "rope_theta": said["rope_theta"]}
        said["rope_parameters"] = {"full_attention": full | scaling, "sliding_attention": full}
    if config.window_rope is not None:
        said["rope_local_base_freq"] = config.window_rope["rope_theta"]
    turned, width = config.values["rope_size"], config.values["head_size"]
    if turned != width:
        if "partial_rotary_factor" not in assumed:
            raise CheckpointError("only whole heads can turn in this family", found=turned, expected=width)
        said["partial_rotary_factor"] = turned / width
    return said


def _layers(config: ModelConfig, assumed: Mapping[str, object]) -> dict[str, Any]:
    """What config.json says of each layer, and what scores are scaled by."""
    family, values, n = config.architecture, config.values, config.n_layers
    said: dict[str, Any] = {}
    if "window" in values and _has_windows(config, assumed):
        pattern = family.windowed if (given := values.get("window_pattern")) is None else given
        if not isinstance(pattern, tuple):
            pattern = tuple(pattern == 0 or i % pattern < pattern - 1 for i in range(n))
        windowed = pattern if values["window"] else (False,) * n
        said["layer_types"] = ["sliding_attention" if one else "full_attention" for one in windowed]
    if family.unturned:
        said["no_rope_layers"] = [int((i + 1) % family.unturned != 0) for i in range(n)]
    if family.wide_scale:
        wide = n == family.wide_scale
        said["query_pre_attn_scalar"] = values["n_embd"] // values["n_head"] if wide else values["head_size"]
    return said


def _rope(family: Architecture, values: Mapping[str, Any], metadata: Mapping[str, Any], tensors: Any) -> Rope:
    """Rotary positions in Hugging Face's words."""
    if not values.get("turns", True):
        raise CheckpointError("config.json has no word for positions that turn nothing", found="rope.scaling.finetuned")
    rope: Rope = {"rope_theta": _shortest(values["rope_base"])}
    factor = values["rope_factor"] if values["rope_factor"] is not None else values["rope_factor_2023"]
    kind = values["rope_scaling"]
    if kind in ("linear", "yarn") and (factor or 1.0) != 1:
        rope |= {"rope_type": kind, "factor": _shortest(factor)}
        if kind == "yarn":
            rope["original_max_position_embeddings"] = values["rope_original"]
            for key, names in YARN.items():
                if (value := metadata.get(f"{family.name}.rope.scaling.{key}")) is not None:
                    rope[names[0]] = _shortest(value)
    divisors = [place.name for place in family.tensors if place.role == "factors" and place.name in tensors]
    for name in divisors:
        if (shape := tensors[name].shape) != (expected := (values["rope_size"] // 2,)):
            raise CheckpointError(f"tensor {shortened(name)} is of another shape", found=shape, expected=expected)
    if len(rope) > 1 and divisors:
        raise CheckpointError("config.json has no word for two kinds of scaling at once", found=divisors[0])
    if divisors == ["rope_freqs.weight"]:
        rope |= _llama3(tensors["rope_freqs.weight"].dequantize(), rope, values["rope_size"])
    elif divisors:
        return rope | _longrope(tensors, values)
    if values["rope_magnitude"] != 1:
        what = "config.json has no word for a magnitude of rotary positions here"
        raise CheckpointError(what, found=values["rope_magnitude"], expected=1)
    return rope


def _llama3(divisors: Any, rope: Rope, rope_size: int) -> Rope:
    """The settings of which Llama 3's divisors were computed, found by computing them again."""
    for factor in dict.fromkeys((*_LLAMA3_FACTORS, float(divisors.max()))):
        for context in _LLAMA3_CONTEXTS:
            found: Rope = {"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
            found["original_max_position_embeddings"] = context
            (ours,) = rope_factors(rope | found, rope_size, Path("config.json")).values()
            if np.allclose(ours, divisors, rtol=_CLOSE, atol=0):
                return found
    what = "the divisors of its rotary frequencies are not Llama 3's, and config.json has no other word for them"
    raise CheckpointError(what, found=shortened(divisors.tolist()))


def _longrope(tensors: Any, values: Mapping[str, Any]) -> Rope:
    missing = next((n for n in ("rope_factors_long.weight", "rope_factors_short.weight") if n not in tensors), None)
    if missing:
        raise CheckpointError(f"tensor {shortened(missing)} is missing")
    lists = {
        f"{length}_factor": [_shortest(x) for x in tensors[f"rope_factors_{length}.weight"].dequantize()]
        for length in ("short", "long")
    }
    original, magnitude = values["rope_original"], values["rope_magnitude"]
    stretch = values["n_ctx"] / original
    plain = math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 and original > 1 else 1.0
    said = {} if np.float32(plain) == np.float32(magnitude) else {"attention_factor": _shortest(magnitude)}
    return {"type": "longrope", **lists, "original_max_position_embeddings": original, **said}


def _window_rope(family: Architecture, values: Mapping[str, Any]) -> Rope | None:
    """The base of windowed layers, where a family has one of their own."""
    if not values.get("window") or "window_rope_base" not in values:
        return None
    default = next(setting.default for setting in family.settings if setting.name == "window_rope_base")
    base = values["window_rope_base"]
    if isinstance(default, str):  # that of the other layers
        if base != values["rope_base"]:
            what = "config.json of this family has no word for another base of windowed layers"
            raise CheckpointError(what, found=base, expected=values["rope_base"])
        return None
    return {"rope_theta": _shortest(base)}


def _vocabulary(metadata: Mapping[str, Any], stated: int | None, infos: Mapping[str, Any]) -> int:
    """How many tokens there are: what says so must say the same."""
    tokens = Settings(metadata, "tokenizer.ggml.", CheckpointError).length("tokens", None)
    if None not in (stated, tokens) and stated != tokens:
        raise CheckpointError("vocab_size is not the number of its tokens", found=stated, expected=tokens)
    shape = infos["token_embd.weight"].shape if "token_embd.weight" in infos else (0,)
    return int(next(n for n in (stated, tokens, *shape[:1], 0) if n is not None))


def _check_tensors(config: ModelConfig, infos: Mapping[str, Any]) -> None:
    left = set(infos) - {place.name for place in config.architecture.tensors if place.role == "factors"}
    for place in config.places():
        if not place.announced:
            continue
        if place.target not in infos or infos[place.target].shape != place.shape:
            shape = infos[place.target].shape if place.target in infos else None
            hint = "; config.json has words for biases of all matrices only" if place.target.endswith("bias") else ""
            raise CheckpointError(
                f"tensor {shortened(place.target)} is missing, or of another shape{hint}",
                found=shape,
                expected=place.shape,
            )
        left.discard(place.target)
    if left:
        what = f"there are tensors that a folder of the family {config.architecture.name!r} does not have"
        raise CheckpointError(what, found=", ".join(sorted(left)[:3]))


def _shortest(value: float) -> float:
    """A float32 as the shortest decimal that means it: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))
