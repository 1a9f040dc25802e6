"""The truth of a file in the labels that a version knows, where the file writes them otherwise."""

from __future__ import annotations

import math
from contextlib import suppress

import numpy as np

from modeltap.domain.signature import Array


def known_labels(truth: Array, labels: tuple[str, ...]) -> Array:
    """The truth with the labels that it means where another file wrote them otherwise: with a dot at the end, as 1.0 for 1, or
    as True for true. A label that several texts could mean stays as it is."""
    meant: dict[object, set[str]] = {}
    for label in labels:
        for sense in _senses(label):
            meant.setdefault(sense, set()).add(label)
    mended: dict[str, str] = {}
    for text in set(truth.tolist()) - set(labels):
        found = next((meant[sense] for sense in _senses(text) if len(meant.get(sense, ())) == 1), {text})
        (mended[text],) = found
    fixed = np.empty(len(truth), dtype=object)
    fixed[:] = [mended.get(text, text) for text in truth.tolist()]
    return fixed


def _senses(label: str) -> list[object]:
    """What the text may mean, the likelier first: itself without a dot at the end, a truth, a number."""
    senses: list[object] = [label.rstrip(".")]
    if label.casefold() in ("true", "false"):
        senses.append(("truth", label.casefold()))
    with suppress(ValueError):
        number = float(label)
        if math.isfinite(number):
            senses.append(number)
    return senses
