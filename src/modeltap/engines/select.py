"""Which engine runs a bundle, by the name in its manifest."""

from __future__ import annotations

from contextlib import ExitStack

from modeltap.bundle.files import Bundle
from modeltap.bundle.golden import replay_golden
from modeltap.data.text_reading import TEXTS, read_fitted
from modeltap.domain.engine import Engine
from modeltap.domain.signature import Batch
from modeltap.engines.pieces import best_rows
from modeltap.engines.texts import TextEngine, ids_signature


def open_engine(bundle: Bundle, *, threads: int = 1) -> Engine:
    """The engine that the manifest names, with the graph loaded. Raises Broken."""
    from modeltap.engines.onnx import OnnxEngine

    choice, signature = bundle.manifest.engine, bundle.manifest.signature
    if TEXTS in bundle.files:
        reader = read_fitted(bundle.files).open()
        graph = OnnxEngine(bundle.graph, ids_signature(signature), min_batch=choice.min_batch, threads=threads)
        return TextEngine(reader, graph, signature)
    return OnnxEngine(bundle.graph, signature, min_batch=choice.min_batch, threads=threads)


def warm(engine: Engine, bundle: Bundle) -> Engine:
    """The engine, once it has repeated the bundle's golden rows; it is closed where it does not. Raises GoldenMismatch."""
    from modeltap.engines.onnx import OnnxEngine

    with ExitStack() as unless_warm:
        unless_warm.callback(engine.close)
        seen: list[Batch] = []

        def run(batch: Batch) -> Batch:
            seen.append(batch)
            return engine.run(batch)

        replay_golden(bundle.golden, bundle.manifest.schema, bundle.manifest.signature, run)
        if isinstance(engine, OnnxEngine) and bundle.manifest.is_batched and seen:
            engine.most_rows = best_rows(engine.run, seen[-1])
        unless_warm.pop_all()
    return engine


def open_warm_engine(bundle: Bundle) -> Engine:
    """Both. Raises Broken, GoldenMismatch."""
    return warm(open_engine(bundle), bundle)
