"""Reads weights and writes the bundle of the network that a recipe lists, in a confined process of its own, started by
`importing/state_dict.py`."""

from __future__ import annotations

from pathlib import Path

from modeltap.errors import InvalidRecipe
from modeltap.importing.declared import read_declared, recipe_text
from modeltap.importing.network_asking import NetworkAsked, Written, answer_with, digest_of
from modeltap.importing.network_bundle import write_network
from modeltap.importing.samples import generated_sample, read_sample
from modeltap.importing.sequential_bundle import SequentialNetwork
from modeltap.importing.state_dict_matching import LayerWeights, layer_weights, match_layers
from modeltap.importing.torch_file import read_weights
from modeltap.recipe.document import load_document
from modeltap.recipe.layers import ActivationLayer
from modeltap.training.architectures.sequential import layer_name

MOST_PAIRS = 40


def read_network(asked: NetworkAsked) -> Written:
    """Writes the bundle. Raises InvalidData for weights that cannot be read or do not fit, InvalidRecipe for layers that do not
    fit each other."""
    import torch

    path, options = Path(asked.source), asked.options
    declared = read_declared(options)
    network = SequentialNetwork(declared)
    weights = read_weights(path)
    matched = match_layers(
        _layers(network),
        {name: array.shape for name, array in weights.arrays.items()},
        is_ordered=weights.is_ordered,
    )
    network.load({own: weights.arrays[key] for own, key in matched.keys.items()})
    schema = declared.schema()
    below = declared.embedding.vocabulary if declared.embedding is not None else None
    sample = read_sample(Path(options.sample), schema) if options.sample else generated_sample(schema, below=below)
    pairs = [f"{name} → {layer}" for layer, name in matched.pairs.items()]
    made = network.network(
        sample,
        source=f"torch {torch.__version__.partition('+')[0]}",
        source_digest=digest_of([path], options.recipe),
        recipe=recipe_text(declared, load_document(options.recipe)),
        facts={"layers": " · ".join(layer.kind for layer in declared.layers), "weights": ", ".join(pairs[:MOST_PAIRS])},
        notices=weights.notices,
    )
    return Written(*write_network(made, Path(asked.folder), sample, is_given=bool(options.sample)))


def _layers(network: SequentialNetwork) -> list[LayerWeights]:
    kinds = {}
    for index, layer in enumerate(network.declared.layers):
        is_named = not isinstance(layer.keys, ActivationLayer) and layer.keys.name is not None
        kinds[layer_name(layer, index)] = (layer.kind, is_named)
    shapes = {name: tuple(tensor.shape) for name, tensor in network.whole.state_dict().items()}
    found = layer_weights(shapes, kinds)
    if not found:
        raise InvalidRecipe("model.layers: none of the layers has weights")
    return found


def main() -> None:
    answer_with(read_network)


if __name__ == "__main__":
    main()
