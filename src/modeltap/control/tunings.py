"""Searches over recipes: what can be checked before a job is made is checked here, so that a mistake costs no wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from modeltap.control.trainings import check_fit
from modeltap.domain.dataset import Dataset
from modeltap.domain.job import TRIALS_FILE, Job
from modeltap.domain.names import parse_name
from modeltap.domain.recipe import Recipe
from modeltap.domain.tuning import Trial
from modeltap.errors import InvalidInput, InvalidRecipe, MissingExtra
from modeltap.recipe.document import apply_settings, expand, load_document
from modeltap.recipe.parse import parse_recipe
from modeltap.recipe.render import recipe_document
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.jobs import JobRepository
from modeltap.storage.models import ModelRepository

EXAMPLE = "search: {trials: 20, space: {optimizer.lr: {low: 1e-4, high: 1e-1, log: true}}}"


class TuneSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a search does. `recipe` is the document that was given, with its search written out; what it leaves out, each trial
    fills in for itself."""

    dataset: str
    name: str
    recipe: dict[str, Any]
    threads: int
    """Of all trials that run at a time."""
    trial_threads: int
    checkpoint_every_s: float


class Tunings:
    def __init__(
        self,
        home: Path,
        datasets: DatasetRepository,
        models: ModelRepository,
        jobs: JobRepository,
        wake: Callable[[], None],
        *,
        threads: int,
        checkpoint_every_s: float,
    ) -> None:
        """`threads`: of a trial whose recipe names none."""
        self._home = home
        self._datasets = datasets
        self._models = models
        self._jobs = jobs
        self._wake = wake
        self._threads = threads
        self._checkpoint_every_s = checkpoint_every_s

    def start(
        self,
        dataset_ref: str,
        *,
        task: str | None = None,
        target: str | None = None,
        recipe: Mapping[str, Any] | str | None = None,
        settings: Mapping[str, Any] | None = None,
        trials: int | None = None,
        name: str | None = None,
    ) -> Job:
        """The queued job. `trials` stands above the recipe's own number.

        Raises NotFound for the dataset, InvalidRecipe for the recipe and for any corner of its search, InvalidData if it does
        not fit the dataset, MissingExtra.
        """
        for module, what in (("torch", "what training needs"), ("sklearn", "what training needs"), ("optuna", "optuna")):
            if find_spec(module) is None:
                raise MissingExtra(what=what, extra="train")
        dataset = self._datasets.get(dataset_ref)
        document = self._document(recipe, task=task, target=target, settings=settings, trials=trials)
        parsed = parse_recipe(document)
        if parsed.search is None:
            raise InvalidRecipe(f"the recipe has no search section; add what may differ, such as {EXAMPLE}")
        if parsed.search.sampler == "cma-es" and find_spec("cmaes") is None:
            raise MissingExtra(what="cmaes, which the sampler needs,", extra="train")
        check_fit(dataset, parsed)
        _check_validation(dataset, parsed)
        if (base := parsed.model.options.get("base")) is not None:  # an alias may move while the search goes on
            document = apply_settings(document, {"model.base": self._models.get(base).id})
        trial_threads = parsed.threads or self._threads
        spec = TuneSpec(
            dataset=dataset.id,
            name=parse_name("model", name or dataset.name),
            recipe={**document, "search": recipe_document(parsed)["search"]},
            threads=trial_threads * parsed.search.parallel,
            trial_threads=trial_threads,
            checkpoint_every_s=self._checkpoint_every_s,
        )
        job = self._jobs.add("tune", msgspec.to_builtins(spec), datetime.now(UTC))
        self._wake()
        return job

    def trials(self, job_id: str) -> list[Trial]:
        """Those of a search so far, in the order of their numbers; none of another job. Raises NotFound."""
        job = self._jobs.get(job_id)
        try:
            content = (self._home / "jobs" / job.id / TRIALS_FILE).read_bytes()
        except FileNotFoundError:  # none has begun
            return []
        return [msgspec.json.decode(line, type=Trial) for line in content.splitlines()]

    def _document(
        self,
        recipe: Mapping[str, Any] | str | None,
        *,
        task: str | None,
        target: str | None,
        settings: Mapping[str, Any] | None,
        trials: int | None,
    ) -> dict[str, Any]:
        """All that was given, in one document."""
        given = load_document(recipe) if isinstance(recipe, str) else (recipe or {})
        document = expand(apply_settings(given, settings or {}))
        for key, value in (("task", task), ("data.target", target), ("search.trials", trials)):
            if value is None:
                continue
            if key == "search.trials" and not isinstance(document.get("search"), Mapping):
                raise InvalidInput(f"trials is {trials}, and the recipe has no search section; add one, such as {EXAMPLE}")
            document = apply_settings(document, {key: msgspec.json.encode(value).decode()})
        return document


def _check_validation(dataset: Dataset, recipe: Recipe) -> None:
    if recipe.data.split.val <= 0 and not dataset.num_rows.get("val"):
        raise InvalidRecipe(
            "data.split.val is 0, and a search compares its trials on the validation part; give it a share, such as 0.1"
        )
