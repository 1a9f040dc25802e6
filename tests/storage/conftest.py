"""An open database on a fresh home, and the values that rows are made of."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from modeltap.domain.dataset import Column, Schema
from modeltap.domain.model import EngineChoice, Lineage, Manifest
from modeltap.domain.signature import Signature, TensorSpec
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.database import Database
from modeltap.storage.opening import open_database

NOW = datetime(2026, 11, 22, 5, 6, 7, 8, tzinfo=UTC)


@pytest.fixture(scope="session")
def fresh_database_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("fresh")
    open_database(home).close()
    return home / "modeltap.db"


@pytest.fixture
def home(tmp_path: Path, fresh_database_file: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(fresh_database_file, home)
    return home


@pytest.fixture
def database(home: Path) -> Iterator[Database]:
    database = open_database(home)
    yield database
    database.close()


@pytest.fixture
def artifacts(home: Path) -> ArtifactStore:
    return ArtifactStore(home / "artifacts")


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def schema() -> Schema:
    return Schema(
        form="table",
        columns=(Column(name="größe", kind="number", decimal=","), Column(name="species", kind="category", role="target")),
    )


@pytest.fixture
def manifest(schema: Schema) -> Manifest:
    return Manifest(
        task="tabular-classification",
        architecture="mlp",
        signature=Signature((TensorSpec("größe", "FP64", (-1, 1)),), (TensorSpec("prob", "FP32", (-1, 2)),)),
        engine=EngineChoice(min_batch=2),
        schema=schema,
        output="prob",
        labels=("a", "b"),
        lineage=Lineage(
            dataset="iris@1", dataset_digest="0" * 64, recipe_digest="1" * 64, code_version="0.1.0", seed=7, threads=2
        ),
        metrics={"test": {"accuracy": 0.9, "accuracy_interval": [0.8, 0.95]}},
    )


@pytest.fixture
def make_digest() -> Callable[[int], str]:
    return lambda number: f"{number:064x}"
