"""What runs a bundle, as the rest of modeltap sees it."""

from __future__ import annotations

from typing import Protocol

from modeltap.domain.signature import Batch, Signature


class Engine(Protocol):
    """Answers a batch of typed inputs with the graph's outputs. Not thread-safe: one thread runs it."""

    signature: Signature

    def run(self, batch: Batch) -> Batch:
        """Outputs by name, first axis as in the inputs. An answer never depends on the rows beside it."""

    def close(self) -> None: ...
