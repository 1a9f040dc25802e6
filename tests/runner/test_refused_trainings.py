"""A training that cannot be done fails with one named reason: what was found, what is needed, what to change."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from workshop import Workshop

from modeltap.errors import InvalidData, InvalidInput, InvalidRecipe, InvalidValue

CLASSES, NUMBERS, PICTURES = "tabular-classification", "tabular-regression", "image-classification"
TREES: dict[str, Any] = {"model": {"max_iter": 5, "early_stopping_rounds": 0}}
CHANCE = np.random.default_rng(0)


def table(*columns: Callable[[int], object], rows: int = 60) -> str:
    names = [*"abcdef"[: len(columns) - 1], "y"]
    return "\n".join([",".join(names), *(",".join(str(column(n)) for column in columns) for n in range(rows))])


def arrays(x: Any, y: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, x=x, y=y)
    return out.getvalue()


def layers(*listed: Any, **model: Any) -> dict[str, Any]:
    return {"model": {"architecture": "sequential", "layers": list(listed), **model}, "epochs": 1}


def data(**changes: Any) -> dict[str, Any]:
    return {**TREES, "data": changes}


def class_of(n: int) -> str:
    return "pq"[n % 2]


DATA: dict[str, str | bytes] = {
    "good": table(lambda n: n / 7, lambda n: "uv"[n % 3 == 0], class_of),
    "one class": table(lambda n: n / 7, lambda n: "p"),
    "one row": table(lambda n: n / 7, class_of, rows=1),
    "two rows": table(lambda n: n / 7, class_of, rows=2),
    "a class a row": table(lambda n: n / 7, lambda n: f"c{n}"),
    "no target": table(lambda n: n / 7, lambda n: "NA"),
    "ids": "customer_id,y\n" + "\n".join(f"{7 * n},{class_of(n)}" for n in range(60)),
    "gaps": table(lambda n: n / 7, lambda n: "", class_of),
    "beyond": table(lambda n: n / 7, lambda n: (-1) ** n * 1e300),
    "pictures": arrays(CHANCE.integers(0, 255, (40, 6, 6), dtype=np.uint8), np.arange(40) % 2),
    "vectors": arrays(CHANCE.normal(size=(40, 12)).astype(np.float32), np.arange(40) % 2),
    "tokens": arrays(CHANCE.integers(0, 9, (40, 5)), np.arange(40) % 2),
    "values": arrays(CHANCE.normal(size=(40, 10)).astype(np.float32), np.arange(40) * 0.5),
}
KINDS = {"gaps": {"b": "number"}}

REFUSED: dict[str, tuple[str, str, Any, type[InvalidInput], str]] = {
    "one class": ("one class", CLASSES, TREES, InvalidData, "only one class, 'p'; a classifier needs two or more"),
    "one row": ("one row", CLASSES, TREES, InvalidData, "1 row"),
    "two rows": ("two rows", CLASSES, TREES, InvalidData, "2 rows cannot be divided into 3 parts"),
    "fewer rows than classes": (
        "a class a row",
        CLASSES,
        TREES,
        InvalidData,
        "fewer than the 60 classes",
    ),
    "no target anywhere": ("no target", CLASSES, TREES, InvalidData, "without a target"),
    "ids alone": ("ids", CLASSES, TREES, InvalidData, "no feature is left"),
    "gaps dropped": ("gaps", CLASSES, data(clean={"missing": "drop"}), InvalidData, "dropped 48 training rows with a missing"),
    "everything ignored": ("good", CLASSES, data(columns={"a": "ignored", "b": "id"}), InvalidData, "no feature is left"),
    "texts as numbers": (
        "good",
        CLASSES,
        data(columns={"b": "number"}),
        InvalidValue,
        "column 'b' (number), row 1: 'v'",
    ),
    "numbers as dates": ("good", CLASSES, data(columns={"a": "datetime"}), InvalidInput, "'a'"),
    "an unknown group": ("good", CLASSES, data(split={"group": "bb"}), InvalidRecipe, "'bb'"),
    "time that is none": ("good", CLASSES, data(split={"time": "b"}), InvalidRecipe, "data.split.time is 'b'"),
    "numbers beyond 32 bits": ("beyond", NUMBERS, TREES, InvalidData, "at most 1e+37 can be predicted in 32 bits"),
    "a rate for trees": ("good", CLASSES, {**TREES, "optimizer": {"lr": 1}}, InvalidRecipe, "optimizer is for networks"),
    "pictures of a table": ("good", CLASSES, {"model": "cnn", "epochs": 1}, InvalidRecipe, "cnn reads pictures"),
    "another width": ("good", CLASSES, layers({"dense": {"units": 3}}), InvalidRecipe, "2 classes, so 2 units, and 3 leaves"),
    "two values": ("values", NUMBERS, layers({"dense": {"units": 2}}), InvalidRecipe, "one value, and 2 leaves the last layer"),
    "softmax of a number": (
        "values",
        NUMBERS,
        layers({"dense": {"units": 1, "activation": "softmax"}}),
        InvalidRecipe,
        "softmax is for classes; end a regression with activation: linear",
    ),
    "no flatten": ("pictures", PICTURES, layers({"dense": {"units": 2}}), InvalidRecipe, "put flatten before the last dense"),
    "a window too large": (
        "pictures",
        PICTURES,
        layers({"conv2d": {"filters": 2, "kernel": 9}}),
        InvalidRecipe,
        "a window of 9x9 does not fit into an image of 6x6",
    ),
    "another input shape": (
        "pictures",
        PICTURES,
        layers("flatten", {"dense": {"units": 2}}, input={"shape": [7, 7, 1]}),
        InvalidRecipe,
        "model.input.shape is [7, 7, 1], the data has [6, 6]",
    ),
    "an input named as another column": (
        "pictures",
        PICTURES,
        layers("flatten", {"dense": {"units": 2}}, input={"name": "label"}),
        InvalidRecipe,
        "model.input.name 'label' is the name of another column",
    ),
    "lstm over a vector": (
        "vectors",
        CLASSES,
        layers({"lstm": {"units": 3}}),
        InvalidRecipe,
        "put embedding or reshape",
    ),
    "a reshape that cannot be": (
        "vectors",
        CLASSES,
        layers({"reshape": {"shape": [5, 3]}}),
        InvalidRecipe,
        "cannot become [5, 3]",
    ),
    "embedding of numbers": ("vectors", CLASSES, layers({"embedding": {"dim": 3}}), InvalidRecipe, "tokens are needed"),
    "a vocabulary too small": (
        "tokens",
        CLASSES,
        layers({"embedding": {"dim": 3, "vocabulary": 5}}, "flatten", {"dense": {"units": 2}}),
        InvalidRecipe,
        "a vocabulary of 5 is too small",
    ),
}


@pytest.fixture(scope="module")
def datasets(workshop: Workshop) -> dict[str, str]:
    """Name of each kind of data → its dataset."""
    for name, content in DATA.items():
        filename = "table.csv" if isinstance(content, str) else "arrays.npz"
        known = {} if isinstance(content, bytes) else {"target": "y"}
        workshop.add(f"refused-{name.replace(' ', '-')}", content, filename, kinds=KINDS.get(name, {}), **known)
    return {name: f"refused-{name.replace(' ', '-')}" for name in DATA}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_trained_is_refused_with_the_reason(workshop, datasets, what):
    name, task, recipe, problem, told = REFUSED[what]
    with pytest.raises(problem, match=re.escape(told)):
        workshop.train(datasets[name], task, recipe)


def test_a_column_without_any_value_is_left_out_and_said(workshop, datasets):
    for recipe in (TREES, {"model": {"architecture": "mlp", "hidden": [4]}, "epochs": 1}):
        trained = workshop.train(datasets["gaps"], CLASSES, recipe)
        assert any("column 'b' says nothing" in notice for notice in trained["notices"])
        manifest = workshop.models.get(trained["version"]).manifest
        assert [spec.name for spec in manifest.signature.inputs] == ["a"]
