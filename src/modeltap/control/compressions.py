"""Compression: what can be checked before a job is made is checked here, so that a mistake costs no wait."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Literal

import msgspec

from modeltap.domain.certificate import Demand
from modeltap.domain.dataset import Dataset
from modeltap.domain.job import Job
from modeltap.domain.model import ModelVersion
from modeltap.domain.names import parse_name
from modeltap.errors import InvalidData, InvalidInput, MissingExtra, NotFound
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.jobs import JobRepository
from modeltap.storage.models import ModelRepository

MAX_TEXTS = 1000
MAX_TEXT_CHARS = 1 << 20
"""Of all given texts: they are kept in the job."""
MAX_DROP = 0.05
"""Nats a token, where nothing else is demanded: about five percent of perplexity."""
SOURCE_ENDING = ".safetensors"


class CompressSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a compress job knows. `dataset` is empty where texts were given."""

    model: str
    digest: str
    name: str
    weights: Literal["int8", "int4"]
    demand: Demand
    dataset: str = ""
    dataset_digest: str = ""
    texts: tuple[str, ...] = ()


class Compressions:
    def __init__(
        self,
        datasets: DatasetRepository,
        models: ModelRepository,
        artifacts: ArtifactStore,
        jobs: JobRepository,
        wake: Callable[[], None],
    ) -> None:
        self._datasets = datasets
        self._models = models
        self._artifacts = artifacts
        self._jobs = jobs
        self._wake = wake

    def start(
        self,
        model_ref: str,
        *,
        weights: Literal["int8", "int4"],
        name: str | None = None,
        max_drop: float | None = None,
        min_gain: float | None = None,
        data: str | None = None,
        texts: Sequence[str] = (),
    ) -> Job:
        """The queued job. Its version is called `name`, or as the parent with the weights behind it.

        data: a dataset of texts to compare on; or texts themselves; else the one that the version was trained on.
        Raises NotFound, InvalidInput for a bound that means nothing, InvalidData for a version that cannot be compressed.
        """
        if find_spec("nncf") is None or find_spec("optimum") is None:
            raise MissingExtra(what="what compresses language models", extra="llm")
        version = self._models.get(model_ref)
        self._check_source(version)
        dataset = self._evidence(version, data, texts)
        spec = CompressSpec(
            model=version.id,
            digest=version.digest,
            name=parse_name("model", name or f"{version.name}-{weights}"),
            weights=weights,
            demand=Demand(
                max_drop=MAX_DROP if max_drop is None else _bound("max_drop", max_drop, 100.0),
                min_gain=None if min_gain is None else _bound("min_gain", min_gain, 1000.0),
            ),
            dataset=dataset.id if dataset else "",
            dataset_digest=dataset.digest if dataset else "",
            texts=tuple(texts),
        )
        job = self._jobs.add("compress", msgspec.to_builtins(spec), datetime.now(UTC))
        self._wake()
        return job

    def _check_source(self, version: ModelVersion) -> None:
        language = version.manifest.language
        if language is None:
            raise InvalidData(f"{version.id} is of the task {version.manifest.task}; language models are what is compressed")
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


def _bound(name: str, value: float, most: float) -> float:
    if not (math.isfinite(value) and 0 < value <= most):
        raise InvalidInput(f"{name} is {value:g}; it is more than 0 and at most {most:g}")
    return value
