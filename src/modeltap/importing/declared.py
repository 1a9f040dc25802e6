"""What a recipe (or a Keras model's own config) says of a network that is imported: its layers, its input, output and task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from modeltap.domain.dataset import Column, Schema
from modeltap.domain.features import FeatureSpec
from modeltap.domain.recipe import Recipe
from modeltap.errors import InvalidRecipe
from modeltap.importing.import_options import ImportOptions
from modeltap.recipe.architectures import SequentialOptions, find_architecture, parse_options
from modeltap.recipe.document import load_document
from modeltap.recipe.layers import Embedding, Layer, render_layer
from modeltap.recipe.parse import parse_recipe
from modeltap.recipe.render import render_recipe
from modeltap.tasks import image_classification, tabular_classification, tabular_regression, tensors
from modeltap.tasks.catalogue import find_task

ARCHITECTURE_NAME = "sequential"
CLASSES = (tabular_classification.TASK.name, image_classification.TASK.name)
NUMBERS = tabular_regression.TASK.name
TASKS = (tensors.TASK.name, *CLASSES, NUMBERS)
INPUT, OUTPUT = "x", "y"
PICTURES = ("conv2d", "maxpool2d", "avgpool2d", "globalavgpool2d")
"""Where one of these is, torch has the channels first, unless the recipe says otherwise."""
EXAMPLE = """
model:
  architecture: sequential
  input: {name: x, shape: [10]}
  output: {name: y_pred}
  layers:
    - dense: {units: 10, activation: relu}
    - dense: {units: 1}"""


@dataclass(frozen=True)
class Declared:
    """A network whose layers are known. `task` is `tensors` where nobody said what it is for."""

    options: SequentialOptions
    shape: tuple[int, ...]
    """Of one sample of the input."""
    input: str
    output: str
    task: str
    labels: tuple[str, ...]

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.options.layers

    @property
    def embedding(self) -> Embedding | None:
        """The first layer, where the input is tokens."""
        keys = self.layers[0].keys
        return keys if isinstance(keys, Embedding) else None

    def spec(self) -> FeatureSpec:
        """What arrives at the first layer. Raises InvalidRecipe for tokens of no known number."""
        if self.embedding is None:
            return FeatureSpec(shape=self.shape)
        if self.embedding.vocabulary is None:
            raise InvalidRecipe("model.layers[0] (embedding): vocabulary is missing; it is the number of rows of its weight")
        if len(self.shape) != 1:
            raise InvalidRecipe(f"model.input.shape is {list(self.shape)}; of tokens it is how many there are, such as [32]")
        return FeatureSpec(cardinalities=(self.embedding.vocabulary,) * math.prod(self.shape))

    def schema(self) -> Schema:
        """The input as the only column of a row."""
        datatype: Any = "FP32" if self.embedding is None else "INT64"
        column = Column(name=self.input, kind="array", shape=self.shape, datatype=datatype)
        return Schema(form="arrays", columns=(column,), missing=())


def read_declared(options: ImportOptions) -> Declared:
    """What the recipe says. Raises InvalidRecipe, with an example where there is none or it says too little."""
    if not options.recipe:
        raise InvalidRecipe(
            "weights alone do not say what their network is; give its layers as a recipe (--recipe net.yaml), such as:"
            + EXAMPLE
        )
    document = load_document(options.recipe)
    model = document.get("model")
    said = model if isinstance(model, Mapping) else {}
    if said.get("architecture", ARCHITECTURE_NAME) != ARCHITECTURE_NAME or "layers" not in said:
        raise InvalidRecipe("model: weights are imported with the layers of their network; write the recipe so:" + EXAMPLE)
    task = check_task(options.task or document.get("task"))
    recipe = parse_recipe({**_without_purpose(document), "model": {"architecture": ARCHITECTURE_NAME, **said}}, task=NUMBERS)
    if recipe.model.input.shape is None:
        raise InvalidRecipe(
            "model.input.shape is missing, and weights do not say it; write it without the batch, such as: input: {name: x,"
            " shape: [10]}",
            fields=[("model.input.shape", "missing")],
        )
    layers = parse_options(find_architecture(ARCHITECTURE_NAME), recipe.model.options)
    assert isinstance(layers, SequentialOptions)
    if "layout" not in said and any(layer.kind in PICTURES for layer in layers.layers):
        layers = msgspec.structs.replace(layers, layout="nchw")
    input_name, output_name = recipe.model.input.name or INPUT, recipe.model.output.name or OUTPUT
    if input_name == output_name:
        raise InvalidRecipe(f"model.input and model.output are both called '{input_name}'; their names must differ")
    return Declared(layers, recipe.model.input.shape, input_name, output_name, task, check_labels(options.labels, task))


def check_labels(labels: Sequence[str], task: str) -> tuple[str, ...]:
    """Raises InvalidRecipe for labels of a task without classes, and for one that stands twice."""
    if labels and task not in CLASSES:
        raise InvalidRecipe(f"labels are for classes, and the task is {task}; say --task {' or --task '.join(CLASSES)}")
    if len(set(labels)) != len(labels):
        raise InvalidRecipe("a label stands twice; each class needs its own")
    return tuple(labels)


def check_task(name: Any) -> str:
    """The task of that name, `tensors` for none. Raises InvalidRecipe for one that networks are not imported for."""
    name = name or tensors.TASK.name
    found = find_task(name) if isinstance(name, str) else None
    if found is None or found.name not in TASKS:
        raise InvalidRecipe(f"task is {name!r:.80}; a network of layers is imported for: {', '.join(TASKS)}")
    return found.name


def own_task(declared: Declared) -> str | None:
    """What the layers are for, if nobody said it by the function that the last one ends in; None where that says nothing."""
    if declared.task != tensors.TASK.name:
        return declared.task
    keys, function = declared.layers[-1].keys, declared.layers[-1].activation
    units = getattr(keys, "units", None) or (getattr(declared.layers[-2].keys, "units", 0) if declared.layers[1:] else 0)
    if function == "softmax" or (function == "sigmoid" and units == 1):
        return CLASSES[1] if len(declared.shape) > 1 and declared.embedding is None else CLASSES[0]
    return NUMBERS if units == 1 and (function or "linear") == "linear" else None


def recipe_text(declared: Declared, document: Mapping[str, Any]) -> str:
    """The whole recipe by which such a network is trained, as YAML; empty where its layers do not say what for."""
    task = own_task(declared)
    if task is None:
        return ""
    model = {
        "architecture": ARCHITECTURE_NAME,
        "input": {"name": declared.input, "shape": list(declared.shape)},
        "output": {"name": declared.output},
        "layout": declared.options.layout,
        "layers": [render_layer(layer) for layer in declared.layers],
    }
    kept = document if task == document.get("task") else _without_purpose(document)
    recipe: Recipe = parse_recipe({**kept, "model": model}, task=task)
    return render_recipe(recipe)


def _without_purpose(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document without what fits one task alone."""
    return {key: value for key, value in document.items() if key not in ("task", "loss")}
