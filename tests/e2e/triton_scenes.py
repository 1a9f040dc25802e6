"""A server with the models of the client library's published examples, its clients, and what the examples ask it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import tritonclient.grpc as grpc_client
import tritonclient.http as http_client
from fault_server import FaultServer, serving
from foreign_graphs import identity, save, sum_and_difference, text_sum_and_difference
from onnx import TensorProto
from tritonclient.http.auth import BasicAuth

MODELS = {
    "simple": sum_and_difference(TensorProto.INT32),
    "simple_int8": sum_and_difference(TensorProto.INT8),
    "simple_string": text_sum_and_difference(),
    "simple_identity": identity(axes=("N", 16)),
}
INPUT0 = np.arange(16, dtype=np.int32).reshape(1, 16)
INPUT1 = np.full((1, 16), -1, dtype=np.int32)
UNKNOWN = "Request for unknown model: 'wrong_model_name' is not found"
WAIT_S = 60.0


class Address(NamedTuple):
    """Where the server is, without a scheme, as the library wants it; and its key."""

    http: str
    grpc: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.key}"),)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    folder = tmp_path_factory.mktemp("triton")
    with serving(folder / "home") as server:
        for name, model in MODELS.items():
            path = save(model, folder, f"{name}.onnx")
            server.ask("POST", "/api/models/import", params={"name": name}, content=path.read_bytes())
            server.ask("POST", "/api/deployments", json={"name": name, "model": f"{name}@1"})
        yield server


@pytest.fixture(scope="session")
def address(served: FaultServer) -> Address:
    facts = json.loads((served.home / "server.json").read_text())
    key = (served.home / "admin.key").read_text().strip()
    return Address(facts["url"].removeprefix("http://"), facts["grpc"], key)


@pytest.fixture
def http(address: Address) -> Iterator[http_client.InferenceServerClient]:
    with http_client.InferenceServerClient(address.http, concurrency=4) as client:
        client.register_plugin(BasicAuth("any", address.key))
        yield client


@pytest.fixture
def over_grpc(address: Address) -> Iterator[grpc_client.InferenceServerClient]:
    with grpc_client.InferenceServerClient(address.grpc) as client:
        client.register_plugin(BasicAuth("any", address.key))
        yield client


def http_inputs(module: Any = http_client) -> list[Any]:
    """One tensor as JSON, one as bytes, as the example has them."""
    inputs = [module.InferInput(f"INPUT{n}", [1, 16], "INT32") for n in (0, 1)]
    inputs[0].set_data_from_numpy(INPUT0, binary_data=False)
    inputs[1].set_data_from_numpy(INPUT1, binary_data=True)
    return inputs


def http_outputs(module: Any = http_client) -> list[Any]:
    return [module.InferRequestedOutput("OUTPUT0", binary_data=True), module.InferRequestedOutput("OUTPUT1", binary_data=False)]


def grpc_inputs(module: Any = grpc_client) -> list[Any]:
    inputs = [module.InferInput(f"INPUT{n}", [1, 16], "INT32") for n in (0, 1)]
    inputs[0].set_data_from_numpy(INPUT0)
    inputs[1].set_data_from_numpy(INPUT1)
    return inputs


def grpc_outputs(module: Any = grpc_client) -> list[Any]:
    return [module.InferRequestedOutput(f"OUTPUT{n}") for n in (0, 1)]


def check(result: Any) -> None:
    assert (result.as_numpy("OUTPUT0") == INPUT0 + INPUT1).all()
    assert (result.as_numpy("OUTPUT1") == INPUT0 - INPUT1).all()


def text_inputs(module: Any, **first: bool) -> list[Any]:
    """Of `simple_string`; `first` is how the first one is sent, where there is a choice."""
    inputs = [module.InferInput(f"INPUT{n}", [1, 16], "BYTES") for n in (0, 1)]
    inputs[0].set_data_from_numpy(texts(INPUT0), **first)
    inputs[1].set_data_from_numpy(texts(INPUT1), **{name: not value for name, value in first.items()})
    return inputs


def check_texts(result: Any) -> None:
    assert [int(text) for text in result.as_numpy("OUTPUT0")[0]] == (INPUT0 + INPUT1)[0].tolist()
    assert [int(text) for text in result.as_numpy("OUTPUT1")[0]] == (INPUT0 - INPUT1)[0].tolist()


PACKED = [None, "gzip", "deflate"]
WITH_ZEROS = [
    np.array([text] * 16, dtype=dtype).reshape(1, 16)
    for text, dtype in ((b"he\x00llo", np.object_), (b"\x00\x01\x02\x03", np.bytes_))
]
"""Texts with zeros in them, as objects and as bytes of one length."""


def texts(values: np.ndarray) -> np.ndarray:
    return np.array([str(value).encode() for value in values.reshape(-1)], dtype=np.object_).reshape(values.shape)
