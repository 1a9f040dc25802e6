"""MLmodel, the file that describes an MLflow model directory: which of its flavours is taken, where the model is, its signature
and its example. Plain data is read of it; no code is, and python_function is never used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from modeltap.errors import InvalidData
from modeltap.importing.unpacking import is_inside

MLMODEL = "MLmodel"
MAX_BYTES = 256 << 10
"""A signature of ten thousand columns has as many."""
MAX_EXAMPLE_BYTES = 16 << 20
MAX_DEPTH = 32
MAX_COLUMNS = 10_000
TAKEN = ("onnx", "keras", "tensorflow", "transformers", "sklearn", "skops")
PLACES = {
    "onnx": ("data",),
    "keras": ("data",),
    "tensorflow": ("data", "saved_model_dir"),
    "transformers": ("model_binary", "pipeline"),
    "sklearn": ("pickled_model",),
    "skops": ("data", "model_path", "pickled_model"),
}
"""Where each flavour says that its model is."""
EXPORTS = {
    "sklearn": 'mlflow.sklearn.save_model(model, "DIR", serialization_format="skops")',
    "pytorch": 'mlflow.onnx.save_model(onnx_model, "DIR"), with onnx_model from torch.onnx.export',
    "xgboost": 'mlflow.onnx.save_model(onnxmltools.convert_xgboost(model, …), "DIR")',
    "lightgbm": 'mlflow.onnx.save_model(onnxmltools.convert_lightgbm(model, …), "DIR")',
}
ANY_EXPORT = (
    "save it where it was made with mlflow.onnx, mlflow.keras or mlflow.transformers, or with mlflow.sklearn and"
    ' serialization_format="skops"'
)


class Described(NamedTuple):
    """What MLmodel says. `place` is relative and inside of the directory; `columns` what the signature calls the inputs."""

    flavour: str
    place: str
    columns: tuple[str, ...]
    example: str
    """Relative path of the input example; empty where there is none."""
    notices: list[str]


def read_mlmodel(folder: Path) -> Described:
    """Raises InvalidData for what cannot be read, and for a model that is kept as code or pickled, with the way out."""
    said = _document(folder / MLMODEL)
    flavours = said.get("flavors")
    if not isinstance(flavours, dict) or not flavours or not all(isinstance(name, str) for name in flavours):
        raise InvalidData(f"{MLMODEL} names no flavors; save the model anew: {ANY_EXPORT}")
    flavour = next((name for name in TAKEN if name in flavours), None)
    if flavour is None:
        raise _refusal(flavours)
    facts = flavours[flavour]
    if not isinstance(facts, dict):
        raise InvalidData(f"{MLMODEL}: the flavour {flavour} says nothing; save the model anew: {ANY_EXPORT}")
    place = next((facts[key] for key in PLACES[flavour] if isinstance(facts.get(key), str)), None)
    if flavour == "sklearn" and facts.get("serialization_format") != "skops":
        kept = str(facts.get("serialization_format", "pickle"))[:40]
        raise InvalidData(
            f"the scikit-learn model is kept by {kept}: opening it can run any code, so it is refused; where you trust it,"
            f" save it anew: {EXPORTS['sklearn']}"
        )
    if place is None or not is_inside(place) or not (folder / place).exists():
        raise InvalidData(
            f"{MLMODEL} says that the model is in {str(place)[:80]!r}, which is not in the directory; send the whole directory"
        )
    notices = []
    left = sorted(name for name in flavours if name not in (flavour, "python_function"))
    if left:
        notices.append(f"of the MLflow directory the flavour {flavour} was taken; not: {', '.join(left)[:200]}")
    if facts.get("code") or (isinstance(flavours.get("python_function"), dict) and flavours["python_function"].get("code")):
        notices.append("code that lies in the MLflow directory was not taken; it is never run here")
    return Described(flavour, place, _columns(said), _example(said, folder), notices)


def example_rows(path: Path) -> Any:
    """The rows of an input example, in the form that samples have. Raises InvalidData."""
    if path.stat().st_size > MAX_EXAMPLE_BYTES:
        raise InvalidData(f"the input example has more than {MAX_EXAMPLE_BYTES:,} bytes; save the model with a shorter one")
    try:
        said = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise InvalidData("the input example is no JSON; save the model anew, or without one") from None
    if isinstance(said, dict):
        if isinstance(said.get("columns"), list) and isinstance(said.get("data"), list):
            names = [str(name) for name in said["columns"]]
            return [dict(zip(names, row, strict=False)) for row in said["data"] if isinstance(row, list)]
        said = next((said[key] for key in ("dataframe_records", "instances", "inputs", "data") if key in said), said)
    if isinstance(said, dict) and said and all(isinstance(values, list) for values in said.values()):
        return [dict(zip(said, row, strict=False)) for row in zip(*said.values(), strict=False)]
    return said


def _document(path: Path) -> dict[str, Any]:
    import yaml

    class PlainLoader(yaml.SafeLoader):
        """Plain values alone: a reference could make billions of few bytes, and a key that stands twice means two things."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("it refers to parts of itself (&, *)")
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            if len({str(key) for key in keys}) != len(keys):
                raise yaml.YAMLError("a key stands twice")
            return super().construct_mapping(node, deep=deep)

    if path.stat().st_size > MAX_BYTES:
        raise InvalidData(f"{MLMODEL} has more than {MAX_BYTES:,} bytes; no model needs so many words")
    try:
        said = yaml.load(path.read_bytes(), Loader=PlainLoader)  # noqa: S506  a SafeLoader, with less
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as problem:
        told = "it is nested too deep" if isinstance(problem, RecursionError) else str(problem).splitlines()[0][:200]
        raise InvalidData(f"{MLMODEL} cannot be read: {told}; save the model anew") from None
    if not isinstance(said, dict):
        raise InvalidData(f"{MLMODEL} holds no keys; save the model anew")
    return said


def _refusal(flavours: Mapping[str, Any]) -> InvalidData:
    known = next((name for name in EXPORTS if name in flavours), None)
    others = [name for name in flavours if name != "python_function"]
    if not others:
        loader = flavours["python_function"]
        module = loader.get("loader_module") if isinstance(loader, dict) else None
        return InvalidData(
            f"the only flavour of the MLflow model is python_function (by {str(module)[:80]}), which is code: it is never run"
            f" here. Where you trust it, {ANY_EXPORT}"
        )
    way = f"save it anew: {EXPORTS[known]}" if known else ANY_EXPORT
    return InvalidData(
        f"the MLflow model has the flavours {', '.join(sorted(others))[:200]}; imported are {', '.join(TAKEN)}. Where you trust"
        f" it, {way}"
    )


def _columns(said: Mapping[str, Any]) -> tuple[str, ...]:
    """What the signature calls the inputs; empty where there is none, or its inputs have no names."""
    signature = said.get("signature")
    inputs = signature.get("inputs") if isinstance(signature, dict) else None
    if not isinstance(inputs, str):
        return ()
    try:
        columns = json.loads(inputs)
    except (ValueError, RecursionError):
        raise InvalidData(f"{MLMODEL}: the signature's inputs are no JSON; save the model anew") from None
    if not isinstance(columns, list) or len(columns) > MAX_COLUMNS:
        raise InvalidData(
            f"{MLMODEL}: the signature's inputs are no list of up to {MAX_COLUMNS:,} columns; save the model anew"
        )
    names = [column.get("name") for column in columns if isinstance(column, dict)]
    return tuple(name for name in names if isinstance(name, str)) if all(isinstance(name, str) for name in names) else ()


def _example(said: Mapping[str, Any], folder: Path) -> str:
    info = said.get("saved_input_example_info")
    place = info.get("artifact_path") if isinstance(info, dict) else None
    if not isinstance(place, str):
        return ""
    if not is_inside(place) or not (folder / place).is_file():
        raise InvalidData(f"{MLMODEL} says that the input example is in {place[:80]!r}, which is not in the directory")
    return place if place.endswith(".json") else ""
