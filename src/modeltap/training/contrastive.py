"""A sentence encoder: the two views of a text come near each other, and go away from all other texts of the batch.

The views are the two texts of a pair or, of texts alone, the same text read twice under dropout (SimCSE, Gao et al. 2021).
Letters: N texts, T ids of a text, D numbers of a vector.
"""

from __future__ import annotations

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from modeltap.domain.architecture import Architecture
from modeltap.domain.features import FeatureSpec
from modeltap.errors import InvalidRecipe
from modeltap.recipe.architectures import parse_options
from modeltap.recipe.text_architectures import PretrainedSentenceOptions, SentenceOptions
from modeltap.training.batches import Batches, input_tensors
from modeltap.training.building import build_module, load_start
from modeltap.training.checkpoint import CHECKPOINT
from modeltap.training.determinism import deterministic
from modeltap.training.export import export_network
from modeltap.training.fingerprint import run_digest
from modeltap.training.loop import Loop, Validate
from modeltap.training.network import find_device
from modeltap.training.reporting import Reporter
from modeltap.training.trained import Assignment, Trained, describe
from modeltap.training.validation import validate

METRIC = "pair_accuracy"
COMPARED = 64
"""Texts among which a text's other view is looked for when it is measured."""
THINNED = 3
"""The other view of a text alone, when it is measured: without every third id."""


class Views(nn.Module):
    """ids of pairs side by side (N, 2T), or of texts (N, T) → how alike each is to each other view, (N, N)."""

    def __init__(self, encoder: nn.Module, *, temperature: float, padding: int, are_pairs: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.temperature, self.padding, self.are_pairs = temperature, padding, are_pairs

    def forward(self, ids: Tensor) -> Tensor:
        if self.are_pairs:
            first, second = ids.chunk(2, dim=1)
        else:
            first, second = ids, ids if self.training else thinned(ids, self.padding)
        alike: Tensor = self.encoder(first) @ self.encoder(second).T / self.temperature
        return alike


def thinned(ids_NT: Tensor, padding: int) -> Tensor:
    """The ids with filling in place of every third."""
    place_T = torch.arange(ids_NT.shape[1], device=ids_NT.device)
    return torch.where(place_T % THINNED == THINNED - 1, padding, ids_NT)


def fit_sentences(given: Assignment, architecture: Architecture, *, are_pairs: bool) -> Trained:
    """The trained encoder and its graph, whose `prediction` are vectors. Raises as `fit` does.

    The targets of `given` are not looked at. Of pairs, its codes have the first text's ids, then the second's.
    """
    recipe, spec = given.recipe, given.spec
    options = parse_options(architecture, recipe.model.options)
    assert isinstance(options, SentenceOptions | PretrainedSentenceOptions)
    one = _of_one_text(given) if are_pairs else spec
    device = find_device(recipe.device)
    if min(recipe.batch_size, len(given.data.train)) < 2:
        raise InvalidRecipe("a text is told from the others of its batch; batch_size and the training texts must be 2 or more")
    with deterministic(seed=recipe.seed, threads=given.threads):
        encoder = build_module(architecture, options, one, 1)
        load_start(encoder, given.start)
        padding = spec.padding or 0
        module = Views(encoder, temperature=options.temperature, padding=padding, are_pairs=are_pairs).to(device)
        inputs = input_tensors(given.data.train, spec)
        batches = Batches(inputs, torch.arange(len(given.data.train)), batch_size=recipe.batch_size, device=device)
        loop = Loop(
            module,
            batches,
            recipe,
            loss=_contrast,
            validate=_measure(given, device),
            metric_name=METRIC,
            reporter=Reporter(
                given.report, epochs=recipe.epochs, steps=batches.num_steps, rows=batches.size, metric_name=METRIC
            ),
            stop_requested=given.stop_requested,
            checkpoint=given.workdir / CHECKPOINT,
            checkpoint_every_s=given.checkpoint_every_s,
            saved=given.saved,
            run=run_digest(given, module),
            device=device,
        )
        standing = loop.train()
        encoder = encoder.cpu()
        some = [ids[:64, : len(one.cardinalities)].contiguous() for ids in inputs]
        graph = export_network(encoder, one, None, some, gives_vectors=True)
    return Trained(
        graph=graph,
        weights={name: tensor.detach().numpy().copy() for name, tensor in encoder.state_dict().items()},
        architecture=describe(architecture, options, one, 1, target=None),
        history=standing.history,
        best_epoch=standing.best_epoch,
    )


def _of_one_text(given: Assignment) -> FeatureSpec:
    width = len(given.spec.cardinalities) // 2
    return msgspec.structs.replace(given.spec, cardinalities=given.spec.cardinalities[:width])


def _contrast(alike_NN: Tensor, _target_N: Tensor) -> Tensor:
    """Each text must find its other view among all, in both directions."""
    own_N = torch.arange(len(alike_NN), device=alike_NN.device)
    return (functional.cross_entropy(alike_NN, own_N) + functional.cross_entropy(alike_NN.T, own_N)) / 2


def _measure(given: Assignment, device: torch.device) -> Validate | None:
    if not len(given.data.val):
        if given.recipe.early_stopping is not None or given.recipe.schedule.name == "plateau":
            raise InvalidRecipe("early_stopping and schedule plateau need a validation part; set data.split.val")
        return None
    inputs = input_tensors(given.data.val, given.spec)
    places = torch.arange(len(given.data.val))

    def found(alike_NN: Tensor, _target_N: Tensor) -> Tensor:
        own_N = torch.arange(len(alike_NN), device=alike_NN.device)
        return (alike_NN.argmax(1) == own_N).sum(dtype=torch.float64)

    def measured(module: nn.Module) -> tuple[float, float]:
        return validate(module, inputs, places, loss=_contrast, score=found, device=device, most_rows=COMPARED)

    return measured
