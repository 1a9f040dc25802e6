"""Networks of a search: trained in folds and asked as they are; made graphs only where the blend takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from modeltap.domain.architecture import Architecture
from modeltap.training.auto_rounds import Round
from modeltap.training.batches import in_order, input_tensors
from modeltap.training.determinism import deterministic
from modeltap.training.network import TrainedNetwork, build_network, train_network, with_graph
from modeltap.training.trained import Assignment


def train_fold(given: Assignment, architecture: Architecture) -> Round:
    """The trained network, without a graph. Raises as `fit` does."""
    network = train_network(given, architecture)
    module = network.module.cpu().eval()
    with deterministic(seed=given.recipe.seed, threads=given.threads), torch.no_grad():
        inputs = input_tensors(given.data.val, given.spec)
        rows = torch.zeros(len(given.data.val))
        raw = torch.cat([module(*part) for part, _ in in_order(inputs, rows, device=torch.device("cpu"))])
        answer = raw.softmax(1) if network.scale is None else raw[:, 0] * network.scale.std + network.scale.mean
    return Round(
        graph=None,
        weights={name: tensor.detach().numpy().copy() for name, tensor in module.state_dict().items()},
        answer=answer.numpy(),
        history=network.standing.history,
        best_epoch=network.standing.best_epoch,
    )


def export_fold(given: Assignment, architecture: Architecture, weights: Mapping[str, NDArray[Any]]) -> onnx.ModelProto:
    """The graph of the network that `train_fold` trained for the same assignment. Raises Broken if it answers differently."""
    with deterministic(seed=given.recipe.seed, threads=given.threads):
        network = build_network(given, architecture)
    network.module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    return with_graph(
        given, architecture, TrainedNetwork(network.module, network.options, network.scale, network.standing)
    ).graph
