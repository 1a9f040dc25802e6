"""`Client`: one server's datasets, jobs, models and deployments, and the path from data to answers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Unpack, overload

from modeltap.client import predicting, writing
from modeltap.client.batches import Batches
from modeltap.client.datasets import Datasets
from modeltap.client.deployments import Deployments
from modeltap.client.discovery import locate
from modeltap.client.explaining import Explain
from modeltap.client.jobs import Jobs, OnProgress
from modeltap.client.keys import Keys
from modeltap.client.models import Models
from modeltap.client.reading import Reading, read_reading
from modeltap.client.recipes import RecipeLike, read_recipe
from modeltap.client.tenants import Tenants
from modeltap.client.transport import MAX_RETRIES, Transport
from modeltap.client.tuning import Tune
from modeltap.client.usage import Usage
from modeltap.client.values import (
    CompressResult,
    Dataset,
    Deployment,
    EvaluateResult,
    Job,
    Predictions,
    RenderedRecipe,
    Server,
    TrainResult,
    Version,
    dataset_ref,
    read_answer,
)


class Client:
    """Talks to one modeltap server; close it, or use it as a context manager. Not for several threads at once.

    url and key: of the server; else MODELTAP_URL and MODELTAP_KEY; else those of the server that runs on `home`
    (MODELTAP_HOME, ~/.modeltap). tenant: whom to act for, with the home's admin key. timeout_s: of a call in all, with its
    tries and the waits between them; of an upload or download, the longest silence. max_retries: how often a call is sent
    again at the most, where that can help and nothing is done twice by it. Every call raises the named errors of
    modeltap.errors, and those of modeltap.client.errors.

        with modeltap.Client() as client:
            client.datasets.add("adult.csv", name="adult", target="income")
            result = client.train("adult", task="tabular-classification")
            client.deployments.create(result.version, name="income")
            client.predict("income", [{"age": 39, "education": "Bachelors"}])[0]["label"]
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        home: str | os.PathLike[str] | None = None,
        tenant: str | None = None,
        timeout_s: float = 60.0,
        max_retries: int = MAX_RETRIES,
    ) -> None:
        where = None if home is None else Path(home)
        self.transport = Transport(
            locate(url, key, home=where),
            timeout_s=timeout_s,
            max_retries=max_retries,
            tenant=tenant,
            locate=lambda: locate(url, key, home=where),
        )
        self.jobs = Jobs(self.transport)
        self.datasets = Datasets(self.transport, self.jobs)
        self.batches = Batches(self.transport, self.jobs)
        self.models = Models(self.transport)
        self.tune = Tune(self.transport, self.jobs)
        self.deployments = Deployments(self.transport)
        self.keys = Keys(self.transport)
        self.tenants = Tenants(self.transport)
        self.usage = Usage(self.transport)
        self.explain = Explain(self.transport)

    @property
    def url(self) -> str:
        return self.transport.address.url

    def close(self) -> None:
        self.transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def server(self) -> Server:
        """What runs there: its version, process, home and settings."""
        return read_answer(self.transport.json("GET", "/api/server"), Server)

    @overload
    def train(
        self,
        dataset: str | Dataset,
        *,
        task: str | None = ...,
        target: str | None = ...,
        recipe: RecipeLike | None = ...,
        settings: Mapping[str, Any] | None = ...,
        name: str | None = ...,
        wait: Literal[True] = ...,
        on_progress: OnProgress | None = ...,
    ) -> TrainResult: ...
    @overload
    def train(
        self,
        dataset: str | Dataset,
        *,
        task: str | None = ...,
        target: str | None = ...,
        recipe: RecipeLike | None = ...,
        settings: Mapping[str, Any] | None = ...,
        name: str | None = ...,
        wait: Literal[False],
    ) -> Job: ...
    def train(
        self,
        dataset: str | Dataset,
        *,
        task: str | None = None,
        target: str | None = None,
        recipe: RecipeLike | None = None,
        settings: Mapping[str, Any] | None = None,
        name: str | None = None,
        wait: bool = True,
        on_progress: OnProgress | None = None,
    ) -> TrainResult | Job:
        """The new version and its metrics, or the job at once where `wait` is False.

        settings: recipe keys with dots → values, on top of the recipe: {"optimizer.lr": 0.01, "epochs": 5}.
        Raises NotFound, InvalidRecipe; waiting also the error that the job failed with, and JobStopped.
        """
        body = {
            "kind": "train",
            "dataset": dataset_ref(dataset),
            "task": task,
            "target": target,
            "recipe": read_recipe(recipe),
            "set": dict(settings) if settings else None,
            "name": name,
        }
        job = self._submit(body)
        if not wait:
            return job
        return read_answer(self.jobs.wait(job.id, on_progress=on_progress).result or {}, TrainResult)

    @overload
    def evaluate(
        self,
        model: str | Version,
        dataset: str | Dataset,
        *,
        part: str | None = ...,
        slices: Sequence[str] = ...,
        wait: Literal[True] = ...,
        on_progress: OnProgress | None = ...,
        **reading: Unpack[Reading],
    ) -> EvaluateResult: ...
    @overload
    def evaluate(
        self,
        model: str | Version,
        dataset: str | Dataset,
        *,
        part: str | None = ...,
        slices: Sequence[str] = ...,
        wait: Literal[False],
        **reading: Unpack[Reading],
    ) -> Job: ...
    def evaluate(
        self,
        model: str | Version,
        dataset: str | Dataset,
        *,
        part: str | None = None,
        slices: Sequence[str] = (),
        wait: bool = True,
        on_progress: OnProgress | None = None,
        **reading: Unpack[Reading],
    ) -> EvaluateResult | Job:
        """How good a version is on a dataset, also by the values of the columns in `slices`; or the job at once. How it is read
        for an imported version is said by `target`, `labels` and `scale`, see `Reading`.

        Raises NotFound, InvalidData; waiting also the error that the job failed with, and JobStopped.
        """
        body = {
            "kind": "evaluate",
            "model": model.id if isinstance(model, Version) else model,
            "dataset": dataset_ref(dataset),
            "part": part,
            "slices": list(slices) or None,
            **read_reading(reading),
        }
        job = self._submit(body)
        if not wait:
            return job
        return read_answer(self.jobs.wait(job.id, on_progress=on_progress).result or {}, EvaluateResult)

    @overload
    def compress(
        self,
        model: str | Version,
        weights: Literal["int8", "int4"] | None = ...,
        *,
        prune: float | None = ...,
        unstructured: bool = ...,
        rounds: int | None = ...,
        distil: RecipeLike | None = ...,
        temperature: float | None = ...,
        alpha: float | None = ...,
        settings: Mapping[str, Any] | None = ...,
        name: str | None = ...,
        max_drop: float | str | None = ...,
        min_gain: float | None = ...,
        data: str | Dataset | None = ...,
        texts: Sequence[str] = ...,
        wait: Literal[True] = ...,
        on_progress: OnProgress | None = ...,
        **reading: Unpack[Reading],
    ) -> CompressResult: ...
    @overload
    def compress(
        self,
        model: str | Version,
        weights: Literal["int8", "int4"] | None = ...,
        *,
        prune: float | None = ...,
        unstructured: bool = ...,
        rounds: int | None = ...,
        distil: RecipeLike | None = ...,
        temperature: float | None = ...,
        alpha: float | None = ...,
        settings: Mapping[str, Any] | None = ...,
        name: str | None = ...,
        max_drop: float | str | None = ...,
        min_gain: float | None = ...,
        data: str | Dataset | None = ...,
        texts: Sequence[str] = ...,
        wait: Literal[False],
        **reading: Unpack[Reading],
    ) -> Job: ...
    def compress(
        self,
        model: str | Version,
        weights: Literal["int8", "int4"] | None = None,
        *,
        prune: float | None = None,
        unstructured: bool = False,
        rounds: int | None = None,
        distil: RecipeLike | None = None,
        temperature: float | None = None,
        alpha: float | None = None,
        settings: Mapping[str, Any] | None = None,
        name: str | None = None,
        max_drop: float | str | None = None,
        min_gain: float | None = None,
        data: str | Dataset | None = None,
        texts: Sequence[str] = (),
        wait: bool = True,
        on_progress: OnProgress | None = None,
        **reading: Unpack[Reading],
    ) -> CompressResult | Job:
        """A smaller version with its certificate, or the job at once where `wait` is False.

        weights: of eight or four bits; int8 where nothing else is named. prune: the share of channels and units that goes, in
        `rounds`, or of single weights where it is `unstructured`; then it is trained further. distil: the recipe of a network
        that learns what the version answers, at a temperature, by `alpha` of its loss. settings: keys of that recipe, or of
        the training after pruning.

        max_drop: how much worse it may be (`"0.5pp"` of accuracy, `"2%"` of an error, nats a token of a language model),
        min_gain: how many times as fast it must be, both with 95 % certainty; one that does not hold them is registered as
        rejected. data or texts: what to compare language models on; else what the version was trained on. An imported version
        is calibrated and compared on `data`, read as in `evaluate`. Raises NotFound,
        InvalidData, CannotCompress; waiting also the error that the job failed with, and JobStopped.
        """
        if weights is None and prune is None and distil is None:
            weights = "int8"
        body = {
            "kind": "compress",
            "model": model.id if isinstance(model, Version) else model,
            "weights": weights,
            "prune": prune,
            "unstructured": unstructured or None,
            "rounds": rounds,
            "distil": read_recipe(distil),
            "temperature": temperature,
            "alpha": alpha,
            "set": settings,
            "name": name,
            "max_drop": max_drop,
            "min_gain": min_gain,
            "data": None if data is None else dataset_ref(data),
            "texts": list(texts) or None,
            **read_reading(reading),
        }
        job = self._submit(body)
        if not wait:
            return job
        return read_answer(self.jobs.wait(job.id, on_progress=on_progress).result or {}, CompressResult)

    def predict(
        self,
        deployment: str | Deployment | None,
        instances: Any = None,
        *,
        csv: str | bytes | None = None,
        image: predicting.Picture | None = None,
        idempotency_key: str | None = None,
    ) -> Predictions:
        """One answer a row: {"label", "score", "scores"} of a classifier, a number of a regression.

        instances: rows (objects of columns, or arrays), one object, a data frame or an array; or csv: text with a header
        line; or image: a picture's path or bytes. idempotency_key: one of your own, where you repeat the call yourself; a call
        that the client repeats is charged once in any case. Raises NotFound, InvalidValue naming row and column, RateLimited,
        BudgetSpent, Unavailable.
        """
        name = None if deployment is None else _name(deployment)
        return predicting.predict(self.transport, name, instances, csv=csv, image=image, idempotency_key=idempotency_key)

    def chat(
        self,
        deployment: str | Deployment,
        messages: writing.Messages,
        *,
        system: str | None = None,
        max_tokens: int | None = None,
        temperature: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> writing.Written:
        """What a language model answers, piece by piece: `with client.chat("tales", "Who are you?") as written: …`

        messages: a text, or the talk until now as {"role", "content"}; options: further fields of OpenAI's request, such as
        {"top_p": 0.9}. Raises ModelNotFound, InvalidInput for a model without a chat template, which `complete` asks,
        ContextTooLong, RateLimited, BudgetSpent, Unavailable.
        """
        body = writing.chat_body(
            _name(deployment), messages, system=system, max_tokens=max_tokens, temperature=temperature, options=options
        )
        return writing.write(self.transport, writing.CHAT, body)

    def complete(
        self,
        deployment: str | Deployment,
        prompt: str,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> writing.Written:
        """How a language model goes on with a text, piece by piece; the server writes 16 tokens where `max_tokens` says
        nothing. Raises what `chat` does."""
        body = writing.completion_body(
            _name(deployment), prompt, max_tokens=max_tokens, temperature=temperature, options=options
        )
        return writing.write(self.transport, writing.COMPLETIONS, body)

    def render_recipe(
        self,
        task: str | None = None,
        *,
        recipe: RecipeLike | None = None,
        settings: Mapping[str, Any] | None = None,
        target: str | None = None,
    ) -> RenderedRecipe:
        """The full recipe that such a run would have; the task may stand in the recipe. Raises InvalidRecipe."""
        body = {"task": task, "recipe": read_recipe(recipe), "set": dict(settings) if settings else None, "target": target}
        return read_answer(self.transport.json("POST", "/api/recipes/render", body=_given(body)), RenderedRecipe)

    def gc(self, *, grace_s: float | None = None) -> dict[str, Any]:
        """{"removed", "freed_bytes", "kept"}: artifacts that nothing names and that are older than the grace are gone."""
        freed: dict[str, Any] = self.transport.json("POST", "/api/gc", body=_given({"grace_s": grace_s}))
        return freed

    def backup(self, path: str | os.PathLike[str], *, on_bytes: Callable[[int], None] | None = None) -> int:
        """The size in bytes of the written backup; the file appears when it is complete. Raises StorageFailed."""
        return self.transport.download("/api/backup", Path(path).expanduser(), on_bytes=on_bytes)

    def _submit(self, body: dict[str, Any]) -> Job:
        return read_answer(self.transport.json("POST", "/api/jobs", body=_given(body)), Job)


def _name(deployment: str | Deployment) -> str:
    return deployment.name if isinstance(deployment, Deployment) else deployment


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}
