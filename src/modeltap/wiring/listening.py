"""Where the server listens: whether that address is safe, the bound socket, and the URL that leads to it."""

from __future__ import annotations

import errno
import ipaddress
import socket

from modeltap.errors import Conflict, InvalidInput, UnsafeBind
from modeltap.settings import Settings


def check_bind(settings: Settings) -> None:
    """Raises UnsafeBind if other machines could reach the server in the clear without anyone having said so."""
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise InvalidInput("TLS takes both --tls-cert and --tls-key")
    if is_loopback(settings.host) or settings.tls_cert or settings.insecure_public_bind:
        return
    raise UnsafeBind(
        f"{settings.host} is open to other machines, and keys would cross the network in the clear;"
        " pass --tls-cert and --tls-key, or --insecure-public-bind if something in front does TLS, or keep to 127.0.0.1"
    )


def bind(settings: Settings, *, port: int | None = None, shared: bool = False) -> socket.socket:
    """A bound socket; `shared` ones of several processes may have the same port, and the system spreads what comes in.

    Raises Conflict if the port is taken, InvalidInput for an address that is not ours.
    """
    wanted = settings.port if port is None else port
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((settings.host, wanted))
    except OSError as problem:
        listener.close()
        if problem.errno == errno.EADDRINUSE:
            raise Conflict(
                f"port {wanted} on {settings.host} is taken; choose another with --port, or 0 for a free one"
            ) from None
        raise InvalidInput(f"cannot listen on {settings.host}:{wanted}: {problem.strerror or problem}") from None
    return listener


def url_of(settings: Settings, listener: socket.socket) -> str:
    """What a client on this machine calls."""
    host, port = listener.getsockname()[:2]
    return f"{'https' if settings.tls_cert else 'http'}://{client_host(host)}:{port}"


def client_host(host: str) -> str:
    """The address under which this machine reaches what listens on `host`, in brackets if it needs them."""
    if ipaddress.ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def grpc_port_of(settings: Settings, http_port: int) -> int:
    """The setting; without one the port above, or a free one where the port itself was a free one."""
    if settings.grpc_port is not None:
        return settings.grpc_port
    return 0 if settings.port == 0 or http_port == 65535 else http_port + 1


def may_share_memory(settings: Settings) -> bool:
    """Whether callers may name shared memory: as it is set, else where only this machine reaches the server, and no proxy."""
    if settings.shared_memory is not None:
        return settings.shared_memory
    return is_loopback(settings.host) and not settings.trusted_proxies


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
