"""modeltap: models on tap. From raw data to a served, metered model in one install."""

from __future__ import annotations

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["Client", "__version__"]

if TYPE_CHECKING:
    from modeltap.client import Client


def __getattr__(name: str) -> object:
    if name == "Client":  # httpx is loaded only by those who call a server
        from modeltap.client import Client

        return Client
    raise AttributeError(f"module 'modeltap' has no attribute '{name}'")
