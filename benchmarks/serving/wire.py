"""How a request for one row looks in each dialect, and how its answer is read."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.serving.graph import INPUT, OUTPUT, SHAPE, Floats

HEADER_LENGTH = "Inference-Header-Content-Length"
TOLERANCE = 1e-4
"""Peers may batch rows, and kernels round a little differently then."""

Headers = Mapping[str, str]
JSON_HEADERS = {"Content-Type": "application/json"}
Read = Callable[[Headers, bytes], Floats]


class WrongAnswer(Exception):
    """A server did not answer as `session.run` does; the text says what it did."""


@dataclass(frozen=True)
class Form:
    """One way to ask for one row."""

    path: str
    body: bytes
    read: Read
    headers: Headers = field(default_factory=dict)

    def with_headers(self, headers: Headers) -> Form:
        return Form(self.path, self.body, self.read, {**self.headers, **headers})

    def request(self, port: int) -> bytes:
        """The whole HTTP/1.1 request, for a client that writes to the socket itself."""
        lines = [f"POST {self.path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


def check(form: Form, port: int, expected: Floats, *, timeout_s: float = 10.0) -> None:
    """Asks once. Raises WrongAnswer where the answer is not the expected one, OSError where there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("POST", form.path, form.body, dict(form.headers))
        response = connection.getresponse()
        body = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
    except http.client.HTTPException as problem:
        raise ConnectionError(f"not an HTTP answer: {problem!r}") from None
    finally:
        connection.close()
    if response.status != 200:
        raise WrongAnswer(f"{form.path} answered {response.status}: {body[:160].decode(errors='replace')}")
    try:
        found = np.asarray(form.read(headers, body), np.float32).reshape(-1)
    except (KeyError, IndexError, TypeError, ValueError) as problem:
        raise WrongAnswer(f"{form.path}: the answer cannot be read ({problem!r}): {body[:160]!r}") from None
    if found.shape != expected.shape or not np.allclose(found, expected, atol=TOLERANCE):
        raise WrongAnswer(f"{form.path} answered {found.tolist()}, session.run says {expected.tolist()}")


def plain_json(row_NHWC: Floats, path: str) -> Form:
    """`{"x": [784 numbers]}` → `{"y_pred": [10 numbers]}`."""
    body = _compact({INPUT: _numbers(row_NHWC)})
    return Form(path, body, lambda _headers, answer: json.loads(answer)[OUTPUT], JSON_HEADERS)


def rows_json(row_NHWC: Floats, path: str) -> Form:
    """`{"x": [[784 numbers]]}` → `[[10 numbers]]`."""
    body = _compact({INPUT: [_numbers(row_NHWC)]})
    return Form(path, body, lambda _headers, answer: json.loads(answer)[0], JSON_HEADERS)


def inference_json(row_NHWC: Floats, path: str) -> Form:
    """Open Inference, tensors as JSON."""
    tensor = {"name": INPUT, "shape": [1, *SHAPE], "datatype": "FP32", "data": _numbers(row_NHWC)}
    return Form(path, _compact({"inputs": [tensor]}), _read_inference, JSON_HEADERS)


def inference_binary(row_NHWC: Floats, path: str) -> Form:
    """Open Inference, tensors as raw little-endian bytes behind the JSON, both ways."""
    raw = row_NHWC.astype("<f4").tobytes()
    tensor = {"name": INPUT, "shape": [1, *SHAPE], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = _compact({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
    return Form(path, head + raw, _read_inference, headers)


def raw_bytes(row_NHWC: Floats, path: str) -> Form:
    """The row's little-endian bytes → the probabilities' bytes: the leanest that a server with own codecs can do."""
    body = row_NHWC.astype("<f4").tobytes()
    headers = {"Content-Type": "application/octet-stream"}
    return Form(path, body, lambda _headers, answer: np.frombuffer(answer, "<f4"), headers)


def _read_inference(headers: Headers, body: bytes) -> Floats:
    length = headers.get(HEADER_LENGTH.lower())
    if length is None:
        values: Floats = np.asarray(json.loads(body)["outputs"][0]["data"], np.float32)
        return values
    output = json.loads(body[: int(length)])["outputs"][0]
    size = output["parameters"]["binary_data_size"]
    return np.frombuffer(body[int(length) : int(length) + size], "<f4")


def _numbers(row_NHWC: Floats) -> list[float]:
    return [round(float(value), 3) for value in row_NHWC.reshape(-1)]


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
