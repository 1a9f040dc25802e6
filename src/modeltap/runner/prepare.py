"""Dataset + recipe → typed rows of the three parts, under the schema that the bundle will carry.

Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from modeltap.data.clean import kept_rows
from modeltap.data.images import fit_shape
from modeltap.data.infer_overrides import override_columns
from modeltap.data.rows import parse_column
from modeltap.data.split import PartIndex, plan_split
from modeltap.data.store import StoredDataset
from modeltap.data.text_columns import with_one_text
from modeltap.domain.dataset import Column, Part, Schema
from modeltap.domain.recipe import Recipe
from modeltap.domain.signature import Array, Batch
from modeltap.domain.task import Task
from modeltap.errors import InvalidData, InvalidRecipe, InvalidValue, nearest

LARGEST_TARGET = 1e37

TRAINED_PARTS: tuple[Part, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class PartData:
    """One part's typed rows and target: int64 class codes or float64 numbers (N,). `stored`, `rows`: where they lie."""

    stored: Part
    rows: NDArray[np.int64]
    columns: Batch
    target: NDArray[Any]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Prepared:
    """`schema` has the target and the recipe's changes; `names` maps its feature columns to those of the dataset."""

    schema: Schema
    names: dict[str, str]
    labels: tuple[str, ...]
    parts: dict[Part, PartData]
    notices: tuple[str, ...]


def prepare(dataset: StoredDataset, recipe: Recipe, task: Task) -> Prepared:
    """Parts split, cleaned and typed. Raises InvalidRecipe and InvalidData for what cannot be trained on."""
    own = recipe_schema(dataset, recipe, task)
    target = own.target
    assert target is not None
    planned = plan_split(dataset, recipe.data.split, target_is_class=task.target == "class", schema=own)
    schema, names = rename_input(own, recipe)
    notices = list(planned.notices)
    typed: dict[Part, Batch] = {}
    targets: dict[Part, Array] = {}
    for stored in dataset.parts:
        typed[stored] = {c.name: read_column(dataset, stored, names[c.name], c, own) for c in schema.features}
        targets[stored] = parse_column(target, dataset.column(stored, target.name), missing=own.missing)
    kept: dict[Part, tuple[PartIndex, NDArray[np.int64]]] = {}
    for part in TRAINED_PARTS:
        planned_part: PartIndex = getattr(planned, part)
        rows = planned_part.index
        compared = part == "train" and recipe.data.clean.duplicates == "drop"
        columns = {n: values[rows] for n, values in typed[planned_part.stored].items() if values.ndim == 1 or compared}
        stays = kept_rows(columns, targets[planned_part.stored][rows], recipe.data.clean, part=part)
        notices += stays.notices
        kept[part] = planned_part, rows[stays.index]
    train, train_rows = kept["train"]
    labels = find_labels(targets[train.stored][train_rows], target) if task.target == "class" else ()
    parts: dict[Part, PartData] = {}
    for part, (source, rows) in kept.items():
        codes, known = encode_target(targets[source.stored][rows], labels)
        if not known.all():
            unseen = sorted(set(targets[source.stored][rows][~known].tolist()))
            told = f"a class with no training row ({', '.join(unseen[:5])}) and were left out"
            notices.append(f"{int((~known).sum())} rows of {part} have {told}")
        index = rows[known]
        parts[part] = PartData(
            source.stored, index, {name: values[index] for name, values in typed[source.stored].items()}, codes[known]
        )
    return Prepared(schema=schema, names=names, labels=labels, parts=parts, notices=tuple(notices))


def recipe_schema(dataset: StoredDataset, recipe: Recipe, task: Task) -> Schema:
    """The dataset's schema as the recipe wants it: kinds and roles, normalisation, and the target as the task reads it."""
    schema = dataset.schema
    if recipe.data.columns:  # all cells are read for it
        schema = override_columns(schema, dataset.as_source(), recipe.data.columns)
    known = [c.name for c in schema.columns]
    if recipe.data.target is not None:
        if schema.column(recipe.data.target) is None:
            raise InvalidRecipe(f"the target '{recipe.data.target}' is no column{nearest(recipe.data.target, known)}")
        schema = schema.with_target(recipe.data.target)
    if "texts" in task.forms:
        schema = with_one_text(schema)
    target = schema.target
    if target is None:
        raise InvalidRecipe(f"no target: name the column to predict with --target; columns: {', '.join(known[:40])}")
    if target.kind in ("image", "array"):
        raise InvalidData(f"the target '{target.name}' is a whole {target.kind}; a target is one value a row")
    if task.target == "class":
        schema = schema.with_column(msgspec.structs.replace(target, kind="category"))
    elif target.kind not in ("number", "boolean"):
        raise InvalidData(
            f"the target '{target.name}' is a {target.kind}, {task.name} predicts numbers; choose another target or a"
            " classification task"
        )
    for column in schema.columns:
        if column.kind == "category" and recipe.data.clean.normalize:
            normalize = tuple(dict.fromkeys((*column.normalize, *recipe.data.clean.normalize)))
            schema = schema.with_column(msgspec.structs.replace(column, normalize=normalize))
    return schema


def rename_input(schema: Schema, recipe: Recipe) -> tuple[Schema, dict[str, str]]:
    """The schema with a single picture or array named and shaped as `model.input` says; and bundle name → dataset name."""
    features = schema.features
    names = {c.name: c.name for c in features}
    wanted = recipe.model.input
    if len(features) != 1 or features[0].kind not in ("image", "array"):
        return schema, names
    column = features[0]
    shape = wanted.shape or column.shape
    try:
        fit_shape(np.empty(column.shape, dtype=np.bool_), shape)
    except InvalidValue:
        raise InvalidRecipe(f"model.input.shape is {list(shape)}, the data has {list(column.shape)}") from None
    name = wanted.name or column.name
    if name != column.name and schema.column(name) is not None:
        raise InvalidRecipe(f"model.input.name '{name}' is the name of another column")
    renamed = msgspec.structs.replace(column, name=name, shape=tuple(shape))
    columns = tuple(renamed if c.name == column.name else c for c in schema.columns)
    return msgspec.structs.replace(schema, columns=columns), {name: column.name}


def read_column(dataset: StoredDataset, part: Part, stored_name: str, column: Column, schema: Schema) -> Array:
    """Typed values of a stored column, in the shape that the bundle's schema gives it."""
    values = dataset.column(part, stored_name)
    if column.kind in ("image", "array") and isinstance(values, np.ndarray):
        return values.reshape(len(values), *column.shape)
    return parse_column(column, values, missing=schema.missing)


def find_labels(target_N: Array, target: Column) -> tuple[str, ...]:
    """The classes in training, in the order of their numbers if all are numbers, else of their letters.

    Raises InvalidData if there is only one, or nearly every row has its own.
    """
    labels: list[str] = sorted(set(target_N.tolist()))
    if len(labels) < 2:
        only = f"only one class, '{labels[0]}'" if labels else "no class at all"
        raise InvalidData(f"the target '{target.name}' has {only}; a classifier needs two or more")
    if len(labels) > 20 and len(labels) > len(target_N) / 2:
        raise InvalidData(
            f"the target '{target.name}' has {len(labels)} different values in {len(target_N)} training rows; to predict a"
            " number use a regression task"
        )
    try:
        numbers = {label: float(label) for label in labels}
    except ValueError:
        return tuple(labels)
    return tuple(sorted(labels, key=numbers.__getitem__)) if np.isfinite(list(numbers.values())).all() else tuple(labels)


def encode_target(target_N: Array, labels: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Class codes (int64) and which rows have a known class; without labels the numbers themselves."""
    if not labels:
        numbers = target_N.astype(np.float64)
        farthest = float(np.max(np.abs(numbers[~np.isnan(numbers)]), initial=0.0))
        if farthest > LARGEST_TARGET:
            raise InvalidData(
                f"the target holds {farthest:g}; at most {LARGEST_TARGET:g} can be predicted in 32 bits, rescale it"
            )
        return numbers, np.ones(len(target_N), dtype=bool)
    place = {label: code for code, label in enumerate(labels)}
    codes = np.array([place.get(text, -1) for text in target_N.tolist()], dtype=np.int64)
    return codes, codes >= 0
