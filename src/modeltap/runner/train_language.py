"""The train step of a language model: texts and recipe → Hugging Face directory → OpenVINO form → bundle → version."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modeltap import __version__
from modeltap.bundle.files import language_files
from modeltap.bundle.language_card import write_language_card
from modeltap.compression.golden import TEXTS, record_golden_prompts
from modeltap.compression.openvino import convert
from modeltap.control.trainings import TrainSpec
from modeltap.data.store import open_dataset
from modeltap.data.texts import divide_samples
from modeltap.domain.dataset import Column, Dataset, Part, Schema
from modeltap.domain.model import EngineChoice, Lineage, Manifest, ModelVersion
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.domain.signature import Signature, TensorSpec
from modeltap.errors import InvalidRecipe
from modeltap.evaluation.generation import evaluate_generation
from modeltap.evaluation.report import render_report
from modeltap.evaluation.result import Evaluation, Written, flat_metrics
from modeltap.faults import crash_point
from modeltap.jobs.thread_limits import granted_threads
from modeltap.recipe.render import recipe_digest, render_recipe
from modeltap.runner.register import register
from modeltap.runner.steps import Step
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.disk import disk_failures
from modeltap.storage.models import ModelRepository
from modeltap.training.language.fit import BASE, MODEL, LanguageAssignment, TrainedLanguage, fit_language

TEXT = "text"
SCHEMA = Schema(form="texts", columns=(Column(name=TEXT, kind="text"),), missing=())
SIGNATURE = Signature((TensorSpec(TEXT, "BYTES", (-1,)),), (TensorSpec(TEXT, "BYTES", (-1,)),))
CONVERTED = "openvino"


def train_language(step: Step, spec: TrainSpec, recipe: Recipe) -> dict[str, Any]:
    """The registered version, its metrics and what was noticed. Raises InvalidRecipe, InvalidData, Stopped, StorageFailed."""
    dataset = DatasetRepository(step.database, step.job.tenant).get(spec.dataset)
    stored = open_dataset(step.artifacts.paths(dataset.digest))
    step.report(Progress(phase="data", message=f"reading {dataset.id}"))
    samples = divide_samples(stored, recipe.data.split)
    base = find_base(step, recipe)
    step.pause_point()
    trained = fit_language(
        LanguageAssignment(
            recipe=recipe,
            samples=samples,
            base={} if base is None else step.artifacts.paths(base.digest),
            base_digest="" if base is None else base.digest,
            threads=recipe.threads or 1,
            workdir=step.workdir,
            report=step.report,
            stop_requested=step.stop_requested,
            checkpoint_every_s=spec.checkpoint_every_s,
            saved=step.saved,
        )
    )
    crash_point("train.finished")
    evaluations: dict[Part, Evaluation] = {
        part: evaluate_generation(
            surprise.nats,
            surprise.tokens,
            surprise.bytes,
            written=[Written(prompt=one.prompt, text=one.text) for one in trained.spoken],
        )
        for part, surprise in trained.surprises.items()
    }
    manifest = _manifest(recipe, dataset, trained, base, evaluations)
    step.pause_point()
    parts = {path.name: path for path in sorted(trained.folder.iterdir())} | _converted(step, trained.folder)
    step.pause_point()
    step.report(Progress(phase="bundle", message="recording golden prompts"))
    golden = record_golden_prompts(parts, trained.language, (*trained.prompts, *TEXTS), threads=granted_threads())
    step.report(Progress(phase="bundle", fraction=0.5, message="writing the bundle"))
    num_texts = {part: len(texts) for part, texts in samples.items()}
    files = language_files(
        manifest=manifest,
        golden=golden,
        card=write_language_card(manifest, name=spec.name, num_texts=num_texts),
        recipe_yaml=render_recipe(recipe),
        parts=parts,
    )
    digest = step.artifacts.put_tree(files)
    for name in (MODEL, BASE, CONVERTED):
        shutil.rmtree(step.workdir / name, ignore_errors=True)
    main = evaluations.get("test") or evaluations.get("val")
    report = _report(step, spec.name, manifest, main, trained, recipe)
    return register(
        step, spec, digest, manifest, report=report, evaluation=main, history=trained.history, notices=trained.notices
    )


def find_base(step: Step, recipe: Recipe) -> ModelVersion | None:
    """The version that is trained on; None for a model from the start. Raises NotFound, InvalidRecipe for another task."""
    named = recipe.model.options.get("base")
    if named is None:
        return None
    version = ModelRepository(step.database, step.job.tenant).get(named)
    if version.manifest.language is None:
        raise InvalidRecipe(f"model.base is {version.id}, which is no language model but one for {version.manifest.task}")
    return version


def _converted(step: Step, folder: Path) -> dict[str, Path]:
    """The files that the serving engine loads, float32."""

    def tell(message: str) -> None:
        step.report(Progress(phase="bundle", message=message))

    out = step.workdir / CONVERTED
    shutil.rmtree(out, ignore_errors=True)
    with disk_failures("converting the model"):
        return {path.name: path for path in convert(folder, out, weights="float32", report=tell)}


def _manifest(
    recipe: Recipe,
    dataset: Dataset,
    trained: TrainedLanguage,
    base: ModelVersion | None,
    evaluations: Mapping[Part, Evaluation],
) -> Manifest:
    return Manifest(
        task=recipe.task,
        architecture=recipe.model.architecture,
        signature=SIGNATURE,
        engine=EngineChoice(name="openvino-genai"),
        schema=SCHEMA,
        output=TEXT,
        language=trained.language,
        lineage=Lineage(
            dataset=dataset.id,
            dataset_digest=dataset.digest,
            recipe_digest=recipe_digest(recipe),
            code_version=__version__,
            seed=recipe.seed,
            threads=recipe.threads or 1,
            parent=None if base is None else base.id,
        ),
        metrics={part: flat_metrics(evaluation) for part, evaluation in evaluations.items()},
    )


def _report(
    step: Step,
    name: str,
    manifest: Manifest,
    evaluation: Evaluation | None,
    trained: TrainedLanguage,
    recipe: Recipe,
) -> str | None:
    if evaluation is None:
        return None
    facts = {
        "model": name,
        "task": manifest.task,
        "architecture": manifest.architecture,
        "parameters": f"{trained.language.parameters:,}",
        "context": f"{trained.language.context_tokens:,} tokens",
        "dataset": manifest.lineage.dataset,
        **({"base": manifest.lineage.parent} if manifest.lineage.parent else {}),
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
