"""A version of tensors → its smaller form, compared on rows that neither learned from → a version with a certificate."""

from __future__ import annotations

from typing import Any

import msgspec

from modeltap import __version__
from modeltap.bundle.card import write_card
from modeltap.bundle.environment import environment
from modeltap.bundle.files import Bundle, bundle_files
from modeltap.bundle.golden import Golden, record_golden
from modeltap.bundle.golden_cases import record_case
from modeltap.compression.card import with_comparison
from modeltap.compression.certificate import certify
from modeltap.control.compress_spec import CompressSpec
from modeltap.domain.certificate import Certificate
from modeltap.domain.dataset import Part
from modeltap.domain.engine import Engine
from modeltap.domain.model import EngineChoice, Manifest
from modeltap.domain.progress import Progress
from modeltap.engines.new_engine import measured_engine
from modeltap.evaluation.report import render_report
from modeltap.evaluation.result import Evaluation, flat_metrics
from modeltap.recipe.render import recipe_digest, render_recipe
from modeltap.runner.compress_numbers import make_int4, make_int8
from modeltap.runner.compress_speed import measure_speeds
from modeltap.runner.judge import judge_answers, slice_columns
from modeltap.runner.register_child import register_child
from modeltap.runner.steps import Step
from modeltap.runner.tensor_parent import Child, Parent, open_parent, rows_of
from modeltap.tasks.catalogue import find_task

SAMPLE_ROWS = 64
HELD_OUT: tuple[Part, ...] = ("val", "test")
GOLDEN_CASE_ROWS = 2
DISTIL = "distil"


def compress_tensors(step: Step, spec: CompressSpec, bundle: Bundle) -> dict[str, Any]:
    """As `compress`. Raises CannotCompress where the method has no form for this network, and as training does."""
    step.report(Progress(phase="data", message=f"reading {spec.dataset}"))
    parent = open_parent(step, spec, bundle)
    step.pause_point()
    return finish(step, spec, parent, _make(step, spec, parent))


def _make(step: Step, spec: CompressSpec, parent: Parent) -> Child:
    match spec.method:
        case "int8":
            return make_int8(step, spec, parent)
        case "int4":
            return make_int4(parent)
        case "prune":
            from modeltap.runner.compress_training import make_pruned

            return make_pruned(step, spec, parent)
    from modeltap.runner.compress_training import make_student

    return make_student(step, spec, parent)


def finish(step: Step, spec: CompressSpec, parent: Parent, child: Child) -> dict[str, Any]:
    """The child compared, certified and registered, as a candidate or rejected: the job's result."""
    step.pause_point()
    step.report(Progress(phase="evaluate", message="comparing both on the same rows"))
    prepared, labels = parent.prepared, parent.prepared.labels
    part, rows = parent.compared
    content = child.graph.SerializeToString(deterministic=True)
    engine, min_batch = measured_engine(content, child.signature, rows_of(rows, SAMPLE_ROWS), child.texts)
    judged = {name: prepared.parts[name] for name in HELD_OUT if len(prepared.parts[name])}
    answers = {name: parent.answers(engine, own) for name, own in judged.items()}
    drop = parent.drop(answers[part], rows, by_slice=True)
    step.report(Progress(phase="evaluate", message="drawing the rows again for the intervals of all metrics"))
    slices = slice_columns(prepared.schema)
    evaluations: dict[str, Evaluation] = {
        name: judge_answers(answers[name], own, labels, slices=slices) for name, own in judged.items()
    }
    step.pause_point()
    step.report(Progress(phase="compress", message="measuring the speed of both in turns"))
    sample = rows_of(rows, SAMPLE_ROWS)
    speeds = measure_speeds(parent.engine, engine, sample, sample)
    certificate = certify(
        parent=parent.id,
        parent_digest=spec.digest,
        method=child.method,
        evidence=f"{spec.dataset} ({part})",
        drop=drop,
        sizes_bytes=(parent.bundle.graph.stat().st_size, len(content)),
        speeds=speeds,
        demand=spec.demand,
        calibration_digest=child.calibration_digest,
        calibration_rows=child.calibration_rows,
        notes=child.notes,
        is_same_work=spec.is_unstructured,
    )
    manifest = _manifest(spec, parent, child, min_batch, evaluations)
    step.report(Progress(phase="bundle", message="writing the bundle"))
    digest = step.artifacts.put_tree(_files(spec, parent, child, manifest, content, engine, certificate, evaluations[part]))
    report = step.artifacts.put_bytes(_report(step, spec, manifest, child, certificate, evaluations[part]).encode())
    return register_child(
        step, spec, digest, manifest, certificate, history=child.history, report=report, evaluation=evaluations[part]
    )


def _manifest(spec: CompressSpec, parent: Parent, child: Child, min_batch: int, evaluations: dict[str, Evaluation]) -> Manifest:
    manifest, recipe = parent.bundle.manifest, child.recipe
    lineage = msgspec.structs.replace(
        manifest.lineage,
        dataset=spec.dataset,
        dataset_digest=spec.dataset_digest,
        parent=parent.id,
        code_version=__version__,
        tried=(),
        searched=None,
    )
    if recipe is not None:
        lineage = msgspec.structs.replace(
            lineage, recipe_digest=recipe_digest(recipe), seed=recipe.seed, threads=recipe.threads or 1
        )
    is_taught = child.method == DISTIL and recipe is not None
    return msgspec.structs.replace(
        manifest,
        task=recipe.task if is_taught and recipe is not None else manifest.task,
        labels=parent.prepared.labels if is_taught else manifest.labels,
        architecture=recipe.model.architecture if recipe is not None else manifest.architecture,
        signature=child.signature,
        engine=EngineChoice(min_batch=min_batch),
        schema=child.schema,
        output=child.signature.outputs[0].name if is_taught or not parent.is_whole else manifest.output,
        lineage=lineage,
        metrics={part: flat_metrics(evaluation) for part, evaluation in evaluations.items()},
        certificate=None,
    )


def _files(
    spec: CompressSpec,
    parent: Parent,
    child: Child,
    manifest: Manifest,
    content: bytes,
    engine: Engine,
    certificate: Certificate,
    evaluation: Evaluation,
) -> dict[str, bytes]:
    card = write_card(
        manifest,
        name=spec.name,
        summary=find_task(manifest.task).summary,
        num_rows={part: len(rows) for part, rows in parent.prepared.parts.items()},
        slices=msgspec.to_builtins(evaluation.slices),
    )
    return bundle_files(
        manifest=manifest,
        graph=content,
        golden=_golden(parent, child, engine),
        card=with_comparison(card, certificate),
        recipe_yaml=_recipe_text(child),
        weights=child.weights,
        architecture=child.architecture,
        texts=None if child.texts is None else child.texts.files(),
    )


def _golden(parent: Parent, child: Child, engine: Engine) -> Golden:
    """The parent's rows; of large ones, which it keeps as tensors, some of those that both were compared on."""
    if parent.bundle.golden.rows:
        return record_golden(child.schema, parent.bundle.golden.rows, engine.run)
    few = rows_of(parent.compared[1], GOLDEN_CASE_ROWS)
    case = record_case(few, child.signature, engine.run)
    return Golden(rows=[], answers={}, environment=environment(), cases=(case,))


def _recipe_text(child: Child) -> str:
    return "" if child.recipe is None else render_recipe(child.recipe)


def _report(
    step: Step, spec: CompressSpec, manifest: Manifest, child: Child, certificate: Certificate, evaluation: Evaluation
) -> str:
    facts = {
        "model": spec.name,
        "parent": certificate.parent,
        "method": child.method,
        "task": manifest.task,
        "architecture": manifest.architecture,
        "dataset": manifest.lineage.dataset,
        "job": step.job.id,
    }
    return render_report(
        title=f"{spec.name}: {certificate.method} of {certificate.parent}",
        evaluation=evaluation,
        history=child.history,
        recipe_yaml=_recipe_text(child),
        facts=facts,
        certificate=certificate,
    )
