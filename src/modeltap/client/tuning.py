"""`client.tune(…)`: a search over recipes, whose best trial becomes a version; and `client.tune.trials(…)`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, overload

from modeltap.client.jobs import Jobs, OnProgress
from modeltap.client.recipes import RecipeLike, read_recipe
from modeltap.client.transport import Transport, segment
from modeltap.client.values import Dataset, Job, TuneResult, read_answer


class Tune:
    def __init__(self, transport: Transport, jobs: Jobs) -> None:
        self._transport = transport
        self._jobs = jobs

    @overload
    def __call__(
        self,
        dataset: str | Dataset,
        *,
        recipe: RecipeLike,
        task: str | None = ...,
        target: str | None = ...,
        settings: Mapping[str, Any] | None = ...,
        trials: int | None = ...,
        name: str | None = ...,
        wait: Literal[True] = ...,
        on_progress: OnProgress | None = ...,
    ) -> TuneResult: ...
    @overload
    def __call__(
        self,
        dataset: str | Dataset,
        *,
        recipe: RecipeLike,
        task: str | None = ...,
        target: str | None = ...,
        settings: Mapping[str, Any] | None = ...,
        trials: int | None = ...,
        name: str | None = ...,
        wait: Literal[False],
    ) -> Job: ...
    def __call__(
        self,
        dataset: str | Dataset,
        *,
        recipe: RecipeLike,
        task: str | None = None,
        target: str | None = None,
        settings: Mapping[str, Any] | None = None,
        trials: int | None = None,
        name: str | None = None,
        wait: bool = True,
        on_progress: OnProgress | None = None,
    ) -> TuneResult | Job:
        """The best trial's version with its metrics and how the trials ended, or the job at once where `wait` is False.

        recipe: with a `search` section; settings: keys of it with dots → values; trials: instead of those of the recipe.
        Raises NotFound, InvalidRecipe; waiting also the error that the job failed with, and JobStopped.
        """
        body = {
            "kind": "tune",
            "dataset": dataset.id if isinstance(dataset, Dataset) else dataset,
            "task": task,
            "target": target,
            "recipe": read_recipe(recipe),
            "set": dict(settings) if settings else None,
            "trials": trials,
            "name": name,
        }
        given = {key: value for key, value in body.items() if value is not None}
        job = read_answer(self._transport.json("POST", "/api/jobs", body=given), Job)
        if not wait:
            return job
        return read_answer(self._jobs.wait(job.id, on_progress=on_progress).result or {}, TuneResult)

    def trials(self, job_id: str) -> list[dict[str, Any]]:
        """Of a search, also while it goes on: number, state, params, value, epochs, reason. Raises NotFound."""
        found: list[dict[str, Any]] = self._transport.json("GET", f"/api/jobs/{segment(job_id)}/trials")["trials"]
        return found
