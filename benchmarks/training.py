"""Our training loop, with progress, metrics and checkpoints on, against a plain torch loop, Keras and Lightning.

The network of all four: conv 32 3×3 relu → max-pool 2 → flatten → dense 10, Adam 0.001, batch 32, on 28×28 pictures (MNIST
where ../shared has it, else scikit-learn's digits enlarged). An epoch of each in turn, repeated; images a second.
Budgets: 0.97 of plain torch, at least Keras.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")

ROWS = 12_800
BATCH = 32
ROUNDS = 7
THREADS = 1
MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist.npz"
Epoch = Callable[[], float]


def measure() -> str:
    """A Markdown table of medians and their ratio to plain torch, taken round by round."""
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(THREADS)
    images, labels = _pictures()
    makers: dict[str, Callable[[Any, Any], Epoch]] = {
        "plain torch": _plain_torch,
        "modeltap": _modeltap,
        "Keras (torch backend)": _keras,
        "Lightning": _lightning,
    }
    runs = {name: make(images, labels) for name, make in makers.items()}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run()
    for number in range(ROUNDS):
        order = list(runs) if number % 2 else list(reversed(runs))
        for name in order:
            rates[name].append(ROWS / runs[name]())
    lines = ["| loop | images/s, median | of plain torch, median of rounds |", "|---|---|---|"]
    for name, values in rates.items():
        ratio = statistics.median(own / plain for own, plain in zip(values, rates["plain torch"], strict=True))
        lines.append(f"| {name} | {statistics.median(values):,.0f} | {ratio:.2f} |")
    return "\n".join([*lines, "", f"{ROWS:,} pictures an epoch, {ROUNDS} rounds, {THREADS} thread."])


def _pictures() -> tuple[Any, Any]:
    """float32 (N, 28, 28, 1) in [0, 1] and int64 (N,)."""
    if MNIST.exists():
        with np.load(MNIST) as data:
            images, labels = data["x_train"][:ROWS], data["y_train"][:ROWS]
    else:
        from sklearn.datasets import load_digits

        digits = load_digits()
        index = np.resize(np.arange(len(digits.images)), ROWS)
        images = np.pad(digits.images[index] * 15.9, ((0, 0), (10, 10), (10, 10))).astype(np.uint8)
        labels = digits.target[index]
    return (images[..., None] / 255).astype(np.float32), labels.astype(np.int64)


def _network() -> Any:
    from torch import nn

    return nn.Sequential(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 13 * 13, 10))


def _plain_torch(images: Any, labels: Any) -> Epoch:
    import torch

    x = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    y = torch.from_numpy(labels)
    network = _network()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    loss_of = torch.nn.CrossEntropyLoss()

    def epoch() -> float:
        torch.set_num_threads(THREADS)
        network.train()
        started = time.perf_counter()
        order = torch.randperm(len(x))
        for start in range(0, len(x), BATCH):
            rows = order[start : start + BATCH]
            optimizer.zero_grad(set_to_none=True)
            loss_of(network(x[rows]), y[rows]).backward()
            optimizer.step()
        return time.perf_counter() - started

    return epoch


def _modeltap(images: Any, labels: Any) -> Epoch:
    """The loop that jobs run, told its progress and writing checkpoints, its own set-up included."""
    from modeltap.domain.features import FeatureBatch, FeatureSpec
    from modeltap.domain.progress import Progress
    from modeltap.recipe.architectures import find_architecture
    from modeltap.recipe.parse import parse_recipe
    from modeltap.training.fit import TrainingData
    from modeltap.training.network import train_network
    from modeltap.training.trained import Assignment

    layers = [
        {"conv2d": {"filters": 32, "kernel": 3, "activation": "relu"}},
        {"maxpool2d": {"size": 2}},
        "flatten",
        {"dense": {"units": 10, "activation": "softmax"}},
    ]
    recipe = parse_recipe(
        {
            "task": "image-classification",
            "model": {"architecture": "sequential", "layers": layers},
            "optimizer": {"name": "adam", "lr": 0.001},
            "epochs": 1,
            "batch_size": BATCH,
        }
    )
    data = TrainingData(
        train=FeatureBatch(features=images),
        train_target=labels,
        val=FeatureBatch(features=images[:0]),
        val_target=labels[:0],
    )
    spec = FeatureSpec(shape=images.shape[1:])

    def epoch() -> float:
        told: list[Progress] = []
        with tempfile.TemporaryDirectory() as folder:
            given = Assignment(
                recipe=recipe,
                spec=spec,
                data=data,
                labels=[str(digit) for digit in range(10)],
                threads=THREADS,
                workdir=Path(folder),
                report=told.append,
                stop_requested=lambda: False,
                checkpoint_every_s=10.0,
                saved=lambda: None,
            )
            started = time.perf_counter()
            train_network(given, find_architecture("sequential"))
            return time.perf_counter() - started

    return epoch


def _keras(images: Any, labels: Any) -> Epoch:
    import keras
    import torch

    network = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    network.compile(optimizer=keras.optimizers.Adam(0.001), loss="sparse_categorical_crossentropy", metrics=["accuracy"])

    def epoch() -> float:
        torch.set_num_threads(THREADS)
        started = time.perf_counter()
        network.fit(images, labels, batch_size=BATCH, epochs=1, verbose=0)
        return time.perf_counter() - started

    return epoch


def _lightning(images: Any, labels: Any) -> Epoch:
    import logging

    import lightning
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = _network()

        def training_step(self, batch: Any, _index: int) -> Any:
            x, y = batch
            return torch.nn.functional.cross_entropy(self.network(x), y)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), lr=0.001)

    pictures = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    loader = DataLoader(TensorDataset(pictures, torch.from_numpy(labels)), batch_size=BATCH, shuffle=True)
    module = Module()

    def epoch() -> float:
        torch.set_num_threads(THREADS)
        trainer = lightning.Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        started = time.perf_counter()
        trainer.fit(module, loader)
        return time.perf_counter() - started

    return epoch


if __name__ == "__main__":
    print(measure())
