"""The graph that leaves training: right for every number of rows, and the same bytes wherever it is made."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from assignments import assign, make_data, make_recipe

from modeltap.domain.features import CODES, FEATURES, FeatureSpec
from modeltap.domain.signature import ONNX_IR_VERSION, ONNX_OPSET
from modeltap.training.building import build_again
from modeltap.training.fit import Trained, fit

TOKENS = FeatureSpec(cardinalities=(7,) * 6)
TABLE = FeatureSpec(shape=(4,), cardinalities=(3, 5))
PICTURE = FeatureSpec(shape=(9, 7, 3))
RECURRENT_LAYERS = [
    {"embedding": {"dim": 4}},
    {"gru": {"units": 5, "return_sequences": True, "bidirectional": True}},
    {"lstm": {"units": 3, "bidirectional": True}},
    {"dense": {"units": 3}},
]
PICTURE_LAYERS = [
    {"conv2d": {"filters": 4, "kernel": 3, "stride": 2, "padding": "same", "activation": "gelu"}},
    "batchnorm",
    {"avgpool2d": {"size": 3, "stride": 2, "padding": "same"}},
    {"activation": "softmax"},
    {"conv2d": {"name": "last", "filters": 2, "kernel": [2, 1]}},
    "flatten",
    {"dense": {"units": 1, "activation": "sigmoid"}},
]


def train(
    architecture: str, options: dict[str, Any], spec: FeatureSpec, labels: tuple[str, ...], workdir: Path, **keys: Any
) -> Trained:
    recipe = make_recipe(architecture, options, **{"epochs": 1, **keys})
    given = assign(recipe, spec, workdir, labels=labels)
    return fit(
        given.recipe,
        given.spec,
        given.data,
        labels=labels,
        threads=1,
        workdir=workdir,
        report=given.report,
        stop_requested=given.stop_requested,
    )


def answers(trained: Trained, spec: FeatureSpec, rows: int) -> tuple[np.ndarray, torch.Tensor]:
    """Of the graph, and of the module built again from what was trained."""
    data = make_data(spec, labels=("a", "b"), seed=1, rows=33).train
    inputs: dict[str, Any] = {}
    if spec.shape:
        inputs[FEATURES] = data.features[:rows]
    if data.codes is not None:
        inputs[CODES] = data.codes[:rows]
    session = onnxruntime.InferenceSession(trained.graph.SerializeToString())
    module = build_again(trained.architecture, trained.weights)
    with torch.no_grad():
        outputs = module(*(torch.from_numpy(array) for array in inputs.values()))
    return session.run(["prediction"], inputs)[0], outputs


@pytest.mark.parametrize(
    ("architecture", "options", "spec", "labels"),
    [
        ("sequential", {"layers": RECURRENT_LAYERS}, TOKENS, ("a", "b", "c")),
        ("sequential", {"layers": PICTURE_LAYERS}, PICTURE, ("a", "b")),
        ("mlp", {"hidden": [8], "batch_norm": True}, TABLE, ("a", "b", "c")),
        ("linear", {}, TABLE, ("a", "b")),
    ],
)
def test_the_graph_answers_as_the_network_for_any_number_of_rows(
    architecture: str, options: dict[str, Any], spec: FeatureSpec, labels: tuple[str, ...], tmp_path: Path
) -> None:
    trained = train(architecture, options, spec, labels, tmp_path)
    for rows in (1, 7, 33):
        given, logits = answers(trained, spec, rows)
        assert given.shape == (rows, len(labels))
        assert given.dtype == np.float32
        np.testing.assert_allclose(given, torch.softmax(logits, 1), atol=1e-5)


def test_numbers_come_back_in_raw_units(tmp_path: Path) -> None:
    trained = train("mlp", {"hidden": []}, FeatureSpec(shape=(4,)), (), tmp_path, epochs=60, optimizer={"lr": 0.05})
    target = trained.architecture["target"]
    assert target["mean"] == pytest.approx(1000, abs=30)
    given, scaled = answers(trained, FeatureSpec(shape=(4,)), 7)
    assert given.shape == (7,)
    np.testing.assert_allclose(given, scaled[:, 0] * target["std"] + target["mean"], rtol=1e-5)
    assert trained.history[-1]["val_rmse"] < 0.1 * target["std"]


def test_the_bytes_do_not_depend_on_the_process_or_its_directory(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    script = "import pathlib, test_export; print(test_export.fingerprint(pathlib.Path.cwd()))"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == fingerprint(tmp_path)


def fingerprint(workdir: Path) -> str:
    """Digest of a network's graph, checked to hold nothing of the place it was made in."""
    trained = train("sequential", {"layers": PICTURE_LAYERS}, PICTURE, ("a", "b"), workdir)
    content = trained.graph.SerializeToString(deterministic=True)
    assert b"site-packages" not in content
    assert b"modeltap/" not in content
    assert trained.graph.ir_version == ONNX_IR_VERSION
    assert [(opset.domain, opset.version) for opset in trained.graph.opset_import] == [("", ONNX_OPSET)]
    return sha256(content).hexdigest()
