"""Small requests that mean much, and tensors that are not what they say: each gets a named refusal of its dialect, the server's
memory stays what it was, and the next request is answered."""

from __future__ import annotations

import gzip
import json
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from door_world import INFER, PREDICT, QUESTION, TENSOR, Growth, ask, p99_s, request
from fault_server import FaultServer

WORDS = "/v2/models/words/infer"
MEGABYTES = 200
"""By which the server may grow while it looks at one request."""
LARGE = 31 << 20
"""Nearly as large as a body may be."""


@pytest.fixture(autouse=True)
def others_are_answered(door: FaultServer) -> Iterator[None]:
    yield
    assert ask(door, request(door)).told["outputs"][0]["data"] == [2.0, 4.0, 6.0, 8.0]


def refused(server: FaultServer, path: str, body: bytes, *headers: str, megabytes: float = MEGABYTES) -> str:
    """The reason; after it was checked that it is a refusal of the path's dialect and cost no memory."""
    with Growth(server) as growth:
        reply = ask(server, request(server, path, body, *headers))
    assert 400 <= reply.status < 500, reply
    assert growth.megabytes < megabytes, growth.megabytes
    assert len(reply.body) < 20_000
    if path.startswith("/v2"):
        assert list(reply.told) == ["error"] and isinstance(reply.told["error"], str)
        return str(reply.told["error"])
    assert reply.headers["content-type"] == "application/problem+json" and reply.told["status"] == reply.status
    return str(reply.told["detail"])


def tensor(**changes: Any) -> bytes:
    return json.dumps({"inputs": [{**TENSOR, **changes}]}).encode()


def with_data(data: bytes, shape: bytes = b"[1,4]") -> bytes:
    return b'{"inputs":[{"name":"x","shape":%b,"datatype":"FP32","data":%b}]}' % (shape, data)


TENSORS = {
    "a negative extent": tensor(shape=[-1, 4]),
    "two negative extents": tensor(shape=[-1, -4]),
    "an extent of 2^62": tensor(shape=[2**62, 4]),
    "an extent of 2^63": tensor(shape=[2**63, 4]),
    "an extent of 2^64": tensor(shape=[2**64, 4]),
    "extents whose product is 2^64": tensor(shape=[2**60, 16]),
    "extents whose product is 0 in 64 bits": tensor(shape=[2**63, 2, 4]),
    "no rows": tensor(shape=[0, 4], data=[]),
    "no extents": tensor(shape=[]),
    "80,000 extents": tensor(shape=[1, 4] * 40_000),
    "half an extent": tensor(shape=[1.5, 4]),
    "a text for an extent": tensor(shape=["1", 4]),
    "an extent of 5,000 digits": with_data(b"[1,2,3,4]", b"[" + b"9" * 5000 + b",4]"),
    "a number of 5,000 digits": with_data(b"[1,2,3," + b"9" * 5000 + b"]"),
    "a number beyond 64 bits": with_data(b"[1,2,3,1e400]"),
    "a number beyond 32 bits": with_data(b"[1,2,3,1e39]"),
    "NaN": with_data(b"[1,2,3,NaN]"),
    "infinity": with_data(b"[1,2,3,-Infinity]"),
    "one number too few": with_data(b"[1,2,3]"),
    "one number too many": with_data(b"[1,2,3,4,5]"),
    "a ragged nest": with_data(b"[[1,2],[3,[4]]]"),
    "100,000 axes of data": with_data(b"[" * 100_000 + b"]" * 100_000),
    "100,000 axes elsewhere": QUESTION[:-1] + b',"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 objects": QUESTION[:-1] + b',"parameters":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "an object for data": with_data(b"{}"),
    "bytes that are no text": QUESTION.replace(b'"x"', b'"\xff"'),
    "half a letter": QUESTION[:-1] + b',"id":"\\ud800"}',
    "a byte order mark": b"\xef\xbb\xbf" + QUESTION,
    "an array for a request": b"[]",
    "no inputs": b'{"inputs":null}',
    "10,000 inputs": json.dumps({"inputs": [TENSOR] * 10_000}).encode(),
    "a parameter that is none": json.dumps({"inputs": [TENSOR], "parameters": {"timeout": 2**63}}).encode(),
}


@pytest.mark.parametrize("what", TENSORS)
def test_a_tensor_that_is_not_what_it_says_is_refused(door: FaultServer, what: str) -> None:
    refused(door, INFER, TENSORS[what])


def test_of_keys_that_come_twice_the_last_counts(door: FaultServer) -> None:
    """As in every reader of JSON here; not one for the check and another for the run."""
    twice = QUESTION.replace(b'"data"', b'"data": [9, 9, 9, 9], "data"')
    assert ask(door, request(door, INFER, twice)).told["outputs"][0]["data"] == [2.0, 4.0, 6.0, 8.0]
    rows = b'{"instances":[[9,9,9,9]],"instances":[[1,2,3,4]]}'
    assert ask(door, request(door, PREDICT, rows)).told["predictions"] == [[2.0, 4.0, 6.0, 8.0]]


def elements(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


FOUR = elements(b"a", b"b", b"c", b"d")
SIZE = "binary_data_size"


def binary(tail: bytes, *inputs: dict[str, Any], header: str | None = None) -> tuple[bytes, str]:
    head = json.dumps({"inputs": [{"name": "INPUT0", "shape": [1, 4], "datatype": "BYTES", **one} for one in inputs]}).encode()
    return head + tail, f"inference-header-content-length: {len(head) if header is None else header}"


def sized(size: Any, tail: bytes = FOUR, **more: Any) -> tuple[bytes, str]:
    return binary(tail, {"parameters": {SIZE: size}, **more})


BINARY = {
    "a size too small": sized(len(FOUR) - 1),
    "a size too large": sized(len(FOUR) + 1),
    "a negative size": sized(-1),
    "a size of 2^70": sized(2**70),
    "half a size": sized(1.5),
    "a text for a size": sized("20"),
    "true for a size": sized(True),
    "no size": binary(FOUR, {}),
    "a size for one of two": binary(FOUR, {"parameters": {SIZE: len(FOUR)}}, {"name": "other"}),
    "a size and data": sized(len(FOUR), data=["a", "b", "c", "d"]),
    "sizes that overlap": binary(FOUR, {"parameters": {SIZE: 20}}, {"parameters": {SIZE: 20}, "name": "other"}),
    "a negative header": binary(FOUR, {}, header="-1"),
    "a text for a header": binary(FOUR, {}, header="many"),
    "an empty header": binary(FOUR, {}, header=""),
    "a header with a plus": binary(FOUR, {}, header="+20"),
    "a hexadecimal header": binary(FOUR, {}, header="0x10"),
    "a header beyond the body": binary(FOUR, {}, header="999999"),
    "a header of 24 digits": binary(FOUR, {}, header="9" * 24),
    "a header of 0": binary(FOUR, {}, header="0"),
    "an element longer than all": sized(20, struct.pack("<I", 2**32 - 1) + b"a" * 16),
    "an element that takes all": sized(20, elements(b"a" * 16)),
    "an element of three bytes": sized(3, b"\0\0\0"),
    "an element too many": sized(24, FOUR + elements(b"")),
    "a text that is none": sized(20, elements(b"\xff", b"b", b"c", b"d")),
    "2^33 elements in 16 bytes": sized(16, bytes(16), shape=[2**31, 4]),
    "2^42 elements in none": sized(0, b"", shape=[2**40, 4]),
    "a negative number of elements": sized(20, shape=[-1, 4]),
}


@pytest.mark.parametrize("what", BINARY)
def test_a_binary_tensor_that_is_not_what_it_says_is_refused(door: FaultServer, what: str) -> None:
    body, header = BINARY[what]
    refused(door, WORDS, body, header)


def test_a_whole_binary_tensor_is_answered(door: FaultServer) -> None:
    body, header = sized(len(FOUR))
    assert ask(door, request(door, WORDS, body, header)).told["outputs"][0]["data"] == ["a", "b", "c", "d"]


def packed_gigabyte(coding: str) -> bytes:
    """1,000 times the same packed megabyte, each beginning at a byte."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    piece = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return (b"\x1f\x8b\x08" + bytes(7) if coding == "gzip" else b"\x78\x9c") + piece * 1000


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_megabyte_that_unpacks_to_a_gigabyte_is_not_unpacked(door: FaultServer, coding: str) -> None:
    bomb = packed_gigabyte(coding)
    assert 900_000 < len(bomb) < 1_100_000
    assert "over the limit" in refused(door, INFER, bomb, f"content-encoding: {coding}")


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_packed_body_that_is_broken_is_refused(door: FaultServer, coding: str) -> None:
    whole = gzip.compress(QUESTION) if coding == "gzip" else zlib.compress(QUESTION)
    header = f"content-encoding: {coding}"
    for body in (whole[:-9], whole + b"more", whole + whole, b"", whole[: len(whole) // 2] + bytes(20), b"not packed at all"):
        refused(door, INFER, body, header)
    assert "not JSON" in refused(door, INFER, gzip.compress(whole), "content-encoding: gzip")
    assert "is not read here" in refused(door, INFER, whole, f"content-encoding: {coding}, {coding}")
    assert "is not read here" in refused(door, PREDICT, whole, header)
    assert ask(door, request(door, INFER, whole, header)).status == 200


def of_pieces(before: bytes, piece: bytes, after: bytes) -> bytes:
    return before + piece * (LARGE // len(piece)) + after


TEXTS = b'{"inputs":[{"name":"INPUT0","shape":[1,4],"datatype":"BYTES","data":["'
MANY = {
    "empty arrays as rows": (PREDICT, of_pieces(b'{"instances":[', b"[],", b"[]]}")),
    "empty objects as rows": (PREDICT, of_pieces(b'{"instances":[', b"{},", b"{}]}")),
    "small rows": (PREDICT, of_pieces(b'{"instances":[', b"[1,2,3,4],", b"[1,2,3,4]]}")),
    "numbers as rows": (PREDICT, of_pieces(b'{"instances":[', b"1,", b"1]}")),
    "numbers in a column": (PREDICT, of_pieces(b'{"inputs":{"x":[', b"1,", b"1]}}")),
    "numbers in a bare column": (PREDICT, of_pieces(b'{"x":[', b"1,", b"1]}")),
    "texts as rows": (PREDICT, of_pieces(b'["', b'a","', b'a"]')),
    "lines of CSV": (PREDICT, of_pieces(b"", b"1,2,3,4\n", b"")),
    "line ends": (PREDICT, of_pieces(b"", b"\r\n", b"")),
    "empty arrays as data": (INFER, of_pieces(with_data(b"[")[:-3], b"[],", b"[]]}]}")),
    "texts as data": (WORDS, of_pieces(TEXTS, b'a","', b'a"]}]}')),
    "inputs": (INFER, of_pieces(b'{"inputs":[', b'{"name":"x","shape":[],"datatype":"FP32"},', b"{}]}")),
    "outputs": (INFER, of_pieces(QUESTION[:-1] + b',"outputs":[', b'{"name":"y"},', b"{}]}")),
}  # fmt: skip


@pytest.mark.parametrize("what", MANY)
def test_as_many_as_fit_into_a_body_are_refused_before_each_is_looked_at(door: FaultServer, what: str) -> None:
    path, body = MANY[what]
    kind = ["content-type: text/csv"] if body[:1] in b"1\r" else []
    told = refused(door, path, body, *kind, megabytes=16 * LARGE / 1e6)
    assert "read at a time" in told or "answered at a time" in told


def test_a_million_keys_are_left_out_or_refused(door: FaultServer) -> None:
    keys = {f"key{number}": number for number in range(1_000_000)}
    with Growth(door) as growth:
        reply = ask(door, request(door, INFER, json.dumps({**keys, "inputs": [TENSOR]}).encode()))
    assert reply.status == 200 and growth.megabytes < MEGABYTES, "unknown keys are no error there"
    refused(door, PREDICT, json.dumps({"instances": [keys]}).encode())
    refused(door, INFER, json.dumps({"inputs": [{**TENSOR, "parameters": keys, "shape": [1, 5]}]}).encode(), megabytes=400)


def form(content: bytes, count: int = 1, name: bytes = b"a.csv") -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="f"; filename="%b"\r\n\r\n' % name
    return (head + content + b"\r\n") * count + b"--b--\r\n"


def test_forms_of_many_parts_or_hardly_any_are_refused(door: FaultServer) -> None:
    kind = "content-type: multipart/form-data; boundary=b"
    for body in (
        form(b"", 100_000),
        form(b"1,2,3,4\n" * 2_000_000),
        form(b"\r\n--a" * 2_000_000),
        form(b"1,2,3", name=b"n" * 1_000_000),
        form(b"1,2,3,4")[:-20],
        b"--b",
        b"--b--",
        b"",
    ):
        refused(door, PREDICT, body, kind)
    refused(door, PREDICT, form(b"1,2,3,4"), "content-type: multipart/form-data")
    refused(door, PREDICT, form(b"1,2,3,4"), "content-type: multipart/form-data; boundary=" + "b" * 5000)
    assert ask(door, request(door, PREDICT, form(b"1,2,3,4"), kind)).status == 200


def test_a_form_that_takes_long_to_read_lets_others_through(door: FaultServer) -> None:
    table = form(b"1,2,3,4\n" * 100_000)
    asked = request(door, PREDICT, table, "content-type: multipart/form-data; boundary=b")
    asking = threading.Thread(target=ask, args=(door, asked))
    asking.start()
    assert p99_s(door) < 0.5
    asking.join()


@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_bodies_that_were_refused_are_not_kept(door: FaultServer, path: str) -> None:
    """Thirty of eight megabytes."""
    body = b'{"instances": [' + b" " * (8 << 20)
    with Growth(door) as growth:
        for _ in range(30):
            assert ask(door, request(door, path, body)).status == 400
    assert growth.megabytes < 100
