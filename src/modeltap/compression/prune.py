"""A trained network with fewer channels and units, written as its architecture with smaller widths; or with weights of 0.

Letters: N samples, O outputs of a layer, H height, W width, C channels.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from modeltap.domain.architecture import Options
from modeltap.errors import Broken, CannotCompress
from modeltap.recipe.architectures import (
    CnnOptions,
    MlpOptions,
    SequentialOptions,
    find_architecture,
    parse_options,
    render_options,
)
from modeltap.recipe.layers import Conv2d, Dense, Layer
from modeltap.training.architectures.modules import ChannelsLast, Recurrence, Reshape, SequenceNorm, TwoClasses
from modeltap.training.architectures.sequential import layer_name
from modeltap.training.building import build_again

TOLERANCE = 1e-4
ROWS = 4
"""Of the training part, on which the narrower network is seen to answer as the one it was cut from."""
_ENDS = (Recurrence, Reshape, SequenceNorm, TwoClasses, nn.Embedding)
"""Modules behind which it is not known where a channel went."""

Weights = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Pruned:
    """`options` are the architecture's own keys with the smaller widths; `weights` fit to them."""

    options: dict[str, Any]
    weights: Weights
    widths: dict[str, tuple[int, int]]
    """Layer → channels or units before and after."""


def prune_channels(
    described: Mapping[str, Any], weights: Mapping[str, Any], rows: Sequence[Tensor], *, amount: float
) -> Pruned:
    """The network without that share of each hidden layer's channels or units: those whose weights, in the layer and in all
    that reads them, are the smallest. The last layer keeps its outputs, and every layer keeps one.

    described: the network as `architecture.json` has it. rows: what it takes, some rows of each input. Raises CannotCompress
    where no layer can be narrower, Broken where what was cut does not answer as what was written.
    """
    import torch_pruning

    module = build_again(described, weights)
    example = tuple(tensor[:ROWS] for tensor in rows)
    chain = _layers(module)
    shapes = _flattened_shapes(module, chain, example)
    narrowed = dict(_narrowed(chain, shapes))
    if not narrowed:
        raise CannotCompress(
            f"no layer of '{described['architecture']}' can be narrower: each is read by one whose inputs are fixed"
            " (a recurrent layer, a reshape, the answer); use --int8 or --distil recipe.yaml"
        )
    before = {name: _width(layer) for name, layer in narrowed.items()}
    _turn(chain, shapes, to_channels_first=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = torch_pruning.DependencyGraph().build_dependency(module, example_inputs=example)
        importance = torch_pruning.importance.GroupMagnitudeImportance(p=2)
        for layer in narrowed.values():
            cut = (
                torch_pruning.prune_conv_out_channels
                if isinstance(layer, nn.Conv2d)
                else torch_pruning.prune_linear_out_channels
            )
            width = _width(layer)
            num_gone = width - max(1, round(width * (1 - amount)))
            if num_gone:
                scores = importance(graph.get_pruning_group(layer, cut, idxs=list(range(width))))
                gone = torch.argsort(scores, stable=True)[:num_gone].tolist()
                graph.get_pruning_group(layer, cut, idxs=sorted(gone)).prune()
    _turn(chain, shapes, to_channels_first=False)
    widths = {name: (before[name], _width(layer)) for name, layer in narrowed.items()}
    options = _with_widths(described, {name: after for name, (_, after) in widths.items()})
    kept = {name: tensor.detach().contiguous().numpy().copy() for name, tensor in module.state_dict().items()}
    _check(module, {**described, "options": options}, kept, example)
    return Pruned(options, kept, widths)


def prune_weights(described: Mapping[str, Any], weights: Mapping[str, Any], *, amount: float) -> Pruned:
    """The same network in which that share of the weights of all layers is 0: the smallest of all layers together."""
    module = build_again(described, weights)
    named = {f"{name}.weight": part.weight for name, part in module.named_modules() if isinstance(part, nn.Conv2d | nn.Linear)}
    if not named:
        raise CannotCompress(
            f"'{described['architecture']}' has no convolution and no fully connected layer to take weights from"
        )
    sizes = torch.cat([weight.detach().abs().flatten() for weight in named.values()])
    most = torch.sort(sizes).values[max(0, round(len(sizes) * amount) - 1)]
    kept = {name: np.array(array) for name, array in weights.items()}
    for name in named:
        kept[name] = np.where(np.abs(kept[name]) > most.item(), kept[name], 0).astype(kept[name].dtype)
    return Pruned(dict(described["options"]), kept, {})


def zero_share(weights: Mapping[str, NDArray[Any]]) -> float:
    """Of all weights of layers, how many are 0."""
    layers = [array for name, array in weights.items() if name.endswith("weight") and array.ndim > 1]
    return sum(int((array == 0).sum()) for array in layers) / max(1, sum(array.size for array in layers))


def _layers(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules that follow each other, by their names in it."""
    if isinstance(module, nn.Sequential):
        return list(module.named_children())
    inner = getattr(module, "layers", None)
    if isinstance(inner, nn.Sequential):
        return [(f"layers.{name}", part) for name, part in inner.named_children()]
    return []


def _flattened_shapes(
    module: nn.Module, chain: Sequence[tuple[str, nn.Module]], example: tuple[Tensor, ...]
) -> dict[str, tuple[int, ...]]:
    """What arrives at each `flatten`, without the sample's axis."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        return lambda _module, inputs: shapes.__setitem__(name, tuple(inputs[0].shape[1:]))

    hooks = [part.register_forward_pre_hook(note(name)) for name, part in chain if isinstance(part, nn.Flatten)]
    with torch.no_grad():
        module(*example)
    for hook in hooks:
        hook.remove()
    return shapes


def _narrowed(
    chain: Sequence[tuple[str, nn.Module]], shapes: Mapping[str, tuple[int, ...]]
) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    """The layers of which it is known which inputs of which next layer their outputs are."""
    found: list[tuple[str, nn.Conv2d | nn.Linear]] = []
    for place, (name, layer) in enumerate(chain):
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        is_image = isinstance(layer, nn.Conv2d)
        for following, part in chain[place + 1 :]:
            if isinstance(part, nn.Conv2d | nn.Linear):
                found.append((name, layer))
                break
            if isinstance(part, _ENDS) or (isinstance(part, nn.Flatten) and not is_image and len(shapes[following]) > 1):
                break
    return found


def _turn(chain: Sequence[tuple[str, nn.Module]], shapes: Mapping[str, tuple[int, ...]], *, to_channels_first: bool) -> None:
    """Between layers of pictures and flat ones: channels first, which is the order in which cutting follows a channel through
    `flatten`, or back to channels last. The network answers the same."""
    for place, (_, part) in enumerate(chain[:-1]):
        name, following = chain[place + 1]
        if not isinstance(part, ChannelsLast) or not isinstance(following, nn.Flatten):
            continue
        height, width, _ = shapes[name]
        reader = next((later for _, later in chain[place + 2 :] if isinstance(later, nn.Linear | nn.BatchNorm1d)), None)
        if not isinstance(reader, nn.Linear):
            raise CannotCompress("flatten is followed by normalisation, behind which no channel can be followed; use --int8")
        weight_OI = reader.weight.detach()
        channels = weight_OI.shape[1] // (height * width)
        order = (0, 3, 1, 2) if to_channels_first else (0, 2, 3, 1)
        extents = (height, width, channels) if to_channels_first else (channels, height, width)
        reader.weight = nn.Parameter(weight_OI.reshape(-1, *extents).permute(*order).reshape(len(weight_OI), -1).contiguous())
        turned: nn.Module = nn.Identity() if to_channels_first else ChannelsLast()
        part.forward = turned.forward  # type: ignore[method-assign]


def _width(layer: nn.Conv2d | nn.Linear) -> int:
    return layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features


def _with_widths(described: Mapping[str, Any], widths: Mapping[str, int]) -> dict[str, Any]:
    """The architecture's options with these widths by layer."""
    options = parse_options(find_architecture(described["architecture"]), described["options"])
    narrow: Options
    if isinstance(options, SequentialOptions):
        layers = [_narrow_layer(layer, widths.get(layer_name(layer, index))) for index, layer in enumerate(options.layers)]
        narrow = msgspec.structs.replace(options, layers=tuple(layers))
    elif isinstance(options, CnnOptions):
        filters = tuple(widths.get(f"block{block}", width) for block, width in enumerate(options.filters))
        narrow = msgspec.structs.replace(options, filters=filters, dense=widths.get("dense", options.dense))
    elif isinstance(options, MlpOptions):
        narrow = msgspec.structs.replace(options, hidden=tuple(widths.values()))
    else:
        raise CannotCompress(f"it is not known how '{described['architecture']}' is written with smaller widths; use --int8")
    return render_options(narrow)


def _narrow_layer(layer: Layer, width: int | None) -> Layer:
    if width is None:
        return layer
    if isinstance(layer.keys, Conv2d):
        return Layer(layer.kind, msgspec.structs.replace(layer.keys, filters=width))
    assert isinstance(layer.keys, Dense)
    return Layer(layer.kind, msgspec.structs.replace(layer.keys, units=width))


def _check(cut: nn.Module, described: Mapping[str, Any], weights: Weights, example: tuple[Tensor, ...]) -> None:
    """Raises Broken unless the network built from the smaller widths answers as the one that was cut."""
    try:
        written = build_again(described, weights)
    except RuntimeError as problem:
        raise Broken(f"what was cut does not fit the smaller widths: {str(problem).splitlines()[0]}") from None
    with torch.no_grad():
        difference = float((cut(*example) - written(*example)).abs().max())
    if not difference <= TOLERANCE:
        raise Broken(f"the narrower network does not answer as the one that was cut (difference {difference:.3g})")
