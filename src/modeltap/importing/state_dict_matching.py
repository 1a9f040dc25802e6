"""Which tensor of a file belongs to which layer of a recipe: by the layers' names, else by their order, and always by shape."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modeltap.errors import InvalidData

Shapes = Mapping[str, tuple[int, ...]]
COUNTERS = ("num_batches_tracked",)
"""Of batch normalisation: it decides no answer, and some files lack it."""
OWN_PARTS = ("cells.", "norm.")
"""Of a layer's weights here, where torch has none."""
PARAMETRIZED = re.compile(r"(^|\.)(weight_g|weight_v|weight_orig|parametrizations\..*)$")
MOST_NAMED = 8


@dataclass(frozen=True)
class LayerWeights:
    """A layer of the recipe: what its tensors are called in a file of torch's, and here, and their shapes."""

    name: str
    kind: str
    is_named: bool
    """Whether the recipe gave the name."""
    own: Mapping[str, str]
    shapes: Shapes

    @property
    def told(self) -> str:
        return f"layer '{self.name}'" if self.kind in self.name else f"layer '{self.name}' ({self.kind})"


@dataclass(frozen=True)
class Matched:
    """`keys`: the name of a weight here → the tensor's in the file. `pairs`: a layer's name → its name in the file."""

    keys: dict[str, str]
    pairs: dict[str, str]


def layer_weights(own_shapes: Shapes, kinds: Mapping[str, tuple[str, bool]]) -> list[LayerWeights]:
    """The layers with weights, in their order. own_shapes: of a built network; kinds: layer name → its kind, and whether the
    recipe named it."""
    grouped: dict[str, dict[str, str]] = {}
    for key in own_shapes:
        name, _, part = key.partition(".")
        for own in OWN_PARTS:
            part = part.removeprefix(own)
        if part not in COUNTERS:
            grouped.setdefault(name, {})[part] = key
    return [
        LayerWeights(name, *kinds.get(name, ("layer", False)), own, {part: own_shapes[key] for part, key in own.items()})
        for name, own in grouped.items()
    ]


def match_layers(layers: Sequence[LayerWeights], given: Shapes, *, is_ordered: bool) -> Matched:
    """Which tensor is which weight. is_ordered: whether the file keeps the order in which the network lists its layers.

    Raises InvalidData naming the tensor, what was expected there, and what the file has.
    """
    groups: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, shape in given.items():
        name, _, part = key.rpartition(".")
        if PARAMETRIZED.search(key):
            raise InvalidData(
                f"'{key[:80]}' is part of a parametrized weight; before saving take that off, such as with"
                " torch.nn.utils.parametrize.remove_parametrizations"
            )
        if part not in COUNTERS:
            groups.setdefault(name, {})[part] = shape
    pairs = _by_name(layers, groups)
    left = [layer for layer in layers if layer.name not in pairs]
    free = [name for name in groups if name not in pairs.values()]
    if len(left) != len(free):
        raise InvalidData(
            f"the recipe has {_counted(len(layers), 'layer')} with weights ({_few([layer.name for layer in layers])}), the file"
            f" holds {_counted(len(groups), 'group')} of tensors ({_few(list(groups))}); list every layer of the network in the"
            " recipe, in its order"
        )
    pairs |= _in_order(left, free, groups) if is_ordered else _without_order(left, free, groups)
    keys: dict[str, str] = {}
    for layer in layers:
        name = pairs[layer.name]
        _check_group(layer, name, groups[name])
        keys |= {own: _joined(name, part) for part, own in layer.own.items()}
    return Matched(keys, {layer.name: pairs[layer.name] for layer in layers})


def _by_name(layers: Sequence[LayerWeights], groups: Mapping[str, Shapes]) -> dict[str, str]:
    """Layers that the recipe calls as the file does, with or without what stands before it: `fc1`, `model.fc1`."""
    pairs: dict[str, str] = {}
    for layer in layers:
        found = [name for name in groups if name == layer.name or name.endswith(f".{layer.name}")]
        if layer.is_named and len(found) == 1:
            pairs[layer.name] = found[0]
    return pairs


def _in_order(
    layers: Sequence[LayerWeights], names: Sequence[str], groups: Mapping[str, Mapping[str, tuple[int, ...]]]
) -> dict[str, str]:
    return {layer.name: name for layer, name in zip(layers, names, strict=True)}


def _without_order(
    layers: Sequence[LayerWeights], names: Sequence[str], groups: Mapping[str, Mapping[str, tuple[int, ...]]]
) -> dict[str, str]:
    """By numbers where the names differ in their numbers alone (`0`, `2`; `fc1`, `fc2`), else by shape where each fits one.

    Raises InvalidData where neither tells them apart.
    """
    if len({re.sub(r"\d+", "#", name) for name in names}) <= 1:
        ordered = sorted(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
        return _in_order(layers, ordered, groups)
    pairs: dict[str, str] = {}
    for layer in layers:
        fitting = [name for name in names if dict(groups[name]) == dict(layer.shapes)]
        if len(fitting) == 1 and fitting[0] not in pairs.values():
            pairs[layer.name] = fitting[0]
            continue
        if len(layers) == 1:
            return _in_order(layers, names, groups)
        told = f"{len(fitting)} fit" if fitting else "none fits"
        raise InvalidData(
            f"a safetensors file keeps no order, and of its tensors {told} {layer.told} by shape; give the layers of the recipe"
            f" the names in the file: {_few(list(names))}"
        )
    return pairs


def _check_group(layer: LayerWeights, name: str, group: Shapes) -> None:
    for part, shape in layer.shapes.items():
        key = _joined(name, part)
        if part not in group:
            hint = "; set bias: false for it, if it has none" if part == "bias" else ""
            raise InvalidData(
                f"the file has no '{key[:80]}', which {layer.told} needs, of shape {list(shape)}; it has for it: "
                f"{_few(list(group))}{hint}"
            )
        if group[part] != shape:
            raise InvalidData(
                f"'{key[:80]}' is {list(group[part])} in the file, and {layer.told} needs {list(shape)}; the recipe must list"
                " the layers as the network has them, and the shape of its input"
            )
    more = [part for part in group if part not in layer.shapes]
    if more:
        hint = "; the recipe says bias: false there" if more[0] == "bias" else ""
        raise InvalidData(f"'{_joined(name, more[0])[:80]}' is in the file, and {layer.told} has no such weight{hint}")


def _joined(name: str, part: str) -> str:
    return f"{name}.{part}" if name else part


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _few(names: Sequence[str]) -> str:
    shown = [name[:60] or "(no name)" for name in names[:MOST_NAMED]]
    return ", ".join(shown) + (", …" if len(names) > MOST_NAMED else "") or "none"
