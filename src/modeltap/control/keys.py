"""The admin key: made once at the first start, kept in the home, readable by its owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from modeltap.errors import StorageFailed

FILE = "admin.key"
SECRET_BYTES = 24


def open_admin_key(home: Path) -> tuple[str, bool]:
    """The key, and whether it was made just now. Raises StorageFailed if the file cannot be written, read or is empty."""
    path = home / FILE
    try:
        if path.exists():
            key = path.read_text(encoding="ascii").strip()
            if not key:
                raise StorageFailed(f"{FILE} in the home is empty; remove it to have a new key made")
            return key, False
        key = f"mt-admin-{secrets.token_urlsafe(SECRET_BYTES)}"
        staged = home / f".{FILE}.{os.getpid()}"
        handle = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(handle, key.encode() + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
        staged.rename(path)
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "it is not ASCII"
        raise StorageFailed(f"{FILE} in the home cannot be used: {reason}") from None
    return key, True
