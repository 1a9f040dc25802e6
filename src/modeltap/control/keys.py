"""Keys of one tenant: created, shown without their secret, rotated, limited, revoked. Every change is served at once."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from modeltap.domain.changes import changed
from modeltap.domain.key import ROTATION_GRACE, parse_label, parse_scopes
from modeltap.domain.names import parse_name
from modeltap.domain.secret import ID_CHARS, SECRET_BYTES, digest_secret, key_text
from modeltap.domain.tenant import Key, Limits, Secret
from modeltap.storage.keys import KeyRepository


class Keys:
    """Bound to the tenant of its repository."""

    def __init__(self, tenant: str, keys: KeyRepository, pepper: bytes, publish: Callable[[], None]) -> None:
        self._tenant = tenant
        self._keys = keys
        self._pepper = pepper
        self._publish = publish

    def create(
        self,
        *,
        label: str = "",
        scopes: Sequence[str] = ("predict",),
        models: Sequence[str] | None = None,
        limits: Mapping[str, Any] | None = None,
        expires_in: timedelta | None = None,
    ) -> tuple[Key, str]:
        """The key, and its text, which is told this once. `limits` are fields of Limits; `models` None is every deployment.

        Raises InvalidInput for an unknown scope, a name that no deployment can have, or a limit out of its bounds.
        """
        now = datetime.now(UTC)
        secret = secrets.token_urlsafe(SECRET_BYTES)
        key = Key(
            id=_new_id(),
            tenant=self._tenant,
            label=parse_label(label),
            scopes=parse_scopes(scopes),
            models=None if models is None else tuple(sorted({parse_name("deployment", name) for name in models})),
            limits=changed(Limits(), limits or {}),
            secrets=(Secret(digest=digest_secret(self._pepper, secret), created_at=now),),
            created_at=now,
            expires_at=None if expires_in is None else now + expires_in,
        )
        key = self._keys.add(key)
        self._publish()
        return key, key_text(key.id, secret)

    def list(self) -> tuple[Key, ...]:
        """The newest first, also those that open nothing any more."""
        return self._keys.list()

    def get(self, key_id: str) -> Key:
        """Raises NotFound."""
        return self._keys.get(key_id)

    def set_limits(self, key_id: str, limits: Mapping[str, Any]) -> Key:
        """The key with these limits changed; None takes one away. Raises NotFound, InvalidInput, Conflict if it is not live."""
        key = self._keys.set_limits(key_id, limits, datetime.now(UTC))
        self._publish()
        return key

    def rotate(self, key_id: str, grace: timedelta = ROTATION_GRACE) -> tuple[Key, str]:
        """The key, and its new text, which is told this once; the text before it opens for `grace` more, an earlier one no
        longer. Raises NotFound, Conflict if it is not live."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        key = self._keys.rotate(key_id, digest_secret(self._pepper, secret), datetime.now(UTC), grace)
        self._publish()
        return key, key_text(key.id, secret)

    def revoke(self, key_id: str) -> Key:
        """The key, which opens nothing from now on. Raises NotFound."""
        key = self._keys.revoke(key_id, datetime.now(UTC))
        self._publish()
        return key


def _new_id() -> str:
    return base64.b32encode(secrets.token_bytes(8))[:ID_CHARS].decode().lower()
