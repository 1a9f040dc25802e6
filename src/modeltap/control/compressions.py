"""Compression: what can be checked before a job is made is checked here, so that a mistake costs no wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, Literal

import msgspec

from modeltap.bundle.files import RECIPE, WEIGHTS
from modeltap.control.compress_imported import ImportedPlan, check_form, plan_imported
from modeltap.control.compress_recipes import student_recipe, tuning_recipe
from modeltap.control.compress_spec import CompressSpec, Method, bound, parse_demand
from modeltap.control.reading import is_imported
from modeltap.domain.certificate import Measure
from modeltap.domain.dataset import Dataset
from modeltap.domain.job import Job
from modeltap.domain.model import ModelVersion
from modeltap.domain.names import parse_name
from modeltap.domain.recipe import Recipe
from modeltap.errors import CannotCompress, InvalidData, InvalidInput, MissingExtra, NotFound
from modeltap.recipe.architectures import find_architecture
from modeltap.recipe.document import load_document
from modeltap.recipe.parse import parse_recipe
from modeltap.recipe.render import recipe_document
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.jobs import JobRepository
from modeltap.storage.models import ModelRepository
from modeltap.tasks.catalogue import find_task

MAX_TEXTS = 1000
MAX_TEXT_CHARS = 1 << 20
"""Of all given texts: they are kept in the job."""
SOURCE_ENDING = ".safetensors"
ENDINGS: dict[Method, str] = {"int8": "int8", "int4": "int4", "prune": "pruned", "distil": "distilled"}
"""Of a child's name, where none is given."""
PRUNED = ("cnn", "mlp", "sequential")
"""Architectures of which it is known how they are written with smaller widths."""
LARGEST_AMOUNT = 0.95
MAX_ROUNDS = 20
TEMPERATURE, ALPHA = 4.0, 0.7
LARGEST_TEMPERATURE = 100.0


class Compressions:
    def __init__(
        self,
        datasets: DatasetRepository,
        models: ModelRepository,
        artifacts: ArtifactStore,
        jobs: JobRepository,
        wake: Callable[[], None],
        *,
        checkpoint_every_s: float = 10.0,
    ) -> None:
        self._datasets = datasets
        self._models = models
        self._artifacts = artifacts
        self._jobs = jobs
        self._wake = wake
        self._checkpoint_every_s = checkpoint_every_s

    def start(
        self,
        model_ref: str,
        *,
        weights: Literal["int8", "int4"] | None = None,
        prune: float | None = None,
        unstructured: bool = False,
        rounds: int | None = None,
        distil: Mapping[str, Any] | str | None = None,
        temperature: float | None = None,
        alpha: float | None = None,
        settings: Mapping[str, Any] | None = None,
        name: str | None = None,
        max_drop: float | str | None = None,
        min_gain: float | None = None,
        data: str | None = None,
        texts: Sequence[str] = (),
        target: str | None = None,
        labels: Sequence[str] = (),
        scale: float | None = None,
    ) -> Job:
        """The queued job, of one of `weights`, `prune` and `distil`. Its version is called `name`, or as the parent with the
        method behind it.

        distil: the student's recipe. settings: of that recipe, or of the training after pruning. data: a dataset of texts to
        compare language models on, or of rows to calibrate and compare an imported version on, read by `target`, `labels` and
        `scale` (see `Reading`); or texts themselves; else the one that the version was trained on. A bound on the drop may
        have its unit, `0.5pp` or `2%`. Raises NotFound, InvalidInput for a bound or a mixture that means nothing,
        InvalidRecipe, InvalidData and CannotCompress for a version that cannot be compressed so, MissingExtra.
        """
        method = _method(weights, prune, distil)
        _check_mixture(
            method,
            {"unstructured": unstructured or None, "rounds": rounds},
            {"temperature": temperature, "alpha": alpha},
            settings,
        )
        version = self._models.get(model_ref)
        imported = None
        if is_imported(version):
            imported = plan_imported(version, method, data and self._datasets.get(data), target, labels, scale, texts=texts)
        elif target is not None or labels or scale is not None:
            raise InvalidInput(f"target, labels and scale are for imported versions; {version.id} was trained here")
        spec = CompressSpec(
            model=version.id,
            digest=version.digest,
            name=parse_name("model", name or f"{version.name}-{ENDINGS[method]}"),
            method=method,
            demand=parse_demand(max_drop, min_gain, _measure(version) if imported is None else imported.measure),
            texts=tuple(texts),
            checkpoint_every_s=self._checkpoint_every_s,
        )
        if version.manifest.language is not None:
            spec = self._language_spec(spec, version, data, texts)
        else:
            if imported is not None:
                spec = self._imported_spec(spec, version, imported)
            else:
                spec = self._tensor_spec(spec, version, is_told_texts=data is not None or bool(texts))
            if method == "prune":
                assert prune is not None
                spec = self._prune_spec(
                    spec, version, prune, 1 if rounds is None else rounds, settings or {}, is_unstructured=unstructured
                )
            elif method == "distil":
                assert distil is not None
                teacher = self._recipe(version) if imported is None else imported.teacher
                recipe = student_recipe(teacher, distil, settings or {})
                recipe = msgspec.structs.replace(recipe, threads=recipe.threads or version.manifest.lineage.threads)
                spec = msgspec.structs.replace(
                    spec,
                    recipe=recipe_document(recipe),
                    temperature=bound("temperature", TEMPERATURE if temperature is None else temperature, LARGEST_TEMPERATURE),
                    alpha=bound("alpha", ALPHA if alpha is None else alpha, 1.0),
                )
        job = self._jobs.add("compress", msgspec.to_builtins(spec), datetime.now(UTC))
        self._wake()
        return job

    def _language_spec(self, spec: CompressSpec, version: ModelVersion, data: str | None, texts: Sequence[str]) -> CompressSpec:
        if spec.method not in ("int8", "int4"):
            raise CannotCompress(
                f"{version.id} is a language model; what makes those smaller is --int8 or --int4, not --{spec.method}"
            )
        if find_spec("nncf") is None or find_spec("optimum") is None:
            raise MissingExtra(what="what compresses language models", extra="llm")
        self._check_source(version)
        dataset = self._evidence(version, data, texts)
        return msgspec.structs.replace(
            spec, dataset=dataset.id if dataset else "", dataset_digest=dataset.digest if dataset else ""
        )

    def _tensor_spec(self, spec: CompressSpec, version: ModelVersion, *, is_told_texts: bool) -> CompressSpec:
        """With the dataset that the version was trained on, whose rows calibrate, train and compare."""
        manifest = version.manifest
        task = find_task(manifest.task)
        if task.target == "none":
            raise CannotCompress(f"{version.id} has no target that the answers of both could be compared with")
        if is_told_texts:
            raise InvalidInput(
                "--data and --texts are for language models; others are compared on the test part of their dataset"
            )
        if spec.method != "distil" and WEIGHTS not in self._artifacts.tree(version.digest):
            raise CannotCompress(_why_not(version, spec))
        if spec.method in ("prune", "distil") and find_spec("torch") is None:
            raise MissingExtra(what="what training needs", extra="train")
        try:
            dataset = self._datasets.get(manifest.lineage.dataset)
        except NotFound:
            raise NotFound(
                f"{manifest.lineage.dataset}, which {version.id} was trained on, was removed; its rows are needed to calibrate"
                " and to compare"
            ) from None
        return msgspec.structs.replace(spec, dataset=dataset.id, dataset_digest=manifest.lineage.dataset_digest)

    def _imported_spec(self, spec: CompressSpec, version: ModelVersion, imported: ImportedPlan) -> CompressSpec:
        """With the dataset that was named, and how it is read."""
        check_form(version, spec.method, self._artifacts.tree(version.digest))
        if spec.method in ("prune", "distil") and find_spec("torch") is None:
            raise MissingExtra(what="what training needs", extra="train")
        dataset = imported.dataset
        return msgspec.structs.replace(spec, dataset=dataset.id, dataset_digest=dataset.digest, reading=imported.reading)

    def _prune_spec(
        self,
        spec: CompressSpec,
        version: ModelVersion,
        amount: float,
        rounds: int,
        settings: Mapping[str, Any],
        *,
        is_unstructured: bool,
    ) -> CompressSpec:
        if not is_unstructured and find_spec("torch_pruning") is None:
            raise MissingExtra(what="torch-pruning", extra="train")
        architecture = version.manifest.architecture
        if "texts" in find_task(version.manifest.task).forms or (not is_unstructured and architecture not in PRUNED):
            raise CannotCompress(
                f"{version.id} is of the architecture '{architecture}', which has no layers that could be written narrower;"
                f" {', '.join(PRUNED)} have; --int8, or --distil recipe.yaml, may do for it"
            )
        if not 1 <= rounds <= MAX_ROUNDS:
            raise InvalidInput(f"rounds is {rounds}; it is 1 to {MAX_ROUNDS}")
        return msgspec.structs.replace(
            spec,
            amount=bound("prune", amount, LARGEST_AMOUNT),
            is_unstructured=is_unstructured,
            rounds=rounds,
            recipe=recipe_document(tuning_recipe(self._recipe(version), settings)),
        )

    def _recipe(self, version: ModelVersion) -> Recipe:
        path = self._artifacts.paths(version.digest)[RECIPE]
        return parse_recipe(load_document(path.read_text(encoding="utf-8")))

    def _check_source(self, version: ModelVersion) -> None:
        language = version.manifest.language
        assert language is not None
        if language.weights in ("int8", "int4"):
            parent = version.manifest.lineage.parent
            raise InvalidData(
                f"{version.id} is compressed already ({language.weights}){f'; compress its parent {parent}' if parent else ''}"
            )
        if not any(name.endswith(SOURCE_ENDING) for name in self._artifacts.tree(version.digest)):
            raise InvalidData(f"{version.id} has no weights of its own to compress")

    def _evidence(self, version: ModelVersion, data: str | None, texts: Sequence[str]) -> Dataset | None:
        if texts:
            if data is not None:
                raise InvalidInput("give texts or a dataset to compare on, not both")
            if len(texts) > MAX_TEXTS or sum(map(len, texts)) > MAX_TEXT_CHARS:
                raise InvalidInput(
                    f"at most {MAX_TEXTS:,} texts of {MAX_TEXT_CHARS:,} characters together are taken; add more as a dataset"
                )
            return None
        trained_on = version.manifest.lineage.dataset
        if data is None and not trained_on:
            raise InvalidInput(
                f"{version.id} was imported, so no texts are known to compare on; name some with --data DATASET or --texts FILE"
            )
        try:
            dataset = self._datasets.get(data or trained_on)
        except NotFound:
            if data is not None:
                raise
            raise NotFound(
                f"{trained_on}, which {version.id} was trained on, was removed; name other texts with --data or --texts"
            ) from None
        if dataset.schema.form != "texts":
            raise InvalidData(f"{dataset.id} is {dataset.schema.form}; to compare language models, name a dataset of texts")
        return dataset


def _method(weights: Literal["int8", "int4"] | None, prune: float | None, distil: Mapping[str, Any] | str | None) -> Method:
    told = [weights] if weights is not None else []
    chosen: list[Method] = [*told, *(["prune"] if prune is not None else []), *(["distil"] if distil is not None else [])]  # type: ignore[list-item]
    if len(chosen) != 1:
        raise InvalidInput(f"choose one of weights, prune and distil; given were: {', '.join(chosen) or 'none'}")
    return chosen[0]


def _check_mixture(
    method: Method, of_prune: Mapping[str, Any], of_distil: Mapping[str, Any], settings: Mapping[str, Any] | None
) -> None:
    """Raises InvalidInput for a wish that the method has no use for: to ignore it in silence would mislead."""
    unused = [
        name
        for owner, wishes in (("prune", of_prune), ("distil", of_distil))
        if method != owner
        for name in wishes
        if wishes[name] is not None
    ]
    if settings and method not in ("prune", "distil"):
        unused.append("set")
    if unused:
        raise InvalidInput(f"{', '.join(unused)}: {method} has no use for that; leave it out")


def _measure(version: ModelVersion) -> Measure:
    if version.manifest.language is not None:
        return "loss"
    return "accuracy" if version.manifest.labels else "rmse"


def _why_not(version: ModelVersion, spec: CompressSpec) -> str:
    """Of a version without weights of a network, why there is nothing to make smaller, and what to do."""
    done = "pruned" if spec.method == "prune" else f"written in {spec.method.removeprefix('int')} bits"
    teach = "teach a small network what it answers: --distil recipe.yaml"
    match find_architecture(version.manifest.architecture).family:
        case "boosting":
            return (
                f"{version.id} is made of trees: they hold thresholds and leaves, no layers whose weights could be {done};"
                f" {teach}, or train fewer trees (model.max_iter)"
            )
        case "network":
            parent = version.manifest.lineage.parent
            told = f"; compress its parent {parent}" if parent else ""
            return f"{version.id} is compressed already, its weights are whole numbers{told}"
    return f"{version.id} was found by a search, and may be trees or several models that answer together; {teach}"
