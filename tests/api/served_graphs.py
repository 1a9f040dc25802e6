"""Imported graphs, served without a socket; and the protocol's binary form, written and read by hand."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import numpy as np
import pytest
from foreign_graphs import dense, described, graph, identity, spinning, sum_and_difference, text_sum_and_difference
from onnx import TensorProto, helper
from workshop import Plane, Workshop

from modeltap.bundle.files import open_bundle
from modeltap.domain.tenant import DEFAULT_TENANT

DATATYPES = {
    "BOOL": (TensorProto.BOOL, np.bool_),
    "UINT8": (TensorProto.UINT8, np.uint8),
    "UINT16": (TensorProto.UINT16, np.uint16),
    "UINT32": (TensorProto.UINT32, np.uint32),
    "UINT64": (TensorProto.UINT64, np.uint64),
    "INT8": (TensorProto.INT8, np.int8),
    "INT16": (TensorProto.INT16, np.int16),
    "INT32": (TensorProto.INT32, np.int32),
    "INT64": (TensorProto.INT64, np.int64),
    "FP16": (TensorProto.FLOAT16, np.float16),
    "FP32": (TensorProto.FLOAT, np.float32),
    "FP64": (TensorProto.DOUBLE, np.float64),
    "BYTES": (TensorProto.STRING, np.object_),
}
FLOAT = TensorProto.FLOAT
GRAPHS: dict[str, Any] = {
    "simple": sum_and_difference(),
    "rows": sum_and_difference(TensorProto.FLOAT, ("N", 4)),
    "simple_string": text_sum_and_difference(),
    "simple_identity": identity(),
    "dense": dense(),
    "spinning": spinning(),
    "value": identity(FLOAT, ()),
    "ratio": graph(
        [helper.make_node("Div", ["x", "y"], ["z"])], [("x", FLOAT, ("N",)), ("y", FLOAT, ("N",))], [("z", FLOAT, ("N",))]
    ),
    **{f"copy_{name.lower()}": identity(kind, (None, None)) for name, (kind, _) in DATATYPES.items()},
}


def shelve(workshop: Workshop, name: str, model: Any, folder: Any) -> str:
    """The version that the graph was registered as."""
    files = described(model, folder)
    digest = workshop.artifacts.put_tree(files)
    return workshop.models.add(name, digest, open_bundle(files).manifest, None, datetime.now(UTC)).id


def serve(workshop: Workshop, served: dict[str, str]) -> Plane:
    """The versions by the names they are deployed as, all loaded."""
    made = Plane(workshop, served)
    for deployment in made.router.deployments(DEFAULT_TENANT).values():
        made.run(made.router.ensure(deployment))
    return made


@pytest.fixture(scope="session")
def graphs(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp("graphs")
    served = {name: shelve(workshop, name, model, folder / name) for name, model in GRAPHS.items()}
    made = serve(workshop, served)
    yield made
    made.close()


def to_binary(values: np.ndarray) -> bytes:
    if values.dtype != object:
        return values.tobytes()
    elements = [value if isinstance(value, bytes) else value.encode() for value in values.reshape(-1)]
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def from_binary(data: bytes, datatype: str, shape: list[int]) -> np.ndarray:
    if datatype != "BYTES":
        return np.frombuffer(data, DATATYPES[datatype][1]).reshape(shape)
    elements = []
    while data:
        (length,) = struct.unpack_from("<I", data)
        elements.append(data[4 : 4 + length].decode())
        data = data[4 + length :]
    return np.array(elements, dtype=object).reshape(shape)


def tensor(name: str, datatype: str, values: np.ndarray, *, flat: bool = True) -> dict[str, Any]:
    """A tensor with its data as JSON."""
    return {
        "name": name,
        "datatype": datatype,
        "shape": list(values.shape),
        "data": (values.reshape(-1) if flat or not values.ndim else values).tolist(),
    }


def binary_body(inputs: list[tuple[str, str, np.ndarray]], **more: Any) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request whose tensors (name, datatype, values) are bytes."""
    parts = [to_binary(values) for _, _, values in inputs]
    told = [
        {"name": name, "datatype": datatype, "shape": list(values.shape), "parameters": {"binary_data_size": len(part)}}
        for (name, datatype, values), part in zip(inputs, parts, strict=True)
    ]
    head = json.dumps({"inputs": told, **more}).encode()
    headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    return head + b"".join(parts), headers


def read_outputs(answer: httpx.Response) -> dict[str, np.ndarray]:
    """The outputs of an answer, in whatever form each is."""
    assert answer.status_code == 200, answer.text
    head_length = answer.headers.get("inference-header-content-length")
    head = answer.content if head_length is None else answer.content[: int(head_length)]
    rest = answer.content[len(head) :]
    outputs = {}
    for told in json.loads(head)["outputs"]:
        size = told.get("parameters", {}).get("binary_data_size")
        if size is None:
            outputs[told["name"]] = np.array(told["data"], dtype=DATATYPES[told["datatype"]][1]).reshape(told["shape"])
        else:
            assert "data" not in told
            outputs[told["name"]] = from_binary(rest[:size], told["datatype"], told["shape"])
            rest = rest[size:]
    assert rest == b""
    return outputs
