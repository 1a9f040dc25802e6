"""The train step: dataset and recipe → features → trained graph → bundle → registered version."""

from __future__ import annotations

import time
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
from modeltap.domain.dataset import Dataset, Part
from modeltap.domain.engine import Engine
from modeltap.domain.model import EngineChoice, Lineage, Manifest
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.domain.search import Tried
from modeltap.domain.signature import Array, Signature
from modeltap.domain.tuning import Searched
from modeltap.engines.new_engine import measured_engine
from modeltap.evaluation.report import PictureShown, render_report
from modeltap.evaluation.result import Evaluation, flat_metrics
from modeltap.faults import crash_point
from modeltap.recipe.architectures import find_architecture
from modeltap.recipe.parse import parse_recipe
from modeltap.recipe.render import recipe_digest, render_recipe
from modeltap.runner.background import background_rows
from modeltap.runner.features import Featured, table_features
from modeltap.runner.judge import judge_answers, run_in_chunks, slice_columns
from modeltap.runner.network_start import open_network
from modeltap.runner.prepare import PartData, Prepared, prepare
from modeltap.runner.reasons import explained_pictures, with_importance
from modeltap.runner.register import register
from modeltap.runner.search import candidate_table, search_table
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
    began_s = time.monotonic()
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
    if find_architecture(recipe.model.architecture).family == "search":
        prepared, featured, trained = search_table(step, spec, recipe, prepared, began_s=began_s)
        return conclude(step, spec, recipe, dataset, stored, prepared, featured, trained)
    if "texts" in task.forms:
        recipe, featured = text_features(prepared, recipe, partial(open_start, step))
    else:
        base = open_network(step, recipe)
        recipe = recipe if base is None else base.recipe_for(recipe, prepared.labels)
        prepared, featured = table_features(prepared, recipe)
        featured = featured if base is None else base.begin(featured, recipe, prepared.labels)
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
    return conclude(step, spec, recipe, dataset, stored, prepared, featured, trained)


def conclude(
    step: Step,
    spec: TrainSpec,
    recipe: Recipe,
    dataset: Dataset,
    stored: StoredDataset,
    prepared: Prepared,
    featured: Featured,
    trained: Trained,
    *,
    searched: Searched | None = None,
) -> dict[str, Any]:
    """What was trained, evaluated and registered: the job's result. `searched`: the search that found the recipe."""
    task, threads = find_task(recipe.task), recipe.threads or 1
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
    by = slice_columns(prepared.schema)
    evaluations: dict[str, Evaluation] = {
        part: judge_answers(_answers(part, prepared, trained, engine, signature), rows, prepared.labels, slices=by)
        for part, rows in prepared.parts.items()
        if part != "train" and len(rows)
    }
    manifest = _manifest(recipe, dataset, prepared, signature, min_batch, threads, evaluations, searched, trained.tried)
    step.pause_point()
    step.report(Progress(phase="bundle", message="writing the bundle"))
    main = evaluations.get("test") or evaluations.get("val")
    seen = prepared.parts["test" if "test" in evaluations else "val"]
    if main is not None:
        main = with_importance(main, engine.run, manifest, seen, seed=recipe.seed)
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
        background=background_rows(stored, prepared),
    )
    digest = step.artifacts.put_tree(files)
    pictures = [] if main is None else explained_pictures(manifest, seen, engine.run, featured, trained)
    report = _report(step, spec.name, manifest, main, trained, recipe, pictures)
    return register(
        step,
        spec,
        digest,
        manifest,
        report=report,
        evaluation=main,
        history=trained.history,
        notices=[*prepared.notices, *featured.notices, *trained.notices],
        candidates=candidate_table(trained.tried, trained.seconds),
    )


def _answers(part: Part, prepared: Prepared, trained: Trained, engine: Engine, signature: Signature) -> Array:
    """What is evaluated: the answers of the graph, or of those of its members that did not learn from the rows."""
    if part == "val" and trained.val_answer is not None:
        return trained.val_answer
    return run_in_chunks(engine.run, prepared.parts[part].columns)[signature.outputs[0].name]


def _manifest(
    recipe: Recipe,
    dataset: Dataset,
    prepared: Prepared,
    signature: Signature,
    min_batch: int,
    threads: int,
    evaluations: Mapping[str, Evaluation],
    searched: Searched | None,
    tried: tuple[Tried, ...],
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
            tried=tried,
            searched=searched,
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
    step: Step,
    name: str,
    manifest: Manifest,
    evaluation: Evaluation | None,
    trained: Trained,
    recipe: Recipe,
    pictures: Sequence[PictureShown],
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
        candidates=candidate_table(trained.tried, trained.seconds),
        pictures=pictures,
    )
    return step.artifacts.put_bytes(page.encode())
