"""What cannot be answered is refused with a status, a reason that a person can act on, and nothing of the server's inside."""

from __future__ import annotations

import base64
import gzip
import io
import json
import re
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image
from workshop import KEY, MAX_BODY_BYTES

from modeltap.data.images import encode_png

INSIDE = re.compile(
    r"Traceback|File \"|\.py\b|/tmp|/home|/usr|site-packages|modeltap/|onnxruntime|numpy|object at 0x|errno", re.I
)
ROW = {"age": 30, "city": "Bonn", "joined": "2020-01-01", "member": True}


def refused(plane, status: int, *told: str, path: str = "/predict/people", **body: Any) -> dict[str, Any]:
    """The problem that the request gets, after its form was checked."""
    answer = plane.post(path, **body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert {"type", "title", "status", "detail", "instance", "code"} <= set(problem)
    assert problem["status"] == status and problem["instance"] == path and problem["type"].startswith("urn:modeltap:")
    for piece in told:
        assert piece in problem["detail"], problem["detail"]
    assert not INSIDE.search(json.dumps({**problem, "type": ""})), problem
    return problem


def with_row(**changes: Any) -> dict[str, Any]:
    return {"json": {"instances": [ROW, {**ROW, **changes}]}}


ROWS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "an unknown column": (with_row(agee=1), ["row 2", "unknown column 'agee'", "did you mean 'age'"]),
    "a missing column": ({"json": {"instances": [{"age": 1}]}}, ["row 1", "missing: city, joined, member", "send null"]),
    "a text for a number": (with_row(age="old"), ["column 'age' (number), row 2", "'old' is not a number"]),
    "a truth for a number": (with_row(age=True), ["row 2", "True is not a number", "1 or 0"]),
    "a list for a number": (with_row(age=[1]), ["row 2", "[1]", "not a single value"]),
    "an object for a number": (with_row(age={"a": 1}), ["row 2", "not a single value"]),
    "a quoted NaN of another spelling": (with_row(age="nAn"), ["not a finite number", "null"]),
    "a quoted infinity": (with_row(age="Infinity"), ["not a finite number", "null"]),
    "a number that is too large": (with_row(age="1e999"), ["not a finite number"]),
    "a number with a separator": (with_row(age="1,000"), ["'1,000' is not a number"]),
    "no truth": (with_row(member="maybe"), ["'maybe' is not a truth value", "true, false, yes, no, 1, 0 or null"]),
    "a two for a truth": (with_row(member=2), ["2 is not a truth value"]),
    "no date": (with_row(joined="31.02.2020"), ["'31.02.2020' is not a date", "ISO 8601"]),
    "a day that is none": (with_row(joined="2023-02-29"), ["'2023-02-29' is not a date"]),
    "milliseconds for seconds": (with_row(joined=1.7e15), ["seconds since 1970"]),
    "a truth for a date": (with_row(joined=True), ["True is not a date"]),
    "a list for a category": (with_row(city=["Bonn"]), ["not a single value"]),
    "a NUL in a category": (with_row(city="a\u0000b"), ["NUL"]),
    "too few cells": ({"json": {"instances": [[1, "Bonn"]]}}, ["row 1 has 2 cells", "the model takes 4: age, city, joined"]),
    "a bare number for a row": ({"json": {"instances": [5]}}, ["row 1 is 5", "an object of columns or an array"]),
    "a null for a row": ({"json": {"instances": [None]}}, ["row 1 is None", "an object of columns"]),
    "no rows": ({"json": {"instances": []}}, ["no rows", "at least one"]),
    "no columns": ({"json": {"inputs": {}}}, ["missing: age"]),
    "columns of no rows": ({"json": {"inputs": {name: [] for name in ROW}}}, ["no rows"]),
    "columns of two lengths": (
        {"json": {"inputs": {**{name: [value] for name, value in ROW.items()}, "age": [1, 2]}}},
        ["differ in length", "'age' has 2", "'city' has 1"],
    ),
    "a column that is no list": ({"json": {"inputs": {**{n: [v] for n, v in ROW.items()}, "age": 5}}}, ["'age' is 5"]),
    "a csv that is empty": ({"content": b"", "headers": {"content-type": "text/csv"}}, ["empty", "at least one line"]),
    "a csv of a header alone": ({"content": b"age,city,joined,member\n", "headers": {"content-type": "text/csv"}}, ["no rows"]),
    "a csv line that is short": (
        {"content": b"age,city,joined,member\n1,Bonn,2020-01-01,yes\n\n1,Bonn\n", "headers": {"content-type": "text/csv"}},
        ["line 4 has 2 cells", "the header has 4"],
    ),
    "a csv header with an unknown column": (
        {"content": b"age,town,joined,member\n1,Bonn,2020-01-01,yes\n", "headers": {"content-type": "text/csv"}},
        ["unknown column 'town'", "missing: city"],
    ),
    "a csv header in another case": (
        {"content": b"Age,City,Joined,Member\n1,Bonn,2020-01-01,yes\n", "headers": {"content-type": "text/csv"}},
        ["unknown column 'Age'; did you mean 'age'"],
    ),
    "a csv that is no text": (
        {"content": b"\xff\xfe\xfa", "headers": {"content-type": "text/csv; charset=utf-8"}},
        ["not UTF-8", "charset"],
    ),
    "a csv cell that is too long": (
        {"content": b"1," + b"x" * 200_000 + b",2020-01-01,yes\n", "headers": {"content-type": "text/csv"}},
        ["line 1", "131072"],
    ),
    "a csv with a bare carriage return in a cell": (
        {"content": b'1,"Bo\rnn",2020-13-01,yes\n', "headers": {"content-type": "text/csv"}},
        ["'2020-13-01' is not a date"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ROWS)
def test_rows_that_do_not_fit_are_a_422_that_names_row_and_column(plane, what):
    body, told = ROWS[what]
    refused(plane, 422, *told, **body)


def test_each_wrong_row_is_a_field_of_the_problem(plane):
    rows = [ROW, {**ROW, "age": "x"}, ROW, {**ROW, "age": "y"}]
    problem = refused(plane, 422, "row 2", "1 more row", json={"instances": rows})
    assert problem["errors"] == [
        {"field": "[1].age", "detail": "'x' is not a number"},
        {"field": "[3].age", "detail": "'y' is not a number"},
    ]
    many = refused(plane, 422, "999 more rows", json={"instances": [{**ROW, "age": "x"}] * 1000})
    assert len(many["errors"]) == 20


def sent_as(content_type: str, content: bytes) -> dict[str, Any]:
    return {"content": content, "headers": {"content-type": content_type}}


BODIES: dict[str, tuple[int, dict[str, Any], list[str]]] = {
    "nothing": (400, {"content": b""}, ["body is empty", '{"instances": [...]}']),
    "white space": (400, {"content": b" \n\t"}, ["body is empty"]),
    "half of a JSON text": (400, {"content": b'{"instances": [1, 2'}, ["not JSON"]),
    "NaN": (400, {"content": b'{"instances": [[NaN]]}'}, ["not JSON", "NaN and Infinity", "null"]),
    "Infinity": (400, {"content": b'{"instances": [[-Infinity]]}'}, ["not JSON", "null"]),
    "a number out of range": (400, {"content": b'{"instances": [[1e400]]}'}, ["out of range"]),
    "a number of 10,000 digits": (400, {"content": b"[" + b"9" * 10_000 + b"]"}, ["out of range"]),
    "bytes that are no UTF-8": (400, {"content": b'{"instances": [["\xff"]]}'}, ["UTF-8"]),
    "half of a surrogate pair": (400, {"content": b'{"instances": [["\\ud800"]]}'}, ["not JSON"]),
    "a bare number": (400, {"json": 5}, ["bare value", "instances"]),
    "a bare text": (400, {"json": "hello"}, ["bare value"]),
    "null": (400, {"content": b"null"}, ["bare value"]),
    "instances that are no list": (400, {"json": {"instances": {"age": 1}}}, ["'instances' must be an array of rows"]),
    "inputs that are no object": (400, {"json": {"inputs": [1]}}, ["'inputs' must be an object of columns"]),
    "something beside instances": (400, {"json": {"instances": [ROW], "rows": 1}}, ["'rows'", "not known", "allowed"]),
    "deep nesting": (400, {"content": b"[" * 100_000}, ["nested too deeply"]),
    "a form without a boundary": (400, sent_as("multipart/form-data", b"x"), ["form"]),
    "a form that is cut off": (400, sent_as("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition"), ["empty"]),
    "an unknown kind of body": (415, sent_as("application/pdf", b"x"), ["application/pdf", "text/csv"]),
    "an unknown charset": (415, sent_as("text/csv; charset=ebcdic", b"x"), ["ebcdic", "UTF-8"]),
    "a codec that is no charset": (415, sent_as("text/csv; charset=zlib", b"x"), ["zlib"]),
    "a packed body": (415, {"content": gzip.compress(b"{}"), "headers": {"content-encoding": "gzip"}}, ["gzip", "unpacked"]),
}  # fmt: skip


@pytest.mark.parametrize("what", BODIES)
def test_bodies_that_cannot_be_read_say_why(plane, what):
    status, body, told = BODIES[what]
    refused(plane, status, *told, **body)


def png_of(width: int, height: int) -> bytes:
    """A file of few bytes that says it holds so many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


def test_pictures_that_are_none_broken_or_bombs_are_refused(plane):
    whole = encode_png(np.arange(64, dtype=np.uint8).reshape(8, 8))
    png = {"headers": {"content-type": "image/png"}, "path": "/predict/digits"}
    refused(plane, 422, "not a picture", "PNG", content=b"hello", **png)
    refused(plane, 422, "row 1", "broken", content=whole[:-30], **png)
    refused(plane, 400, "empty", content=b"", **png)
    for width, height in ((60_000, 60_000), (30_000, 30_000), (9_000, 9_000), (2**31 - 1, 2**31 - 1)):
        refused(plane, 422, "row 1", content=png_of(width, height), **png)
    svg = {"headers": {"content-type": "image/svg+xml"}, "path": "/predict/digits"}
    refused(plane, 422, "not a picture", content=b"<svg/>", **svg)
    animation = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(animation, "PPM")
    refused(plane, 422, "not a picture", content=animation.getvalue(), **png)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("not base64!", "base64"),
        ("data:image/png,abc", "data URL"),
        (base64.b64encode(b"hello").decode(), "not a picture"),
        ("", "not a picture"),
        ([[0.5] * 8] * 8, "scales them itself"),
        ([[256] * 8] * 8, "0 to 255"),
        ([[-1] * 8] * 8, "0 to 255"),
        ([[None] * 8] * 8, "not a number"),
        ([[0] * 8] * 7, "[7, 8], the model takes [8, 8]"),
        ([[0] * 8] * 7 + [[0] * 7], "differ in length"),
        (None, "not a number"),
        (7, "the shape is []"),
        ({"x": 1, "y": 2}, "unknown column 'y'"),
    ],
)
def test_pictures_as_json_that_do_not_fit_say_what_is_allowed(plane, value, told):
    refused(plane, 422, told, path="/predict/digits", json={"instances": [value]})


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ([0.0] * 99, "[99], the model takes [100]"),
        ([[0.0] * 100] * 2, "[2, 100], the model takes [100]"),
        ([1e39] * 100, "32 bits"),
        (["a"] * 100, "not a number"),
        ([None] * 100, "not a number"),
        (["nan"] * 100, "not finite"),
        ({"x": [0.0] * 100, "z": 1}, "unknown column 'z'"),
        ({}, "missing: x"),
    ],
)
def test_arrays_that_do_not_fit_say_what_is_allowed(plane, row, told):
    refused(plane, 422, told, path="/predict/signals", json={"instances": [row]})


def test_a_line_of_an_array_that_does_not_fit_is_named(plane):
    csv = {"headers": {"content-type": "text/csv"}, "path": "/predict/signals"}
    whole = ",".join(["0.5"] * 100)
    refused(plane, 422, "line 2 has 99 cells", "100", content="\n".join([whole, whole[4:]]), **csv)
    refused(plane, 422, "line 2", "not a number", content="\n".join([whole, "a" + whole[3:]]), **csv)


def test_a_body_over_the_limit_is_refused_whether_it_is_announced_or_not(plane):
    refused(plane, 413, f"{MAX_BODY_BYTES:,} bytes", "fewer rows", content=b"x" * (MAX_BODY_BYTES + 1))

    async def pieces():
        for _ in range(MAX_BODY_BYTES // 1000 + 2):
            yield b"x" * 1000

    refused(plane, 413, f"{MAX_BODY_BYTES:,} bytes", content=pieces())
    answer = plane.post("/v2/models/people/infer", content=b"x" * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413 and "bytes" in answer.json()["error"]


def test_an_unknown_deployment_is_a_404_that_names_the_nearest(plane):
    refused(plane, 404, "no deployment 'peeple'", "did you mean 'people'", path="/predict/peeple", json={})
    refused(plane, 404, "people/x", path="/predict/people/x", json={})
    refused(plane, 404, "'..'", path="/predict/..%2f..", json={}) if False else None


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
def test_predictions_are_asked_for_with_post(plane, method):
    answer = plane.request(method, "/predict/people")
    assert answer.status_code == 405
    if method != "HEAD":
        assert "takes POST" in answer.json()["detail"]


KEYS: dict[str, tuple[dict[str, str], int]] = {
    "none": ({"authorization": ""}, 401),
    "a wrong one": ({"authorization": "Bearer mt-wrong"}, 401),
    "a prefix of the right one": ({"authorization": f"Bearer {KEY[:-1]}"}, 401),
    "the right one and more": ({"authorization": f"Bearer {KEY}x"}, 401),
    "the right one without a scheme": ({"authorization": KEY}, 401),
    "another scheme": ({"authorization": f"Digest {KEY}"}, 401),
    "bytes that are no ASCII": ({"authorization": "Bearer \udcff\udcfe"}, 401),
    "broken Basic": ({"authorization": "Basic !!!"}, 401),
    "Basic of bytes that are no UTF-8": ({"authorization": "Basic " + base64.b64encode(b"a:\xff").decode()}, 401),
    "Basic without a password": ({"authorization": "Basic " + base64.b64encode(b"admin").decode()}, 401),
    "Basic with the key as the name": ({"authorization": "Basic " + base64.b64encode(f"{KEY}:".encode()).decode()}, 401),
    "a wrong x-api-key beside a right bearer": ({"x-api-key": "wrong"}, 401),
    "bearer": ({"authorization": f"Bearer {KEY}"}, 200),
    "bearer in another case": ({"authorization": f"bearer   {KEY} "}, 200),
    "x-api-key": ({"authorization": "", "x-api-key": KEY}, 200),
    "Basic with the key as the password": ({"authorization": "Basic " + base64.b64encode(f"any:{KEY}".encode()).decode()}, 200),
}


@pytest.mark.parametrize("what", KEYS)
def test_only_the_key_opens_whichever_way_it_is_sent(plane, what):
    given, status = KEYS[what]
    headers = {name: value.encode("utf-8", "surrogateescape") for name, value in given.items()}
    plain = plane.post("/predict/people", json={"instances": [ROW]}, headers=headers)
    inference = plane.get("/v2/models/people", headers=headers)
    assert plain.status_code == inference.status_code == status
    if status == 401:
        assert plain.json()["code"] == "unauthenticated" and "Basic" in plain.headers["www-authenticate"]
        assert list(inference.json()) == ["error"]
        assert KEY not in plain.text + inference.text


def test_a_request_for_nothing_that_is_open_needs_a_key_first(plane):
    headers = {"authorization": ""}
    for path in (
        "/predict/nobody",
        "/v2/models/nobody",
        "/api/datasets",
        "/",
        "/livez/",
        "//livez",
        "/LIVEZ",
        "/livez%00",
        "/docs",
    ):
        assert plane.get(path, headers=headers).status_code == 401, path
    for path in ("/livez", "/readyz", "/healthz", "/health", "/ping", "/v2/health/live", "/v2/health/ready"):
        assert plane.get(path, headers=headers).status_code == 200, path
