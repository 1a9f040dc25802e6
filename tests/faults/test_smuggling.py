"""Requests whose end two readers could see in two places, and everything else that is no proper HTTP: refused, and never more
than one answer for what the client sent as one."""

from __future__ import annotations

import json

import pytest
from door_world import (
    INFER,
    PREDICT,
    QUESTION,
    ROWS,
    Growth,
    Reply,
    Turns,
    ask,
    chunks,
    connect,
    exchange,
    in_chunks,
    key_of,
    next_reply,
    number_of,
    read_all,
    replies,
    request,
    spin,
    statuses,
)
from fault_server import FaultServer

CHUNKED = "transfer-encoding: chunked"
LENGTH = len(QUESTION)
ANSWER = [2.0, 4.0, 6.0, 8.0]
EXTENDED = chunks(QUESTION).replace(b"\r\n", b';a="b"\r\n', 1)


def right(reply: Reply) -> bool:
    return reply.status == 200 and reply.told["outputs"][0]["data"] == ANSWER


def lengths(*values: str) -> tuple[bytes, tuple[str, ...]]:
    return QUESTION, tuple(f"content-length:{value}" for value in values)


def coded(*values: str, body: bytes = chunks(QUESTION)) -> tuple[bytes, tuple[str, ...]]:
    return body, tuple(f"transfer-encoding: {value}" for value in values)


def sized(size: bytes, *, after: bytes = b"\r\n") -> tuple[bytes, tuple[str, ...]]:
    return coded("chunked", body=size + b"\r\n" + QUESTION + after + b"0\r\n\r\n")


IN_DOUBT: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "a length and chunks": (QUESTION, (f"content-length: {LENGTH}", CHUNKED)),
    "chunks and a length": (chunks(QUESTION), (CHUNKED, "content-length: 4")),
    "two lengths": lengths(f" {LENGTH}", " 3"),
    "the same length twice": lengths(f" {LENGTH}", f" {LENGTH}"),
    "a list of lengths": lengths(f" {LENGTH}, {LENGTH}"),
    "a length with a plus": lengths(f" +{LENGTH}"),
    "a negative length": lengths(f" -{LENGTH}"),
    "a hexadecimal length": lengths(f" 0x{LENGTH:x}"),
    "a length with a blank in it": lengths(f" 1 {LENGTH}"),
    "an empty length": lengths(""),
    "a length of 2^64 + 1": lengths(f" {2**64 + 1}"),
    "a length in other digits": lengths(" \xb2"),
    "a blank before the colon": (QUESTION, (f"content-length : {LENGTH}",)),
    "chunked twice": coded("chunked, chunked"),
    "chunked in two lines": coded("identity", "chunked"),
    "chunked and something behind it": coded("chunked, identity"),
    "something before chunked": coded("gzip, chunked"),
    "an unknown coding": coded("xchunked"),
    "a quoted coding": coded('"chunked"'),
    "a coding behind a control letter": coded("\x0bchunked"),
    "a coding on a line of its own": (chunks(QUESTION), ("transfer-encoding:\r\n chunked",)),
    "a chunk with a plus": sized(b"+%x" % LENGTH),
    "a chunk with a minus": sized(b"-%x" % LENGTH),
    "a chunk with 0x": sized(b"0x%x" % LENGTH),
    "a chunk with a blank": sized(b"%x " % LENGTH),
    "a chunk without a size": sized(b""),
    "a chunk of 2^68": sized(b"1" + b"0" * 17),
    "a chunk that goes on": sized(b"%x" % LENGTH, after=b"XX"),
    "a line feed in an extension": sized(b"%x;a\nb" % LENGTH),
    "chunks ended by line feeds": coded("chunked", body=chunks(QUESTION).replace(b"\r\n", b"\n")),
    "a length as a trailer": coded("chunked", body=chunks(QUESTION)[:-2] + b"content-length: 5\r\n\r\n"),
    "a header without a colon": (QUESTION, (f"content-length: {LENGTH}", "x-broken")),
    "a header without a name": (QUESTION, (f"content-length: {LENGTH}", ": x")),
    "a header that begins with a blank": (QUESTION, (f"content-length: {LENGTH}", " x-broken: a")),
    "a header that is folded": (QUESTION, (f"content-length: {LENGTH}", "x-folded: a\r\n  b")),
    "a NUL in a header": (QUESTION, (f"content-length: {LENGTH}", "x-broken: a\0b")),
    "a bare carriage return in a header": (QUESTION, (f"content-length: {LENGTH}", "x-broken: a\rx-other: b")),
    "a bare line feed in a header": (QUESTION, (f"content-length: {LENGTH}", "x-broken: a\nx-other: b")),
}


@pytest.mark.parametrize("what", IN_DOUBT)
def test_a_request_whose_end_is_in_doubt_is_refused_and_nothing_behind_it_is_read(door: FaultServer, what: str) -> None:
    body, headers = IN_DOUBT[what]
    asked = request(door, INFER, body, *headers, length=False, close=False)
    behind = request(door, "/api/server", b"", "x-request-id: smuggled", method="GET", length=False)
    said = exchange(door, asked + behind)
    assert statuses(said) == [400] and b"smuggled" not in said


LINES = {
    "a method in small letters": (400, {"method": "post"}),
    "an unknown method": (400, {"method": "BREW"}),
    "HTTP/0.9": (505, {"version": "0.9"}),
    "HTTP/2.0": (505, {"version": "2.0"}),
    "HTTP/1.2": (400, {"version": "1.2"}),
    "a version of three digits": (400, {"version": "1.10"}),
    "two slashes": (404, {"path": "//v2/models/double/infer"}),
    "a tunnel": (405, {"method": "CONNECT", "path": "door:80"}),
    "an absolute address": (200, {"path": f"http://elsewhere{INFER}"}),
    "blanks around the length": (200, {"headers": [f"content-length: \t {LENGTH} \t"], "length": False}),
    "zeros before the length": (200, {"headers": [f"content-length: 000{LENGTH}"], "length": False}),
    "an underscore for a dash": (200, {"headers": ["transfer_encoding: chunked"]}),
    "two hosts": (200, {"headers": ["host: elsewhere"]}),
    "chunked in capitals": (200, {"headers": ["Transfer-Encoding: ChunKed"], "length": False, "body": chunks(QUESTION)}),
    "an extension of a chunk": (200, {"headers": [CHUNKED], "length": False, "body": EXTENDED}),
    "a header of 70 KB": (431, {"headers": ["x-long: " + "a" * 70_000]}),
    "10,000 headers": (431, {"headers": ["x-many: a"] * 10_000}),
    "5,000 headers": (200, {"headers": ["x: a"] * 5_000}),
    "a path of 70 KB": (431, {"path": "/predict/" + "a" * 70_000}),
}  # fmt: skip


@pytest.mark.parametrize("what", LINES)
def test_a_head_is_taken_or_refused_for_what_it_is(door: FaultServer, what: str) -> None:
    status, how = LINES[what]
    given = {"path": INFER, "body": QUESTION, **how}
    asked = request(door, given.pop("path"), given.pop("body"), *given.pop("headers", []), **given)
    assert ask(door, asked).status == status


def test_the_old_form_of_a_request_is_refused(door: FaultServer) -> None:
    assert statuses(exchange(door, b"GET /livez\r\n\r\n")) == [505]


def test_headers_without_end_are_cut_off_and_not_kept(door: FaultServer) -> None:
    for line in (b"x-endless: " + b"a" * 1_000_000, b"x-endless: a\r\n" * 70_000):
        with Growth(door) as growth, connect(door) as connection:
            sent = 0
            try:
                connection.sendall(b"GET /livez HTTP/1.1\r\n")
                while sent < 100_000_000:
                    connection.sendall(line)
                    sent += len(line)
            except ConnectionError:
                pass
            assert sent < 100_000_000 and growth.megabytes < 50


@pytest.mark.parametrize(
    "endless",
    [b"x-trailer: a\r\n" * 100_000, b"x-trailer: " + b"a" * 1_000_000],
    ids=["trailers", "a trailer"],
)
def test_what_has_no_end_behind_a_body_is_cut_off(door: FaultServer, endless: bytes) -> None:
    asked = request(door, INFER, chunks(QUESTION)[:-2] + endless, CHUNKED, length=False)
    with Growth(door) as growth:
        said = exchange(door, asked)
    assert b"outputs" not in said and growth.megabytes < 50


def test_an_extension_without_end_is_cut_off(door: FaultServer) -> None:
    asked = request(door, INFER, b"%x;" % LENGTH + b"a" * 2_000_000, CHUNKED, length=False)
    assert b"outputs" not in exchange(door, asked)


def test_a_trailer_is_no_header(door: FaultServer) -> None:
    """Whoever looked at the head of the request, as a proxy does, did not see it."""
    body = chunks(QUESTION)[:-2]
    key = b"x-api-key: " + key_of(door).encode() + b"\r\n\r\n"
    assert ask(door, request(None, INFER, body + key, CHUNKED, length=False)).status == 401
    tenant = b"modeltap-tenant: nobody\r\n\r\n"
    assert right(ask(door, request(door, INFER, body + tenant, CHUNKED, length=False)))


@pytest.mark.parametrize("offer", ["h2c", "websocket"])
def test_an_offer_of_another_protocol_hides_no_request_in_a_body(door: FaultServer, offer: str) -> None:
    """The body is a whole request. It arrives by itself, when a server that had taken the offer would read no HTTP any more."""
    hidden = request(door, "/api/server", b"", "x-request-id: smuggled", method="GET", length=False)
    upgrade = ("connection: Upgrade, HTTP2-Settings", f"upgrade: {offer}", "http2-settings: AAMAAABkAARAAAAAAAIAAAAA")
    for path, body in ((INFER, hidden), (PREDICT, hidden), ("/api/gc", hidden)):
        with connect(door) as connection, Turns(door) as turns:
            asked = request(door, path, body, *upgrade, close=False)
            connection.sendall(asked[: -len(body)])
            turns.wait()
            connection.sendall(body + request(door))
            said = read_all(connection)
        first, second = replies(said)
        assert first.status in (400, 415) and right(second) and b"smuggled" not in said
    with connect(door) as connection:
        connection.sendall(request(door, INFER, QUESTION, *upgrade, close=False) + request(door, INFER, QUESTION, *upgrade))
        assert all(map(right, replies(read_all(connection))))


def test_a_hundred_requests_at_once_are_answered_in_order(door: FaultServer) -> None:
    """Half of them small ones that the hot path takes, the others of all kinds."""
    asked, expected = b"", []
    for number in range(100):
        mark = f"x-request-id: number-{number}"
        values = [number, 2, 3, 4]
        question = json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": values}]}).encode()
        made, status = {
            0: (request(door, INFER, question, mark, close=False), 200),
            1: (in_chunks(door, INFER, question, mark).replace(b"connection: close\r\n", b""), 200),
            2: (request(door, PREDICT, json.dumps([values]).encode(), mark, close=False), 200),
            3: (request(door, "/livez", b"", mark, method="GET", length=False, close=False), 200),
            4: (request(door, INFER, question, mark, close=False), 200),
            5: (request(door, "/api/models/none", b"", mark, method="GET", length=False, close=False), 404),
            6: (request(door, INFER, question, mark, close=False), 200),
            7: (request(None, INFER, question, mark, close=False), 401),
            8: (request(door, INFER, question, mark, close=False), 200),
            9: (request(door, INFER, b"{}", mark, close=False), 400),
        }[number % 10]
        asked += made
        expected.append((status, f"number-{number}", 2.0 * number if number % 10 in (0, 1, 4, 6, 8) else None))
    answers = replies(exchange(door, asked + request(door, "/livez", b"", "x-request-id: last", method="GET", length=False)))
    assert len(answers) == 101 and answers[-1].headers["x-request-id"] == "last"
    found = [
        (reply.status, reply.headers["x-request-id"], reply.told["outputs"][0]["data"][0] if "outputs" in reply.told else None)
        for reply in answers[:-1]
    ]
    assert found == expected


def test_more_requests_at_once_than_anybody_waits_for_stop_nobody_else(door: FaultServer) -> None:
    """What is answered is answered in order, the connection then closed; others are answered meanwhile."""
    one = b"GET /livez HTTP/1.1\r\nx-request-id: %d\r\n\r\n"
    asked = b"".join(one % number for number in range(50_000))
    with connect(door) as connection:
        connection.setblocking(False)
        sent = 0
        while sent < len(asked):
            try:
                sent += connection.send(asked[sent : sent + 65536])
            except BlockingIOError:
                assert door.client.get("/livez", timeout=10).status_code == 200
            except ConnectionError:
                break
        assert door.client.get("/livez", timeout=10).status_code == 200
        connection.setblocking(True)
        said = read_all(connection)
    ids = [int(line.removeprefix(b"x-request-id: ")) for line in said.split(b"\r\n") if line.startswith(b"x-request-id: ")]
    assert ids == list(range(len(ids)))


def test_a_request_cut_at_any_byte_is_the_same_request(door: FaultServer) -> None:
    """Between the two pieces another connection is answered, so that the server has read the first by itself."""
    asked = request(door, close=False)
    with connect(door) as connection, Turns(door) as turns:
        for place in range(1, len(asked)):
            connection.sendall(asked[:place])
            turns.wait()
            connection.sendall(asked[place:])
            assert right(next_reply(connection)), place


def test_chunks_of_one_byte_are_a_body_like_any_other(door: FaultServer) -> None:
    assert right(ask(door, in_chunks(door, INFER, QUESTION, size=1)))
    assert right(ask(door, in_chunks(door, INFER, QUESTION + b" " * 50_000, size=1)))
    assert right(ask(door, *[bytes([byte]) for byte in in_chunks(door, INFER, QUESTION, size=1)]))


def test_a_body_is_as_long_as_it_says(door: FaultServer) -> None:
    assert exchange(door, request(door, INFER, QUESTION[:-1], f"content-length: {LENGTH}", length=False), end=True) == b""
    short = ask(door, request(door, INFER, QUESTION, f"content-length: {LENGTH - 1}", length=False))
    assert short.status == 400 and "not JSON" in short.told["error"]
    longer, *refused = replies(exchange(door, request(door, close=False) + b"}}}}"))
    assert right(longer) and [reply.status for reply in refused] in ([], [400])
    assert ask(door, request(door, INFER, b"")).told == ask(door, in_chunks(door, INFER, b"")).told


def test_what_cannot_be_read_waits_for_the_answer_before_it(door: FaultServer) -> None:
    """The refusal would else be taken for the answer to the request that still runs."""
    slow = request(door, "/v2/models/spin/infer", spin(300_000), close=False)
    for behind in (b"\0garbage\r\n\r\n", request(door, INFER, b"zz\r\n", CHUNKED, length=False), b"x: " + b"a" * 200_000):
        (reply,) = replies(exchange(door, slow + behind))
        assert reply.told["outputs"][0]["data"] == [300_000]
        assert reply.headers["connection"] == "close"


def test_nothing_is_done_behind_a_request_that_ends_the_connection(door: FaultServer) -> None:
    key = door.ask("POST", "/api/keys", json={"label": "closing"})
    done = number_of(door, "modeltap_units_total", deployment="double")
    for last, status in ((request(key["key"]), 200), (request("mt-none"), 401), (in_chunks(key["key"], INFER, QUESTION), 200)):
        assert statuses(exchange(door, last + request(key["key"]) * 3)) == [status]
    assert number_of(door, "modeltap_units_total", deployment="double") == done + 2


def test_who_waits_to_be_told_to_go_on_is_told(door: FaultServer) -> None:
    with connect(door) as connection:
        for path, body in ((INFER, QUESTION), (PREDICT, ROWS)):
            connection.sendall(request(door, path, body, "expect: 100-continue", close=False)[: -len(body)])
            assert next_reply(connection).status == 100
            connection.sendall(body)
            assert next_reply(connection).status == 200


def test_the_connection_of_an_old_client_is_closed_behind_its_answer(door: FaultServer) -> None:
    asked = request(door, INFER, QUESTION, "connection: keep-alive", version="1.0", close=False)
    (reply,) = replies(exchange(door, asked * 2))
    assert right(reply) and reply.headers["connection"] == "close"
