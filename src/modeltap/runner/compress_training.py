"""Pruning and distillation: what is made smaller and then trained, from the start or from the job's checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from numpy.typing import NDArray

from modeltap.bundle.join import join_graphs
from modeltap.compression.prune import prune_channels, prune_weights, zero_share
from modeltap.compression.rounds import Round, read_round, write_round
from modeltap.control.compress_spec import CompressSpec
from modeltap.domain.dataset import Schema
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.domain.signature import Signature
from modeltap.faults import crash_point
from modeltap.recipe.parse import parse_recipe
from modeltap.runner.compress_numbers import parts_of
from modeltap.runner.features import compute_features, table_features
from modeltap.runner.steps import Step
from modeltap.runner.tensor_parent import Child, Parent
from modeltap.runner.text_features import text_features
from modeltap.runner.text_start import open_start
from modeltap.tasks.catalogue import find_task
from modeltap.training.fit import Teacher, Trained, TrainingData, fit

SEEN_ROWS = 64
"""Of the training part, on which the narrower network is seen to answer as the one it was cut from."""
ZEROS_NOTE = "weights that are 0 are multiplied and stored as any others: neither speed nor size gains from them"


def make_pruned(step: Step, spec: CompressSpec, parent: Parent) -> Child:
    """The narrower network, trained further after every round. Raises CannotCompress, Stopped, and as training does."""
    parts, recipe = parts_of(parent), parse_recipe(spec.recipe)
    step.report(Progress(phase="features", message="computing what the network reads"))
    data = compute_features(parent.prepared, parts.features, parent.bundle.manifest.signature.inputs, parent.feature_spec())
    now = Round(described=parent.described(), weights=parent.weights(), history=[])
    first_round = 1
    for number in range(spec.rounds - 1, 0, -1):
        found = read_round(step.workdir / _round_file(number), run=_run(spec, number))
        if found is not None:
            now, first_round = found, number + 1
            break
    trained: Trained | None = None
    for number in range(first_round, spec.rounds + 1):
        step.pause_point()
        step.report(Progress(phase="compress", message=_round_text(spec, number)))
        options, weights = _cut(spec, now, data, parent, number)
        tuned = _of_round(recipe, options, rounds=spec.rounds)
        trained = _fit(step, spec, parent, tuned, data, weights)
        epochs = [{**entry, "epoch": entry["epoch"] + len(now.history)} for entry in trained.history]
        now = Round(trained.architecture, trained.weights, now.history + epochs)
        if number < spec.rounds:
            write_round(step.workdir / _round_file(number), now, run=_run(spec, number))
    assert trained is not None
    crash_point("train.finished")
    manifest = parent.bundle.manifest
    graph, joined = join_graphs(
        parts.features, trained.graph, inputs=manifest.signature.inputs, output=manifest.output, labels=manifest.labels
    )
    return Child(
        graph=graph,
        signature=joined,
        method=f"prune {spec.amount:.0%}{', unstructured' if spec.is_unstructured else ''}",
        recipe=_of_round(recipe, trained.architecture["options"], rounds=spec.rounds),
        schema=manifest.schema,
        weights=trained.weights,
        architecture=trained.architecture,
        history=now.history,
        notes=_notes(spec, parent, trained),
    )


def make_student(step: Step, spec: CompressSpec, parent: Parent) -> Child:
    """A network of its own that learned the rows and what the parent answers to them. Raises as training does."""
    recipe = parse_recipe(spec.recipe)
    train = parent.prepared.parts["train"]
    step.report(Progress(phase="compress", message="asking the teacher for its answers to the training rows"))
    answer = parent.answers(parent.engine, train)
    teacher = Teacher(answer=answer, temperature=spec.temperature, alpha=spec.alpha)
    step.pause_point()
    step.report(Progress(phase="features", message="fitting the student's preprocessing"))
    prepared = parent.prepared
    if "texts" in find_task(recipe.task).forms:
        recipe, featured = text_features(prepared, recipe, partial(open_start, step))
    else:
        prepared, featured = table_features(prepared, recipe)
    trained = _fit(step, spec, parent, recipe, featured.data, featured.start, spec_of=featured.spec, teacher=teacher)
    crash_point("train.finished")
    graph, joined = join_graphs(
        featured.graph, trained.graph, inputs=featured.graph_inputs, output=recipe.model.output.name, labels=prepared.labels
    )
    told = f" at temperature {spec.temperature:g}" if prepared.labels else ""
    return Child(
        graph=graph,
        signature=Signature(featured.inputs, joined.outputs),
        method="distil",
        recipe=recipe,
        schema=prepared.schema if parent.imported is None else without_target(prepared.schema),
        weights=trained.weights,
        architecture=trained.architecture,
        texts=featured.texts,
        history=trained.history,
        notes=(f"{spec.alpha:.0%} of the loss are the answers of {parent.id}{told}, the rest the rows' own", *featured.notices),
    )


def without_target(schema: Schema) -> Schema:
    """As of a version that was imported: how a dataset is read for it is said anew each time."""
    return msgspec.structs.replace(schema, columns=tuple(c for c in schema.columns if c.role != "target"))


def _cut(
    spec: CompressSpec, now: Round, data: TrainingData, parent: Parent, number: int
) -> tuple[dict[str, Any], Mapping[str, NDArray[Any]]]:
    """Options and weights of what is trained in this round: after the last one the whole amount is gone."""
    gone, goal = spec.amount * (number - 1) / spec.rounds, spec.amount * number / spec.rounds
    if spec.is_unstructured:
        cut = prune_weights(now.described, now.weights, amount=goal)
    else:
        rows = _network_rows(data, parent)
        cut = prune_channels(now.described, now.weights, rows, amount=1 - (1 - goal) / (1 - gone))
    return cut.options, cut.weights


def _fit(
    step: Step,
    spec: CompressSpec,
    parent: Parent,
    recipe: Recipe,
    data: TrainingData,
    start: Mapping[str, NDArray[Any]],
    *,
    spec_of: Any = None,
    teacher: Teacher | None = None,
) -> Trained:
    return fit(
        recipe,
        spec_of or parent.feature_spec(),
        data,
        labels=parent.prepared.labels,
        threads=recipe.threads or 1,
        workdir=step.workdir,
        report=step.report,
        stop_requested=step.stop_requested,
        checkpoint_every_s=spec.checkpoint_every_s,
        saved=step.saved,
        start=start,
        teacher=teacher,
        keeps_zeros=spec.is_unstructured,
    )


def _network_rows(data: TrainingData, parent: Parent) -> Sequence[Any]:
    from modeltap.training.batches import input_tensors

    return input_tensors(data.train, parent.feature_spec(), rows=SEEN_ROWS)


def _of_round(recipe: Recipe, options: Mapping[str, Any], *, rounds: int) -> Recipe:
    """The training of one round: a part of the epochs, on the narrower network."""
    model = msgspec.structs.replace(recipe.model, options=dict(options))
    return msgspec.structs.replace(recipe, model=model, epochs=max(1, -(-recipe.epochs // rounds)))


def _round_file(number: int) -> str:
    return f"round-{number}.safetensors"


def _round_text(spec: CompressSpec, number: int) -> str:
    what = "weights" if spec.is_unstructured else "channels and units"
    return f"taking {what} away" + (f", round {number} of {spec.rounds}" if spec.rounds > 1 else "")


def _run(spec: CompressSpec, number: int) -> str:
    facts = [spec.digest, spec.amount, spec.rounds, spec.is_unstructured, spec.recipe, number]
    return hashlib.sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()


def _notes(spec: CompressSpec, parent: Parent, trained: Trained) -> tuple[str, ...]:
    if spec.is_unstructured:
        return (f"{zero_share(trained.weights):.0%} of the weights are 0", ZEROS_NOTE)
    before, after = ((sum(one.size for one in weights.values())) for weights in (parent.weights(), trained.weights))
    return (f"{after:,} of {before:,} weights are left",)
