"""Whether the server behind a URL is there and knows the model, before a name leads to it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from modeltap.domain.upstream import MAX_CONTEXT, HostRule, Upstream
from modeltap.engines.upstream import UpstreamClient
from modeltap.errors import NotFound


async def try_upstream(upstream: Upstream, rules: Sequence[HostRule]) -> int | None:
    """How many tokens it says that the model reads and writes; None where it does not say.

    Raises NotFound with the nearest name for a model that it does not list, Refused for its address, UpstreamFailed.
    """
    key = os.environ.get(upstream.key_variable, "") if upstream.key_variable else ""
    client = UpstreamClient(upstream.url, rules=rules, key=lambda: key)
    try:
        listed = await client.models()
    finally:
        await client.close()
    if not listed:  # it has no list; the first call finds out
        return None
    known = {str(one.get("id")): one for one in listed}
    if upstream.model not in known:
        raise NotFound.named("model there called", upstream.model, known)
    return _context(known[upstream.model])


def _context(listed: dict[str, Any]) -> int | None:
    """Where the servers that say it have it: vLLM and modeltap, llama.cpp."""
    meta = listed.get("meta")
    for found in (listed.get("max_model_len"), meta.get("n_ctx") if isinstance(meta, dict) else None):
        if type(found) is int and 1 <= found <= MAX_CONTEXT:
            return found
    return None
