"""What a Keras file says of its model, read before anything of it is built; a file that could bring code along is refused.

Keras builds whatever class its config names. So the config is walked first, and every class in it must be one that computes
with numbers and weights alone: the list stands here, not with the installed Keras.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modeltap.errors import InvalidData

CONFIG, META, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MAX_CONFIG_BYTES = 64 << 20
MAX_DEPTH = 200
MAX_LAYERS = 4000
"""The largest of Keras's own models have a thousand; it builds a list of twenty thousand for many minutes."""
EXPORT = 'model.save("model.keras")'
HDF5_START = b"\x89HDF\r\n\x1a\n"

_DIMENSIONS = {
    "Conv{}D", "Conv{}DTranspose", "MaxPooling{}D", "AveragePooling{}D", "GlobalMaxPooling{}D", "GlobalAveragePooling{}D",
    "AdaptiveMaxPooling{}D", "AdaptiveAveragePooling{}D", "SpatialDropout{}D", "Cropping{}D", "UpSampling{}D", "ZeroPadding{}D",
    "ConvLSTM{}D",
}  # fmt: skip
_LAYERS = {
    "InputLayer", "Dense", "EinsumDense", "Embedding", "Identity", "Masking", "Activation", "ELU", "LeakyReLU", "PReLU", "ReLU",
    "Softmax", "ThresholdedReLU", "AdditiveAttention", "Attention", "MultiHeadAttention", "GroupQueryAttention",
    "GroupedQueryAttention", "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D", "Add", "Average",
    "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract", "BatchNormalization", "GroupNormalization",
    "LayerNormalization", "RMSNormalization", "SpectralNormalization", "UnitNormalization", "Normalization", "Rescaling",
    "Resizing", "CenterCrop", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "ActivityRegularization",
    "Flatten", "Permute", "RepeatVector", "Reshape", "Bidirectional", "GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "SimpleRNN",
    "SimpleRNNCell", "StackedRNNCells", "TimeDistributed", "ReversibleEmbedding",
    *(name.format(axes) for name in _DIMENSIONS for axes in "123"),
}  # fmt: skip
_MODELS = {"Sequential", "Functional", "Model"}
_VALUES = {
    "__keras_tensor__",
    "__numpy__",
    "__tensor__",
    "__ellipsis__",
    "__slice__",
    "__tuple__",
    "TensorShape",
    "DTypePolicy",
}
_OTHERS = {"keras.initializers", "keras.regularizers", "keras.constraints", "keras.dtype_policies"}
"""Modules whose classes are settings of a layer."""
_OPERATIONS = ("keras.src.ops.numpy", "keras.src.ops.nn")
"""Of functional models: `x + y`, `ops.mean(x)`. Those that take a function stand elsewhere."""
CODE = {
    "Lambda": "a Lambda layer, which is Python code",
    "__lambda__": "a Python lambda, which is code",
    "function": "a Python function, which is code",
    "TorchModuleWrapper": "a TorchModuleWrapper, which holds a pickled network",
    "TFSMLayer": "a TFSMLayer, which runs a program of TensorFlow",
    "JaxLayer": "a JaxLayer, which is Python code",
    "FlaxLayer": "a FlaxLayer, which is Python code",
    "__typespec__": "a type of TensorFlow",
}
NO_NUMBERS = (
    "StringLookup",
    "IntegerLookup",
    "TextVectorization",
    "Hashing",
    "HashedCrossing",
    "CategoryEncoding",
    "Discretization",
)
"""What reads texts in Keras runs on TensorFlow alone."""
_SAFE_FUNCTIONS = {
    "linear", "relu", "relu6", "leaky_relu", "gelu", "elu", "selu", "celu", "tanh", "sigmoid", "hard_sigmoid", "softmax",
    "log_softmax", "softplus", "softsign", "swish", "silu", "hard_silu", "hard_swish", "exponential", "mish", "log_sigmoid",
    "glu", "tanh_shrink", "hard_tanh", "hard_shrink", "soft_shrink", "threshold", "sparse_plus", "sparse_sigmoid", "squareplus",
    "sparsemax",
}  # fmt: skip


def read_config(path: Path) -> dict[str, Any]:
    """The model's config, checked. Raises InvalidData for a file that is none of Keras's, is damaged, or names what is not
    built here, with the layer's name and a way out."""
    config = _config_of_zip(path) if zipfile.is_zipfile(path) else _config_of_hdf5(path)
    check_config(config)
    return config


def check_config(config: Mapping[str, Any]) -> None:
    """Raises InvalidData for a class that may not be built."""
    if config.get("class_name") not in _MODELS:
        raise InvalidData(
            f"the model is a {str(config.get('class_name'))[:80]}, a class that was written beside the file; rebuild it as a"
            f' Sequential or functional model of Keras\'s own layers, or export it as ONNX: model.export("model.onnx",'
            ' format="onnx")'
        )
    num_layers = 0
    for entry, layer in _classes(config):
        _check_class(entry, layer)
        num_layers += entry["class_name"] in _LAYERS
    if num_layers > MAX_LAYERS:
        raise InvalidData(
            f"the model has {num_layers:,} layers, and at most {MAX_LAYERS:,} are built; export it as ONNX:"
            ' model.export("model.onnx", format="onnx")'
        )


def _check_class(entry: Mapping[str, Any], layer: str) -> None:
    name, module = entry["class_name"], entry.get("module")
    where = f"the layer '{layer[:80]}' is" if layer else "the model holds"
    if not isinstance(name, str):
        raise InvalidData(f"{where} of no class that has a name; write the model anew: {EXPORT}")
    if name == "function" and _is_safe_function(entry):
        return
    if name in CODE:
        raise InvalidData(
            f"{where} {CODE[name]}, and a model from elsewhere brings no code; write it with layers instead (Rescaling,"
            ' Activation, Reshape, …), or export the model as ONNX where you trust it: model.export("model.onnx",'
            ' format="onnx")'
        )
    if name in NO_NUMBERS:
        raise InvalidData(
            f"{where} a {name}, which reads texts or categories in TensorFlow; save the model without it, and send it numbers"
        )
    is_own = module is None or (isinstance(module, str) and (module == "keras" or module.startswith("keras.")))
    registered = entry.get("registered_name")
    if is_own and registered in (None, name) and _is_allowed(name, module):
        return
    told = str(registered or name)[:80]
    raise InvalidData(
        f"{where} a '{told}', which is none of the layers that are imported; a layer of your own is Python code: write it with"
        ' Keras\'s own layers, or export the model as ONNX: model.export("model.onnx", format="onnx")'
    )


def _is_allowed(name: Any, module: str | None) -> bool:
    if name in _LAYERS or name in _MODELS or name in _VALUES:
        return True
    if module is None:
        return False
    return module in _OTHERS or module in _OPERATIONS


def _is_safe_function(entry: Mapping[str, Any]) -> bool:
    """Whether it names an activation of Keras's own."""
    return entry.get("module") in ("builtins", "keras.activations", None) and entry.get("config") in _SAFE_FUNCTIONS


def _classes(value: Any, layer: str = "", depth: int = 0) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Everything that Keras would build, with the name of the layer that it is in."""
    if depth > MAX_DEPTH:
        raise InvalidData("the model's config is nested too deeply")
    if isinstance(value, Mapping):
        if "class_name" in value:
            inner = value.get("config")
            named = inner.get("name") if isinstance(inner, Mapping) else None
            layer = named if isinstance(named, str) and value["class_name"] not in _VALUES else layer
            yield value, layer
        for key, part in value.items():
            if key not in ("compile_config", "build_config"):
                yield from _classes(part, layer, depth + 1)
    elif isinstance(value, list):
        for part in value:
            yield from _classes(part, layer, depth + 1)


def _config_of_zip(path: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {member.filename: member for member in archive.infolist()}
            if CONFIG not in names or WEIGHTS not in names:
                raise InvalidData(
                    f"the archive is no model of Keras 3: it has no {CONFIG} or no {WEIGHTS}; write it with {EXPORT}"
                )
            if names[CONFIG].file_size > MAX_CONFIG_BYTES:
                raise InvalidData(f"{CONFIG} has more than {MAX_CONFIG_BYTES:,} bytes")
            content = archive.read(CONFIG)
            with archive.open(WEIGHTS) as weights:
                _check_links(weights)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, ValueError):
        raise InvalidData(f"the archive is damaged; write it anew: {EXPORT}") from None
    return _parsed(content)


def _config_of_hdf5(path: Path) -> dict[str, Any]:
    import h5py

    with path.open("rb") as file:
        if file.read(len(HDF5_START)) != HDF5_START:
            raise InvalidData(f"the file is no HDF5 file and no archive of Keras's; write it with {EXPORT}")
    try:
        with h5py.File(path, "r") as file:
            content = file.attrs.get("model_config")
            _check_groups(file)
            has_weights = "model_weights" in file
    except (OSError, KeyError, ValueError, RuntimeError):
        raise InvalidData(f"the file is damaged; write it anew: {EXPORT}") from None
    if content is None or not has_weights:
        raise InvalidData(
            f"the file holds weights without their model, as model.save_weights writes them; write both: {EXPORT}"
        )
    return _parsed(content)


def _check_links(file: Any) -> None:
    import h5py

    with h5py.File(file, "r") as opened:
        _check_groups(opened)


def _check_groups(file: Any) -> None:
    """Raises InvalidData for links and data that lie in other files."""
    import h5py

    waiting, seen = [file["/"]], set()
    while waiting:
        group = waiting.pop()
        place = h5py.h5o.get_info(group.id).addr
        if place in seen:
            raise InvalidData(f"the groups of the file lead in a circle; write the model anew: {EXPORT}")
        seen.add(place)
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise InvalidData(f"'{name[:80]}' in the file is a link to elsewhere; write the model anew: {EXPORT}")
            part = group[name]
            if isinstance(part, h5py.Group):
                waiting.append(part)
            elif not isinstance(part, h5py.Dataset):
                raise InvalidData(f"'{name[:80]}' in the file is a type, and no numbers; write the model anew: {EXPORT}")
            elif part.external or part.is_virtual:
                raise InvalidData(f"the numbers of '{name[:80]}' lie in another file; write the model anew: {EXPORT}")


def _parsed(content: str | bytes) -> dict[str, Any]:
    try:
        config = json.loads(content)
    except (ValueError, TypeError, RecursionError):
        raise InvalidData(f"the model's config is no JSON; write it anew: {EXPORT}") from None
    if not isinstance(config, dict):
        raise InvalidData(f"the model's config is no object; write it anew: {EXPORT}")
    return config
