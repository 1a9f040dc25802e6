"""One network from recipe to graph: built, trained, exported."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from modeltap.domain.architecture import Architecture, Options
from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import parse_options
from modeltap.training.batches import WHOLE, Batches, Share, as_tensor, input_tensors
from modeltap.training.building import build_module, check_input_shape, load_start
from modeltap.training.checkpoint import CHECKPOINT
from modeltap.training.class_weights import class_weights
from modeltap.training.determinism import deterministic
from modeltap.training.fingerprint import run_digest
from modeltap.training.freed_memory import keep_freed_memory
from modeltap.training.loop import Loop, Validate
from modeltap.training.losses import LossFunction, class_loss, number_loss
from modeltap.training.reporting import Reporter
from modeltap.training.standing import Standing
from modeltap.training.targets import TargetScale, fit_scale
from modeltap.training.teaching import hold_zeros, lesson
from modeltap.training.trained import Assignment, Trained, describe
from modeltap.training.validation import correct, squared_error, validate
from modeltap.training.watching import watch

if TYPE_CHECKING:
    from modeltap.training.distributed.group import Ranks

TEXTS_AT_ONCE = 128
"""Of the validation part: an id becomes hundreds of numbers."""


@dataclass(frozen=True)
class TrainedNetwork:
    """The module holds the weights to keep; `scale` is there for numbers only."""

    module: nn.Module
    options: Options
    scale: TargetScale | None
    standing: Standing


def fit_network(given: Assignment, architecture: Architecture) -> Trained:
    """The trained network and its graph, from the start or from the run's checkpoint. Raises as `fit` does."""
    return with_graph(given, architecture, train_network(given, architecture))


def with_graph(given: Assignment, architecture: Architecture, trained: TrainedNetwork) -> Trained:
    """The network with its graph, which is proven to answer alike. Raises Broken if it does not."""
    from modeltap.training.export import export_network

    module, scale = trained.module.cpu(), trained.scale
    with deterministic(seed=given.recipe.seed, threads=given.threads):
        graph = export_network(module, given.spec, scale, input_tensors(given.data.train, given.spec, rows=64))
    target = None if scale is None else {"mean": scale.mean, "std": scale.std}
    return Trained(
        graph=graph,
        weights={name: tensor.detach().numpy().copy() for name, tensor in module.state_dict().items()},
        architecture=describe(architecture, trained.options, given.spec, given.num_outputs, target=target),
        history=trained.standing.history,
        best_epoch=trained.standing.best_epoch,
    )


def build_network(given: Assignment, architecture: Architecture) -> TrainedNetwork:
    """With its start weights. Raises InvalidRecipe, InvalidData where recipe and data do not fit."""
    recipe, spec = given.recipe, given.spec
    options = parse_options(architecture, recipe.model.options)
    check_input_shape(recipe.model.input.shape, spec)
    module = build_module(architecture, options, spec, given.num_outputs)
    load_start(module, given.start)
    scale = None if given.labels else fit_scale(recipe, options, given.data.train_target)
    return TrainedNetwork(module, options, scale, Standing(losses=torch.zeros(0)))


def train_network(given: Assignment, architecture: Architecture, ranks: Ranks | None = None) -> TrainedNetwork:
    """As `fit_network`, without the graph; `ranks` are the processes that train it together, this one among them."""
    keep_freed_memory()
    recipe, share = given.recipe, ranks.share if ranks else WHOLE
    device = ranks.device if ranks else find_device(recipe.device)
    with deterministic(seed=recipe.seed, threads=given.threads):
        network = build_network(given, architecture)
        module, scale = network.module.to(device), network.scale
        if given.keeps_zeros:
            hold_zeros(module)
        target = _target(given.data.train_target, scale)
        inputs = input_tensors(given.data.train, given.spec)
        loss = _loss(given, device)
        learned = lesson(given.teacher, target, loss, scale)
        batches = Batches(inputs, learned.target, batch_size=recipe.batch_size, device=device, share=share)
        _check_batches(module, batches, share)
        loop = _loop_of(ranks)(
            module,
            batches,
            recipe,
            loss=learned.loss,
            validate=_validation(given, scale, loss, device, ranks),
            metric_name=given.metric_name,
            reporter=Reporter(
                given.report,
                epochs=recipe.epochs,
                steps=batches.num_steps,
                rows=batches.size,
                metric_name=given.metric_name,
            ),
            stop_requested=given.stop_requested,
            checkpoint=given.workdir / CHECKPOINT,
            checkpoint_every_s=given.checkpoint_every_s,
            saved=given.saved,
            run=ranks.run if ranks else run_digest(given, module),
            device=device,
        )
        standing = loop.train()
    return TrainedNetwork(module, network.options, scale, standing)


def _loop_of(ranks: Ranks | None) -> Callable[..., Loop]:
    if ranks is None:
        return Loop
    from modeltap.training.distributed.loop import SharedLoop

    return partial(SharedLoop, ranks=ranks)


def find_device(wanted: str) -> torch.device:
    """Raises InvalidRecipe for cuda where there is none."""
    there = torch.cuda.is_available()
    if wanted == "cuda" and not there:
        raise InvalidRecipe("device is cuda, and torch finds no CUDA device here; set device: auto or cpu")
    return torch.device("cuda" if there and wanted != "cpu" else "cpu")


def _target(raw_N: Any, scale: TargetScale | None) -> Tensor:
    return as_tensor(raw_N.astype(np.int64, copy=False) if scale is None else scale.scale(raw_N))


def _loss(given: Assignment, device: torch.device) -> LossFunction:
    if not given.labels:
        return number_loss(given.recipe.loss)
    counts = np.bincount(given.data.train_target.astype(np.int64), minlength=len(given.labels)).tolist()
    weights = class_weights(given.recipe.loss, given.labels, counts)
    return class_loss(given.recipe.loss, None if weights is None else torch.tensor(weights, device=device))


def _validation(
    given: Assignment, scale: TargetScale | None, loss: LossFunction, device: torch.device, ranks: Ranks | None
) -> Validate | None:
    """Loss and accuracy, or the root of the mean squared error in raw units; None without rows."""
    if not len(given.data.val):
        if given.recipe.early_stopping is not None or given.recipe.schedule.name == "plateau":
            raise InvalidRecipe(
                "early_stopping and schedule plateau need a validation part; set data.split.val, or early_stopping: false"
            )
        return None
    inputs = input_tensors(given.data.val, given.spec)
    target = _target(given.data.val_target, scale)

    most_rows = None if given.spec.padding is None else TEXTS_AT_ONCE
    if given.watched is not None:
        return watch(given, inputs, target, scale=scale, loss=loss, device=device, most_rows=most_rows)
    together: dict[str, Any] = {"share": ranks.share, "total": ranks.total} if ranks else {}

    def validate_class(module: nn.Module) -> tuple[float, float]:
        return validate(module, inputs, target, loss=loss, score=correct, device=device, most_rows=most_rows, **together)

    def validate_number(module: nn.Module) -> tuple[float, float]:
        mean_loss, error = validate(module, inputs, target, loss=loss, score=squared_error, device=device, **together)
        return mean_loss, math.sqrt(error) * (scale.std if scale else 1.0)

    return validate_class if given.labels else validate_number


def _check_batches(module: nn.Module, batches: Batches, share: Share) -> None:
    norms = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
    fewest = int(batches.sizes().min()) // share.processes
    if norms and fewest < 2 and share.processes > 1:
        raise InvalidRecipe(
            f"batch normalisation needs two rows or more in each process's share of a batch, the smallest has {fewest};"
            " raise batch_size, or lower distributed.processes"
        )
    if norms and fewest < 2:
        raise InvalidRecipe("batch normalisation needs two rows or more in a batch; raise batch_size or add rows")
