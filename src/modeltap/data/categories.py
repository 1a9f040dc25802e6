"""Categories → features: a code for each known text, then one-hot floats, a code for an embedding, or an ordered number.

"" is the missing value and a category like any other. Rare ones share a bucket, which unseen ones fall into. Where training
had no rare ones, nothing was fitted to a bucket: then an unseen text is all zeros in one-hot features, the most frequent
category to a network that embeds or orders them, and missing to trees. Letters: N rows.
"""

from __future__ import annotations

import math

import numpy as np

from modeltap.data.fitting import FitSettings, Group
from modeltap.data.graph import GraphWriter
from modeltap.domain.dataset import Column
from modeltap.domain.recipe import Transforms
from modeltap.domain.signature import Array, Batch
from modeltap.errors import InvalidRecipe

FEW_CATEGORIES = 12
"""Up to here trees get one-hot features; beyond, one split on an ordered number does what many on one-hots would."""

MOST_CODES = 255
"""That the trees can part in sets; more are ordered by the target."""


def fit_categories(
    writer: GraphWriter, chosen: list[tuple[str, Column]], batch: Batch, target_N: Array, settings: FitSettings
) -> tuple[list[Group], list[tuple[str, int]], list[str]]:
    """Float groups, (tensor (N,) int64, cardinality) of each embedded column, and notices."""
    groups: list[Group] = []
    codes: list[tuple[str, int]] = []
    notices: list[str] = []
    for transform, column in chosen:
        texts_N = batch[column.name]
        known, rare = _known(texts_N, settings.transforms)
        if transform == "auto":
            transform = settings.auto_categories
            if settings.trees:
                transform = "one-hot" if len(known) <= FEW_CATEGORIES else "ordinal"
        if transform == "codes" and len(known) >= MOST_CODES:
            transform = "ordinal"
        if rare:
            notices.append(f"column '{column.name}': {rare} rare categories share one bucket with unseen ones")
        if transform == "one-hot":
            groups.append(_one_hot(writer, column.name, known, bucket=rare > 0))
        elif transform == "embedding":
            bucket = int(rare > 0)
            codes.append((_codes(writer, column.name, known, first=bucket, unknown=0), len(known) + bucket))
        elif transform == "codes":
            groups.append(_set_codes(writer, column.name, _by_target(known, texts_N, target_N), settings, bucket=rare > 0))
        else:
            ordered = _by_target(known, texts_N, target_N)
            unseen = math.nan if settings.trees else float(ordered.index(known[0]))
            order = _order(writer, column.name, ordered, unknown=-1.0 if rare else unseen)
            groups.append(Group(writer.node("Unsqueeze", [order, writer.constant([1], np.int64)]), (column.name,)))
    return groups, codes, notices


def _known(texts_N: Array, transforms: Transforms) -> tuple[list[str], int]:
    """Categories with a code of their own, the most frequent first, and how many others there are."""
    names, counts = np.unique(texts_N.astype(str), return_counts=True)
    ordered = sorted(zip(names.tolist(), counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0]))
    threshold = min(transforms.rare_count, max(1, len(texts_N) // 20))
    known = [name for name, count in ordered if count >= threshold][: transforms.max_categories]
    return known or [ordered[0][0]], len(ordered) - max(len(known), 1)


def _codes(writer: GraphWriter, tensor: str, known: list[str], *, first: int, unknown: int) -> str:
    return writer.node(
        "LabelEncoder",
        [tensor],
        domain="ai.onnx.ml",
        keys_strings=known,
        values_int64s=list(range(first, first + len(known))),
        default_int64=unknown,
    )


def _order(writer: GraphWriter, tensor: str, known: list[str], *, unknown: float) -> str:
    return writer.node(
        "LabelEncoder",
        [tensor],
        domain="ai.onnx.ml",
        keys_strings=known,
        values_floats=[float(place) for place in range(len(known))],
        default_float=unknown,
    )


def _set_codes(writer: GraphWriter, name: str, ordered: list[str], settings: FitSettings, *, bucket: bool) -> Group:
    """A code a category, for trees that part them in two sets wherever a node is best parted: in the order of the target, in
    which few thresholds say the same as a set. Rare and unseen texts share the last one, or are missing."""
    if not settings.trees:
        raise InvalidRecipe("data.transforms.categories: codes are for trees; use one-hot, embedding or ordinal")
    count = len(ordered) + int(bucket)
    order = _order(writer, name, ordered, unknown=float(len(ordered)) if bucket else math.nan)
    return Group(writer.node("Unsqueeze", [order, writer.constant([1], np.int64)]), (name,), codes=count)


def _one_hot(writer: GraphWriter, name: str, known: list[str], *, bucket: bool) -> Group:
    """A 0/1 feature a category. Rare and unseen texts share a last one if training had rare rows to fit it with; otherwise
    they are all zeros, because a weight that nothing was fitted to would be noise."""
    width = len(known) + int(bucket)
    codes = _codes(writer, name, known, first=0, unknown=len(known) if bucket else -1)
    column = writer.node("Unsqueeze", [codes, writer.constant([1], np.int64)])
    hot = writer.node("Equal", [column, writer.constant(np.arange(width)[None, :], np.int64)])
    names = [f"{name}={text}" if text else f"{name}:missing" for text in known]
    return Group(writer.cast(hot, "FP32"), tuple(names + [f"{name}:other"] * bucket))


def _by_target(known: list[str], texts_N: Array, target_N: Array) -> list[str]:
    """Categories by their mean target: for two classes and for numbers the order in which one split can part them best
    (Fisher 1958)."""
    number_N = np.asarray(target_N, dtype=np.float64)
    means = {text: float(number_N[texts_N == text].mean()) for text in known}
    return sorted(known, key=lambda text: (means[text], text))
