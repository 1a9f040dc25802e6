"""Models that other frameworks made, each from its own file to an answer over a socket: the same numbers as there, to 1e-5."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from fault_server import FaultServer, serving
from foreign_classifiers import TEXTS, asked_of_transformers, make_classifier
from foreign_networks import NET_RECIPE, Net, load_keras, made
from safetensors.torch import save_file

from modeltap.client import Client
from modeltap.errors import InvalidData

WAIT_S = 120.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    with serving(tmp_path_factory.mktemp("networks") / "home") as started:
        yield started


@pytest.fixture
def client(server: FaultServer) -> Iterator[Client]:
    with Client(url(server), key=(server.home / "admin.key").read_text().strip()) as made:
        yield made


def url(server: FaultServer) -> str:
    return str(server.client.base_url).rstrip("/")


def command(server: FaultServer, *words: str | Path) -> Any:
    """What `modeltap … --json` prints, run by a person beside the server."""
    done = subprocess.run(
        [sys.executable, "-m", "modeltap", *map(str, words), "--home", str(server.home), "--json"],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_net_of_torch_answers_a_plain_post_without_a_key(server: FaultServer, tmp_path: Path) -> None:
    net = made(Net)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    (tmp_path / "net.yaml").write_text(NET_RECIPE)
    imported = command(server, "models", "import", tmp_path / "net.pth", "--recipe", tmp_path / "net.yaml", "--name", "net")
    assert imported["id"] == "net@1" and imported["compared"]["difference"] < 1e-5
    command(server, "deploy", "net@1", "--name", "net", "--public")
    x = np.random.default_rng(0).standard_normal(10).astype(np.float32)
    with torch.no_grad():
        expected = net(torch.from_numpy(x)).tolist()
    answer = requests.post(url(server) + "/predict", json={"x": x.tolist()}, timeout=WAIT_S)
    assert answer.status_code == 200 and list(answer.json()) == ["y_pred"], answer.text
    np.testing.assert_allclose(answer.json()["y_pred"], expected, atol=1e-5)
    many = requests.post(url(server) + "/predict", json={"x": [x.tolist(), x.tolist()]}, timeout=WAIT_S)
    np.testing.assert_allclose(many.json()["y_pred"], [expected, expected], atol=1e-5)


def test_the_same_weights_as_safetensors_give_numbers_for_a_regression(
    server: FaultServer, client: Client, tmp_path: Path
) -> None:
    net = made(Net)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    (tmp_path / "net.yaml").write_text(f"task: tabular-regression\n{NET_RECIPE}")
    rows = np.random.default_rng(1).standard_normal((3, 10)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows)
    version = client.models.import_file(
        tmp_path / "net.safetensors", name="tensors", recipe=tmp_path / "net.yaml", sample=tmp_path / "rows.npy"
    )
    assert version.task == "tabular-regression" and version.raw["compared"]["rows"] == 3
    server.ask("POST", "/api/deployments", json={"name": "tensors", "model": version.id})
    with torch.no_grad():
        expected = net(torch.from_numpy(rows))[:, 0].tolist()
    told = server.ask("POST", "/predict/tensors", json={"instances": rows.tolist()})
    np.testing.assert_allclose(told["predictions"], expected, atol=1e-5)


def test_a_cnn_of_keras_answers_as_keras_does(server: FaultServer, client: Client, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        keras = load_keras()
        model = keras.Sequential(
            [
                keras.Input((28, 28, 1), name="image"),
                keras.layers.Conv2D(32, 3, activation="relu"),
                keras.layers.MaxPooling2D(2),
                keras.layers.Flatten(),
                keras.layers.Dense(10, activation="softmax", name="digit"),
            ]
        )
        model.save(tmp_path / "model.h5")
        images = np.random.default_rng(0).random((4, 28, 28, 1), np.float32)
        expected = model.predict(images, verbose=0)
    version = client.models.import_file(tmp_path / "model.h5", name="cnn")
    assert version.raw["notices"] == [] and version.raw["compared"]["source"] == f"keras {keras.__version__}"
    assert {"weights.safetensors", "architecture.json"} <= set(client.models.get(version.id).files)
    server.ask("POST", "/api/deployments", json={"name": "cnn", "model": version.id})
    told = server.ask("POST", "/predict/cnn", json={"image": images.tolist()})
    np.testing.assert_allclose(told["digit"], expected, atol=1e-5)


def test_a_classifier_of_hugging_face_answers_with_its_labels(server: FaultServer, client: Client, tmp_path: Path) -> None:
    make_classifier(tmp_path / "mood", "distilbert")
    version = client.models.import_file(tmp_path / "mood", name="mood")
    assert version.task == "text-classification"
    server.ask("POST", "/api/deployments", json={"name": "mood", "model": version.id})
    told = server.ask("POST", "/predict/mood", json={"instances": TEXTS})["predictions"]
    expected = asked_of_transformers(tmp_path / "mood", TEXTS)
    np.testing.assert_allclose([list(one["scores"].values()) for one in told], expected, atol=1e-5)
    assert [one["label"] for one in told] == [("bad", "so so", "good")[place] for place in expected.argmax(axis=1)]


def test_what_is_refused_says_how_it_is_done_safely(client: Client, tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(NET_RECIPE)
    torch.save(made(Net), tmp_path / "whole.pth")
    with pytest.raises(InvalidData, match=r"foreign_networks\.Net.*torch\.save\(model\.state_dict\(\)"):
        client.models.import_file(tmp_path / "whole.pth", name="whole", recipe=tmp_path / "net.yaml")
