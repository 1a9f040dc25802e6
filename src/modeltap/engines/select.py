"""Which engine runs a bundle, by the name in its manifest."""

from __future__ import annotations

from modeltap.bundle.files import Bundle
from modeltap.domain.engine import Engine


def open_engine(bundle: Bundle, *, threads: int = 1) -> Engine:
    """The engine that the manifest names, with the graph loaded."""
    from modeltap.engines.onnx import OnnxEngine

    choice = bundle.manifest.engine
    return OnnxEngine(bundle.graph, bundle.manifest.signature, min_batch=choice.min_batch, threads=threads)
