"""One network from recipe to graph: built, trained, exported."""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from modeltap.domain.architecture import Architecture, Options
from modeltap.domain.features import FeatureSpec
from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import find_architecture, parse_options
from modeltap.training.batches import Batches, as_tensor, input_tensors
from modeltap.training.determinism import deterministic
from modeltap.training.export import export_network
from modeltap.training.loop import Loop, Validate
from modeltap.training.losses import LossFunction, class_loss, class_weights, number_loss
from modeltap.training.reporting import Reporter
from modeltap.training.targets import TargetScale, fit_scale
from modeltap.training.trained import Assignment, Trained, describe
from modeltap.training.validation import correct, squared_error, validate

CHECKPOINT = "checkpoint.safetensors"
FINGERPRINT_ROWS = 4096


def fit_network(given: Assignment, architecture: Architecture) -> Trained:
    """Trains from the start, or from the checkpoint of the same run in the work directory. Raises as `fit` does."""
    recipe, spec = given.recipe, given.spec
    options = parse_options(architecture, recipe.model.options)
    check_input_shape(recipe.model.input.shape, spec)
    device = _device(recipe.device)
    with deterministic(seed=recipe.seed, threads=given.threads):
        module = build_module(architecture, options, spec, given.num_outputs)
        scale = None if given.labels else fit_scale(recipe, options, given.data.train_target)
        module.to(device)
        inputs = input_tensors(given.data.train, spec)
        batches = Batches(inputs, _target(given.data.train_target, scale), batch_size=recipe.batch_size, device=device)
        _check_batches(module, batches)
        loss = _loss(given, device)
        loop = Loop(
            module,
            batches,
            recipe,
            loss=loss,
            validate=_validation(given, scale, loss, device),
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
            run=run_digest(given, module),
            device=device,
        )
        standing = loop.train()
        module.cpu()
        graph = export_network(module, spec, scale, [tensor[:64] for tensor in inputs])
    return Trained(
        graph=graph,
        weights={name: tensor.detach().numpy().copy() for name, tensor in module.state_dict().items()},
        architecture=describe(
            architecture,
            options,
            spec,
            given.num_outputs,
            target=None if scale is None else {"mean": scale.mean, "std": scale.std},
        ),
        history=standing.history,
        best_epoch=standing.best_epoch,
    )


def build_module(architecture: Architecture, options: Options, spec: FeatureSpec, num_outputs: int) -> nn.Module:
    """The module with start weights. Raises InvalidRecipe where options and data do not fit."""
    place, _, function = architecture.build.partition(":")
    try:
        builder = getattr(importlib.import_module(place), function)
    except (ImportError, AttributeError) as problem:
        raise InvalidRecipe(f"the architecture '{architecture.name}' cannot be loaded: {problem}") from problem
    module: nn.Module = builder(options, spec, num_outputs)
    return module


def build_again(described: Mapping[str, Any], weights: Mapping[str, Any]) -> nn.Module:
    """The trained module, in evaluation mode, from `Trained.architecture` and `Trained.weights`; it gives logits, or values
    that are still scaled by `target`."""
    architecture = find_architecture(described["architecture"])
    options = parse_options(architecture, described["options"])
    spec = msgspec.convert(described["features"], FeatureSpec)
    module = build_module(architecture, options, spec, described["num_outputs"])
    module.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    return module.eval()


def check_input_shape(declared: Sequence[int] | None, spec: FeatureSpec) -> None:
    """Raises InvalidRecipe if the recipe's `model.input.shape` is not what the data gives; a channel of 1 may be left out."""
    if declared is None:
        return
    there = spec.shape or (len(spec.cardinalities),)
    if _without_channel(declared) != _without_channel(there):
        raise InvalidRecipe(
            f"model.input.shape is {list(declared)}, and the data has {list(there)}; leave it out, or write {list(there)}",
            fields=[("model.input.shape", f"the data has {list(there)}")],
        )


def run_digest(given: Assignment, module: nn.Module) -> str:
    """Names everything that decides the run: recipe, threads, data (by its targets and up to 4096 rows), weights' shapes,
    torch's version. A checkpoint of another digest is not gone on from."""
    digest = hashlib.sha256()
    shapes = {name: list(tensor.shape) for name, tensor in module.state_dict().items()}
    facts = [given.recipe, given.spec, list(given.labels), given.threads, str(torch.__version__), shapes]
    digest.update(msgspec.json.encode(facts, order="sorted"))
    for batch, target in ((given.data.train, given.data.train_target), (given.data.val, given.data.val_target)):
        digest.update(np.ascontiguousarray(target).tobytes())
        rows = np.unique(np.linspace(0, max(0, len(batch) - 1), FINGERPRINT_ROWS, dtype=np.int64))[: len(batch)]
        for array in (batch.features, batch.codes):
            if array is not None:
                digest.update(str(array.shape).encode())
                digest.update(np.ascontiguousarray(array[rows]).tobytes())
    return digest.hexdigest()


def _without_channel(shape: Sequence[int]) -> tuple[int, ...]:
    """An image's shape without a channel of 1, wherever the layout has it."""
    if len(shape) == 3 and 1 in (shape[0], shape[2]):
        return tuple(shape[:2] if shape[2] == 1 else shape[1:])
    return tuple(shape)


def _device(wanted: str) -> torch.device:
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


def _validation(given: Assignment, scale: TargetScale | None, loss: LossFunction, device: torch.device) -> Validate | None:
    """Loss and accuracy, or the root of the mean squared error in raw units; None without rows."""
    if not len(given.data.val):
        if given.recipe.early_stopping is not None or given.recipe.schedule.name == "plateau":
            raise InvalidRecipe(
                "early_stopping and schedule plateau need a validation part; set data.split.val, or early_stopping: false"
            )
        return None
    inputs = input_tensors(given.data.val, given.spec)
    target = _target(given.data.val_target, scale)

    def validate_class(module: nn.Module) -> tuple[float, float]:
        return validate(module, inputs, target, loss=loss, score=correct, device=device)

    def validate_number(module: nn.Module) -> tuple[float, float]:
        mean_loss, error = validate(module, inputs, target, loss=loss, score=squared_error, device=device)
        return mean_loss, math.sqrt(error) * (scale.std if scale else 1.0)

    return validate_class if given.labels else validate_number


def _check_batches(module: nn.Module, batches: Batches) -> None:
    norms = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
    if norms and int(batches.sizes().min()) < 2:
        raise InvalidRecipe("batch normalisation needs two rows or more in a batch; raise batch_size or add rows")
