"""Which handler answers which path of OpenAI's /v1: one table, to which each part of the protocol adds its lines.

    dispatch = Dispatch([Route("POST", "/v1/embeddings", embeddings.answer)])
    dispatch.add([Route("GET", "/v1/files/{file_id}", files.get, is_metered=False)])

A handler is `async (scope, receive, call) -> Answer | EventStream`; what stands for `{file_id}` is in
`scope["path_params"]["file_id"]`. What it raises becomes OpenAI's error body. Metered handlers lead the call through the
plane and are settled by the door, others never reserve anything; those check with `need` what the key may.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from modeltap.api.asgi import Answer, Receive, Scope
from modeltap.api.openai.events import EventStream
from modeltap.domain.tenant import Scope as KeyScope
from modeltap.errors import Forbidden, MethodNotAllowed, NotFound, nearest
from modeltap.serving.call import Call

Handler = Callable[[Scope, Receive, Call], Awaitable["Answer | EventStream"]]

LONGEST_PATH = 200
"""Of a path that leads nowhere, in the answer that says so."""
FAMILIES = (
    "/v1/batches",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/engines",
    "/v1/files",
    "/v1/fine_tuning/jobs",
    "/v1/models",
    "/v1/moderations",
    "/v1/responses",
)
_NAME = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Route:
    """One line of the table. `{name}` in the pattern stands for anything without a slash."""

    method: str
    pattern: str
    handler: Handler
    is_metered: bool = True
    """Whether a model answers, and so limits and meter hold; a public deployment answers there without a key."""
    regex: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        pieces = _NAME.split(self.pattern)
        fixed = (re.escape(piece) if place % 2 == 0 else f"(?P<{piece}>[^/]+)" for place, piece in enumerate(pieces))
        object.__setattr__(self, "regex", re.compile("".join(fixed)))


class Dispatch:
    """The dialect of `/v1`, as the door knows it."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._fixed: dict[tuple[str, str], Route] = {}
        self._open: list[Route] = []
        self.add(routes)

    def add(self, routes: Iterable[Route]) -> None:
        """These are answered too."""
        for route in routes:
            if "{" in route.pattern:
                self._open.append(route)
            else:
                self._fixed[route.method, route.pattern] = route

    async def answer(self, scope: Scope, receive: Receive, call: Call) -> Answer | EventStream:
        """What the path's handler answers. Raises NotFound, MethodNotAllowed, and what the handler raises."""
        method, path = scope["method"], scope["path"]
        route = self.find(method, path)
        if route is None:
            raise self._refused(method, path)
        found = route.regex.fullmatch(path)
        scope["path_params"] = {} if found is None else found.groupdict()
        return await route.handler(scope, receive, call)

    def find(self, method: str, path: str) -> Route | None:
        """The line of the table; HEAD is answered as GET."""
        method = "GET" if method == "HEAD" else method
        fixed = self._fixed.get((method, path))
        if fixed is not None:
            return fixed
        return next((one for one in self._open if one.method == method and one.regex.fullmatch(path)), None)

    def is_metered(self, method: str, path: str) -> bool:
        """Whether a model answers there; see Route."""
        route = self.find(method, path)
        return route is not None and route.is_metered

    def _refused(self, method: str, path: str) -> MethodNotAllowed | NotFound:
        routes = [*self._fixed.values(), *self._open]
        allowed = sorted({one.method for one in routes if one.regex.fullmatch(path)})
        if allowed:
            return MethodNotAllowed(f"{path[:LONGEST_PATH]} takes {', '.join(allowed)}, given was {method}", allowed=allowed)
        near = nearest(path[:LONGEST_PATH], {one.pattern for one in routes})
        return NotFound(f"there is nothing at {path[:LONGEST_PATH]}{near}")


def is_openai(path: str) -> bool:
    """Whether the path is OpenAI's; KServe's own below /v1 end in a verb."""
    return path == "/v1" or (path.startswith("/v1/") and not path.endswith((":predict", ":explain")))


def family_of(path: str) -> str:
    """The path without names in it, one of few."""
    return next((one for one in FAMILIES if path == one or path.startswith(f"{one}/")), "/v1")


def need(call: Call, *scopes: KeyScope) -> None:
    """The key may do this: it has one of these scopes. Raises Forbidden."""
    if not any(map(call.principal.may, scopes)):
        has = ", ".join(sorted(call.principal.scopes)) or "none"
        raise Forbidden(f"this takes a key with the scope {' or '.join(scopes)}; the key {call.principal.key} has: {has}")
