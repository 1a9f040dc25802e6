"""The evaluate step: a registered version on a dataset, with a report of its own."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from modeltap.bundle.files import RECIPE, Bundle, open_bundle
from modeltap.control.reading import Reading
from modeltap.control.text_evaluations import has_no_target
from modeltap.control.trainings import EvaluateSpec
from modeltap.data.store import StoredDataset, open_dataset
from modeltap.domain.dataset import Column, Dataset, Part
from modeltap.domain.job import REPORT_FILE
from modeltap.domain.model import Manifest, ModelVersion
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.domain.signature import Array
from modeltap.engines.select import open_engine
from modeltap.errors import InvalidData, nearest
from modeltap.evaluation.report import render_report
from modeltap.evaluation.result import Evaluation, flat_metrics
from modeltap.recipe.document import load_document
from modeltap.recipe.parse import parse_recipe
from modeltap.runner.evaluate_texts import judge_texts, result_of
from modeltap.runner.imported_rows import joined_parts, read_imported_rows, run_rows
from modeltap.runner.judge import judge, judge_answers, run_in_chunks, slice_columns
from modeltap.runner.known_labels import known_labels
from modeltap.runner.prepare import TRAINED_PARTS, PartData, encode_target, prepare, read_column
from modeltap.runner.reasons import with_importance
from modeltap.runner.steps import Step
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.disk import disk_failures
from modeltap.storage.models import ModelRepository
from modeltap.tasks import tensors
from modeltap.tasks.catalogue import find_task


def evaluate(step: Step) -> dict[str, Any]:
    """Metrics and evaluation of the version on the dataset's rows. Raises InvalidData if the two do not fit."""
    spec = msgspec.convert(step.job.spec, EvaluateSpec)
    version = ModelRepository(step.database, step.job.tenant).get(spec.model)
    dataset = DatasetRepository(step.database, step.job.tenant).get(spec.dataset)
    stored = open_dataset(step.artifacts.paths(dataset.digest))
    files = step.artifacts.paths(version.digest)
    bundle = open_bundle(files)
    step.report(Progress(phase="data", message=f"reading {dataset.id}"))
    if has_no_target(version):
        judged = judge_texts(step, spec, bundle, stored, is_own=dataset.digest == bundle.manifest.lineage.dataset_digest)
        if judged.evaluation is not None:
            _write_report(step, version, bundle, dataset, judged.evaluation)
        step.report(Progress(phase="done", fraction=1.0, message=version.id))
        return result_of(step, judged, model=version.id, dataset=dataset.id)
    notices: list[str] = []
    if spec.reading is not None:
        parts = _parts(stored, spec.part)
        evaluation = _judge_imported(step, bundle, stored, dataset, spec.reading, parts, spec.slices, notices)
    else:
        if dataset.digest == bundle.manifest.lineage.dataset_digest and spec.part in (None, *TRAINED_PARTS):
            recipe = parse_recipe(load_document(files[RECIPE].read_text(encoding="utf-8")))
            parts, rows = _own_part(stored, recipe, spec.part)
        else:
            parts = _parts(stored, spec.part)
            rows = _read(stored, parts, bundle.manifest, dataset, notices)
        _start_judging(step, len(rows))
        by = [_slice_column(bundle.manifest, name) for name in spec.slices] or slice_columns(bundle.manifest.schema)
        engine = open_engine(bundle)
        evaluation = judge(engine.run, rows, bundle.manifest.signature, bundle.manifest.labels, slices=by)
        evaluation = with_importance(evaluation, engine.run, bundle.manifest, rows, seed=bundle.manifest.lineage.seed)
    _write_report(step, version, bundle, dataset, evaluation)
    step.report(Progress(phase="done", fraction=1.0, message=version.id))
    return {
        "job": step.job.id,
        "model": version.id,
        "dataset": dataset.id,
        "part": "+".join(parts),
        "metrics": flat_metrics(evaluation),
        "evaluation": msgspec.to_builtins(evaluation),
        "notices": notices,
        "report": True,
    }


def _judge_imported(
    step: Step,
    bundle: Bundle,
    stored: StoredDataset,
    dataset: Dataset,
    reading: Reading,
    parts: list[Part],
    slices: tuple[str, ...],
    notices: list[str],
) -> Evaluation:
    """The evaluation of a version that was imported, whose schema says nothing of a truth."""
    manifest = bundle.manifest
    by = [_sliced(stored, name) for name in slices]
    found = read_imported_rows(stored, dataset.id, manifest, reading, parts, more=by)
    rows = joined_parts(list(found.parts.values()))
    _start_judging(step, len(rows))
    engine = open_engine(bundle)
    own = {column.name: rows.columns[column.name] for column in found.inputs}
    answers = found.answers(run_rows(engine.run, manifest, own, run_in_chunks))
    evaluation = judge_answers(answers, rows, found.labels, slices=by or slice_columns(manifest.schema))
    notices += found.notices
    if manifest.task == tensors.TASK.name:
        return evaluation
    return with_importance(evaluation, engine.run, manifest, rows, seed=manifest.lineage.seed)


def _start_judging(step: Step, num_rows: int) -> None:
    step.pause_point()
    step.report(Progress(phase="evaluate", fraction=0.3, message=f"{num_rows:,} rows"))


def _sliced(stored: StoredDataset, name: str) -> Column:
    column = stored.schema.column(name)
    if column is None or column.kind in ("image", "array"):
        known = [c.name for c in stored.schema.columns if c.kind not in ("image", "array")]
        raise InvalidData(f"the dataset has no column '{name}' to slice by{nearest(name, known)}")
    return column


def _own_part(stored: StoredDataset, recipe: Recipe, wanted: str | None) -> tuple[list[Part], PartData]:
    """The part of the version's own dataset as its training divided it, so that no row it learned from is taken for a test;
    without a wish the test part. Raises InvalidData if the part has no rows."""
    prepared = prepare(stored, recipe, find_task(recipe.task))
    part = next(name for name in TRAINED_PARTS if name == (wanted or "test"))
    if not len(prepared.parts[part]):
        raise InvalidData(f"the version's recipe leaves no row for its {part} part; name another part, or other data")
    return [part], prepared.parts[part]


def _parts(stored: StoredDataset, wanted: str | None) -> list[Part]:
    if wanted is None:
        return ["test"] if "test" in stored.parts else list(stored.parts)
    return list(stored.parts) if wanted == "all" else [part for part in stored.parts if part == wanted]


def _read(stored: StoredDataset, parts: list[Part], manifest: Manifest, dataset: Dataset, notices: list[str]) -> PartData:
    """The rows under the bundle's schema: columns are found by name, a single picture or array by its kind."""
    target = manifest.schema.target
    assert target is not None
    if dataset.schema.column(target.name) is None:
        raise InvalidData(f"{dataset.id} has no column '{target.name}', the target; the truth is needed to evaluate")
    columns = {c.name: _stack(stored, parts, _stored_name(dataset, c), c, manifest) for c in manifest.schema.features}
    truth = _stack(stored, parts, target.name, target, manifest)
    if manifest.labels:
        truth = known_labels(truth, manifest.labels)
    codes, known = encode_target(truth, manifest.labels)
    known = known & ~(np.isnan(codes) if codes.dtype.kind == "f" else np.zeros(len(codes), dtype=bool))
    if not known.any():
        told = f"the version knows: {', '.join(manifest.labels[:10])}" if manifest.labels else "every number is missing"
        raise InvalidData(f"no row of {dataset.id} has a '{target.name}' to compare with; {told}")
    if not known.all():
        notices.append(f"{int((~known).sum())} rows have no '{target.name}' that the version knows and were left out")
    index = np.flatnonzero(known).astype(np.int64)
    return PartData(parts[0], index, {name: values[index] for name, values in columns.items()}, codes[index])


def _stack(stored: StoredDataset, parts: list[Part], name: str, column: Column, manifest: Manifest) -> Array:
    return np.concatenate([read_column(stored, part, name, column, manifest.schema) for part in parts])


def _stored_name(dataset: Dataset, column: Column) -> str:
    if dataset.schema.column(column.name) is not None:
        return column.name
    alike = [c.name for c in dataset.schema.features if c.kind == column.kind and c.kind in ("image", "array")]
    if len(alike) == 1:
        return alike[0]
    known = [c.name for c in dataset.schema.columns]
    raise InvalidData(f"{dataset.id} has no column '{column.name}', which the version needs{nearest(column.name, known)}")


def _slice_column(manifest: Manifest, name: str) -> Column:
    column = next((c for c in manifest.schema.features if c.name == name), None)
    if column is None or column.kind in ("image", "array"):
        known = [c.name for c in manifest.schema.features if c.kind not in ("image", "array")]
        raise InvalidData(f"the version has no column '{name}' to slice by{nearest(name, known)}")
    return column


def _write_report(step: Step, version: ModelVersion, bundle: Bundle, dataset: Dataset, evaluation: Evaluation) -> None:
    page = render_report(
        title=f"{version.id} on {dataset.id}",
        evaluation=evaluation,
        history=[],
        recipe_yaml="",
        facts={"model": version.id, "task": bundle.manifest.task, "dataset": dataset.id, "rows": f"{evaluation.num_rows:,}"},
    )
    with disk_failures("writing the report"):
        (step.workdir / REPORT_FILE).write_text(page, encoding="utf-8")
