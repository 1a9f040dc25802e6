"""Small untrained networks with their graphs, and rows for them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from modeltap.domain.features import CODES, FEATURES, FeatureSpec
from modeltap.recipe.architectures import find_architecture, parse_options
from modeltap.training.building import build_module
from modeltap.training.export import export_network
from modeltap.training.graphs import PREDICTION
from modeltap.training.trained import describe

PICTURE = FeatureSpec(shape=(12, 10, 1))
PICTURE_LAYERS: list[Any] = [
    {"conv2d": {"filters": 8, "kernel": 3, "activation": "relu"}},
    "batchnorm",
    {"maxpool2d": {"size": 2}},
    {"conv2d": {"filters": 6, "kernel": 3, "padding": "same", "activation": "relu"}},
    "flatten",
    {"dropout": {"rate": 0.1}},
    {"dense": {"units": 10, "activation": "relu"}},
    {"dense": {"units": 4, "activation": "softmax"}},
]


class Network:
    """Of an architecture, with weights drawn from a fixed seed that are all different, biases too."""

    def __init__(self, name: str, options: dict[str, Any], spec: FeatureSpec, *, num_outputs: int = 4) -> None:
        architecture = find_architecture(name)
        parsed = parse_options(architecture, options)
        torch.manual_seed(0)
        self.spec = spec
        self.module: nn.Module = build_module(architecture, parsed, spec, num_outputs).eval()
        with torch.no_grad():
            for parameter in self.module.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        self.described = describe(architecture, parsed, spec, num_outputs, target=None)
        self.weights = {key: tensor.detach().numpy().copy() for key, tensor in self.module.state_dict().items()}

    def rows(self, num_rows: int = 64, *, seed: int = 1) -> list[Tensor]:
        """What it takes."""
        draw = torch.Generator().manual_seed(seed)
        rows = [torch.rand((num_rows, *self.spec.shape), generator=draw)] if self.spec.shape else []
        if self.spec.cardinalities:
            codes = [torch.randint(0, size, (num_rows,), generator=draw) for size in self.spec.cardinalities]
            rows.append(torch.stack(codes, dim=1))
        return rows

    def batch(self, num_rows: int = 64, *, seed: int = 1) -> dict[str, np.ndarray]:
        """The same, as its graph takes it."""
        names = [name for name, there in ((FEATURES, self.spec.shape), (CODES, self.spec.cardinalities)) if there]
        return {name: rows.numpy() for name, rows in zip(names, self.rows(num_rows, seed=seed), strict=True)}

    @cached_property
    def _graph(self) -> Any:
        return export_network(self.module, self.spec, None, self.rows())

    def graph(self) -> Any:
        """As training hands it over; exported once, as that takes long."""
        return self._graph


def run(graph: Any, batch: dict[str, np.ndarray]) -> np.ndarray:
    """What ONNX Runtime answers."""
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    answer: np.ndarray = session.run([PREDICTION], batch)[0]
    return answer
