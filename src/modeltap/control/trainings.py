"""Training and evaluation: what can be checked before a job is made is checked here, so that a mistake costs no wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, get_args

import msgspec

from modeltap.control.reading import Reading, plan_reading
from modeltap.control.text_evaluations import check_texts, has_no_target
from modeltap.domain.dataset import Column, Dataset, Kind, Schema
from modeltap.domain.job import Job
from modeltap.domain.names import parse_name
from modeltap.domain.recipe import Recipe
from modeltap.domain.task import Task
from modeltap.errors import InvalidData, InvalidRecipe, MissingExtra, nearest
from modeltap.recipe.architectures import find_architecture
from modeltap.recipe.document import apply_settings, load_document
from modeltap.recipe.parse import parse_recipe
from modeltap.recipe.render import recipe_document, render_recipe
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.jobs import JobRepository
from modeltap.storage.models import ModelRepository
from modeltap.tasks.catalogue import find_task, task_names

SEQUENTIAL = "sequential"


class TrainSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a training job does; `recipe` is the full document."""

    dataset: str
    name: str
    recipe: dict[str, Any]
    checkpoint_every_s: float


class EvaluateSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What an evaluation job does. `part` None is the test part that the version's training left out, on other data the one
    that was given, else all rows."""

    model: str
    dataset: str
    part: str | None = None
    slices: tuple[str, ...] = ()
    reading: Reading | None = None
    """Of an imported version: how the dataset is read for it."""


class Trainings:
    def __init__(
        self,
        datasets: DatasetRepository,
        models: ModelRepository,
        jobs: JobRepository,
        wake: Callable[[], None],
        *,
        threads: int,
        checkpoint_every_s: float,
    ) -> None:
        """`threads`: of a training whose recipe names none, all of its processes together."""
        self._threads = threads
        self._checkpoint_every_s = checkpoint_every_s
        self._datasets = datasets
        self._models = models
        self._jobs = jobs
        self._wake = wake

    def start_training(
        self,
        dataset_ref: str,
        *,
        task: str | None = None,
        target: str | None = None,
        recipe: Mapping[str, Any] | str | None = None,
        settings: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> Job:
        """The queued job. Raises NotFound for the dataset, InvalidRecipe, InvalidData if the two do not fit, MissingExtra."""
        if find_spec("torch") is None or find_spec("sklearn") is None:
            raise MissingExtra(what="what training needs", extra="train")
        dataset = self._datasets.get(dataset_ref)
        parsed = self.read_recipe(recipe, task=task, target=target, settings=settings)
        if find_architecture(parsed.model.architecture).family == "language" and find_spec("transformers") is None:
            raise MissingExtra(what="what language models need", extra="llm")
        if parsed.search is not None:
            raise InvalidRecipe("the recipe has a search section; search with `modeltap tune`, or train without the section")
        check_fit(dataset, parsed)
        parsed = self._with_base(parsed)
        if parsed.threads is None:
            parsed = msgspec.structs.replace(parsed, threads=max(1, self._threads // parsed.distributed.processes))
        model = parse_name("model", name or dataset.name)
        spec = TrainSpec(
            dataset=dataset.id,
            name=model,
            recipe=recipe_document(parsed),
            checkpoint_every_s=self._checkpoint_every_s,
        )
        job = self._jobs.add("train", msgspec.to_builtins(spec), datetime.now(UTC))
        self._wake()
        return job

    def start_evaluation(
        self,
        model_ref: str,
        dataset_ref: str,
        *,
        part: str | None = None,
        slices: Sequence[str] = (),
        target: str | None = None,
        labels: Sequence[str] = (),
        scale: float | None = None,
    ) -> Job:
        """The queued job. `target`, `labels` and `scale` are for imported versions, see `Reading`. Raises NotFound,
        InvalidInput, InvalidData for a part or column that the dataset does not have."""
        version = self._models.get(model_ref)
        dataset = self._datasets.get(dataset_ref)
        is_texts = has_no_target(version)
        if is_texts:
            check_texts(version, dataset, {"slices": slices, "target": target, "labels": labels, "scale": scale})
        parts = ["all", *dataset.num_rows]
        if dataset.digest == version.manifest.lineage.dataset_digest:
            parts += [name for name in ("train", "val", "test") if name not in parts]
        if part is not None and part not in parts:
            raise InvalidData(f"{dataset.id} has no part '{part}'; it has: {', '.join(parts)}")
        known = [c.name for c in dataset.schema.columns]
        for column in slices:
            if column not in known:
                raise InvalidData(f"{dataset.id} has no column '{column}' to slice by{nearest(column, known)}")
        reading = None if is_texts else plan_reading(version, dataset, target=target, labels=labels, scale=scale)
        spec = EvaluateSpec(model=version.id, dataset=dataset.id, part=part, slices=tuple(slices), reading=reading)
        job = self._jobs.add("evaluate", msgspec.to_builtins(spec), datetime.now(UTC))
        self._wake()
        return job

    def read_recipe(
        self,
        recipe: Mapping[str, Any] | str | None,
        *,
        task: str | None,
        target: str | None,
        settings: Mapping[str, Any] | None,
    ) -> Recipe:
        """The complete recipe of these parts. Raises InvalidRecipe."""
        document = load_document(recipe) if isinstance(recipe, str) else (recipe or {})
        return parse_recipe(apply_settings(document, settings or {}), task=task, target=target)

    def _with_base(self, recipe: Recipe) -> Recipe:
        """The version that is trained on by its number, so that an alias which moves changes nothing. Raises NotFound."""
        base = recipe.model.options.get("base")
        if base is None:
            return recipe
        version = self._models.get(base)
        own, needed = version.manifest.architecture, recipe.model.architecture
        if needed == SEQUENTIAL != own:
            raise InvalidRecipe(
                f"model.base is {version.id}, of the architecture '{own}'; a network of layers begins with a version of layers:"
                " a Sequential of Keras, weights with a recipe, or one of 'sequential' that was trained here (for encoders of"
                " texts there is pretrained-encoder, for language models lora)"
            )
        options = {**recipe.model.options, "base": version.id}
        return msgspec.structs.replace(recipe, model=msgspec.structs.replace(recipe.model, options=options))

    def render(self, recipe: Recipe) -> dict[str, Any]:
        return {"recipe": recipe_document(recipe), "yaml": render_recipe(recipe)}


def check_fit(dataset: Dataset, recipe: Recipe) -> None:
    """Raises InvalidData, InvalidRecipe where the two do not fit."""
    task = find_task(recipe.task)
    schema = dataset.schema
    if schema.form not in task.forms:
        fitting = [name for name in task_names() if schema.form in find_task(name).forms]
        raise InvalidData(
            f"{task.name} takes {' or '.join(task.forms)}, {dataset.id} is {schema.form};"
            f" tasks for it: {', '.join(fitting) or 'none'}"
        )
    known = [c.name for c in schema.columns]
    target = recipe.data.target
    if target is None:
        if schema.target is None and task.target != "none":
            raise InvalidRecipe(f"no target: name the column to predict with --target; columns: {', '.join(known[:40])}")
    elif target not in known:
        raise InvalidRecipe(f"the target '{target}' is no column of {dataset.id}{nearest(target, known)}")
    for name in recipe.data.columns:
        if name not in known:
            raise InvalidRecipe(f"data.columns names '{name}', which is no column of {dataset.id}{nearest(name, known)}")
    if task.target == "number":
        _check_number(schema, recipe, task)


def _check_number(schema: Schema, recipe: Recipe, task: Task) -> None:
    column = schema.target if recipe.data.target is None else schema.column(recipe.data.target)
    assert column is not None
    said = recipe.data.columns.get(column.name)
    kind = said.kind if isinstance(said, Column) else said if said in get_args(Kind) else column.kind
    if kind not in ("number", "boolean"):
        raise InvalidData(
            f"the target '{column.name}' is a {kind}, {task.name} predicts numbers; choose another target or a"
            " classification task"
        )
