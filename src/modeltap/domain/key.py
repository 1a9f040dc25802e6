"""Whether a key still opens, what a rotation leaves of its secrets, and what it may be made of."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from modeltap.domain.tenant import SCOPES, Key, Scope, Secret
from modeltap.errors import Conflict, InvalidInput, nearest

MAX_LABEL_CHARS = 200
ROTATION_GRACE = timedelta(hours=24)
"""How long the secret that was replaced still opens, unless somebody says otherwise."""

KeyState = Literal["live", "expired", "revoked"]


def key_state(key: Key, now: datetime) -> KeyState:
    if key.revoked_at is not None and key.revoked_at <= now:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "live"


def is_live(secret: Secret, now: datetime) -> bool:
    """Whether the secret still opens, if its key does."""
    return secret.expires_at is None or secret.expires_at > now


def check_live(key: Key, now: datetime) -> None:
    """Raises Conflict for a key that opens nothing any more."""
    state = key_state(key, now)
    if state != "live":
        raise Conflict(f"the key {key.id} is {state} and stays so; create another: modeltap keys create")


def rotate(key: Key, digest: str, now: datetime, grace: timedelta = ROTATION_GRACE) -> Key:
    """The key with a new secret. Of the old ones the newest opens for `grace` more, so that never more than two do.

    Raises Conflict for a key that is revoked or expired.
    """
    check_live(key, now)
    kept = next((secret for secret in key.secrets if is_live(secret, now)), None)
    old: tuple[Secret, ...] = ()
    if kept is not None and grace > timedelta():
        ends_at = now + grace if kept.expires_at is None else min(kept.expires_at, now + grace)
        old = (msgspec.structs.replace(kept, expires_at=ends_at),)
    return msgspec.structs.replace(key, secrets=(Secret(digest=digest, created_at=now), *old))


def parse_scopes(given: Iterable[str]) -> tuple[Scope, ...]:
    """The scopes, each once and in the order of SCOPES. Raises InvalidInput for an unknown one and for none."""
    wanted = list(given)
    for name in wanted:
        if name not in SCOPES:
            raise InvalidInput(f"there is no scope '{name}'{nearest(name, SCOPES)}", fields=[("scopes", "unknown scope")])
    if not wanted:
        raise InvalidInput(f"a key needs a scope; scopes: {', '.join(SCOPES)}", fields=[("scopes", "none was given")])
    return tuple(scope for scope in SCOPES if scope in wanted)


def parse_label(given: str) -> str:
    """What people call a key. Raises InvalidInput if it is too long, or holds what cannot be shown."""
    if len(given) > MAX_LABEL_CHARS or not given.isprintable():
        raise InvalidInput(
            f"a label has at most {MAX_LABEL_CHARS} letters, all on one line; {len(given)} were given",
            fields=[("label", "not a valid label")],
        )
    return given
