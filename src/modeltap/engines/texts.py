"""Texts in, tensors out: a bundle's reader of texts in front of its graph of ids.

A row's ids are filled up to a length that depends on the row alone, and rows of one length run together: so an answer does
not depend on the rows beside it, which a common length for all of them would break in the last bits.
Letters: N texts, T ids.
"""

from __future__ import annotations

import numpy as np

from modeltap.batching.stack import padded_length
from modeltap.data.text_reading import TextReader, padded
from modeltap.domain.engine import Engine
from modeltap.domain.signature import Batch, Signature, TensorSpec

SHORTEST = 8
IDS_AT_ONCE = 16_384
"""What lies between the layers takes memory by rows and ids."""


def ids_signature(signature: Signature) -> Signature:
    """Of the graph behind the reader."""
    return Signature((TensorSpec(signature.inputs[0].name, "INT64", (-1, -1)),), signature.outputs)


class TextEngine:
    """`graph` runs ids (N, T) → the outputs of `signature`, whose only input is the text, under the same name."""

    def __init__(self, reader: TextReader, graph: Engine, signature: Signature) -> None:
        self.signature = signature
        self._reader = reader
        self._graph = graph
        self._input = signature.inputs[0].name
        self._outputs = [spec.name for spec in signature.outputs]

    def run(self, batch: Batch) -> Batch:
        lists = self._reader.read(batch[self._input].tolist())
        by_length: dict[int, list[int]] = {}
        for row, ids in enumerate(lists):
            by_length.setdefault(filled_length(len(ids), self._reader.max_ids), []).append(row)
        pieces: list[Batch] = []
        order: list[int] = []
        for length, rows in sorted(by_length.items()):
            step = max(1, IDS_AT_ONCE // length)
            for start in range(0, len(rows), step):
                chosen = rows[start : start + step]
                ids_NT = padded([lists[row] for row in chosen], length, padding=self._reader.padding)
                pieces.append(self._graph.run({self._input: ids_NT}))
                order += chosen
        if len(pieces) == 1:
            return pieces[0]
        place = np.argsort(np.array(order))
        return {name: np.concatenate([piece[name] for piece in pieces])[place] for name in self._outputs}

    def close(self) -> None:
        self._graph.close()


def filled_length(num_ids: int, max_ids: int) -> int:
    """How long a row of so many ids is when it runs: one of few lengths."""
    return min(padded_length(max(num_ids, SHORTEST)), max_ids)
