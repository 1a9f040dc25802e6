"""Sequences of tokens and of numbers, and the example recipes that are for larger data than a test has."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from workshop import Plane, Workshop

from modeltap.recipe.document import load_document
from modeltap.recipe.parse import parse_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"


def recipe(name: str) -> dict[str, Any]:
    return load_document((EXAMPLES / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_a_whole_recipe(path):
    assert parse_recipe(load_document(path.read_text(encoding="utf-8"))).seed == 0


@pytest.fixture(scope="module")
def tokens(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    folder = tmp_path_factory.mktemp("made")
    subprocess.run([sys.executable, EXAMPLES / "make_data.py"], cwd=folder, check=True)
    content = (folder / "tokens.npz").read_bytes()
    workshop.add("tokens", content, "tokens.npz")
    return np.load(io.BytesIO(content))["x"]


def test_the_example_of_tokens_tells_which_marker_stands_last(workshop, tokens):
    trained = workshop.train("tokens", recipe=recipe("sequence.yaml"), settings={"epochs": 4})
    assert trained["metrics"]["test"]["accuracy"] > 0.8
    assert any("any other is read as token 0" in notice for notice in trained["notices"])
    plane = Plane(workshop, {"t": trained["version"]})
    rows = tokens[:3].tolist()
    strange = [[*row[:18], 2**40, -5] for row in rows]
    answer = plane.post("/predict/t", json={"instances": [*rows, *strange]})
    assert answer.status_code == 200 and len(answer.json()["predictions"]) == 6
    singles = [plane.post("/predict/t", json={"x": row}).json()["y_pred"] for row in rows]
    assert singles == answer.json()["predictions"][:3]
    for wrong, told in (([1.5] * 20, "not whole"), ([1] * 19, "[19], the model takes [20]"), (["a"] * 20, "not a number")):
        refused = plane.post("/predict/t", json={"instances": [wrong]})
        assert refused.status_code == 422 and told in refused.json()["detail"]
    plane.close()


def test_a_gated_layer_reads_steps_of_numbers(workshop):
    chance = np.random.default_rng(0)
    steps = chance.normal(size=(240, 5, 3)).astype(np.float32)
    out = io.BytesIO()
    np.savez(out, x=steps, y=(steps[:, -1, 0] > 0).astype(np.int64))
    workshop.add("steps", out.getvalue(), "steps.npz")
    layers = [{"gru": {"units": 8}}, {"dense": {"units": 2}}]
    gated = {"model": {"architecture": "sequential", "layers": layers}, "epochs": 15, "optimizer": {"lr": 0.02}}
    trained = workshop.train("steps", "tabular-classification", gated)
    assert trained["metrics"]["test"]["accuracy"] > 0.8


@pytest.mark.parametrize("name", ["adult-boosting.yaml", "adult-mlp.yaml"])
def test_the_examples_for_the_census_train_on_a_table_like_it(workshop, name):
    chance = random.Random(0)
    lines = ["age,workclass,hours,income"]
    for _ in range(400):
        age, hours = chance.randint(17, 90), chance.randint(1, 99)
        work = chance.choice(["Private", "State-gov", "?"])
        lines.append(f"{age}, {work}, {hours}, {'>50K' if age + hours > 100 else '<=50K'}")
    workshop.add("census", "\n".join(lines))
    trained = workshop.train("census", recipe=recipe(name), settings={"batch_size": 32} if "mlp" in name else {})
    assert trained["metrics"]["test"]["accuracy"] > 0.8
