"""Bodies of /v2 requests that lie about their length, are packed, or grow without end; and answers in the packing asked for."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib

import numpy as np
import pytest
from served_graphs import binary_body, read_outputs, tensor
from workshop import MAX_BODY_BYTES

from modeltap.api.codings import asked_coding, pack, unpack
from modeltap.errors import InvalidInput, TooLarge, UnsupportedMedia

ONES = [(f"INPUT{n}", "FP32", np.ones((1, 4), np.float32)) for n in (0, 1)]
PATH = "/v2/models/rows/infer"


def head_of(*sizes: object) -> dict[str, object]:
    told = [
        {"name": f"INPUT{n}", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": size}}
        for n, size in enumerate(sizes)
    ]
    return {"inputs": told}


LIES = {
    "more bytes than there are": (head_of(16, 17), 32, "says 17 bytes, 16 are left"),
    "fewer bytes than there are": (head_of(16, 12), 32, "4 bytes are left behind"),
    "a part of a number": (head_of(15, 17), 32, "no whole number of FP32"),
    "another number of elements": (head_of(12, 20), 32, "it has 3 elements, its shape [1, 4] says 4"),
    "a size that is no number": (head_of("16", 16), 32, "'16'"),
    "a size below nothing": (head_of(-16, 48), 32, "-16"),
    "a truth as size": (head_of(True, 31), 32, "True"),
    "nothing at all": (head_of(16, 16), 0, "says 16 bytes, 0 are left"),
}


@pytest.mark.parametrize("what", LIES)
def test_binary_tensors_that_are_not_where_they_say_are_refused(graphs, what):
    head, size, told = LIES[what]
    text = json.dumps(head).encode()
    answer = graphs.post(PATH, content=text + bytes(size), headers={"inference-header-content-length": str(len(text))})
    assert answer.status_code == 400 and told in answer.json()["error"], answer.text


@pytest.mark.parametrize(
    ("length", "told"), [("100000", "the whole body has"), ("-1", "'-1'"), ("x", "'x'"), ("9" * 40, "is '9")]
)
def test_a_length_of_the_json_that_cannot_be_is_refused(graphs, length, told):
    body, _ = binary_body(ONES)
    answer = graphs.post(PATH, content=body, headers={"inference-header-content-length": length})
    assert answer.status_code == 400 and told in answer.json()["error"]


def test_a_length_that_cuts_the_json_and_a_size_without_length_are_refused(graphs):
    body, headers = binary_body(ONES)
    cut = {**headers, "inference-header-content-length": str(int(headers["inference-header-content-length"]) - 1)}
    assert "not JSON" in graphs.post(PATH, content=body, headers=cut).json()["error"]
    without = graphs.post(PATH, json=head_of(16, 16))
    assert without.status_code == 400 and "Inference-Header-Content-Length" in without.json()["error"]
    both = {**head_of(16, 16)}
    both["inputs"][0]["data"] = [1.0] * 4  # type: ignore[index]
    text = json.dumps(both).encode()
    twice = graphs.post(PATH, content=text + bytes(32), headers={"inference-header-content-length": str(len(text))})
    assert twice.status_code == 400 and "both data and a binary_data_size" in twice.json()["error"]


def test_elements_whose_lengths_do_not_add_up_are_refused(graphs):
    for data, told in (
        (b"\x02\x00\x00\x00a", "longer than"),
        (b"\x01\x00", "end before"),
        (b"\x01\x00\x00\x00ab", "left behind"),
    ):
        told_input = {"name": "INPUT0", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": len(data)}}
        text = json.dumps({"inputs": [told_input]}).encode()
        headers = {"inference-header-content-length": str(len(text))}
        answer = graphs.post("/v2/models/copy_bytes/infer", content=text + data, headers=headers)
        assert answer.status_code == 400 and told in answer.json()["error"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate"])
def test_a_packed_body_is_unpacked(graphs, coding):
    body, headers = binary_body(ONES, parameters={"binary_data_output": True})
    if coding == "gzip":
        packed = gzip.compress(body)
    else:
        packer = zlib.compressobj(wbits=-15 if coding == "raw deflate" else 15)
        packed = packer.compress(body) + packer.flush()
    answer = graphs.post(PATH, content=packed, headers={**headers, "content-encoding": coding.removeprefix("raw ")})
    assert read_outputs(answer)["OUTPUT0"].tolist() == [[2.0] * 4]
    as_json = json.dumps({"inputs": [tensor(*one) for one in ONES]}).encode()
    answer = graphs.post(PATH, content=gzip.compress(as_json), headers={"content-encoding": "gzip"})
    assert read_outputs(answer)["OUTPUT1"].tolist() == [[0.0] * 4]


def test_a_body_that_grows_over_the_limit_is_refused_and_never_held(graphs):
    bomb = gzip.compress(bytes(400 * MAX_BODY_BYTES), 9)
    assert len(bomb) < MAX_BODY_BYTES
    answer = graphs.post(PATH, content=bomb, headers={"content-encoding": "gzip"})
    assert answer.status_code == 413 and f"{MAX_BODY_BYTES:,}" in answer.json()["error"]
    tracemalloc.start()
    with pytest.raises(TooLarge):
        unpack(bomb, "gzip", limit_bytes=MAX_BODY_BYTES)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 * MAX_BODY_BYTES


@pytest.mark.parametrize(
    ("content", "coding", "status"),
    [
        (b"not packed", "gzip", 400),
        (b"", "gzip", 400),
        (gzip.compress(b"{}", mtime=0)[:-5], "gzip", 400),
        (gzip.compress(b"{}", mtime=0) + b"x", "gzip", 400),
        (zlib.compress(b"{}")[:-1], "deflate", 400),
        (b"{}", "br", 415),
    ],
)
def test_a_body_that_is_not_packed_as_it_says_is_refused(graphs, content, coding, status):
    answer = graphs.post(PATH, content=content, headers={"content-encoding": coding})
    assert answer.status_code == status and coding in answer.json()["error"], answer.text


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_an_answer_is_packed_for_a_client_that_asks_for_that_alone(graphs, coding):
    body, headers = binary_body(ONES, parameters={"binary_data_output": True})
    answer = graphs.post(PATH, content=body, headers={**headers, "accept-encoding": coding})
    assert answer.headers["content-encoding"] == coding
    assert read_outputs(answer)["OUTPUT0"].tolist() == [[2.0] * 4]  # httpx has unpacked it
    for accepted in ("gzip, deflate, br", "identity", "gzip;q=0", "*"):
        plain = graphs.post(PATH, content=body, headers={**headers, "accept-encoding": accepted})
        assert "content-encoding" not in plain.headers


def test_packing_and_unpacking_are_each_others_opposite():
    for body in (b"", b"a", bytes(range(256)) * 100):
        for coding in ("gzip", "deflate"):
            assert unpack(pack(body, coding), coding, limit_bytes=len(body)) == body
    assert gzip.decompress(pack(b"abc", "gzip")) == b"abc" and zlib.decompress(pack(b"abc", "deflate")) == b"abc"
    assert [asked_coding(given) for given in (None, "GZIP", "deflate ; q=1.0")] == [None, "gzip", "deflate"]
    with pytest.raises(UnsupportedMedia, match="allowed: gzip, deflate"):
        unpack(b"", "br", limit_bytes=10)
    with pytest.raises(InvalidInput, match="ends in the middle"):
        unpack(pack(bytes(1000), "gzip")[:20], "gzip", limit_bytes=2000)


def test_a_retry_gets_the_whole_binary_answer_again(graphs):
    body, headers = binary_body(ONES, parameters={"binary_data_output": True})
    sent = {**headers, "idempotency-key": "the-same", "content-encoding": "gzip", "accept-encoding": "gzip"}
    first = graphs.post(PATH, content=gzip.compress(body, mtime=0), headers=sent)
    again = graphs.post(PATH, content=gzip.compress(body, mtime=0), headers=sent)
    assert "idempotent-replayed" not in first.headers and again.headers["idempotent-replayed"] == "true"
    assert again.content == first.content and read_outputs(again)["OUTPUT0"].tolist() == [[2.0] * 4]
    for name in ("content-type", "content-encoding", "inference-header-content-length"):
        assert again.headers[name] == first.headers[name]
