"""A client of another server: which addresses it goes to, what it makes of answers, how it ends."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from peers import running_peer, seen

from modeltap.domain.upstream import HostRule, parse_hosts, place_of
from modeltap.engines.upstream import UpstreamClient
from modeltap.engines.upstream_address import Addresses, is_public
from modeltap.engines.upstream_events import EventReader
from modeltap.errors import InvalidInput, Overloaded, Refused, UpstreamFailed

CHAT = "/chat/completions"


@pytest.fixture(scope="module")
def peer():
    with running_peer(key="k1") as port:
        yield port


def asked(port, work, *, key="k1", **more):
    async def run():
        client = UpstreamClient(f"http://127.0.0.1:{port}/v1", rules=parse_hosts(f"127.0.0.1:{port}"), key=lambda: key, **more)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


def body(model, **more):
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 6, **more}


async def collected(client, model):
    return [chunk async for chunk in client.stream(CHAT, body(model, stream=True, stream_options={"include_usage": True}))]


def test_a_whole_answer_and_a_stream_come_as_objects(peer):
    async def both(client):
        return await client.ask(CHAT, body("good")), await collected(client, "good")

    answer, chunks = asked(peer, both)
    assert answer["choices"][0]["message"]["content"] == "w0 w1 w2 w3 w4 w5"
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in chunks[:-1]) == "w0 w1 w2 w3 w4 w5 "
    assert chunks[-1]["usage"]["completion_tokens"] == 6


@pytest.mark.parametrize(
    ("model", "error", "said"),
    [
        ("busy", Overloaded, "slow down"),
        ("refuses", InvalidInput, "temperature is too hot"),
        ("redirects", UpstreamFailed, "redirect"),
        ("failing", UpstreamFailed, "500"),
        ("garbage", UpstreamFailed, "no JSON object"),
    ],
)
def test_what_the_other_server_refuses_has_a_name_here(peer, model, error, said):
    with pytest.raises(error, match=said):
        asked(peer, lambda client: client.ask(CHAT, body(model)))
    if model != "garbage":
        with pytest.raises(error, match=said):
            asked(peer, lambda client: collected(client, model))


def test_a_wrong_key_is_the_servers_affair_and_says_so(peer):
    with pytest.raises(UpstreamFailed, match="does not take this server's key"):
        asked(peer, lambda client: client.ask(CHAT, body("good")), key="wrong")


def test_a_stream_that_ends_without_saying_so_has_failed(peer):
    got = []

    async def listen(client):
        async for chunk in client.stream(CHAT, body("breaks", stream=True)):
            got.append(chunk)

    with pytest.raises(UpstreamFailed, match="in the middle"):
        asked(peer, listen)
    assert len(got) == 3


def test_closing_a_stream_ends_the_work_there(peer):
    before = seen(peer)["left"]

    async def leave(client):
        async with aclosing(client.stream(CHAT, body("endless", stream=True))) as chunks:
            await anext(chunks)
        assert client.streams == 0
        async with asyncio.timeout(20):
            while (await asyncio.to_thread(seen, peer))["left"] == before:
                await asyncio.sleep(0.01)

    asked(peer, leave)


def test_no_more_requests_at_a_time_than_allowed(peer):
    async def two(client):
        async with aclosing(client.stream(CHAT, body("endless", stream=True))) as chunks:
            await anext(chunks)
            with pytest.raises(Overloaded, match="1 requests at a time"):
                await client.ask(CHAT, body("good"))
        return await client.ask(CHAT, body("good"))

    assert asked(peer, two, max_streams=1)["usage"]["completion_tokens"] == 6


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(UpstreamFailed, match="cannot be reached"):
        asked(1, lambda client: client.ask(CHAT, body("good")))


def found(url, hosts):
    return asyncio.run(Addresses(place_of(url), parse_hosts(hosts)).find())


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("http://127.0.0.1:80/v1", "127.0.0.1"),
        ("http://localhost:8000/v1", "localhost"),
        ("http://[::1]:8000/v1", "[::1]"),
        ("http://169.254.169.254/v1", "169.254.169.254"),
        ("http://10.1.2.3/v1", "10.1.2.3"),
        ("http://[::ffff:10.1.2.3]/v1", "[::ffff:10.1.2.3]"),
    ],
)
def test_a_private_address_needs_its_port_on_the_list(url, hosts):
    with pytest.raises(Refused, match="not public"):
        found(url, hosts)
    place = place_of(url)
    host = f"[{place.host}]" if ":" in place.host else place.host
    assert found(url, f"{host}:{place.port}")


@pytest.mark.parametrize("hosts", ["", "other.example.org", "127.0.0.1:81", "sub.127.0.0.1:80"])
def test_a_host_that_is_not_listed_is_refused(hosts):
    with pytest.raises(Refused, match="MODELTAP_UPSTREAM_HOSTS"):
        found("http://127.0.0.1:80/v1", hosts)


def test_addresses_of_the_internet_are_public_and_wrapped_private_ones_are_not():
    assert is_public("93.184.216.34") and is_public("2606:4700::6810:85e5") and is_public("64:ff9b::5db8:d822")
    for private in ("0.0.0.0", "192.168.1.1", "100.64.0.1", "fe80::1%eth0", "fd00::1", "64:ff9b::a01:203", "2002:a01:203::1"):
        assert not is_public(private), private
    for no_address in ("", "host", "224.0.0.1"):
        assert not is_public(no_address)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/v1",
        "http://",
        "http://user:pw@h/v1",
        "https://h/v1?x=1",
        "https://h/v1#x",
        "http://h:99999/v1",
        "h/v1",
        "http://a b/",
    ],
)
def test_what_is_no_plain_address_is_refused(url):
    with pytest.raises(InvalidInput):
        place_of(url)


def test_the_list_of_hosts_is_read_or_refused():
    assert parse_hosts(" a.example.org, b:8000 ,[::1]:5,") == (
        HostRule("a.example.org", None),
        HostRule("b", 8000),
        HostRule("::1", 5),
    )
    for wrong in ("http://a", "a/b", "a:b", "u@a", ":80"):
        with pytest.raises(InvalidInput):
            parse_hosts(wrong)


def test_events_are_read_in_whatever_pieces_they_come():
    data = b': hello\n\ndata: {"a": 1}\r\n\r\nevent: x\ndata:{"b":\ndata: 2}\n\ndata: [DONE]\n\ndata: {"c": 3}\n\n'
    for size in (1, 2, 7, len(data)):
        reader = EventReader()
        got = [one for start in range(0, len(data), size) for one in reader.received(data[start : start + size])]
        assert got == [{"a": 1}, {"b": 2}] and reader.is_done


def test_an_event_without_an_end_is_given_up():
    reader = EventReader()
    with pytest.raises(UpstreamFailed, match="more than"):
        for _ in range(100):
            list(reader.received(b"data: " + b"x" * 100_000))
