"""Lists in pages, as OpenAI's clients ask for them and read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

from modeltap.api.asgi import Answer, Scope, json_answer
from modeltap.api.openai.problems import refused

MAX_TEXT_CHARS = 200


def query_of(scope: Scope) -> dict[str, str]:
    """The parameters behind the question mark; of one that is there twice the last."""
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=100))


def limit_of(query: dict[str, str], *, default: int, most: int) -> int:
    """How many are asked for. Raises InvalidInput."""
    given = query.get("limit")
    if given is None:
        return default
    if not (given.isascii() and given.isdigit() and len(given) < 10 and 1 <= int(given) <= most):
        raise refused("limit", f"limit is {given[:MAX_TEXT_CHARS]!r}; give a number from 1 to {most:,}")
    return int(given)


def page_answer(found: Sequence[dict[str, Any]], *, has_more: bool) -> Answer:
    """One page; `after` with its last id asks for the next."""
    return json_answer(
        {
            "object": "list",
            "data": found,
            "first_id": found[0]["id"] if found else None,
            "last_id": found[-1]["id"] if found else None,
            "has_more": has_more,
        }
    )
