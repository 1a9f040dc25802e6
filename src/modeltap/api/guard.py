"""Who calls: the key of a request, compared in constant time."""

from __future__ import annotations

import base64
import binascii
import hmac

from modeltap.api.asgi import Scope, header
from modeltap.errors import Unauthenticated

OPEN_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/health", "/ping", "/v2/health/live", "/v2/health/ready"})


class Guard:
    """Holds the admin key; every path outside OPEN_PATHS needs it."""

    def __init__(self, admin_key: str) -> None:
        self._admin_key = admin_key.encode()

    def check(self, scope: Scope) -> None:
        """Nothing, if the request may go on. Raises Unauthenticated otherwise, the same way for no key and a wrong one."""
        if scope["path"] in OPEN_PATHS:
            return
        key = presented_key(scope)
        if key is None:
            raise Unauthenticated(
                "no key was sent; pass it as 'Authorization: Bearer KEY' or 'x-api-key: KEY' (the admin key is in admin.key"
                " in the server's home)"
            )
        if not hmac.compare_digest(key.encode("utf-8", "surrogateescape"), self._admin_key):
            raise Unauthenticated("the key is not known here; the admin key is in admin.key in the server's home")


def presented_key(scope: Scope) -> str | None:
    """The key of a bearer token, of x-api-key, or the password of HTTP Basic, as browsers ask for it."""
    own = header(scope, b"x-api-key")
    if own:
        return own
    scheme, _, value = (header(scope, b"authorization") or "").partition(" ")
    value = value.strip()
    if scheme.casefold() == "bearer" and value:
        return value
    if scheme.casefold() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[2] or None
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return None
    return None
