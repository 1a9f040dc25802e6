"""A graph that was just made → the engine that will serve it, with the smallest batch that repeats to the bit."""

from __future__ import annotations

import numpy as np

from modeltap.bundle.invariance import measure_min_batch
from modeltap.data.text_reading import FittedTexts, padded
from modeltap.domain.engine import Engine
from modeltap.domain.signature import Batch, Signature
from modeltap.engines.onnx import OnnxEngine
from modeltap.engines.texts import TextEngine, filled_length, ids_signature

SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33)
"""Of batches of texts: what they are stacked to by their ids is large anyway."""
MEASURED_LENGTHS = 3


def measured_engine(graph: bytes, signature: Signature, sample: Batch, texts: FittedTexts | None) -> tuple[Engine, int]:
    """The engine and its `min_batch`. sample: some real rows, one at least."""
    if texts is None:
        min_batch = measure_min_batch(OnnxEngine(graph, signature).run, sample)
        return OnnxEngine(graph, signature, min_batch=min_batch), min_batch
    reader, inner = texts.open(), ids_signature(signature)
    plain = OnnxEngine(graph, inner)
    name = signature.inputs[0].name
    lists = sorted(reader.read(sample[name].tolist()), key=len)
    least = []
    for place in np.unique(np.linspace(0, len(lists) - 1, MEASURED_LENGTHS).astype(int)):
        length = filled_length(len(lists[place]), reader.max_ids)
        fitting = [ids for ids in lists if len(ids) <= length][-SIZES[-1] :]
        ids_NT = padded(fitting, length, padding=reader.padding)
        least.append(measure_min_batch(plain.run, {name: ids_NT}, sizes=SIZES))
    min_batch = 0 if 0 in least else max(least)
    return TextEngine(reader, OnnxEngine(graph, inner, min_batch=min_batch), signature), min_batch
