"""Who is at the other end of a connection: asked of the system about real sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from modeltap.api.local_caller import is_forwarded, parse_peer, user_of

ANOTHER = 54321
CONNECT = """
import encodings.idna, os, socket, sys
os.setuid({user})  # who may not read the libraries of who started it
s = socket.create_connection(("127.0.0.1", {port}))
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("listens", "calls"),
    [("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("::1", "::1"), ("127.0.0.1", "::ffff:127.0.0.1")],
)
def test_a_process_of_this_user_is_known(listens, calls):
    with socket.create_server((listens, 0), family=socket.AF_INET6 if ":" in listens else socket.AF_INET) as server:
        port = server.getsockname()[1]
        with socket.create_connection((calls, port)):
            connection, peer = server.accept()
            with connection:
                own = (listens, port)
                assert user_of(peer[:2], own) == os.getuid()
                assert user_of(peer[:2], (listens, port + 1)) is None, "it is known by both ends"
                assert user_of(peer[:2], ("127.0.0.3", port)) is None, "and by both addresses"
                assert user_of(("10.0.0.1", peer[1]), own) is None, "another machine"
                assert user_of(peer[:2], ("0.0.0.0", port)) is None, "any address is none"
                assert user_of(("", 0), own) is None, "a Unix socket"
                assert user_of(peer[:2], own, tables=("/proc/net/absent",)) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_a_process_of_another_user_is_told_apart():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30.0)
        port = server.getsockname()[1]
        code = CONNECT.format(user=ANOTHER, port=port)
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
            connection, peer = server.accept()
            with connection:
                assert user_of(peer, ("127.0.0.1", port)) == ANOTHER
            process.communicate()


def test_who_has_hung_up_is_nobody():
    """The table has 0, which is root's number, for a connection that its process closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for hang_up in (lambda caller: caller.shutdown(socket.SHUT_WR), lambda caller: caller.close()):
            with socket.create_connection(("127.0.0.1", port)) as caller:
                connection, peer = server.accept()
                with connection:
                    hang_up(caller)
                    assert connection.recv(1) == b""
                    assert user_of(peer, ("127.0.0.1", port)) is None


def test_a_connection_of_the_same_port_to_another_address_says_nothing():
    """It has no process behind it until it is accepted, and its row may say root."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as caller, socket.socket() as other:
        port = server.getsockname()[1]
        with socket.create_server(("127.0.0.2", port)):
            for one in (caller, other):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            caller.bind(("127.0.0.1", 0))
            caller.connect(("127.0.0.1", port))
            connection, peer = server.accept()
            with connection:
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                caller.close()
                other.bind(peer)
                other.connect(("127.0.0.2", port))
                assert user_of(peer, ("127.0.0.1", port)) is None
                assert user_of(peer, ("127.0.0.2", port)) == os.getuid()


@pytest.mark.parametrize("names", [["via"], ["host", "x-forwarded-for"], ["x-forwarded-proto"], ["cf-connecting-ip"]])
def test_what_a_proxy_passed_on(names):
    assert is_forwarded(names) and not is_forwarded(["host", "x-api-key", "forward"])


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:127.0.0.1:5000", ("127.0.0.1", 5000)),
        ("ipv6:[::1]:5000", ("::1", 5000)),
        ("ipv6:%5B::1%5D:5000", ("::1", 5000)),
        ("unix:/run/a.sock", None),
        ("", None),
    ],
)
def test_the_names_that_grpc_gives_callers(peer, address):
    assert parse_peer(peer) == address
