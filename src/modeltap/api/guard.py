"""Who calls: the key of a request → the principal that it proves, from the snapshot in memory, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Callable

from modeltap.api.asgi import Scope, header
from modeltap.domain.secret import digest_secret, parse_key
from modeltap.domain.snapshot import DeploymentSnapshot
from modeltap.domain.tenant import ADMIN_KEY_ID, ANONYMOUS, DEFAULT_TENANT, ROOT, Key, Principal, granted_scopes
from modeltap.errors import Forbidden, NotFound, Unauthenticated

OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/health", "/ping", "/v2/health/live", "/v2/health/ready"})
ACTING_HEADER = b"modeltap-key"
"""The id of the key that is limited and charged, in a request of the home itself."""
UNKNOWN_KEY = (
    "the key is not known here; the admin key is in admin.key in the server's home, others are made by 'modeltap keys create'"
)
NO_KEY = (
    "no key was sent; pass it as 'Authorization: Bearer KEY' or 'x-api-key: KEY' (the admin key is in admin.key in the"
    " server's home)"
)

MAX_PROVEN = 10_000
NEVER_S = float("inf")


class _Known:
    """A key as it is checked at every request."""

    __slots__ = ("digests", "expires_s", "is_revoked", "principal")

    def __init__(self, key: Key) -> None:
        self.principal = Principal(
            key=key.id,
            tenant=key.tenant,
            scopes=granted_scopes(key.scopes),
            models=None if key.models is None else frozenset(key.models),
        )
        self.is_revoked = key.revoked_at is not None
        self.expires_s = None if key.expires_at is None else key.expires_at.timestamp()
        self.digests = tuple(
            (secret.digest, None if secret.expires_at is None else secret.expires_at.timestamp()) for secret in key.secrets
        )


class Guard:
    """Holds the admin key and every key of the last snapshot."""

    def __init__(self, admin_key: str, pepper: bytes, *, clock: Callable[[], float] = time.time) -> None:
        self._admin_key = admin_key.encode()
        self._pepper = pepper
        self._clock = clock
        self._keys: dict[str, _Known] = {}
        self._tenants: frozenset[str] = frozenset()
        self._proven: dict[str, tuple[Principal, float]] = {}
        """Keys that were good, until their end: the digest of one that comes a thousand times a second is made once."""

    def publish(self, snapshot: DeploymentSnapshot) -> None:
        """From now on these keys are good."""
        self._keys = {id_: _Known(key) for id_, key in snapshot.keys.items()}
        self._tenants = frozenset(snapshot.tenants) | {DEFAULT_TENANT}
        self._proven.clear()

    def principal(self, presented: str | None, *, tenant: str | None = None, acting_key: str | None = None) -> Principal:
        """Who presents this key, acting in `tenant` if that is named; ANONYMOUS without a key. With `acting_key`, the id of a
        key, that one's holder: it is for the admin key alone, which lets a batch be charged to the key that asked for it.

        Raises Unauthenticated for an unknown, expired or revoked one, NotFound for a tenant that is not the key's; Forbidden
        and NotFound for an acting key that may not be, or is not there.
        """
        if presented is None and acting_key is None:
            return ANONYMOUS
        if tenant is None and acting_key is None and (proven := self._proven.get(presented or "")) is not None:
            if proven[1] == NEVER_S or self._clock() < proven[1]:
                return proven[0]
            del self._proven[presented or ""]
        if presented is not None and hmac.compare_digest(presented.encode("utf-8", "surrogateescape"), self._admin_key):
            return self._root(tenant) if acting_key in (None, ADMIN_KEY_ID) else self._acting(acting_key, tenant)
        if presented is None or acting_key is not None:
            raise Forbidden(f"the header {ACTING_HEADER.decode()} takes the home's own admin key; leave it out")
        parsed = parse_key(presented)
        known = self._keys.get(parsed[0]) if parsed is not None else None
        if parsed is None or known is None:
            raise Unauthenticated(UNKNOWN_KEY)
        key_id, secret = parsed
        given = digest_secret(self._pepper, secret)
        now_s = self._clock()
        good_until_s = 0.0
        for digest, expires_s in known.digests:
            if hmac.compare_digest(given, digest) and (expires_s is None or now_s < expires_s):
                good_until_s = max(good_until_s, NEVER_S if expires_s is None else expires_s)
        if not good_until_s:
            raise Unauthenticated(UNKNOWN_KEY)
        if known.is_revoked:
            raise Unauthenticated(f"the key {key_id} was revoked; ask for a new one")
        if known.expires_s is not None and now_s >= known.expires_s:
            raise Unauthenticated(f"the key {key_id} has expired; ask for a new one")
        if tenant is not None and tenant != known.principal.tenant:
            raise NotFound.named("tenant", tenant[:80], [known.principal.tenant])
        if len(self._proven) >= MAX_PROVEN:
            self._proven.clear()
        self._proven[presented] = known.principal, min(good_until_s, known.expires_s or NEVER_S)
        return known.principal

    def _acting(self, key_id: str, tenant: str | None) -> Principal:
        known = self._keys.get(key_id)
        if known is None or (tenant is not None and tenant != known.principal.tenant):
            raise NotFound(f"there is no key '{key_id[:80]}' to act as; 'modeltap keys list' shows all of a tenant")
        if known.is_revoked:
            raise Forbidden(f"the key {key_id} was revoked; nothing is charged to it any more")
        if known.expires_s is not None and self._clock() >= known.expires_s:
            raise Forbidden(f"the key {key_id} has expired; nothing is charged to it any more")
        return known.principal

    def _root(self, tenant: str | None) -> Principal:
        if tenant is None or tenant == DEFAULT_TENANT:
            return ROOT
        if tenant not in self._tenants:
            raise NotFound.named("tenant", tenant[:80], self._tenants)
        return Principal(key=ROOT.key, tenant=tenant, scopes=ROOT.scopes)


def presented_key(scope: Scope) -> str | None:
    """The key of a bearer token, of x-api-key, or the password of HTTP Basic, as browsers ask for it."""
    own = header(scope, b"x-api-key")
    if own:
        return own
    return key_of_authorization(header(scope, b"authorization"))


def key_of_authorization(value: str | None) -> str | None:
    """The key in the value of an Authorization header or of gRPC metadata of that name."""
    scheme, _, rest = (value or "").partition(" ")
    rest = rest.strip()
    kind = scheme.casefold()
    if kind == "bearer" and rest:
        return rest
    if kind == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[2] or None
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return None
    return None
