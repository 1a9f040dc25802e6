"""An answer that is kept for the retry of its request."""

from __future__ import annotations

import msgspec


class StoredAnswer(msgspec.Struct, frozen=True, array_like=True):
    """`fingerprint` is the digest of the request that it answers."""

    idempotency_key: str
    fingerprint: str
    status: int
    content_type: str
    body: bytes
