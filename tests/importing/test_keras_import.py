"""Models that Keras saved: they answer as Keras does, as layers where a recipe can say them, else as a graph; what brings code
is refused by its config, before anything is built."""

from __future__ import annotations

import io
import json
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_networks import answers, import_here, load_keras

from modeltap.bundle.files import ARCHITECTURE, RECIPE, open_bundle
from modeltap.errors import InvalidData, InvalidRecipe, MissingExtra
from modeltap.importing.import_options import ImportOptions
from modeltap.importing.keras import find_keras, find_saved_model, import_keras, refuse_saved_model
from modeltap.importing.keras_child import read_keras
from modeltap.importing.keras_config import check_config, read_config

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
"""Keras's own variables, under numpy 2."""


@pytest.fixture(scope="module")
def keras() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield load_keras()


def cnn(keras: Any) -> Any:
    k = keras.layers
    return [
        keras.Input((12, 10, 2), name="x"),
        k.Conv2D(4, 3, strides=2, padding="same", use_bias=False),
        k.BatchNormalization(),
        k.ReLU(),
        k.MaxPooling2D(2, padding="same"),
        k.Conv2D(3, (2, 1), activation="swish"),
        k.AveragePooling2D(2),
        k.Flatten(),
        k.Dropout(0.3),
        k.Dense(5, activation="gelu"),
        k.Dense(4, activation="softmax"),
    ]


def recurrent(keras: Any) -> Any:
    k = keras.layers
    return [
        keras.Input((7,), name="x", dtype="int32"),
        k.Embedding(11, 6),
        k.Bidirectional(k.LSTM(5, return_sequences=True)),
        k.BatchNormalization(),
        k.Bidirectional(k.GRU(4, return_sequences=True)),
        k.LSTM(3, return_sequences=True),
        k.GRU(3),
        k.Dense(1, activation="sigmoid"),
    ]


def table(keras: Any) -> Any:
    k = keras.layers
    return [
        keras.Input((6,), name="x"),
        k.Reshape((2, 3)),
        k.Flatten(),
        k.Dense(8),
        k.LeakyReLU(negative_slope=0.2),
        k.Dense(1),
    ]


def unsaid(keras: Any) -> Any:
    k = keras.layers
    return [
        keras.Input((8, 8, 3), name="x"),
        k.Rescaling(0.5),
        k.SeparableConv2D(4, 3, activation="relu6"),
        k.GlobalMaxPooling2D(),
        k.Dense(3),
    ]


SEQUENTIAL: dict[str, tuple[Callable[[Any], Any], str, str | None]] = {
    "pictures": (cnn, ".h5", "image-classification"),
    "tokens": (recurrent, ".keras", "tabular-classification"),
    "a table": (table, ".keras", "tabular-regression"),
    "layers that no recipe says": (unsaid, ".keras", None),
}


def rows_for(model: Any, count: int = 5) -> Any:
    chance = np.random.default_rng(1)
    shape = (count, *model.inputs[0].shape[1:])
    if "int" in str(model.inputs[0].dtype):
        return chance.integers(0, 11, shape).astype(np.int32)
    return chance.standard_normal(shape).astype(np.float32)


def trained(model: Any) -> Any:
    """As after some training: no weight is where it began."""
    chance = np.random.default_rng(2)
    model.set_weights([chance.uniform(0.1, 0.6, array.shape).astype(np.float32) * 0.7 - 0.1 for array in model.get_weights()])
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            layer.moving_variance.assign(np.full(layer.moving_variance.shape, 1.5))
    return model


@pytest.mark.parametrize("what", SEQUENTIAL)
def test_a_sequential_model_answers_as_keras_does(tmp_path: Path, keras: Any, what: str) -> None:
    layers, ending, task = SEQUENTIAL[what]
    model = trained(keras.Sequential(layers(keras)))
    model.save(tmp_path / f"model{ending}")
    files, written = import_here(read_keras, tmp_path / f"model{ending}", tmp_path / "bundle")
    rows = rows_for(model)
    sent = rows.astype(np.int64) if rows.dtype == np.int32 else rows
    np.testing.assert_allclose(answers(files, x=sent)[model.layers[-1].name], model.predict(rows, verbose=0), atol=2e-6)
    assert written.compared.difference < 1e-5 and written.compared.source == f"keras {keras.__version__}"
    assert (ARCHITECTURE in files) == (task is not None) == (open_bundle(files).manifest.architecture == "sequential")
    if task is None:
        assert "a Rescaling" in written.notices[0]
    else:
        assert written.notices == [] and f"task: {task}" in files[RECIPE].read_text()


def test_a_task_and_labels_make_classes_of_the_outputs(tmp_path: Path, keras: Any) -> None:
    k = keras.layers
    model = trained(keras.Sequential([keras.Input((3,), name="x"), k.Dense(4), k.Softmax()]))
    model.save(tmp_path / "model.keras")
    labels = ("n", "e", "s", "w")
    options = {"task": "tabular-classification", "labels": labels}
    files, _ = import_here(read_keras, tmp_path / "model.keras", tmp_path / "bundle", **options)
    rows = rows_for(model)
    given = answers(files, x=rows)
    expected = model.predict(rows, verbose=0)
    np.testing.assert_allclose(given[model.layers[-1].name], expected, atol=2e-6)
    assert given["label"].tolist() == [labels[place] for place in expected.argmax(axis=1)]
    with pytest.raises(InvalidRecipe, match="4 classes apart, and 2 labels"):
        import_here(read_keras, tmp_path / "model.keras", tmp_path / "few", **{**options, "labels": ("a", "b")})


def test_a_functional_model_of_several_inputs_and_outputs_is_served_as_a_graph(tmp_path: Path, keras: Any) -> None:
    k = keras.layers
    left, right = keras.Input((4,), name="left"), keras.Input((3,), name="right")
    joined = k.Dense(5, activation="tanh")(k.Concatenate()([left, right]))
    model = trained(keras.Model([left, right], [k.Dense(2, name="near")(joined), k.Dense(1, name="far")(joined + 1.0)]))
    model.save(tmp_path / "model.keras")
    files, written = import_here(read_keras, tmp_path / "model.keras", tmp_path / "bundle")
    chance = np.random.default_rng(0)
    rows = {"left": chance.standard_normal((6, 4), np.float32), "right": chance.standard_normal((6, 3), np.float32)}
    given = answers(files, **rows)
    for name, expected in zip(["near", "far"], model.predict([rows["left"], rows["right"]], verbose=0), strict=True):
        np.testing.assert_allclose(given[name], expected, atol=2e-6)
    manifest = open_bundle(files).manifest
    assert [column.name for column in manifest.schema.features] == ["left", "right"] and manifest.is_batched
    assert "more than a list of layers" in written.notices[0]
    with pytest.raises(InvalidRecipe, match="Leave the task out"):
        import_here(read_keras, tmp_path / "model.keras", tmp_path / "task", task="tabular-regression")


def test_a_lambda_is_refused_before_anything_is_built(tmp_path: Path, keras: Any) -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x * 2, name="twice")])
    for ending in (".keras", ".h5"):
        model.save(tmp_path / f"model{ending}")
        with pytest.raises(InvalidData, match=r"the layer 'twice' is a Lambda layer.*Python code.*export"):
            read_config(tmp_path / f"model{ending}")


def _model(layer: Any) -> dict[str, Any]:
    return {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}, "registered_name": None}


REFUSED: dict[str, tuple[Any, str]] = {
    "a layer of one's own": (
        _model({"module": "mine", "class_name": "Attend", "config": {"name": "a"}, "registered_name": "mine>Attend"}),
        "the layer 'a' is a 'mine>Attend'.*Python code",
    ),
    "a class of a library": (
        _model({"module": "torch.nn", "class_name": "Dense", "config": {"name": "a"}}),
        "the layer 'a' is a 'Dense', which is none of the layers",
    ),
    "a registered name in front of a known one": (
        _model({"module": "keras.layers", "class_name": "Dense", "config": {}, "registered_name": "evil>Dense"}),
        "evil>Dense",
    ),
    "a function of Keras's": (
        _model({"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"}),
        "a Python function, which is code",
    ),
    "a pickled network within": (
        _model({"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {"name": "t"}}),
        "holds a pickled network",
    ),
    "a lambda inside a setting": (
        _model({"module": "keras.layers", "class_name": "Dense", "config": {"activation": {"class_name": "__lambda__"}}}),
        "a Python lambda",
    ),
    "what reads texts": (
        _model({"module": "keras.layers", "class_name": "TextVectorization", "config": {"name": "t"}}),
        "TensorFlow.*send it numbers",
    ),
    "a model class of one's own": (
        {"class_name": "MyModel", "config": {}},
        "MyModel, a class that was written beside the file",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_keras_would_build_from_elsewhere_is_refused_by_name(what: str) -> None:
    config, told = REFUSED[what]
    with pytest.raises(InvalidData, match=told):
        check_config(config)


def test_files_that_are_no_model_are_refused_by_name(tmp_path: Path, keras: Any) -> None:
    import h5py

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.save_weights(tmp_path / "only.weights.h5")
    model.save(tmp_path / "model.keras")
    whole = (tmp_path / "model.keras").read_bytes()
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5").write_bytes(b"hello")
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({}))
    inner = io.BytesIO()
    with h5py.File(inner, "w") as file:
        file["w"] = h5py.ExternalLink("/etc/passwd", "/")
    with zipfile.ZipFile(tmp_path / "linked.keras", "w") as archive:
        archive.writestr("config.json", json.dumps(_model([])))
        archive.writestr("model.weights.h5", inner.getvalue())
    wrong = {
        "only.weights.h5": "weights without their model",
        "cut.keras": "no HDF5 file and no archive of Keras",
        "text.h5": "no HDF5 file",
        "other.keras": "no model.weights.h5",
        "linked.keras": "'w' in the file is a link to elsewhere",
    }
    for name, told in wrong.items():
        with pytest.raises(InvalidData, match=told):
            read_config(tmp_path / name)


def test_a_saved_model_of_tensorflow_is_refused_with_two_ways_out(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "saved_model.pb").write_bytes(b"\x08\x01")
    found = find_saved_model(tmp_path)
    assert found == tmp_path / "net"
    with pytest.raises(InvalidData, match=r"SavedModel.*model\.save\(.*tf2onnx"):
        refuse_saved_model(found, tmp_path, ImportOptions())


def test_without_keras_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(MissingExtra, match=r"modeltap\[keras\]"):
        import_keras(tmp_path / "model.keras", tmp_path, ImportOptions())


def test_a_folder_of_several_models_is_refused(tmp_path: Path) -> None:
    assert find_keras(tmp_path) is None and find_saved_model(tmp_path) is None
    for name in ("a.keras", "b.h5"):
        (tmp_path / name).touch()
    with pytest.raises(InvalidData, match=r"a\.keras, b\.h5"):
        find_keras(tmp_path)
