"""The train step: dataset and recipe → features → trained graph → bundle → registered version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import numpy as np

from modeltap import __version__
from modeltap.bundle.card import write_card
from modeltap.bundle.files import bundle_files
from modeltap.bundle.golden import Golden, awkward_rows, record_golden, wire_rows
from modeltap.bundle.join import join_graphs
from modeltap.control.trainings import TrainSpec
from modeltap.data.clean import is_missing
from modeltap.data.store import StoredDataset, open_dataset
from modeltap.domain.dataset import Dataset
from modeltap.domain.engine import Engine
from modeltap.domain.model import EngineChoice, Lineage, Manifest
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.domain.signature import Signature
from modeltap.engines.new_engine import measured_engine
from modeltap.evaluation.report import render_report
from modeltap.evaluation.result import Evaluation, flat_metrics
from modeltap.faults import crash_point
from modeltap.recipe.parse import parse_recipe
from modeltap.recipe.render import recipe_digest, render_recipe
from modeltap.runner.features import table_features
from modeltap.runner.judge import judge, slice_columns
from modeltap.runner.prepare import PartData, Prepared, prepare
from modeltap.runner.register import register
from modeltap.runner.steps import Step
from modeltap.runner.text_features import text_features
from modeltap.runner.text_start import open_start
from modeltap.runner.train_embedding import train_embedding
from modeltap.runner.train_language import train_language
from modeltap.storage.datasets import DatasetRepository
from modeltap.tasks import text_embedding, text_generation
from modeltap.tasks.catalogue import find_task
from modeltap.training.fit import Trained, fit

GOLDEN_ROWS = 12
GOLDEN_MISSING = 4


def train(step: Step) -> dict[str, Any]:
    """The registered version, its metrics and what was noticed. Raises InvalidRecipe, InvalidData, Stopped, StorageFailed."""
    spec = msgspec.convert(step.job.spec, TrainSpec)
    recipe = parse_recipe(spec.recipe)
    task = find_task(recipe.task)
    if task.name == text_generation.TASK.name:
        return train_language(step, spec, recipe)
    if task.name == text_embedding.TASK.name:
        return train_embedding(step, spec, recipe)
    threads = recipe.threads or 1
    dataset = DatasetRepository(step.database, step.job.tenant).get(spec.dataset)
    stored = open_dataset(step.artifacts.paths(dataset.digest))
    step.report(Progress(phase="data", message=f"reading {dataset.id}"))
    prepared = prepare(stored, recipe, task)
    step.pause_point()
    step.report(Progress(phase="features", message="fitting the preprocessing"))
    if "texts" in task.forms:
        recipe, featured = text_features(prepared, recipe, partial(open_start, step))
    else:
        prepared, featured = table_features(prepared, recipe)
    step.pause_point()
    trained = fit(
        recipe,
        featured.spec,
        featured.data,
        labels=prepared.labels,
        threads=threads,
        workdir=step.workdir,
        report=step.report,
        stop_requested=step.stop_requested,
        checkpoint_every_s=spec.checkpoint_every_s,
        saved=step.saved,
        start=featured.start,
    )
    crash_point("train.finished")
    step.report(Progress(phase="evaluate", message="evaluating"))
    graph, joined = join_graphs(
        featured.graph, trained.graph, inputs=featured.graph_inputs, output=recipe.model.output.name, labels=prepared.labels
    )
    signature = Signature(featured.inputs, joined.outputs)
    content = graph.SerializeToString(deterministic=True)
    with_sample = prepared.parts["test"] if len(prepared.parts["test"]) else prepared.parts["train"]
    sample = {name: values[:64] for name, values in with_sample.columns.items()}
    engine, min_batch = measured_engine(content, signature, sample, featured.texts)
    evaluations = {
        part: judge(engine.run, prepared.parts[part], signature, prepared.labels, slices=slice_columns(prepared.schema))
        for part in ("val", "test")
        if len(prepared.parts[part])
    }
    manifest = _manifest(recipe, dataset, prepared, signature, min_batch, threads, evaluations)
    step.pause_point()
    step.report(Progress(phase="bundle", message="writing the bundle"))
    main = evaluations.get("test") or evaluations.get("val")
    files = bundle_files(
        manifest=manifest,
        graph=content,
        golden=golden_rows(stored, prepared, with_sample, engine),
        card=write_card(
            manifest,
            name=spec.name,
            summary=task.summary,
            num_rows={part: len(rows) for part, rows in prepared.parts.items()},
            slices=msgspec.to_builtins(main.slices) if main else [],
        ),
        recipe_yaml=render_recipe(recipe),
        weights=trained.weights,
        architecture=trained.architecture,
        texts=None if featured.texts is None else featured.texts.files(),
    )
    digest = step.artifacts.put_tree(files)
    report = _report(step, spec.name, manifest, main, trained, recipe)
    return register(
        step,
        spec,
        digest,
        manifest,
        report=report,
        evaluation=main,
        history=trained.history,
        notices=[*prepared.notices, *featured.notices],
    )


def _manifest(
    recipe: Recipe,
    dataset: Dataset,
    prepared: Prepared,
    signature: Signature,
    min_batch: int,
    threads: int,
    evaluations: Mapping[str, Evaluation],
) -> Manifest:
    return Manifest(
        task=recipe.task,
        architecture=recipe.model.architecture,
        signature=signature,
        engine=EngineChoice(min_batch=min_batch),
        schema=prepared.schema,
        output=signature.outputs[0].name,
        labels=prepared.labels,
        lineage=Lineage(
            dataset=dataset.id,
            dataset_digest=dataset.digest,
            recipe_digest=recipe_digest(recipe),
            code_version=__version__,
            seed=recipe.seed,
            threads=threads,
        ),
        metrics={part: flat_metrics(evaluation) for part, evaluation in evaluations.items()},
    )


def golden_rows(stored: StoredDataset, prepared: Prepared, part: PartData, engine: Engine) -> Golden:
    """Rows spread over the part, some with a missing value, and awkward ones that no table has."""
    spread = np.unique(np.linspace(0, len(part) - 1, GOLDEN_ROWS).astype(np.int64))
    missing_N = np.zeros(len(part), dtype=bool)
    for column in prepared.schema.features:
        missing_N |= is_missing(part.columns[column.name])
    chosen = np.unique(np.concatenate([spread, np.flatnonzero(missing_N)[:GOLDEN_MISSING]]))
    columns: dict[str, Sequence[Any]] = {}
    for column in prepared.schema.features:
        values = stored.column(part.stored, prepared.names[column.name])
        columns[column.name] = [values[i] for i in part.rows[chosen].tolist()]
    rows = wire_rows(prepared.schema, columns) + awkward_rows(prepared.schema)
    return record_golden(prepared.schema, rows, engine.run)


def _report(
    step: Step, name: str, manifest: Manifest, evaluation: Evaluation | None, trained: Trained, recipe: Recipe
) -> str | None:
    if evaluation is None:
        return None
    facts = {
        "model": name,
        "task": manifest.task,
        "architecture": manifest.architecture,
        "dataset": manifest.lineage.dataset,
        "best epoch": str(trained.best_epoch or len(trained.history)),
        "job": step.job.id,
    }
    page = render_report(
        title=f"{name}: {manifest.task}",
        evaluation=evaluation,
        history=trained.history,
        recipe_yaml=render_recipe(recipe),
        facts=facts,
    )
    return step.artifacts.put_bytes(page.encode())
