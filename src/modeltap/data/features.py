"""Fit preprocessing on the training part and write it as a graph: raw typed columns → `features` and `codes`.

The graph is what training runs on and what is served, so that the two cannot differ. Letters: N rows, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import msgspec
import numpy as np

from modeltap.data.categories import fit_categories
from modeltap.data.dates import fit_dates
from modeltap.data.fitting import FitSettings, Group
from modeltap.data.graph import PREFIX, GraphWriter
from modeltap.data.numbers import fit_numbers, scale
from modeltap.data.rows import input_spec
from modeltap.domain.dataset import Column, Schema
from modeltap.domain.features import CODES, FEATURES, FeatureSpec
from modeltap.domain.recipe import Transforms
from modeltap.domain.signature import Array, Batch, TensorSpec
from modeltap.errors import InvalidData, InvalidRecipe, nearest

NUMBER_TRANSFORMS = ("standardize", "min-max", "log", "none", "drop")
CATEGORY_TRANSFORMS = ("one-hot", "embedding", "ordinal", "codes", "drop")
DATE_TRANSFORMS = ("parts", "elapsed", "drop")
MAX_TOKENS = 10_000_000


class FittedFeatures(msgspec.Struct, frozen=True, kw_only=True):
    """`graph` is an onnx.ModelProto whose inputs are the feature columns and whose outputs are FEATURES and CODES."""

    graph: Any
    spec: FeatureSpec
    inputs: tuple[TensorSpec, ...]
    notices: tuple[str, ...]


def fit_features(schema: Schema, batch: Batch, target_N: Array, settings: FitSettings) -> FittedFeatures:
    """Preprocessing fitted to `batch`, the training part only.

    batch: typed values by feature column, as `rows` gives them. target_N: class codes or numbers, used to put the
    categories of a tree in order. Raises InvalidData if no feature is left, InvalidRecipe for a transform that does not fit.
    """
    wanted = _used_columns(schema, settings.transforms.columns)
    columns = [column for column in wanted if not _says_nothing(column, batch[column.name])]
    if not columns:
        raise InvalidData(
            "no feature is left: every column is the target, an id, a free text, ignored, dropped or the same in every training"
            " row; say what a column is with data.columns in the recipe, such as {zip: category} or {age: feature}"
        )
    notices = tuple(
        f"column '{column.name}' says nothing in the training rows and is not used"
        for column in wanted
        if column not in columns
    )
    _check_names(columns)
    writer = GraphWriter("features")
    blocks = [c for c in columns if c.kind in ("image", "array")]
    if blocks:
        if len(columns) > 1:
            raise InvalidData(
                f"'{blocks[0].name}' is a whole {blocks[0].kind} and cannot be mixed with other columns;"
                " give the others the role 'ignored'"
            )
        fitted = _fit_block(writer, blocks[0], np.asarray(batch[blocks[0].name]), settings)
    else:
        fitted = _fit_table(writer, columns, batch, target_N, settings)
    return msgspec.structs.replace(fitted, notices=(*notices, *fitted.notices))


def _fit_table(
    writer: GraphWriter, columns: list[Column], batch: Batch, target_N: Array, settings: FitSettings
) -> FittedFeatures:
    numbers = [c for c in columns if c.kind in ("number", "boolean")]
    dates = [c for c in columns if c.kind == "datetime"]
    texts = [c for c in columns if c.kind == "category"]
    groups = fit_numbers(writer, _by_transform(numbers, settings, "numbers"), batch, settings)
    groups += fit_dates(writer, _by_transform(dates, settings, "dates"), batch, settings)
    category_groups, codes, notices = fit_categories(
        writer, _by_transform(texts, settings, "categories"), batch, target_N, settings
    )
    groups += category_groups
    outputs = []
    names = tuple(name for group in groups for name in group.names)
    if groups:
        if len(groups) == 1:
            writer.node("Identity", [groups[0].tensor], out=FEATURES)
        else:
            writer.node("Concat", [group.tensor for group in groups], axis=1, out=FEATURES)
        outputs.append(TensorSpec(FEATURES, "FP32", (-1, len(names))))
    if codes:
        unsqueezed = [writer.node("Unsqueeze", [code, writer.constant([1], np.int64)]) for code, _ in codes]
        writer.node("Concat", unsqueezed, axis=1, out=CODES)
        outputs.append(TensorSpec(CODES, "INT64", (-1, len(codes))))
    inputs = tuple(input_spec(c) for c in columns)
    spec = FeatureSpec(
        shape=(len(names),) if names else (),
        cardinalities=tuple(width for _, width in codes),
        names=names,
        categories=_category_places(groups),
    )
    return FittedFeatures(graph=writer.model(inputs, outputs), spec=spec, inputs=inputs, notices=tuple(notices))


def _category_places(groups: list[Group]) -> tuple[tuple[int, int], ...]:
    starts = accumulate((len(group.names) for group in groups), initial=0)
    return tuple((start, group.codes) for start, group in zip(starts, groups, strict=False) if group.codes)


def _fit_block(writer: GraphWriter, column: Column, values: Array, settings: FitSettings) -> FittedFeatures:
    inputs = (input_spec(column),)
    if column.datatype == "INT64" and settings.tokens:
        if len(column.shape) != 1:
            raise InvalidRecipe(f"an embedding takes one row of token ids a sample, '{column.name}' has {column.shape}")
        return _fit_tokens(writer, column, values)
    if column.kind == "image":
        _check_transform(column, settings.transforms.columns.get(column.name, "auto"), ("none",))
        tensor = _scale_image(writer, column, settings.transforms)
    else:
        tensor = _scale_array(writer, column, values, settings)
    shape = column.shape
    if settings.trees and len(shape) != 1:
        shape = (int(np.prod(shape)),)
        tensor = writer.node("Reshape", [tensor, writer.constant([-1, *shape], np.int64)])
    writer.node("Identity", [tensor], out=FEATURES)
    output = TensorSpec(FEATURES, "FP32", (-1, *shape))
    names = tuple(f"{column.name}[{i}]" for i in range(shape[0])) if len(shape) == 1 else ()
    return FittedFeatures(
        graph=writer.model(inputs, [output]), spec=FeatureSpec(shape=shape, names=names), inputs=inputs, notices=()
    )


def _fit_tokens(writer: GraphWriter, column: Column, values: Array) -> FittedFeatures:
    """Codes of an embedding. What training never reached has no weights of its own: it is read as token 0, by custom padding
    or unknown."""
    inputs = (input_spec(column),)
    if int(values.min(initial=0)) < 0:
        raise InvalidData(f"'{column.name}' holds {int(values.min())}; the ids of tokens begin at 0")
    width = int(values.max(initial=0)) + 1
    if width > MAX_TOKENS:
        raise InvalidData(f"'{column.name}' holds {width - 1}; the ids of tokens lie under {MAX_TOKENS:,}")
    above = writer.node("GreaterOrEqual", [column.name, writer.constant([width], np.int64)])
    below = writer.node("Less", [column.name, writer.constant([0], np.int64)])
    strange = writer.node("Or", [above, below])
    writer.node("Where", [strange, writer.constant([0], np.int64), column.name], out=CODES)
    output = TensorSpec(CODES, "INT64", (-1, *column.shape))
    spec = FeatureSpec(cardinalities=(width,) * column.shape[0])
    notices = (f"'{column.name}' has tokens from 0 to {width - 1}; any other is read as token 0",)
    return FittedFeatures(graph=writer.model(inputs, [output]), spec=spec, inputs=inputs, notices=notices)


def _scale_image(writer: GraphWriter, column: Column, transforms: Transforms) -> str:
    tensor = writer.node("Mul", [writer.cast(column.name, "FP32"), writer.constant(transforms.image_scale, np.float32)])
    channels = column.shape[2] if len(column.shape) == 3 else 1
    for what, operator, values in (
        ("image_mean", "Sub", transforms.image_mean),
        ("image_std", "Div", transforms.image_std),
    ):
        if not values:
            continue
        if len(values) not in (1, channels):
            raise InvalidRecipe(f"data.transforms.{what} has {len(values)} values, the pictures have {channels} channels")
        if operator == "Div" and 0 in values:
            raise InvalidRecipe("data.transforms.image_std holds a 0, which nothing can be divided by")
        tensor = writer.node(operator, [tensor, writer.constant(values, np.float32)])
    return tensor


def _scale_array(writer: GraphWriter, column: Column, values: Array, settings: FitSettings) -> str:
    transform = settings.transforms.columns.get(column.name, settings.transforms.numbers)
    _check_transform(column, transform, NUMBER_TRANSFORMS)
    if transform == "auto":
        transform = "none" if settings.trees or len(column.shape) != 1 else "standardize"
    if transform == "none":
        return writer.cast(column.name, "FP32")
    exact = values.astype(np.float64)
    wide = writer.cast(column.name, "FP64")
    if transform == "log":
        magnitude = writer.node("Add", [writer.node("Abs", [wide]), writer.constant(1.0, np.float64)])
        wide = writer.node("Mul", [writer.node("Sign", [wide]), writer.node("Log", [magnitude])])
        exact = np.sign(exact) * np.log1p(np.abs(exact))
    return writer.cast(scale(writer, wide, exact, transform), "FP32")


def _check_names(columns: list[Column]) -> None:
    """Raises InvalidData for a name that the graph needs for itself."""
    for column in columns:
        if column.name in (FEATURES, CODES) or column.name.startswith(PREFIX) or not column.name:
            raise InvalidData(
                f"no feature can be called '{column.name}', a name that the graph needs for itself; rename the column, or give"
                " it the role 'ignored'"
            )


def _used_columns(schema: Schema, own: Mapping[str, str]) -> list[Column]:
    features = schema.features
    known = {c.name for c in features}
    for name in own:
        if name not in known:
            raise InvalidRecipe(f"data.transforms.columns names '{name}', which is no feature{nearest(name, known)}")
    return [c for c in features if own.get(c.name) != "drop" and c.kind != "text"]


def _says_nothing(column: Column, values: Array) -> bool:
    """Whether training has no value at all, or one category alone: a weight could not tell it from the bias, and would be noise
    where serving has another."""
    if column.kind in ("image", "array"):
        return False
    if column.kind == "category":
        return bool((values == values[0]).all())
    return bool(np.isnan(np.asarray(values, dtype=np.float64)).all())


def _by_transform(columns: list[Column], settings: FitSettings, kind: str) -> list[tuple[str, Column]]:
    """(transform, column) for each: the column's own, else the one for its kind, with `auto` decided."""
    allowed = {"numbers": NUMBER_TRANSFORMS, "categories": CATEGORY_TRANSFORMS, "dates": DATE_TRANSFORMS}[kind]
    auto = {"numbers": "none" if settings.trees else "standardize", "categories": "auto", "dates": "parts"}[kind]
    chosen = []
    for column in columns:
        transform = settings.transforms.columns.get(column.name, getattr(settings.transforms, kind))
        _check_transform(column, transform, allowed)
        if transform == "auto":
            transform = auto
        if transform != "drop":
            chosen.append((transform, column))
    return chosen


def _check_transform(column: Column, transform: str, allowed: tuple[str, ...]) -> None:
    if transform not in ("auto", *allowed):
        raise InvalidRecipe(
            f"data.transforms.columns.{column.name} is '{transform}', but '{column.name}' is a {column.kind};"
            f" allowed: {', '.join(('auto', *allowed))}"
        )
