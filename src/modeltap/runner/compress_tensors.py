"""A version of tensors → its smaller form, compared on rows that neither learned from → a version with a certificate."""

from __future__ import annotations

from typing import Any

import msgspec

from modeltap import __version__
from modeltap.bundle.card import write_card
from modeltap.bundle.files import Bundle, bundle_files
from modeltap.bundle.golden import record_golden
from modeltap.compression.card import with_comparison
from modeltap.compression.certificate import certify
from modeltap.control.compress_spec import CompressSpec
from modeltap.domain.certificate import Certificate
from modeltap.domain.engine import Engine
from modeltap.domain.model import EngineChoice, Manifest
from modeltap.domain.progress import Progress
from modeltap.engines.new_engine import measured_engine
from modeltap.evaluation.report import render_report
from modeltap.evaluation.result import Evaluation, flat_metrics
from modeltap.recipe.render import recipe_digest, render_recipe
from modeltap.runner.compress_numbers import make_int4, make_int8
from modeltap.runner.compress_speed import measure_speeds
from modeltap.runner.judge import judge, slice_columns
from modeltap.runner.register_child import register_child
from modeltap.runner.steps import Step
from modeltap.runner.tensor_parent import Child, Parent, open_parent, rows_of
from modeltap.tasks.catalogue import find_task

SAMPLE_ROWS = 64


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
    evaluations = {
        name: judge(engine.run, prepared.parts[name], child.signature, labels, slices=slice_columns(prepared.schema))
        for name in ("val", "test")
        if len(prepared.parts[name])
    }
    drop = parent.drop(engine, rows, by_slice=True)
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
    )
    manifest = _manifest(parent, child, min_batch, evaluations)
    step.report(Progress(phase="bundle", message="writing the bundle"))
    digest = step.artifacts.put_tree(_files(spec, parent, child, manifest, content, engine, certificate, evaluations[part]))
    report = step.artifacts.put_bytes(_report(step, spec, manifest, child, certificate, evaluations[part]).encode())
    return register_child(
        step, spec, digest, manifest, certificate, history=child.history, report=report, evaluation=evaluations[part]
    )


def _manifest(parent: Parent, child: Child, min_batch: int, evaluations: dict[str, Evaluation]) -> Manifest:
    manifest = parent.bundle.manifest
    return msgspec.structs.replace(
        manifest,
        architecture=child.recipe.model.architecture,
        signature=child.signature,
        engine=EngineChoice(min_batch=min_batch),
        schema=child.schema,
        output=child.signature.outputs[0].name,
        lineage=msgspec.structs.replace(
            manifest.lineage,
            parent=parent.id,
            recipe_digest=recipe_digest(child.recipe),
            code_version=__version__,
            seed=child.recipe.seed,
            threads=child.recipe.threads or 1,
            tried=(),
            searched=None,
        ),
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
        golden=record_golden(child.schema, parent.bundle.golden.rows, engine.run),
        card=with_comparison(card, certificate),
        recipe_yaml=render_recipe(child.recipe),
        weights=child.weights,
        architecture=child.architecture,
        texts=None if child.texts is None else child.texts.files(),
    )


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
        recipe_yaml=render_recipe(child.recipe),
        facts=facts,
        certificate=certificate,
    )
