"""Datasets: an upload becomes an import job; stored versions are shown and removed."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from modeltap.domain.dataset import Dataset
from modeltap.domain.job import Job
from modeltap.domain.names import parse_name, parse_ref
from modeltap.errors import InvalidInput, NotFound
from modeltap.faults import crash_point
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.jobs import JobRepository

UPLOADS = "uploads"


class ImportOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a file is read, where its own look does not say it or says it wrongly."""

    target: str | None = None
    header: bool | None = None
    columns: tuple[str, ...] = ()
    delimiter: str | None = None
    missing: tuple[str, ...] = ()
    kinds: dict[str, str] = {}
    image_size: tuple[int, int] | None = None
    """Width and height."""


class ImportSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What an import job does."""

    name: str
    filename: str
    upload: str
    options: ImportOptions


class Datasets:
    def __init__(
        self, home: Path, datasets: DatasetRepository, artifacts: ArtifactStore, jobs: JobRepository, wake: Callable[[], None]
    ) -> None:
        self._uploads = home / UPLOADS
        self._datasets = datasets
        self._artifacts = artifacts
        self._jobs = jobs
        self._wake = wake

    def new_upload(self) -> Path:
        """A path nobody has, for the bytes of an upload."""
        self._uploads.mkdir(mode=0o700, exist_ok=True)
        return self._uploads / secrets.token_hex(16)

    def start_import(self, name: str, filename: str, upload: Path, options: ImportOptions) -> Job:
        """The job that turns the uploaded file into the name's next version. Raises InvalidInput for the name or an empty
        file."""
        parse_name("dataset", name)
        if upload.stat().st_size == 0:
            upload.unlink(missing_ok=True)
            raise InvalidInput("the file is empty; send the bytes of a table, pictures or arrays as the body")
        crash_point("upload.spooled")
        spec = ImportSpec(name=name, filename=Path(filename).name, upload=upload.name, options=options)
        job = self._jobs.add("import", msgspec.to_builtins(spec), datetime.now(UTC))
        self._wake()
        return job

    def newest(self) -> Sequence[Dataset]:
        return self._datasets.list()

    def describe(self, ref: str) -> dict[str, Any]:
        """One version with its profile and the numbers of its siblings."""
        dataset = self._datasets.get(ref)
        return {
            **dataset_facts(dataset),
            "profile": self._datasets.profile(dataset),
            "versions": [sibling.version for sibling in self._datasets.versions(dataset.name)],
            "size_bytes": self._size_bytes(dataset),
        }

    def remove(self, ref: str) -> list[str]:
        """The versions that are gone: one, or with a bare name all. Raises NotFound, Conflict."""
        name, selector = parse_ref(ref)
        gone = [self._datasets.get(ref)] if selector else list(self._datasets.versions(name))
        self._datasets.remove(ref)
        return [dataset.id for dataset in gone]

    def _size_bytes(self, dataset: Dataset) -> int | None:
        try:
            return sum(self._artifacts.size_bytes(digest) for digest in self._artifacts.tree(dataset.digest).values())
        except NotFound:
            return None


def dataset_facts(dataset: Dataset) -> dict[str, Any]:
    """The dataset as every client sees it."""
    facts: dict[str, Any] = {"id": dataset.id, **msgspec.to_builtins(dataset)}
    return facts


def parse_import_options(given: Mapping[str, Any]) -> ImportOptions:
    """Options from plain values. Raises InvalidInput naming the one that is wrong."""
    try:
        return msgspec.convert(given, ImportOptions, strict=False)
    except msgspec.ValidationError as problem:
        raise InvalidInput(f"an option of the import is not valid: {problem}") from None
