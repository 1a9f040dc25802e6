"""Versions that were imported are evaluated, made smaller and trained on with a person's data, as if trained here."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_networks import import_here
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_diabetes, load_digits
from sklearn.linear_model import LinearRegression
from workshop import Workshop

from modeltap.bundle.files import open_bundle
from modeltap.control.compressions import Compressions
from modeltap.control.models import Models
from modeltap.domain.features import FeatureSpec
from modeltap.domain.tenant import DEFAULT_TENANT
from modeltap.engines.select import open_warm_engine
from modeltap.errors import CannotCompress, InvalidData, InvalidInput, InvalidRecipe
from modeltap.importing.onnx import import_onnx
from modeltap.importing.state_dict_child import read_network
from modeltap.recipe.architectures import SequentialOptions, find_architecture, parse_options
from modeltap.recipe.parse import parse_recipe
from modeltap.runner import compress_speed
from modeltap.runner.network_start import wide_enough
from modeltap.storage.datasets import DatasetRepository
from modeltap.training.building import fitting_weights

LAYERS = """
model:
  architecture: sequential
  input: {name: image, shape: [1, 8, 8]}
  output: {name: digit}
  layers:
    - conv2d: {filters: 16, kernel: 3, padding: same, activation: relu}
    - maxpool2d: {size: 2}
    - flatten
    - dense: {units: 64, activation: relu}
    - dense: {units: 10}
"""
large = pytest.mark.skipif(
    "MODELTAP_TEST_IMPORTED" not in os.environ, reason="trains for a while; set MODELTAP_TEST_IMPORTED=1"
)


class Smithy:
    """A home with imported versions, and the truth of what they are."""

    def __init__(self, workshop: Workshop, folder: Path) -> None:
        self.shop = workshop
        self.folder = folder
        self.models = Models(workshop.models, workshop.artifacts)
        datasets = DatasetRepository(workshop.database, DEFAULT_TENANT)
        self.compressions = Compressions(datasets, workshop.models, workshop.artifacts, workshop.jobs, lambda: None)

    def import_weights(self, name: str, net: torch.nn.Module, recipe: str, **options: Any) -> None:
        path = self.folder / f"{name}.pth"
        torch.save(net.state_dict(), path)
        files, _ = import_here(read_network, path, self.folder / name, recipe=recipe, **options)
        self.models.register(name, files, open_bundle(files).manifest)

    def import_graph(self, name: str, model: Any) -> None:
        path, bundle = self.folder / f"{name}.onnx", self.folder / name
        path.write_bytes(model.SerializeToString())
        bundle.mkdir()
        imported = import_onnx(path, bundle)
        self.models.register(name, imported.files, imported.manifest)

    def compress(self, ref: str, **wishes: Any) -> dict[str, Any]:
        return self.shop._do(self.compressions.start(ref, **wishes))


def linear_graph(weight: Any, bias: Any, *, fixed: bool = False) -> Any:
    width, height = weight.shape
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in (("w", weight), ("b", bias))]
    rows = 1 if fixed else "N"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, width])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, height])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["p"]), helper.make_node("Add", ["p", "b"], ["y"])]
    graph = helper.make_graph(nodes, "g", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@cache
def cnn() -> torch.nn.Module:
    """As LAYERS, trained on digits for a moment."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(256, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10),
    )  # fmt: skip
    digits = load_digits()
    x = torch.tensor(pixels()[:, None] / 255, dtype=torch.float32)
    y = torch.tensor(digits.target)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for step in range(60):
        rows = torch.arange(step * 64, step * 64 + 64) % 1000
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
    return net.eval()


def pixels() -> Any:
    return (load_digits().images * 15).astype(np.uint8)


@pytest.fixture(scope="module")
def smithy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smithy]:
    patch = pytest.MonkeyPatch()
    patch.setattr(compress_speed, "TURNS", 3)
    patch.setattr(compress_speed, "TURN_S", 0.01)
    shop = Workshop(tmp_path_factory.mktemp("smithy") / "home")
    made = Smithy(shop, tmp_path_factory.mktemp("foreign"))
    held = io.BytesIO()
    np.savez(held, x=pixels(), y=load_digits().target)
    shop.add("digits", held.getvalue(), filename="digits.npz")
    sugar = load_diabetes()
    rows = [[*row, target] for row, target in zip(sugar.data, sugar.target, strict=True)]
    table = "\n".join(",".join(map(str, row)) for row in [[*sugar.feature_names, "progress"], *rows])
    shop.add("sugar", table)
    net = cnn()
    made.import_weights("plain", net, LAYERS)
    line = LinearRegression().fit(sugar.data, sugar.target)
    made.import_graph("line", linear_graph(line.coef_[:, None], line.intercept_[None]))
    yield made
    shop.close()
    patch.undo()


def test_a_network_of_tensors_is_measured_on_pictures_with_labels(smithy: Smithy) -> None:
    result = smithy.shop.evaluate("plain", "digits")
    with torch.no_grad():
        logits = cnn()(torch.tensor(pixels()[:, None] / 255, dtype=torch.float32))
    truth = load_digits().target
    assert result["metrics"]["accuracy"] == pytest.approx((logits.argmax(1).numpy() == truth).mean(), abs=1e-9)
    loss = torch.nn.functional.cross_entropy(logits.double(), torch.tensor(truth)).item()
    assert result["metrics"]["log_loss"] == pytest.approx(loss, abs=1e-4)
    assert any("divided by 255" in notice for notice in result["notices"])
    assert any("softmax" in notice for notice in result["notices"])


def test_pixels_and_labels_are_read_as_a_person_says(smithy: Smithy) -> None:
    turned = smithy.shop.evaluate("plain", "digits", labels=[str(digit) for digit in range(9, -1, -1)], scale=1.0)
    assert turned["metrics"]["accuracy"] < 0.2
    assert turned["notices"] == ["its outputs are no probabilities; their softmax was taken"]


def test_a_graph_of_numbers_is_measured_on_the_columns_of_a_table(smithy: Smithy) -> None:
    result = smithy.shop.evaluate("line", "sugar", target="progress")
    sugar = load_diabetes()
    expected = LinearRegression().fit(sugar.data, sugar.target).predict(sugar.data)
    assert result["metrics"]["rmse"] == pytest.approx(np.sqrt(np.mean((expected - sugar.target) ** 2)), rel=1e-5)
    assert any("age, sex, bmi" in notice for notice in result["notices"])


def test_a_graph_of_one_row_at_a_time_is_asked_row_by_row(smithy: Smithy) -> None:
    sugar = load_diabetes()
    line = LinearRegression().fit(sugar.data, sugar.target)
    smithy.import_graph("single", linear_graph(line.coef_[:, None], line.intercept_[None], fixed=True))
    assert not smithy.shop.models.get("single").manifest.is_batched
    single, many = (smithy.shop.evaluate(name, "sugar", target="progress")["metrics"] for name in ("single", "line"))
    assert single["rmse"] == pytest.approx(many["rmse"], rel=1e-6)


@pytest.mark.parametrize(
    ("model", "data", "more", "told"),
    [
        ("line", "sugar", {}, "say which column holds the truth with --target"),
        ("line", "sugar", {"target": "progres"}, "did you mean 'progress'"),
        ("plain", "sugar", {"target": "progress"}, "takes an array"),
        ("line", "digits", {}, "is .8, 8. a row, and the version takes .10."),
        ("plain", "digits", {"labels": ["a", "b"]}, "10 numbers a row, and 2 labels"),
        ("plain", "digits", {"labels": ["a", "a"]}, "stands twice"),
        ("plain", "digits", {"scale": -1.0}, "more than 0"),
        ("line", "sugar", {"target": "progress", "scale": 2.0}, "scale is for pictures"),
    ],
)
def test_what_does_not_fit_is_told_with_what_there_is(smithy: Smithy, model: str, data: str, more: Any, told: str) -> None:
    with pytest.raises((InvalidData, InvalidInput), match=told):
        smithy.shop.evaluate(model, data, **more)


def test_eight_bits_of_an_imported_network_are_certified_on_the_rows_that_were_named(smithy: Smithy) -> None:
    name = "plain"
    result = smithy.compress(name, weights="int8", data="digits", max_drop="5pp")
    certificate = result["certificate"]
    assert (result["state"], certificate["measure"], certificate["num_samples"]) == ("candidate", "accuracy", 180)
    assert certificate["calibration_rows"] == 512 and certificate["evidence"] == "digits@1 (test)"
    assert certificate["child_bytes"] < certificate["parent_bytes"] / 2
    bundle = open_bundle(smithy.shop.files(f"{name}-int8"))
    parent = smithy.shop.models.get(name).manifest
    assert bundle.manifest.signature == parent.signature and bundle.manifest.lineage.parent == f"{name}@1"
    open_warm_engine(bundle).close()
    with pytest.raises(CannotCompress, match="compressed already"):
        smithy.compress(f"{name}-int8", weights="int8", data="digits")


@large
def test_an_imported_network_with_a_task_is_pruned(smithy: Smithy) -> None:
    smithy.import_weights("named", cnn(), LAYERS, task="image-classification")
    result = smithy.compress("named", prune=0.5, data="digits", max_drop="5pp", settings={"epochs": 3})
    assert result["state"] == "candidate" and result["certificate"]["child_bytes"] < result["certificate"]["parent_bytes"] / 2
    files = smithy.shop.files("named-pruned")
    assert {"recipe.yaml", "weights.safetensors"} <= set(files)
    assert smithy.shop.evaluate("named-pruned", "digits")["metrics"]["accuracy"] > 0.8


@large
def test_a_student_learns_from_an_imported_graph(smithy: Smithy) -> None:
    recipe = {"model": {"architecture": "linear"}, "epochs": 20}
    result = smithy.compress("line", distil=recipe, data="sugar", target="progress", max_drop="30%")
    version = smithy.shop.models.get("line-distilled")
    assert result["certificate"]["measure"] == "rmse" and version.manifest.task == "tabular-regression"
    assert smithy.shop.evaluate("line-distilled", "sugar", target="progress")["metrics"]["rmse"] < 70


@pytest.mark.parametrize(
    ("name", "wishes", "told"),
    [
        ("plain", {"weights": "int8"}, "name some with their truth with --data"),
        ("plain", {"prune": 0.5, "data": "digits"}, "--task image-classification"),
        ("line", {"prune": 0.5, "data": "sugar", "target": "progress"}, "imported as a graph"),
        ("plain", {"weights": "int8", "data": "digits", "texts": ["a"]}, "for language models"),
    ],
)
def test_what_has_no_smaller_form_says_what_does(smithy: Smithy, name: str, wishes: Any, told: str) -> None:
    with pytest.raises((CannotCompress, InvalidInput), match=told):
        smithy.compress(name, **wishes)


def test_training_goes_on_with_the_weights_of_an_imported_network(smithy: Smithy) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(10, 1))
    recipe = "model: {architecture: sequential, input: {name: x, shape: [10]}, layers: [dense: {units: 1}]}"
    smithy.import_weights("dense", net, recipe)
    wished = {"model": {"architecture": "sequential", "base": "dense"}, "epochs": 1, "optimizer": {"lr": 1e-9}}
    result = smithy.shop.train("sugar", "tabular-regression", wished, target="progress", name="tuned")
    assert "begins with the weights of dense@1" in result["notices"]
    assert any("numbers reach the network as they are, as dense@1 takes them" in notice for notice in result["notices"])
    before, after = (
        smithy.shop.evaluate(name, "sugar", part="all", **more)["metrics"]["rmse"]
        for name, more in (("dense", {"target": "progress"}), ("tuned", {}))
    )
    assert after == pytest.approx(before, rel=1e-5)
    assert "base: dense@1" in smithy.shop.files("tuned")["recipe.yaml"].read_text()


def test_weights_that_fit_no_layer_any_more_begin_anew() -> None:
    layers: list[Any] = ["flatten", {"dense": {"units": 8, "activation": "relu"}}, {"dense": {"units": 10}}]
    recipe = parse_recipe({"task": "image-classification", "model": {"architecture": "sequential", "layers": layers}})
    weights = {"dense_1.weight": np.zeros((8, 64)), "dense_1.bias": np.zeros(8), "dense_2.weight": np.zeros((4, 8))}
    start, drawn = fitting_weights(recipe, FeatureSpec(shape=(8, 8)), 10, weights)
    assert list(start) == ["dense_1.weight", "dense_1.bias"] and drawn == ["dense_2.weight", "dense_2.bias"]
    options = parse_options(find_architecture("sequential"), recipe.model.options)
    assert isinstance(options, SequentialOptions)
    assert wide_enough(options.layers, 10) == options.layers
    assert wide_enough(options.layers, 3)[-1].keys.units == 3  # type: ignore[union-attr]


def test_only_a_version_of_layers_is_gone_on_with(smithy: Smithy) -> None:
    recipe = {"model": {"architecture": "sequential", "base": "line"}}
    with pytest.raises(InvalidRecipe, match=r"line@1, of the architecture 'onnx'.*Sequential of Keras"):
        smithy.shop.train("sugar", "tabular-regression", recipe, target="progress")
    with pytest.raises(InvalidRecipe, match="the key 'layers' is missing"):
        smithy.shop.train("sugar", "tabular-regression", {"model": {"architecture": "sequential"}}, target="progress")
