"""A Keras `Sequential` as the layers of a recipe, and its weights under their names here, in torch's order of axes.

Letters: I inputs, O outputs, H height, W width, U units.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modeltap.recipe.layers import KEYS, Activation, Layer, read_layer

Arrays = dict[str, NDArray[Any]]
FUNCTIONS = frozenset(Activation.__args__)  # type: ignore[attr-defined]
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class Converted(NamedTuple):
    """The layers, in their order, and weights by their names in the network that is built of them."""

    layers: tuple[Layer, ...]
    weights: Arrays


class _Other(Exception):
    """A layer, or a setting of one, that a recipe cannot say; it goes no further than this file."""


def convert_sequential(model: Any) -> Converted | str:
    """The layers and weights of the Keras model, or why it cannot be written as those of a recipe."""
    layers: list[Layer] = []
    weights: Arrays = {}
    try:
        for layer in model.layers:
            kind = type(layer).__name__
            if kind not in _CONVERT:
                raise _Other(f"a {kind}")
            config = layer.get_config()
            if config.get("dtype") and not _is_float32(config["dtype"]):
                raise _Other(f"a {kind} of other numbers than float32")
            for own_kind, keys, arrays in _CONVERT[kind](layer, config):
                named = "name" in KEYS[own_kind].__struct_fields__ and own_kind != "activation"
                name = _name(config["name"], len(layers)) if named else None
                layers.append(read_layer({own_kind: {**keys, **({"name": name} if name else {})}}))
                weights |= {f"{name}.{part}": np.ascontiguousarray(array, np.float32) for part, array in arrays.items()}
    except _Other as other:
        return str(other)
    except ValueError as problem:
        return str(problem)[:200]
    if not layers:
        return "no layers"
    return Converted(tuple(layers), weights)


def _name(name: str, place: int) -> str:
    return name if NAME.fullmatch(name) else f"layer_{place}"


def _is_float32(dtype: Any) -> bool:
    said = dtype.get("config", {}).get("name") if isinstance(dtype, Mapping) else dtype
    return said in (None, "float32")


_Parts = list[tuple[str, dict[str, Any], Arrays]]


def _activation(given: Any) -> str:
    name = given.get("config") if isinstance(given, Mapping) else given
    if name not in FUNCTIONS:
        raise _Other(f"the function {str(name)[:40]}")
    return str(name)


def _only(config: Mapping[str, Any], **wanted: Any) -> None:
    """Raises _Other for a setting that a recipe cannot say."""
    for key, value in wanted.items():
        given = config.get(key, value)
        if (list(given) if isinstance(given, list | tuple) else given) != value:
            raise _Other(f"{key} {given!r:.40}")


def _arrays(layer: Any) -> list[NDArray[Any]]:
    return [np.asarray(array) for array in layer.get_weights()]


def _dense(layer: Any, config: Mapping[str, Any]) -> _Parts:
    _only(config, lora_rank=None, quantization_config=None)
    kernel_IO, *bias = _arrays(layer)
    keys = {"units": config["units"], "activation": _activation(config["activation"]), "bias": config["use_bias"]}
    return [("dense", keys, {"weight": kernel_IO.T, **_bias(bias)})]


def _conv2d(layer: Any, config: Mapping[str, Any]) -> _Parts:
    _only(config, data_format="channels_last", dilation_rate=[1, 1], groups=1, lora_rank=None)
    kernel_HWIO, *bias = _arrays(layer)
    keys = {
        "filters": config["filters"],
        "kernel": list(config["kernel_size"]),
        "stride": list(config["strides"]),
        "padding": config["padding"],
        "activation": _activation(config["activation"]),
        "bias": config["use_bias"],
    }
    return [("conv2d", keys, {"weight": kernel_HWIO.transpose(3, 2, 0, 1), **_bias(bias)})]


def _bias(arrays: list[NDArray[Any]]) -> Arrays:
    return {"bias": arrays[0]} if arrays else {}


def _pool(kind: str) -> Callable[[Any, Mapping[str, Any]], _Parts]:
    def convert(layer: Any, config: Mapping[str, Any]) -> _Parts:
        _only(config, data_format="channels_last")
        keys = {
            "size": list(config["pool_size"]),
            "stride": list(config["strides"] or config["pool_size"]),
            "padding": config["padding"],
        }
        return [(kind, keys, {})]

    return convert


def _global_average(layer: Any, config: Mapping[str, Any]) -> _Parts:
    _only(config, data_format="channels_last", keepdims=False)
    return [("globalavgpool2d", {}, {})]


def _flatten(layer: Any, config: Mapping[str, Any]) -> _Parts:
    _only(config, data_format="channels_last")
    return [("flatten", {}, {})]


def _reshape(layer: Any, config: Mapping[str, Any]) -> _Parts:
    return [("reshape", {"shape": list(config["target_shape"])}, {})]


def _dropout(layer: Any, config: Mapping[str, Any]) -> _Parts:
    return [("dropout", {"rate": config["rate"]}, {})]


def _batch_norm(layer: Any, config: Mapping[str, Any]) -> _Parts:
    axis = config["axis"][0] if isinstance(config["axis"], list | tuple) else config["axis"]
    if axis not in (-1, len(layer.input.shape) - 1):
        raise _Other(f"axis {axis}")
    _only(config, center=True, scale=True, renorm=False)
    gamma, beta, mean, variance = _arrays(layer)
    inner = "norm." if len(layer.input.shape) == 3 else ""
    named = {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": variance}
    keys = {"momentum": config["momentum"], "epsilon": config["epsilon"]}
    return [("batchnorm", keys, {inner + part: array for part, array in named.items()})]


def _function(layer: Any, config: Mapping[str, Any]) -> _Parts:
    return [("activation", {"name": _activation(config["activation"])}, {})]


def _relu(layer: Any, config: Mapping[str, Any]) -> _Parts:
    _only(config, max_value=None, negative_slope=0.0, threshold=0.0)
    return [("activation", {"name": "relu"}, {})]


def _leaky_relu(layer: Any, config: Mapping[str, Any]) -> _Parts:
    if abs(config["negative_slope"] - 0.2) > 1e-7:
        raise _Other(f"a LeakyReLU of slope {config['negative_slope']:g}")
    return [("activation", {"name": "leaky_relu"}, {})]


def _elu(layer: Any, config: Mapping[str, Any]) -> _Parts:
    _only(config, alpha=1.0)
    return [("activation", {"name": "elu"}, {})]


def _softmax(layer: Any, config: Mapping[str, Any]) -> _Parts:
    _only(config, axis=-1)
    return [("activation", {"name": "softmax"}, {})]


def _embedding(layer: Any, config: Mapping[str, Any]) -> _Parts:
    _only(config, mask_zero=False, lora_rank=None)
    (table,) = _arrays(layer)
    return [("embedding", {"dim": config["output_dim"], "vocabulary": config["input_dim"]}, {"weight": table})]


def _recurrent(layer: Any, config: Mapping[str, Any]) -> _Parts:
    kind = type(layer).__name__.lower()
    keys = {"units": config["units"], "return_sequences": config["return_sequences"]}
    return [(kind, keys, _cells(layer, config, ""))]


def _bidirectional(layer: Any, config: Mapping[str, Any]) -> _Parts:
    _only(config, merge_mode="concat")
    forward, backward = layer.forward_layer, layer.backward_layer
    kind = type(forward).__name__
    if kind not in ("LSTM", "GRU") or type(backward).__name__ != kind or not backward.go_backwards:
        raise _Other(f"a Bidirectional of {kind}")
    inner = forward.get_config()
    keys = {"units": inner["units"], "return_sequences": inner["return_sequences"], "bidirectional": True}
    weights = _cells(forward, inner, "") | _cells(backward, {**backward.get_config(), "go_backwards": False}, "_reverse")
    return [(kind.lower(), keys, weights)]


def _cells(layer: Any, config: Mapping[str, Any], ending: str) -> Arrays:
    """A direction's weights as torch has them: the gates of GRU in another order, and two biases, whose sum counts."""
    _only(config, activation="tanh", recurrent_activation="sigmoid", use_bias=True, go_backwards=False, stateful=False)
    _only(config, return_state=False)
    kernel_IU, recurrent_UU, bias = _arrays(layer)
    if type(layer).__name__ == "GRU":
        if not config["reset_after"]:
            raise _Other("a GRU with reset_after False")
        bias_in, bias_own = (_regated(part) for part in bias)
        kernel_IU, recurrent_UU = _regated(kernel_IU), _regated(recurrent_UU)
    else:
        bias_in, bias_own = bias, np.zeros_like(bias)
    return {
        f"cells.weight_ih_l0{ending}": kernel_IU.T,
        f"cells.weight_hh_l0{ending}": recurrent_UU.T,
        f"cells.bias_ih_l0{ending}": bias_in,
        f"cells.bias_hh_l0{ending}": bias_own,
    }


def _regated(array: NDArray[Any]) -> NDArray[Any]:
    """update, reset, new → reset, update, new."""
    update, reset, new = np.split(array, 3, axis=-1)
    return np.concatenate([reset, update, new], axis=-1)


_CONVERT: dict[str, Callable[[Any, Mapping[str, Any]], _Parts]] = {
    "InputLayer": lambda layer, config: [],
    "Dense": _dense,
    "Conv2D": _conv2d,
    "MaxPooling2D": _pool("maxpool2d"),
    "AveragePooling2D": _pool("avgpool2d"),
    "GlobalAveragePooling2D": _global_average,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Dropout": _dropout,
    "BatchNormalization": _batch_norm,
    "Activation": _function,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "Softmax": _softmax,
    "Embedding": _embedding,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "Bidirectional": _bidirectional,
}
