"""From a table as people have it to answers: added, trained on and asked with its own lines, as JSON and as tensors."""

from __future__ import annotations

import io
from typing import Any

import polars as pl
import pytest
from quirky_tables import QUIRKS, Quirk
from workshop import Plane, Workshop

TREES = {"model": {"max_iter": 15, "min_samples_leaf": 5, "early_stopping_rounds": 0}}
NETWORK = {"model": {"architecture": "mlp", "hidden": [16], "dropout": 0.0}, "epochs": 12, "optimizer": {"lr": 0.02}}
BY_NETWORK = ("decimal_commas", "dates_in_four_forms", "huge_tiny_and_mixed_numbers")
CASES = [*((name, TREES) for name in QUIRKS), *((name, NETWORK) for name in BY_NETWORK)]


def tensors(plane: Plane, quirk: Quirk) -> list[dict[str, Any]]:
    """The rows as /v2 has them; a date as its text, everything else in the datatype of the signature."""
    inputs = []
    for spec in plane.get("/v2/models/d").json()["inputs"]:
        values = [row[spec["name"]] for row in quirk.rows]
        texts = any(isinstance(value, str) for value in values)
        datatype = "BYTES" if texts else spec["datatype"]
        inputs.append({"name": spec["name"], "shape": [len(values)], "datatype": datatype, "data": values})
    return inputs


@pytest.mark.parametrize(("name", "recipe"), CASES, ids=[f"{n}-{'network' if r is NETWORK else 'trees'}" for n, r in CASES])
def test_a_quirky_table_is_read_learnt_and_answered(workshop: Workshop, name: str, recipe: dict[str, Any]):
    quirk = QUIRKS[name]()
    added = workshop.add(name, quirk.content, quirk.filename, target=quirk.target, **quirk.options)
    columns = {column["name"]: column for column in added["schema"]["columns"]}
    features = {n: c["kind"] for n, c in columns.items() if c.get("role", "feature") == "feature"}
    assert features == quirk.kinds
    assert {n: c["role"] for n, c in columns.items() if n in quirk.roles} == quirk.roles
    assert columns[quirk.target]["role"] == "target"

    trained = workshop.train(name, "tabular-classification", recipe)
    assert trained["metrics"]["test"]["accuracy"] > 0.8
    plane = Plane(workshop, {"d": trained["version"]})
    answer = plane.post("/predict/d", json={"instances": quirk.rows})
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["predictions"]
    assert len(predictions) == len(quirk.rows)
    assert all(tuple(one["scores"]) == quirk.labels and one["score"] > 0 for one in predictions)
    if quirk.lines:
        for encoding in ("utf-8", "utf-16"):
            body = "\n".join(quirk.lines).encode(encoding)
            by_lines = plane.post("/predict/d", content=body, headers={"content-type": "text/csv"})
            assert by_lines.status_code == 200, by_lines.text
            assert by_lines.json()["predictions"] == predictions
    inferred = plane.post("/v2/models/d/infer", json={"inputs": tensors(plane, quirk)})
    assert inferred.status_code == 200, inferred.text
    outputs = {output["name"]: output["data"] for output in inferred.json()["outputs"]}
    assert outputs["label" if "label" in outputs else "label_"] == [one["label"] for one in predictions]
    plane.close()


def test_a_table_evaluates_on_its_own_lines_from_another_kind_of_file(workshop: Workshop):
    """Labels that CSV writes 1.0 and True are those that Parquet holds as numbers and truths."""
    rows = [{"x": n % 2 + n / 300, "y": n % 2} for n in range(120)]
    for name, label in (("floats", lambda y: float(y)), ("truths", bool)):
        table = "x,y\n" + "\n".join(f"{row['x']},{label(row['y'])}" for row in rows)
        workshop.add(f"{name}-csv", table, target="y")
        version = workshop.train(f"{name}-csv", "tabular-classification", TREES)["version"]
        out = io.BytesIO()
        pl.DataFrame({"x": [row["x"] for row in rows], "y": [label(row["y"]) for row in rows]}).write_parquet(out)
        workshop.add(f"{name}-parquet", out.getvalue(), "t.parquet", target="y")
        done = workshop.evaluate(version, f"{name}-parquet", part="all")
        assert done["metrics"]["accuracy"] > 0.9 and done["evaluation"]["num_rows"] == 120
