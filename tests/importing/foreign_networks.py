"""Networks made by the frameworks themselves, and imports of them: in this process, or apart as a server does it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modeltap.bundle.files import open_bundle
from modeltap.domain.signature import Batch
from modeltap.engines.select import open_warm_engine
from modeltap.importing.import_options import ImportOptions
from modeltap.importing.network_asking import NetworkAsked, Written

NET_RECIPE = """
model:
  architecture: sequential
  input: {name: x, shape: [10]}
  output: {name: y_pred}
  layers:
    - dense: {units: 10, activation: relu}
    - dense: {units: 1}
"""


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1 = torch.nn.Linear(10, 10)
        self.fc2 = torch.nn.Linear(10, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.fc2(torch.relu(self.fc1(x)))
        return y


def made(kind: Callable[[], torch.nn.Module], seed: int = 0) -> torch.nn.Module:
    """The network with drawn weights, and running statistics as after some training."""
    torch.manual_seed(seed)
    network = kind()
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.running_mean, -1, 1)
            torch.nn.init.uniform_(part.running_var, 0.5, 2)
    return network.eval()


def import_here(read: Callable[[NetworkAsked], Written], source: Path, target: Path, **options: Any) -> tuple[Any, Written]:
    """What a child does, in this process, where the frameworks are there already: the files of the bundle, and what is told."""
    target.mkdir()
    asked = NetworkAsked(
        source=str(source), folder=str(target), options=ImportOptions(**options), memory_bytes=1 << 40, processor_s=600
    )
    written = read(asked)
    return {path.name: path for path in target.iterdir()}, written


def answers(files: Any, **inputs: Any) -> Batch:
    """Of the engine that serves the bundle, once it has repeated its golden rows."""
    return open_warm_engine(open_bundle(files)).run({name: np.asarray(values) for name, values in inputs.items()})


def load_keras() -> Any:
    """Keras on torch; it keeps no settings of its own on this machine."""
    os.environ["KERAS_BACKEND"] = "torch"
    os.environ.setdefault("KERAS_HOME", os.devnull)
    import keras

    return keras
