"""Who is at the other end of a connection: asked of the system about real sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from modeltap.api.local_caller import parse_peer, user_of

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
                assert user_of(peer[:2], port) == os.getuid()
                assert user_of(peer[:2], port + 1) is None, "it is known by both ends"
                assert user_of(("10.0.0.1", peer[1]), port) is None, "another machine"
                assert user_of(("", 0), port) is None, "a Unix socket"
                assert user_of(peer[:2], port, tables=("/proc/net/absent",)) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_a_process_of_another_user_is_told_apart():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30.0)
        port = server.getsockname()[1]
        code = CONNECT.format(user=ANOTHER, port=port)
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
            connection, peer = server.accept()
            with connection:
                assert user_of(peer, port) == ANOTHER
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
                    assert user_of(peer, port) is None


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
