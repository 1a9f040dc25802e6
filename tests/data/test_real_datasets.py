"""Real data where it lies at hand: Adult, MNIST and SST-2 through reading, inference, storing and splitting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_wine

from modeltap.data.infer import infer_schema
from modeltap.data.profile import profile
from modeltap.data.read import read_source
from modeltap.data.split import plan_split
from modeltap.data.store import open_dataset, write_dataset
from modeltap.domain.recipe import Split

SHARED = Path(__file__).parents[3] / "shared" / "data"


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    return path


def test_adult(tmp_path: Path) -> None:
    source = read_source(shared("adult"), filename="adult")
    assert {part: rows.num_rows for part, rows in source.parts.items()} == {"train": 32_561, "test": 16_281}
    schema, notices = infer_schema(source, target="column_15")
    kinds = "".join(column.kind[0] for column in schema.columns)
    assert kinds == "ncncnccccc" + "nnncc"
    assert any("'?' (6,465 cells)" in notice for notice in notices)
    facts = profile(source, schema)
    assert {c["label"]: c["count"] for c in facts["target"]["classes"]} == {"<=50K": 37_155, ">50K": 11_687}
    dataset = open_dataset(write_dataset(source, schema, tmp_path))
    parts = plan_split(dataset, Split(), target_is_class=True)
    assert (len(parts.train) + len(parts.val), len(parts.test)) == (32_561, 16_281)


def test_mnist() -> None:
    source = read_source(shared("mnist.npz"), filename="mnist.npz")
    schema, _ = infer_schema(source)
    assert (schema.form, schema.columns[0].shape) == ("images", (28, 28))
    assert schema.target is not None
    assert schema.target.name == "label"
    assert {part: rows.num_rows for part, rows in source.parts.items()} == {"train": 60_000, "test": 10_000}


def test_sst2() -> None:
    source = read_source(shared("sst2"), filename="sst2")
    schema, _ = infer_schema(source)
    assert schema.form == "texts"
    assert {part: rows.num_rows for part, rows in source.parts.items()} == {"train": 6920, "val": 872, "test": 1821}


def test_wine_as_a_csv_file_and_back(tmp_path: Path) -> None:
    wine = load_wine()
    lines = [";".join([*wine.feature_names, "class"])]
    for row, label in zip(wine.data, wine.target, strict=True):
        lines.append(";".join([*(str(v).replace(".", ",") for v in row), str(wine.target_names[label])]))
    (tmp_path / "wine").write_text("\n".join(lines))
    source = read_source(tmp_path / "wine", filename="wine.csv")
    schema, _ = infer_schema(source)
    assert [c.kind for c in schema.columns] == ["number"] * 13 + ["category"]
    facts = profile(source, schema)
    np.testing.assert_allclose([c["mean"] for c in facts["columns"][:13]], wine.data.mean(axis=0))
    assert [c["count"] for c in facts["target"]["classes"]] == [71, 59, 48]
