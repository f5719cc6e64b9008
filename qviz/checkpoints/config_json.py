"""What a Hugging Face config.json says, in the words of its family's record: sizes, positions, windows.

Each value is checked when it is taken, and what llama.cpp has no words for is refused.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from qviz.architectures import ARCHITECTURES, REQUIRED, Architecture, Setting, size
from qviz.errors import CheckpointError, printable
from qviz.gguf.values import F32, U32

_LARGEST, _LARGEST_FLOAT = 1 << 31, float(np.finfo(np.float32).max)
_ACTIVATIONS = ("hidden_act", "hidden_activation", "activation_function")
YARN = {
    "yarn_ext_factor": ("extrapolation_factor",),
    "yarn_attn_factor": ("attention_factor", "attn_factor"),
    "yarn_beta_fast": ("beta_fast",),
    "yarn_beta_slow": ("beta_slow",),
}
_YARN_KEYS = tuple(name for names in YARN.values() for name in names)
# What any kind may have, or says a second time.
_ROPE_KEYS = ("rope_type", "type", "rope_theta", "finetuned", "original_max_position_embeddings")
_ROPE_NEUTRAL = {"partial_rotary_factor": 1, "factor": 1, "truncate": True}
_ROPE_NUMBERS = {
    "linear": ("factor",),
    "yarn": ("factor", "original_max_position_embeddings"),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "longrope": ("original_max_position_embeddings",),
}
# Without scaling; and dynamic NTK scaling, which begins only behind the context length.
_ROPE_UNSCALED = (None, "default", "dynamic")
_LONG = ("long_factor", "short_factor")
_WINDOWED, _FULL = "sliding_attention", "full_attention"

_NULL_IS_NONE = ("window", "attention_cap", "logit_cap")  # settings that a key without a value switches off

Rope = dict[str, Any]


def family_of(config: Mapping[str, Any], path: Path) -> tuple[Architecture, Mapping[str, object]]:
    """The record of a folder's architecture, and what its class means where config.json is silent.

    Parameters
    ----------
    config : mapping
        The contents of a config.json.
    path : pathlib.Path
        For errors.

    Raises
    ------
    CheckpointError
        One that is not known here, or weights that are quantized already.
    """
    named = config.get("architectures") or [None]
    class_name = named[0] if isinstance(named, list) else named
    for architecture in ARCHITECTURES.values():
        if isinstance(class_name, str) and class_name in architecture.classes:
            return architecture, architecture.classes[class_name]
    known = sorted(name for architecture in ARCHITECTURES.values() for name in architecture.classes)
    raise CheckpointError(
        "this architecture cannot be converted here",
        path=path,
        found=class_name or config.get("model_type"),
        expected=", ".join(known),
    )


def language_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of a model that reads text alone, out of those of one that has more parts.

    Such a config.json holds them apart, as `text_config`; beside it stand the class, and what begins and ends a text.
    """
    inner = config.get("text_config")
    if not isinstance(inner, dict):
        return config
    shared = {"architectures", "tie_word_embeddings"} | {key for key in config if key.endswith("_token_id")}
    return {**inner, **{key: value for key, value in config.items() if key in shared}}


class ConfigReader:
    """Takes values out of config.json, checking each.

    Parameters
    ----------
    config : mapping
    path : pathlib.Path
        For errors.
    architecture : Architecture
    assumed : mapping
        What a key means that is not there.
    """

    def __init__(
        self, config: Mapping[str, Any], path: Path, architecture: Architecture, assumed: Mapping[str, object]
    ) -> None:
        self._config, self._path = config, path
        self._architecture, self._assumed = architecture, assumed
        self._own = {setting.name for setting in architecture.settings}

    def _error(self, what: str, found: Any, expected: Any = None) -> CheckpointError:
        return CheckpointError(what, path=self._path, found=found, expected=expected)

    def said(self, keys: str) -> Any:
        """The value of a key, or of another name that it has; None if there is none."""
        return next((v for key in keys.split(" or ") if (v := self._config.get(key)) is not None), None)

    def setting(self, setting: Setting, values: Mapping[str, Any]) -> Any:
        """The value of a setting, GGUF's default where nobody says another; `values` are those before it."""
        value = self.said(setting.source)
        if value is None and setting.name in _NULL_IS_NONE and setting.source in self._config:
            if setting.kind == "number" and setting.least != 0:
                raise self._error(f"llama.cpp runs this architecture with a number as {setting.source} only", "null")
            return 0
        if value is None:
            value = next((self._assumed[key] for key in setting.source.split(" or ") if key in self._assumed), None)
            if value is None:
                if setting.default is REQUIRED or setting.name == "n_vocab":
                    raise CheckpointError(f"it does not say {setting.source.split(' or ')[0]}", path=self._path)
                value = setting.default
            if isinstance(value, str):
                value = size(value, values)
            return value
        if setting.kind == "count":
            return self._count(setting.source, value, least=0 if setting.least == 0 else 1)
        return _number(setting.source, value, self._path)  # in GGUF 0 may mean none; here it would mean 0

    def _count(self, key: str, value: Any, least: int = 1) -> int:
        if type(value) is not int or not least <= value < _LARGEST:
            raise self._error(f"{key} must be a positive whole number", value)
        return value

    def count(self, key: str, default: int) -> int:
        """A positive whole number."""
        value = self._config.get(key)
        return default if value is None else self._count(key, value)

    def meant(self, key: str) -> Any:
        """The value of a key, or what the class means where config.json is silent."""
        return self._config.get(key, self._assumed.get(key))

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        value = self._config.get(key)
        value = self._assumed.get(key, default) if value is None else value
        if not isinstance(value, bool):
            raise self._error(f"{key} must be true or false", value)
        return value

    def check_only(self) -> None:
        """Refuse what llama.cpp cannot be told."""
        for key, allowed in self._architecture.only.items():
            value = self._config.get(key)
            value = self._assumed.get(key) if value is None else value
            plain = tuple(value) if isinstance(value, list) else value
            if value is None or any(plain == x and isinstance(plain, bool) == isinstance(x, bool) for x in allowed):
                continue
            names = " or ".join(str(x) for x in allowed)
            what = names if key in _ACTIVATIONS else f"{key} {names}"
            raise self._error(f"llama.cpp runs this architecture with {what} only", value)

    def context(self, rope: Rope, longest: int) -> int:
        """Tokens up to which the converted model computes what the original does.

        Attention within a window, where a GGUF file of this architecture has no word for it, and scaling that begins
        behind some length are not written; so the context ends where they begin.
        """
        # classes that say what silence means read no switch; elsewhere it decides
        window = self.meant("sliding_window")
        off = "use_sliding_window" in self._architecture.only
        on = "sliding_window" in self._assumed or self.flag("use_sliding_window", not off)
        if "window" not in self._own and window and on:
            longest = min(longest, self._count("sliding_window", window))
        if rope.get("rope_type") == "dynamic":
            first = rope.get("original_max_position_embeddings", longest)
            longest = min(longest, self.count("original_max_position_embeddings", first))
        return longest

    # -- positions

    def rope(self, values: Mapping[str, Any]) -> tuple[Rope, Rope | None]:
        """Rotary positions of layers that see everything, and of windowed ones where those are told apart.

        Scaling is under the names of today; older files say `type` and `rope_scaling`.
        """
        given = [self._config[key] for key in ("rope_parameters", "rope_scaling") if self._config.get(key)]
        if not all(isinstance(value, dict) for value in given):
            raise self._error("rope_scaling must be an object", given[0])
        if not given and (assumed := self._assumed.get("rope_parameters")):
            given = [cast(Rope, assumed)]
        windowed: Rope | None = None
        windowed_apart = self._architecture.window_rope == "unscaled" and "sliding_window" in self._assumed
        if "window" in self._own and given and any(isinstance(given[0].get(k), dict) for k in (_WINDOWED, _FULL)):
            apart = given[0]
            if not set(apart) <= {_WINDOWED, _FULL} or not isinstance(apart.get(_FULL), dict):
                raise self._error("rope_parameters must have an object for each kind of layer", apart)
            given = [apart[_FULL], *given[1:]]
            if isinstance(apart.get(_WINDOWED), dict):
                base = self.meant("rope_local_base_freq")
                windowed = self._one_rope([{"rope_theta": base, **apart[_WINDOWED]}], values)
        elif self._config.get("rope_parameters") and windowed_apart:
            what = "rope_parameters must have an object for each kind of layer: its class reads nothing else"
            raise self._error(what, given[0])
        full = self._one_rope(given, values)
        local = self._config.get("rope_local_base_freq")
        if local is not None and windowed is None:
            windowed = {"rope_theta": _number("rope_local_base_freq", local, self._path)}
        if windowed is not None:
            self._check_windowed(windowed, full)
        return full, windowed

    def _check_windowed(self, windowed: Rope, full: Rope) -> None:
        """Windowed layers are stretched like the others or not at all, as the family has it."""
        kind = windowed.get("rope_type")
        scaled = {k: v for k, v in windowed.items() if k not in ("rope_theta", "type")}
        like = {k: v for k, v in full.items() if k not in ("rope_theta", "type")}
        if self._architecture.window_rope == "unscaled" and kind not in (None, "default"):
            raise self._error("llama.cpp does not stretch positions in windowed layers of this architecture", windowed)
        if "window_rope_base" not in self._own and windowed.get("rope_theta") != full["rope_theta"]:
            raise self._error("llama.cpp turns windowed layers of this architecture as fast as the others", windowed)
        if self._architecture.window_rope == "same" and scaled != like:
            raise self._error("llama.cpp stretches positions in windowed layers as in the others", windowed)

    def _one_rope(self, given: list[dict[str, Any]], values: Mapping[str, Any]) -> Rope:
        value = given[0] if given else {}
        rope: Rope = {"rope_type": value.get("type"), **{key: item for key, item in value.items() if item is not None}}
        kind = "longrope" if rope["rope_type"] == "su" else rope["rope_type"]  # its first name
        for other in given[1:]:
            if any(rope.get("rope_type" if key == "type" else key) != item for key, item in other.items()):
                what = "rope_parameters and rope_scaling contradict each other; delete one"
                raise self._error(what, other, str(value)[:80])
        if not isinstance(kind, str | None) or kind not in (*_ROPE_UNSCALED, *self._kinds()):
            raise self._error("this kind of rope scaling cannot be converted here", kind, ", ".join(self._kinds()))
        rope["rope_type"] = kind
        self._check_known(rope, kind)
        longest = values["n_ctx"]
        for key in _ROPE_NUMBERS.get(str(kind), ()):
            if key == "original_max_position_embeddings":
                stated = self.count(key, 0) or self._assumed.get(key)
                if rope.setdefault(key, stated or longest) != (stated or rope[key]):  # Phi-3 reads the outer one only
                    what = f"{key} is given twice, or once and silence means another; delete one"
                    raise self._error(what, rope[key], stated)
            _number(key, rope.get(key, "nothing"), self._path)
        for key in (name for names in YARN.values() for name in names if kind == "yarn"):
            if type(rope.get(key, 0)) not in (int, float):
                raise self._error(f"{key} must be a number", rope[key])
        if kind == "yarn" and rope.get("truncate") is False:
            what = "llama.cpp rounds the ends of YaRN's ramp, though truncate is false here"
            where = self._path.parent.name or self._path
            text = f"{where}: {what}; answers differ a little, the more the narrower a head"
            warnings.warn(printable(text), stacklevel=2)
        usual = 1 + 0.1 * math.log(max(rope["factor"], 1)) if kind == "yarn" else 0
        if kind == "yarn" and math.isclose(rope.get("attention_factor", 0), usual, rel_tol=1e-6):
            del rope["attention_factor"]  # what YaRN's magnitude is in any case
        if kind == "llama3" and rope["low_freq_factor"] == rope["high_freq_factor"]:
            raise self._error("low_freq_factor and high_freq_factor must differ", rope)
        rope["rope_theta"] = self._theta(rope)
        return rope

    def _kinds(self) -> list[str]:
        """Kinds of scaling that the family has words for."""
        places = {place.name for place in self._architecture.tensors}
        kinds = [kind for kind in ("linear", "yarn") if "rope_factor" in self._own]
        kinds += ["llama3"] if "rope_freqs.weight" in places else []
        return kinds + (["longrope"] if "rope_factors_long.weight" in places else [])

    def _check_known(self, rope: Rope, kind: str | None) -> None:
        known = {*_ROPE_KEYS, *_ROPE_NUMBERS.get(str(kind), ()), *(_YARN_KEYS if kind == "yarn" else ())}
        known |= {"factor", "alpha"} if kind == "dynamic" else set()
        known |= {*_LONG, "factor", "attention_factor"} if kind == "longrope" else set()
        known |= {"partial_rotary_factor"} if "partial_rotary_factor" in self._assumed else set()
        known |= {"truncate"} if "truncate" in self._assumed else set()
        if left := [key for key in rope if key not in known and rope[key] != _ROPE_NEUTRAL.get(key, "")]:
            what = f"rope scaling {kind!r} has a setting that is not known here: {left[0]!r}"
            raise self._error(what, rope[left[0]])

    def _theta(self, rope: Rope) -> float:
        """The base of rotary frequencies: beside the scaling, or within it, as transformers 5 has it."""
        outside = self._config.get("rope_theta")
        if "rope_theta" not in rope:
            assumed = self._assumed.get("rope_theta", 1e4)
            return _number("rope_theta", assumed if outside is None else outside, self._path)
        if outside is not None and outside != rope["rope_theta"]:
            what = "rope_theta is given twice; delete one"
            raise self._error(what, outside, str(rope["rope_theta"])[:80])
        return _number("rope_theta", rope["rope_theta"], self._path)

    def turned_part(self, rope: Rope, head_size: int) -> int:
        """How much of a head turns."""
        if "partial_rotary_factor" not in self._assumed:
            return head_size
        outside = self._config.get("partial_rotary_factor")
        value = rope.get("partial_rotary_factor", outside)
        if outside is not None and outside != value:
            raise self._error("partial_rotary_factor is given twice; delete one", outside, value)
        part = int(head_size * (1.0 if value is None else _number("partial_rotary_factor", value, self._path)))
        if not 0 < part <= head_size or part % 2:
            raise self._error(f"{part} of {head_size} values of a head would turn", value, "pairs that fit a head")
        return part

    # -- layers

    def check_layers(self, values: dict[str, Any]) -> None:
        """Which layers have windows and which ones turn: as the family has it, else written, else refused."""
        n, family = values["n_layers"], self._architecture
        step = family.unturned
        stated = self._config.get("no_rope_layers")
        interval = self._config.get("no_rope_layer_interval")
        if stated is None and interval not in (None, step):  # read only where the layers are not listed
            raise self._error("llama.cpp turns other layers of this architecture", interval, step)
        if stated is not None:
            turns = [
                int(not step or (i + 1) % step != 0) for i in range(len(_of_each("no_rope_layers", stated, n, self)))
            ]
            if stated != turns:
                raise self._error("llama.cpp turns other layers of this architecture", stated, str(turns)[:80])
        if "window" not in self._own:
            return
        kept = next(s for s in family.settings if s.name == "window").default is None
        if kept and "sliding_window" not in self._assumed:  # one class has windows, this one does not
            for key in ("sliding_window", "layer_types"):
                if (value := self._config.get(key)) and value != [_FULL] * n:
                    what = f"{key!r} is a setting of another class of this family; if it changes nothing, delete it"
                    raise self._error(what, value)
        if not values.get("window"):
            # no window at all: where a default would make one, it is as long as the context
            values["window"] = None if kept else values["n_ctx"]
            return
        period = self._count("sliding_window_pattern", self._config.get("sliding_window_pattern") or family.windowed)
        if period != family.windowed and "sliding_window_pattern" not in self._assumed:
            raise self._error("sliding_window_pattern is read by no class of this family", period, family.windowed)
        pattern: int | list[bool] = period
        kinds = self._config.get("layer_types")
        if kinds is not None:
            _of_each("layer_types", kinds, n, self)
            if not set(map(str, kinds)) <= {_WINDOWED, _FULL}:
                raise self._error("layer_types names a kind that is not known here", kinds, f"{_WINDOWED} or {_FULL}")
            pattern = [kind == _WINDOWED for kind in kinds]
            if pattern == [i % family.windowed < family.windowed - 1 for i in range(n)]:
                pattern = family.windowed
        if pattern != family.windowed:
            values["window_pattern"] = pattern


def _of_each(key: str, value: Any, n_layers: int, reader: ConfigReader) -> list[Any]:
    """A list with a value for each layer."""
    if not isinstance(value, list) or len(value) != n_layers:
        raise reader._error(f"{key} must have a value for each of {n_layers} layers", value)
    return value


def rope_metadata(rope: Rope, windowed: Rope | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """The ``rope.`` keys of a GGUF file."""
    settings: dict[str, Any] = {}
    kind = rope.get("rope_type")
    if kind in ("linear", "yarn"):
        settings = {"scaling.type": kind, "scaling.factor": F32(rope["factor"])}
        if kind == "yarn":
            settings["scaling.original_context_length"] = U32(rope["original_max_position_embeddings"])
            for key, names in YARN.items():
                if said := [rope[name] for name in names if name in rope]:
                    settings[f"scaling.{key}"] = F32(said[0])
    if kind == "longrope":
        settings["scaling.original_context_length"] = U32(rope["original_max_position_embeddings"])
        settings["scaling.attn_factor"] = F32(_long_magnitude(rope, values["n_ctx"]))
    settings |= {"freq_base": F32(rope["rope_theta"]), "dimension_count": U32(values["rope_size"])}
    if windowed is not None:
        settings["freq_base_swa"] = F32(windowed["rope_theta"])
    return {f"rope.{key}": value for key, value in settings.items()}


def rope_factors(rope: Rope, rope_size: int, path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """What rotary frequencies are divided by, float32 (rope_size / 2,), by the names of GGUF's tensors."""
    kind = rope.get("rope_type")
    if kind == "llama3":
        return {"rope_freqs.weight": _llama3(rope, rope_size)}
    if kind != "longrope":
        return {}
    factors = {}
    for key in _LONG:
        values = rope.get(key)
        numbers = isinstance(values, list) and all(type(x) in (int, float) and 0 < x < _LARGEST_FLOAT for x in values)
        if not isinstance(values, list) or not numbers or len(values) != rope_size // 2:
            raise CheckpointError(
                f"{key} must be {rope_size // 2} positive numbers, one for each pair that turns",
                path=path,
                found=values,
            )
        factors[f"rope_factors_{key.split('_')[0]}.weight"] = np.array(values, np.float32)
    return factors


def _llama3(rope: Rope, rope_size: int) -> npt.NDArray[np.float32]:
    factor, low, high = (float(rope[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    context = float(rope["original_max_position_embeddings"])
    exponents = np.arange(0, rope_size, 2, dtype=np.float32) / np.float32(rope_size)
    wavelength = 2 * math.pi * np.float64(rope["rope_theta"]) ** exponents
    # short waves stay, long ones are stretched by the whole factor, those between by part of it
    smooth = np.clip((context / wavelength - low) / (high - low), 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def _long_magnitude(rope: Rope, n_ctx: int) -> float:
    """What Phi-3 multiplies sines and cosines with."""
    stated = rope.get("attention_factor")
    if isinstance(stated, int | float) and not isinstance(stated, bool):
        return float(stated)
    original = rope["original_max_position_embeddings"]
    factor = rope["factor"] if type(rope.get("factor")) in (int, float) else n_ctx / original
    return math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 and original > 1 else 1.0


def _number(key: str, value: Any, path: Path) -> float:
    if type(value) not in (int, float) or not 0 < value < _LARGEST_FLOAT:
        raise CheckpointError(f"{key} must be a positive number", path=path, found=value)
    return float(value)
