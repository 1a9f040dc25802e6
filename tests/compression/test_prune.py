"""Fewer channels: what is left answers as if the others were silent, and is again what the architecture builds."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from networks import PICTURE, PICTURE_LAYERS, Network
from torch import nn

from modeltap.compression.prune import prune_channels, prune_weights, zero_share
from modeltap.compression.rounds import Round, read_round, write_round
from modeltap.domain.features import FeatureSpec
from modeltap.errors import CannotCompress
from modeltap.training.building import build_again

TABLE = FeatureSpec(shape=(5,), cardinalities=(7, 3))
NCHW = FeatureSpec(shape=(1, 12, 10))
CASES = {
    "layers": Network("sequential", {"layers": PICTURE_LAYERS}, PICTURE),
    "channels first": Network("sequential", {"layers": PICTURE_LAYERS, "layout": "nchw"}, NCHW),
    "cnn": Network("cnn", {"filters": [4, 6], "dense": 8, "batch_norm": True}, PICTURE),
    "mlp": Network("mlp", {"hidden": [12, 9], "batch_norm": True}, TABLE),
}


def silenced(network: Network, kept: dict[str, list[int]]) -> nn.Module:
    """The whole network, in which what reads a layer hears nothing of the channels that are not kept."""
    module = copy.deepcopy(network.module)
    for name, layer in module.named_modules():
        if name in kept:
            gone = torch.ones(layer.weight.shape[0], dtype=torch.bool)
            gone[kept[name]] = False

            def silence(_module, _inputs, output, gone=gone):
                axis = 1 if output.dim() == 4 else -1
                shape = [1] * output.dim()
                shape[axis] = -1
                return output.masked_fill(gone.view(shape), torch.nan)

            layer.register_forward_hook(silence)
    for reader in module.modules():
        if isinstance(reader, nn.Conv2d | nn.Linear):
            reader.register_forward_pre_hook(lambda _module, inputs: tuple(torch.nan_to_num(one, nan=0.0) for one in inputs))
    return module


def kept_rows(network: Network, name: str, weights: np.ndarray) -> list[int]:
    """Which outputs of a layer are still there: found by their biases, or first weights, which all differ."""
    key = f"{name}.bias" if f"{name}.bias" in network.weights else None
    if key is None:
        return []
    return [int(np.argmin(np.abs(network.weights[key] - value))) for value in weights]


@pytest.mark.parametrize("case", CASES)
def test_half_the_channels_answer_as_if_the_others_were_silent(case):
    network = CASES[case]
    cut = prune_channels(network.described, network.weights, network.rows(), amount=0.5)
    assert all(after == max(1, round(before / 2)) for before, after in cut.widths.values()) and len(cut.widths) > 1
    described = {**network.described, "options": cut.options}
    narrow = build_again(described, cut.weights)
    kept = {name: kept_rows(network, name, cut.weights[f"{name}.bias"]) for name in cut.widths if f"{name}.bias" in cut.weights}
    if set(kept) == set(cut.widths):
        rows = network.rows(20, seed=3)
        with torch.no_grad():
            assert torch.allclose(narrow(*rows), silenced(network, kept)(*rows), atol=1e-5)
    again = prune_channels(described, cut.weights, network.rows(), amount=0.5)
    assert all(before == cut.widths[name][1] for name, (before, _) in again.widths.items()), "it can be cut again"


def test_the_smallest_go_first():
    network = CASES["mlp"]
    weights = {name: array.copy() for name, array in network.weights.items()}
    weights["layers.0.weight"][[2, 5, 7]] *= 1e-4
    weights["layers.1.weight"][[2, 5, 7]] *= 1e-4
    cut = prune_channels(network.described, weights, network.rows(), amount=0.25)
    assert cut.widths["layers.0"] == (12, 9)
    expected = np.delete(weights["layers.0.weight"], [2, 5, 7], axis=0)
    np.testing.assert_array_equal(cut.weights["layers.0.weight"], expected)


def test_a_layer_that_cannot_be_followed_keeps_its_width():
    layers = [
        {"dense": {"units": 6}},
        {"lstm": {"units": 5, "return_sequences": True}},
        {"lstm": {"units": 4}},
        {"dense": {"units": 8, "activation": "relu"}},
        {"dense": {"units": 4, "activation": "softmax"}},
    ]
    network = Network("sequential", {"layers": layers}, FeatureSpec(shape=(7, 3)))
    cut = prune_channels(network.described, network.weights, network.rows(), amount=0.5)
    assert cut.widths == {"dense_3": (8, 4)}
    plain = Network("sequential", {"layers": [layers[2], layers[4]]}, FeatureSpec(shape=(7, 3)))
    with pytest.raises(CannotCompress, match="no layer of 'sequential' can be narrower"):
        prune_channels(plain.described, plain.weights, plain.rows(), amount=0.5)


def test_single_weights_become_zero_and_no_shape_changes():
    network = CASES["layers"]
    cut = prune_weights(network.described, network.weights, amount=0.75)
    assert zero_share(cut.weights) == pytest.approx(0.75, abs=0.01)
    assert {name: array.shape for name, array in cut.weights.items()} == {n: a.shape for n, a in network.weights.items()}
    left = np.abs(np.concatenate([a[a != 0] for n, a in cut.weights.items() if a.ndim > 1]))
    assert left.min() > np.quantile(np.abs(np.concatenate([a.ravel() for a in network.weights.values() if a.ndim > 1])), 0.74)


def test_a_round_is_found_again_by_the_same_run_alone(tmp_path):
    network, path = CASES["mlp"], tmp_path / "round-1.safetensors"
    reached = Round(described=network.described, weights=network.weights, history=[{"epoch": 1, "train_loss": 0.5}])
    write_round(path, reached, run="one")
    found = read_round(path, run="one")
    assert found.history == reached.history and found.described["options"]["hidden"] == [12, 9]
    assert all((found.weights[name] == array).all() for name, array in network.weights.items())
    assert read_round(path, run="another") is None
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert read_round(path, run="one") is None
