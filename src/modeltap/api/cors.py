"""Browsers' pages from other origins: only those on the list may call."""

from __future__ import annotations

from typing import cast

from modeltap.api.asgi import ASGIApp
from modeltap.errors import InvalidInput

EXPOSED = (
    "x-request-id",
    "retry-after",
    "retry-after-ms",
    "modeltap-model",
    "modeltap-cost",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
)


def with_cors(app: ASGIApp, origins: str) -> ASGIApp:
    """The application, for pages of these origins too; itself if there are none. Raises InvalidInput for one that is none."""
    listed = [origin.strip().rstrip("/") for origin in origins.split(",") if origin.strip()]
    if not listed:
        return app
    for origin in listed:
        if origin == "*" or not origin.startswith(("http://", "https://")) or origin.count("/") > 2:
            raise InvalidInput(
                f"'{origin[:100]}' in --cors-origins is not an origin; list each as https://app.example.org (no path, no '*')"
            )
    from starlette.middleware.cors import CORSMiddleware

    wrapped = CORSMiddleware(
        cast("object", app),  # type: ignore[arg-type]
        allow_origins=listed,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["*"],
        expose_headers=list(EXPOSED),
        max_age=600,
    )
    return cast("ASGIApp", wrapped)
