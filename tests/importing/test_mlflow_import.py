"""MLflow model directories: the plain model in them is taken, with its example and its signature; code never is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn_models
from foreign_graphs import dense, save
from language_directories import write_directory

from modeltap.bundle.files import open_bundle
from modeltap.errors import InvalidData
from modeltap.importing.huggingface import is_language_directory
from modeltap.importing.import_options import ImportOptions
from modeltap.importing.keras import find_keras
from modeltap.importing.kinds import import_any
from modeltap.importing.mlflow import find_mlflow, open_mlflow
from modeltap.importing.mlflow_file import example_rows, read_mlmodel

FUNCTION = "python_function: {loader_module: mlflow.onnx, env: conda.yaml, code: code}"


def mlmodel(folder: Path, flavour: str, *, columns: list[str] | None = None, example: Any = None) -> Path:
    """A directory with that flavour beside python_function, a signature, and an example."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["flavors:", f"  {FUNCTION}", f"  {flavour}", "mlflow_version: 3.15.1", "run_id: 1234"]
    if columns is not None:
        inputs = json.dumps([{"type": "double", "name": name, "required": True} for name in columns])
        lines += ["signature:", f"  inputs: '{inputs}'", "  outputs: '[]'", "  params: null"]
    if example is not None:
        (folder / "input_example.json").write_text(json.dumps(example))
        lines.append("saved_input_example_info: {artifact_path: input_example.json, type: dataframe, pandas_orient: split}")
    (folder / "MLmodel").write_text("\n".join(lines))
    (folder / "requirements.txt").write_text("mlflow==3.15.1\n")
    return folder


def imported(folder: Path, target: Path) -> Any:
    target.mkdir()
    return import_any(folder, target, ImportOptions())


@pytest.mark.parametrize("weights", [{}, {"save_as_external_data": True, "location": "model.onnx.data", "size_threshold": 0}])
def test_the_graph_is_taken_with_the_rows_of_its_example(tmp_path: Path, weights: dict[str, Any]) -> None:
    rows = np.random.default_rng(0).standard_normal((3, 64)).round(3)
    folder = mlmodel(
        tmp_path / "sent" / "model", "onnx: {data: model.onnx, onnx_version: 1.20.0}", example={"inputs": rows.tolist()}
    )
    save(dense(), folder, **weights)
    made = imported(tmp_path / "sent", tmp_path / "bundle")
    assert made.manifest.architecture == "onnx"
    assert open_bundle(made.files).golden.rows == rows.astype(np.float32).tolist()
    assert any("code" in notice and "never run" in notice for notice in made.notices)


def test_a_signature_that_names_other_inputs_is_noticed(tmp_path: Path) -> None:
    folder = mlmodel(tmp_path / "sent", "onnx: {data: model.onnx}", columns=["INPUT0", "other"])
    from foreign_graphs import sum_and_difference

    save(sum_and_difference(), folder)
    made = imported(folder, tmp_path / "bundle")
    assert any("do not name the same inputs: INPUT1, other" in notice for notice in made.notices)


def test_scikit_learn_is_taken_where_it_is_kept_by_skops(tmp_path: Path) -> None:
    rows = sklearn_models.table().head(4).drop("hours").with_columns(hours=1.5).select(sklearn_models.table().columns)
    example = {"columns": rows.columns, "data": [list(row) for row in rows.rows()]}
    flavour = "sklearn: {pickled_model: model.skops, serialization_format: skops, sklearn_version: 1.9.1}"
    folder = mlmodel(tmp_path / "sent", flavour, columns=rows.columns, example=example)
    model = sklearn_models.logistic()
    sklearn_models.write(model, folder / "model.skops")
    made = imported(folder, tmp_path / "bundle")
    assert made.compared.is_given and made.compared.difference < 1e-5
    golden = open_bundle(made.files).golden
    assert [row["city"] for row in golden.rows[:4]] == rows["city"].to_list()
    assert np.abs(np.array(golden.answers["probabilities"][:4]) - model.predict_proba(rows)).max() < 1e-5


def test_a_model_of_keras_is_found_where_mlflow_keeps_it(tmp_path: Path) -> None:
    for flavour, place in (
        ("keras: {data: data}", "data/model.keras"),
        ("tensorflow: {data: data, code: ''}", "data/model.h5"),
    ):
        folder = mlmodel(tmp_path / flavour[:5], flavour)
        (folder / "data").mkdir()
        (folder / place).write_bytes(b"the model")
        found = find_keras(open_mlflow(folder).folder)
        assert found is not None and found.read_bytes() == b"the model"


def test_a_language_model_and_its_tokenizer_are_put_together(tmp_path: Path) -> None:
    folder = mlmodel(tmp_path / "sent", "transformers: {model_binary: model, task: text-generation, framework: pt}")
    write_directory(tmp_path / "plain")
    (folder / "components" / "tokenizer").mkdir(parents=True)
    (tmp_path / "plain").rename(folder / "model")
    for path in (folder / "model").glob("tokenizer*"):
        path.rename(folder / "components" / "tokenizer" / path.name)
    opened = open_mlflow(folder)
    assert is_language_directory(opened.folder) and (opened.folder / "tokenizer.json").is_file()


@pytest.mark.parametrize(
    ("said", "rows"),
    [
        ({"columns": ["a", "b"], "data": [[1, "x"], [2, None]]}, [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
        ({"inputs": [[1, 2], [3, 4]]}, [[1, 2], [3, 4]]),
        ({"inputs": {"a": [1, 2], "b": [3, 4]}}, [{"a": 1, "b": 3}, {"a": 2, "b": 4}]),
        ({"dataframe_records": [{"a": 1}]}, [{"a": 1}]),
        ([[1, 2]], [[1, 2]]),
    ],
)
def test_an_example_is_read_in_every_form_that_mlflow_writes(tmp_path: Path, said: Any, rows: Any) -> None:
    (tmp_path / "example.json").write_text(json.dumps(said))
    assert example_rows(tmp_path / "example.json") == rows


REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "torch": (lambda at: mlmodel(at, "pytorch: {model_data: data, pytorch_version: 2.8}"), r"torch\.onnx\.export"),
    "XGBoost": (lambda at: mlmodel(at, "xgboost: {data: model.ubj}"), r"onnxmltools\.convert_xgboost"),
    "somebody's own": (lambda at: mlmodel(at, "mine: {data: x}"), "has the flavours mine; imported are onnx"),
    "a pickle": (lambda at: mlmodel(at, "sklearn: {pickled_model: model.pkl}"), 'serialization_format="skops"'),
    "a flavour without a place": (lambda at: mlmodel(at, "onnx: {onnx_version: 1.20.0}"), "not in the directory"),
    "a flavour that is no mapping": (lambda at: mlmodel(at, "onnx: 5"), "says nothing"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_kept_as_code_is_refused_with_the_way_out(tmp_path: Path, what: str) -> None:
    make, told = REFUSED[what]
    with pytest.raises(InvalidData, match=told):
        read_mlmodel(make(tmp_path / "sent"))


def test_a_directory_without_mlmodel_is_of_another_kind(tmp_path: Path) -> None:
    assert find_mlflow(tmp_path) is None
