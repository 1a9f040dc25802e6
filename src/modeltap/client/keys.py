"""`client.keys`: who may call, for what, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from modeltap.client.limits import Limits, limits_body
from modeltap.client.transport import Transport, segment
from modeltap.client.values import Key, NewKey, read_answer


class Keys:
    """Of the tenant that the client acts for."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        *,
        label: str = "",
        scopes: Sequence[str] = ("predict",),
        models: Sequence[str] | None = None,
        limits: Limits | None = None,
        expires_in: timedelta | None = None,
    ) -> NewKey:
        """The key, with its text in `key`: keep it, it is shown this once.

        scopes: of predict, explain, train, admin. models: deployments it may call; None is all of them.
        Raises InvalidInput for an unknown scope or a limit that is none.
        """
        body = {
            "label": label,
            "scopes": list(scopes),
            "models": None if models is None else list(models),
            "limits": limits_body(limits),
            "expires_in_s": None if expires_in is None else round(expires_in.total_seconds()),
        }
        return read_answer(self._transport.json("POST", "/api/keys", body=body), NewKey)

    def list(self) -> list[Key]:
        """The newest first, also those that open nothing any more."""
        return [read_answer(key, Key) for key in self._transport.json("GET", "/api/keys")["keys"]]

    def get(self, key_id: str) -> Key:
        """Raises NotFound."""
        return read_answer(self._transport.json("GET", f"/api/keys/{segment(key_id)}"), Key)

    def update(self, key_id: str, *, limits: Limits) -> Key:
        """The limits that are named change, the others stay. Raises NotFound, InvalidInput, Conflict."""
        body = {"limits": limits_body(limits)}
        return read_answer(self._transport.json("PATCH", f"/api/keys/{segment(key_id)}", body=body), Key)

    def rotate(self, key_id: str, *, grace: timedelta | None = None) -> NewKey:
        """The key with a new text; the one before it opens for `grace` more, a day if none is given. Raises NotFound,
        Conflict."""
        body = {} if grace is None else {"grace_s": round(grace.total_seconds())}
        return read_answer(self._transport.json("POST", f"/api/keys/{segment(key_id)}/rotate", body=body), NewKey)

    def revoke(self, key_id: str) -> Key:
        """It opens nothing from now on. Raises NotFound."""
        return read_answer(self._transport.json("DELETE", f"/api/keys/{segment(key_id)}"), Key)
