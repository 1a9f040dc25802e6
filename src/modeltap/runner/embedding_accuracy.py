"""How good vectors of texts are: how often the nearest of several other views is the right one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeltap.data.subwords import written_ids
from modeltap.data.text_reading import FittedTexts
from modeltap.domain.engine import Engine
from modeltap.domain.signature import Signature

METRIC = "pair_accuracy"
COMPARED = 64
MEASURED_TEXTS = 2048
THINNED = 3


def pair_accuracy(
    engine: Engine, signature: Signature, output: str, columns: Sequence[Sequence[str]], fitted: FittedTexts
) -> float:
    """In what share of the texts the nearest of 64 other views is the right one. `columns` are the first and the second of
    pairs; or texts alone, whose other view is the same with every third token left out."""
    first, *others = (column[:MEASURED_TEXTS] for column in columns)
    second = others[0] if others else [written_ids(_thinned(ids)) for ids in fitted.open().read(first)]
    name = signature.inputs[0].name
    vectors: list[Any] = [engine.run({name: text_array(texts)})[output] for texts in (first, second)]
    hits = 0
    for start in range(0, len(first), COMPARED):
        alike_NN = vectors[0][start : start + COMPARED] @ vectors[1][start : start + COMPARED].T
        hits += int((alike_NN.argmax(1) == np.arange(len(alike_NN))).sum())
    return hits / len(first)


def text_array(texts: Sequence[str]) -> NDArray[Any]:
    """(N,) of objects, as engines take texts."""
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


def _thinned(ids: list[int]) -> list[int]:
    return [number for place, number in enumerate(ids) if place % THINNED != THINNED - 1]
