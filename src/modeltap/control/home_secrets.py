"""The home's own secrets, each made once at the first start and readable by its owner alone: admin key and pepper."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from modeltap.domain.secret import PEPPER_BYTES, SECRET_BYTES
from modeltap.domain.tenant import ADMIN_KEY_ID
from modeltap.errors import StorageFailed
from modeltap.storage.disk import sync_directory

ADMIN_FILE = "admin.key"
PEPPER_FILE = "pepper.key"


def open_admin_key(home: Path) -> tuple[str, bool]:
    """The key, and whether it was made just now. Raises StorageFailed if the file cannot be written, read or is empty."""
    return _open(home, ADMIN_FILE, lambda: f"mt-{ADMIN_KEY_ID}-{secrets.token_urlsafe(SECRET_BYTES)}")


def open_pepper(home: Path) -> bytes:
    """What the digests of all keys are made with. Raises StorageFailed as above, and if the file is not as it was made."""
    text, _ = _open(home, PEPPER_FILE, lambda: secrets.token_hex(PEPPER_BYTES))
    try:
        pepper = bytes.fromhex(text)
    except ValueError:
        pepper = b""
    if len(pepper) != PEPPER_BYTES:
        raise StorageFailed(
            f"{PEPPER_FILE} in the home is damaged, and no key but the admin key opens without it; restore it from a backup,"
            " or remove it and create all keys anew"
        )
    return pepper


def _open(home: Path, name: str, make: Callable[[], str]) -> tuple[str, bool]:
    """What the file holds, and whether it was made just now, whole or not at all."""
    path = home / name
    try:
        if path.exists():
            text = path.read_text(encoding="ascii").strip()
            if not text:
                raise StorageFailed(f"{name} in the home is empty; remove it to have a new one made")
            return text, False
        text = make()
        staged = home / f".{name}.{os.getpid()}"
        handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(handle, text.encode() + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
        staged.rename(path)
        sync_directory(home)
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "it is not ASCII"
        raise StorageFailed(f"{name} in the home cannot be used: {reason}") from None
    return text, True
