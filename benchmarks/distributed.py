"""Two processes with one thread each against one process with one thread: on the network and the pictures of `training`, and
on the language model and the text of `language_training`, where that text is in ../shared.

All are jobs' own ways: progress, checkpoints, and for two processes the launcher. Two processes add up their gradients once as
they choose themselves and once by torch's DistributedDataParallel over gloo. An epoch's time is that between the ends of two
epochs (of a language model two tenths of the steps, with what is validated after each), so that starting a process is not part
of it; it is told beside. Turns alternate; medians, and ratios of turns that stand beside each other. The recipe is the same for
all: of a batch of 32 each of two processes learns from 16 rows, and what a step takes however few its rows are (0.7 of 2.4 ms
here) is not shared. Budget: 1.6 with pictures in batches of 128.

With `--kills N`, and MNIST in ../shared, also the accuracy on its test part of one process, of two, and of two of which one is
killed at N moments drawn at random. Budget: 0.2 points.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks import language_training
from benchmarks.training import BATCH, MNIST, ROWS, THREADS, _pictures

BATCHES = (BATCH, 128)
TEXTS, STEPS = (12, 64), 200
"""Of texts: blocks of a batch."""
ONE: dict[str, Any] = {"processes": 1}
TWO: dict[str, Any] = {"processes": 2}
DDP: dict[str, Any] = {"processes": 2, "gradients": "ddp"}
ROUNDS = 5
EPOCHS = 4
ACCURACY_EPOCHS = 3


@dataclass
class Clock:
    """When each epoch ended, by what training told."""

    began_s: float = field(default_factory=time.perf_counter)
    ends_s: list[float] = field(default_factory=list)

    def hear(self, progress: Any) -> None:
        if progress.epoch_metrics:
            self.ends_s.append(time.perf_counter())

    @property
    def epoch_s(self) -> float:
        """Mean from the end of the first epoch to that of the last."""
        return (self.ends_s[-1] - self.ends_s[0]) / (len(self.ends_s) - 1)

    @property
    def start_s(self) -> float:
        """What the first epoch took longer than the others."""
        return self.ends_s[0] - self.began_s - self.epoch_s


@dataclass
class Killer:
    """Kills one of the processes whenever training passes one of the moments, which are fractions of it."""

    moments: list[float]
    draw: random.Random
    fraction: float = 0.0
    num_killed: int = 0

    def hear(self, progress: Any) -> None:
        self.fraction = progress.fraction

    def look(self) -> bool:
        """Never asks to stop."""
        if self.moments and self.fraction >= self.moments[0]:
            ranks = [child for child in psutil.Process().children() if "modeltap.training.rank" in child.cmdline()]
            if not ranks:  # they start again
                return False
            self.draw.choice(ranks).kill()
            self.moments.pop(0)
            self.num_killed += 1
            self.fraction = 0.0
        return False


def add_options(group: Any) -> None:
    group.add_argument("--kills", type=int, default=0, help="also compare accuracies, killing so often")


def measure(arguments: argparse.Namespace) -> str:
    """A Markdown table of rows a second and the ratios, and with `--kills` one of accuracies."""
    return "\n\n".join([_speed(), *([_accuracy(arguments.kills)] if arguments.kills and MNIST.exists() else [])])


def _accuracy(kills: int) -> str:
    with np.load(MNIST) as data:
        train_part = (data["x_train"][..., None] / 255).astype(np.float32), data["y_train"].astype(np.int64)
        test_part = (data["x_test"][..., None] / 255).astype(np.float32), data["y_test"].astype(np.int64)
    draw = random.Random(0)
    killer = Killer(sorted(draw.random() for _ in range(kills)), draw)
    lines = ["| processes | killed | test accuracy, % |", "|---|---|---|"]
    for together, watching in ((ONE, None), (TWO, None), (TWO, killer)):
        accuracy = accuracy_of(together, *train_part, *test_part, killer=watching)
        lines.append(f"| {together['processes']} | {watching.num_killed if watching else 0} | {100 * accuracy:.2f} |")
    return "\n".join([*lines, "", f"MNIST whole, {ACCURACY_EPOCHS} epochs, a checkpoint a second."])


def accuracy_of(
    together: dict[str, Any], images: Any, labels: Any, test_images: Any, test_labels: Any, *, killer: Killer | None
) -> float:
    import torch

    told = killer.hear if killer else lambda _: None
    trained = train(
        together, images, labels, hear=told, epochs=ACCURACY_EPOCHS, stop_requested=killer.look if killer else lambda: False
    )
    with torch.no_grad():
        found = torch.cat([trained.module.eval()(part).argmax(1) for part in torch.from_numpy(test_images).split(1000)])
    return float((found.numpy() == test_labels).mean())


def _speed() -> str:
    images, labels = _pictures()
    lines = ["| rows of a step | rows/s, one | two | times as fast, by rounds | two, DDP | times as fast | start of two, s |"]
    lines.append("|---|---|---|---|---|---|---|")
    for batch in BATCHES:
        lines.append(_line(f"{batch} pictures", ROWS, partial(timed_pictures, images=images, labels=labels, batch=batch)))
    for blocks in TEXTS if language_training.TEXT.exists() else ():
        name = f"{blocks} texts of {language_training.CONTEXT} bytes"
        lines.append(_line(name, blocks * STEPS // 10, partial(timed_texts, blocks=blocks)))
    told = f"{ROWS:,} pictures an epoch, {EPOCHS} epochs; {STEPS} steps of texts; {ROUNDS} rounds, {THREADS} thread a process."
    return "\n".join([*lines, "", told])


def _line(name: str, rows: int, timed: Callable[[dict[str, Any]], Clock]) -> str:
    """rows: of an epoch."""
    clocks: tuple[list[Clock], ...] = ([], [], [])
    ways = list(zip((ONE, TWO, DDP), clocks, strict=True))
    timed(ONE)
    for number in range(ROUNDS):
        for together, kept in ways if number % 2 else reversed(ways):
            kept.append(timed(together))
    one, two, ddp = (rows / statistics.median(clock.epoch_s for clock in kept) for kept in clocks)
    own, torchs = ([base.epoch_s / clock.epoch_s for base, clock in zip(clocks[0], kept, strict=True)] for kept in clocks[1:])
    rounds = ", ".join(f"{ratio:.2f}" for ratio in own)
    start_s = statistics.median(clock.start_s for clock in clocks[1])
    return (
        f"| {name} | {one:,.0f} | {two:,.0f} | {statistics.median(own):.2f} ({rounds}) | {ddp:,.0f} |"
        f" {statistics.median(torchs):.2f} | {start_s:.1f} |"
    )


def timed_pictures(together: dict[str, Any], images: Any, labels: Any, batch: int) -> Clock:
    clock = Clock()
    train(together, images, labels, hear=clock.hear, epochs=EPOCHS, batch=batch, checkpoint_every_s=10.0)
    return clock


def timed_texts(together: dict[str, Any], blocks: int) -> Clock:
    from modeltap.data.texts import Sample
    from modeltap.recipe.parse import parse_recipe
    from modeltap.training.language.fit import LanguageAssignment, fit_language

    recipe = parse_recipe(
        {
            "task": "text-generation",
            "model": language_training.GPT,
            "steps": STEPS,
            "batch_size": blocks,
            "distributed": together,
        }
    )
    texts, val = language_training._parts()
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        fit_language(
            LanguageAssignment(
                recipe=recipe,
                samples={"train": [Sample(text=texts)], "val": [Sample(text=val[:1_000])], "test": []},
                base={},
                base_digest="",
                threads=THREADS,
                workdir=Path(folder),
                report=clock.hear,
                stop_requested=lambda: False,
                checkpoint_every_s=10.0,
            )
        )
    return clock


def train(
    together: dict[str, Any],
    images: Any,
    labels: Any,
    *,
    hear: Callable[[Any], None],
    epochs: int,
    batch: int = BATCH,
    checkpoint_every_s: float = 1.0,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Any:
    """The trained network."""
    from modeltap.domain.features import FeatureBatch, FeatureSpec
    from modeltap.recipe.architectures import find_architecture
    from modeltap.recipe.parse import parse_recipe
    from modeltap.training.network import train_network
    from modeltap.training.shared_network import train_distributed
    from modeltap.training.trained import Assignment, TrainingData

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
            "epochs": epochs,
            "batch_size": batch,
            "distributed": together,
        }
    )
    data = TrainingData(
        train=FeatureBatch(features=images), train_target=labels, val=FeatureBatch(features=images[:0]), val_target=labels[:0]
    )
    with tempfile.TemporaryDirectory() as folder:
        given = Assignment(
            recipe=recipe,
            spec=FeatureSpec(shape=images.shape[1:]),
            data=data,
            labels=[str(digit) for digit in range(10)],
            threads=THREADS,
            workdir=Path(folder),
            report=hear,
            stop_requested=stop_requested,
            checkpoint_every_s=checkpoint_every_s,
        )
        return (train_network if together == ONE else train_distributed)(given, find_architecture("sequential"))
