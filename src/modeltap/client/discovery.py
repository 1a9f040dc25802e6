"""Where a home's own server is: its URL and process from <home>/server.json, its key from <home>/admin.key."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import msgspec

from modeltap.client.errors import ConnectionFailed
from modeltap.client.transport import Address
from modeltap.settings import load_client_settings, load_settings

SERVER_FILE = "server.json"
KEY_FILE = "admin.key"


class ServerFile(msgspec.Struct, frozen=True, kw_only=True):
    """What a running server writes about itself."""

    url: str
    pid: int
    background: bool = False
    certificate: str | None = None
    """The file of its TLS certificate."""


def find_home(home: Path | str | None = None) -> Path:
    """The given home, else MODELTAP_HOME, else ~/.modeltap."""
    return load_settings({"home": home}).settings.home


def read_server_file(home: Path) -> ServerFile | None:
    """None where no server wrote one, or it is half written."""
    try:
        return msgspec.json.decode((home / SERVER_FILE).read_bytes(), type=ServerFile)
    except (OSError, msgspec.DecodeError):
        return None


def read_key(home: Path) -> str | None:
    try:
        return (home / KEY_FILE).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def is_alive(server: ServerFile, *, timeout_s: float = 2.0) -> bool:
    """Whether its process lives and answers."""
    try:
        os.kill(server.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it lives, and belongs to somebody else
    try:
        # Only whether it answers is asked, and no key is sent, so its certificate need not be known.
        return httpx.get(f"{server.url}/livez", timeout=timeout_s, trust_env=False, verify=False).is_success  # noqa: S501
    except httpx.HTTPError:
        return False


def locate(url: str | None = None, key: str | None = None, *, home: Path | None = None) -> Address:
    """The address that is given, else that of the environment, else that of the home's running server.

    The home's admin key is used only for the home's own server. Raises ConnectionFailed if nothing is found.
    """
    given = load_client_settings(url, key)
    where = find_home(home)
    server = read_server_file(where)
    if given.url is not None:
        if server is None or server.url != given.url.rstrip("/"):
            return Address(given.url, given.key)
    elif server is None:
        raise ConnectionFailed(
            "no server is known here; start one with: modeltap up, or give the URL of one, also as MODELTAP_URL"
        )
    return Address(server.url, given.key or read_key(where), server.certificate)
