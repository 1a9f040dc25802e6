"""The layers that a recipe lists → a torch module that gives logits or values."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from torch import nn

from modeltap.domain.features import FeatureSpec
from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import SequentialOptions
from modeltap.recipe.layers import ActivationLayer, Conv2d, Dense, Embedding, Layer
from modeltap.training.architectures.layers import stack_layer
from modeltap.training.architectures.modules import TwoClasses
from modeltap.training.architectures.stack import Stack
from modeltap.training.architectures.starting import uniform


def build(options: SequentialOptions, spec: FeatureSpec, num_outputs: int) -> nn.Module:
    """The module; a softmax at the end is left out, since the loop trains on logits and the exported graph has one anyway.

    Raises InvalidRecipe, naming the layer, what arrives there and what is allowed.
    """
    return build_layers(options.layers, spec, num_outputs, layout=options.layout)


def build_layers(layers: Sequence[Layer], spec: FeatureSpec, num_outputs: int, *, layout: str = "nhwc") -> nn.Module:
    """As `build`, from layers."""
    kept, two_classes = _without_final_activation(layers, num_outputs)
    stack = _stacked(kept, spec, layout)
    _check_width(stack, kept, num_outputs, two_classes=two_classes)
    if two_classes:
        stack.add("two_classes", TwoClasses(), (2,))
    return stack.module()


def build_whole(layers: Sequence[Layer], spec: FeatureSpec, *, layout: str) -> tuple[nn.Module, tuple[int, ...]]:
    """Every layer as it is listed, with the function that the last one ends in, and the shape of a sample that leaves them.

    Raises InvalidRecipe as `build` does, but for the width of the last layer.
    """
    stack = _stacked(layers, spec, layout)
    stack.in_layout("answer")
    return stack.module(), stack.shape


def layer_name(layer: Layer, index: int) -> str:
    """What the layer's weights are called."""
    given = None if isinstance(layer.keys, ActivationLayer) else layer.keys.name
    return given or f"{layer.kind}_{index}"


def _stacked(layers: Sequence[Layer], spec: FeatureSpec, layout: str) -> Stack:
    names = [layer_name(layer, index) for index, layer in enumerate(layers)]
    stack = Stack(spec.shape, layout=layout)
    start = 0
    if spec.cardinalities:
        start = 1
        _stack_tokens(stack, layers, names, spec)
    elif not spec.shape:
        raise InvalidRecipe("model: the data has no features for this architecture")
    elif layers and isinstance(layers[0].keys, Embedding):
        raise InvalidRecipe(
            f"model.layers[0] (embedding): tokens are needed, numbers of shape {stack.arrived} arrive;"
            " remove it, or set data.transforms.categories: embedding"
        )
    for index in range(start, len(layers)):
        stack.where = f"model.layers[{index}] ({layers[index].kind})"
        stack_layer(stack, layers[index], names[index])
    return stack


def final_activation(layers: Sequence[Layer]) -> str:
    """The function that the last layer ends in; `linear` where it has none."""
    return (layers[-1].activation if layers else None) or "linear"


def _without_final_activation(layers: Sequence[Layer], num_outputs: int) -> tuple[list[Layer], bool]:
    """The layers without the softmax, or the sigmoid of a single unit, that they end in; and whether it was that sigmoid."""
    kept = list(layers)
    function = final_activation(kept)
    where = f"model.layers[{len(kept) - 1}]"
    if num_outputs == 1:
        if function == "softmax":
            raise InvalidRecipe(f"{where}: softmax is for classes; end a regression with activation: linear")
        return kept, False
    if function not in ("softmax", "sigmoid"):
        return kept, False
    *before, last = kept
    if isinstance(last.keys, ActivationLayer):
        kept = before
        single = bool(before) and isinstance(before[-1].keys, Dense) and before[-1].keys.units == 1
    else:
        kept = [*before, _linear(last)]
        single = isinstance(last.keys, Dense) and last.keys.units == 1
    if function == "softmax":
        return kept, False
    if not (single and num_outputs == 2):
        raise InvalidRecipe(
            f"{where}: the last layer of {num_outputs} classes is dense: {{units: {num_outputs}, activation: softmax}}"
            + (", or dense: {units: 1, activation: sigmoid}" if num_outputs == 2 else "; sigmoid is for one unit")
        )
    return kept, True


def _linear(layer: Layer) -> Layer:
    assert isinstance(layer.keys, Dense | Conv2d)
    return Layer(layer.kind, msgspec.structs.replace(layer.keys, activation="linear"))


def _stack_tokens(stack: Stack, layers: Sequence[Layer], names: Sequence[str], spec: FeatureSpec) -> None:
    if spec.shape:
        raise InvalidRecipe(
            "model: sequential reads numbers or tokens, and this data has both; set data.transforms.categories: one-hot"
        )
    if not layers or not isinstance(layers[0].keys, Embedding):
        raise InvalidRecipe(
            f"model.layers[0]: {len(spec.cardinalities)} tokens arrive, so the first layer must be embedding: {{dim: …}};"
            " or set data.transforms.categories: one-hot"
        )
    keys = layers[0].keys
    needed = max(spec.cardinalities)
    vocabulary = keys.vocabulary or needed
    if vocabulary < needed:
        raise InvalidRecipe(
            f"model.layers[0] (embedding): the data has {needed} different tokens, so a vocabulary of {vocabulary} is too small"
        )
    stack.add(names[0], uniform(nn.Embedding(vocabulary, keys.dim)), (len(spec.cardinalities), keys.dim))


def _check_width(stack: Stack, layers: Sequence[Layer], num_outputs: int, *, two_classes: bool) -> None:
    needed = 1 if two_classes else num_outputs
    if stack.shape == (needed,):
        return
    where = f"model.layers[{len(layers) - 1}] ({layers[-1].kind})" if layers else "model.layers"
    what = "one value" if num_outputs == 1 else f"{num_outputs} classes, so {num_outputs} units"
    hint = "; put flatten before the last dense" if len(stack.shape) > 1 else ""
    raise InvalidRecipe(f"{where}: the task has {what}, and {stack.arrived} leaves the last layer{hint}")
