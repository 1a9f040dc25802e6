"""A key as text, `mt-<id>-<secret>`, and the digest under which its secret is kept."""

from __future__ import annotations

import hashlib
import re

PREFIX = "mt"
ID_CHARS = 12
SECRET_BYTES = 24
PEPPER_BYTES = 32

_TEXT = re.compile(rf"{PREFIX}-([a-z0-9]{{{ID_CHARS}}})-([A-Za-z0-9_-]{{1,128}})")


def key_text(key_id: str, secret: str) -> str:
    """What the holder of a key presents."""
    return f"{PREFIX}-{key_id}-{secret}"


def parse_key(text: str) -> tuple[str, str] | None:
    """Id and secret; None for what is not of a key's form, the home's own admin key among it."""
    found = _TEXT.fullmatch(text)
    return None if found is None else (found[1], found[2])


def digest_secret(pepper: bytes, secret: str) -> str:
    """The keyed BLAKE2b digest, hex; without the pepper it says nothing about the secret."""
    return hashlib.blake2b(secret.encode(), key=pepper, digest_size=32).hexdigest()
