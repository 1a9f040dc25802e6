"""What a person says of how a dataset is read for an imported version, of which no training here has said it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from modeltap.domain.dataset import Column, Dataset
from modeltap.domain.model import Manifest, ModelVersion
from modeltap.domain.signature import TensorSpec
from modeltap.errors import InvalidData, InvalidInput, nearest
from modeltap.tasks import tensors

FLOATS = ("FP16", "FP32", "FP64")
LARGEST_SCALE = 1e6
MAX_LABELS = 10_000


class Reading(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`target` is the column with the truth. `labels` are of the outputs in their order; empty: those of the version, else the
    dataset's own classes."""

    target: str
    labels: tuple[str, ...] = ()
    scale: float | None = None
    """What each pixel is multiplied by before a network of floats has it; None is 1/255."""


def is_imported(version: ModelVersion) -> bool:
    """Whether no column of the version's schema says what it was trained to predict."""
    return version.manifest.language is None and version.manifest.schema.target is None


def plan_reading(
    version: ModelVersion, dataset: Dataset, *, target: str | None, labels: Sequence[str], scale: float | None
) -> Reading | None:
    """None for a version that was trained here, which knows all that. Raises InvalidInput for what it has no use for,
    InvalidData where the dataset has no such column, or nobody said which one is the truth."""
    if not is_imported(version):
        said = [name for name, given in (("target", target), ("labels", labels), ("scale", scale)) if given]
        if said:
            raise InvalidInput(f"{said[0]} is for imported versions; {version.id} was trained here and knows its own")
        return None
    known = [column.name for column in dataset.schema.columns]
    if target is None:
        own = dataset.schema.target
        if own is None:
            raise InvalidData(
                f"{version.id} was imported, and {dataset.id} names no target: say which column holds the truth with --target;"
                f" columns: {', '.join(known[:40])}"
            )
        target = own.name
    column = dataset.schema.column(target)
    if column is None:
        raise InvalidData(f"{dataset.id} has no column '{target}', the target{nearest(target, known)}")
    if column.kind in ("image", "array"):
        raise InvalidData(f"'{target}' is a whole {column.kind}; a target is one value a row")
    if len(set(labels)) != len(labels):
        raise InvalidInput("a label stands twice; each output needs its own")
    if scale is not None and not (math.isfinite(scale) and 0 < scale <= LARGEST_SCALE):
        raise InvalidInput(f"scale is {scale:g}; it is more than 0 and at most {LARGEST_SCALE:,.0f}")
    reading = Reading(target=target, labels=tuple(labels), scale=scale)
    truth_kind(version.manifest, column, reading)
    return reading


def answer_output(manifest: Manifest) -> str:
    """The output that is compared: the answer where it is of floats, else the first that is.

    Raises InvalidData where none is.
    """
    if manifest.task == tensors.TASK.name:
        floats = [spec for spec in manifest.signature.outputs if spec.datatype in FLOATS]
        if not floats:
            raise InvalidData("the version gives no numbers of floats, which could be compared with a class or a number")
        named = [spec.name for spec in floats]
        return manifest.output if manifest.output in named else named[0]
    return manifest.output


def truth_kind(manifest: Manifest, target: Column, reading: Reading) -> Literal["category", "number"]:
    """`category` where classes are told apart, else `number`. Raises InvalidData where neither can be compared."""
    if manifest.labels:
        return "category"
    if manifest.task != tensors.TASK.name:
        if target.kind not in ("number", "boolean"):
            raise InvalidData(f"the version predicts numbers, and the target '{target.name}' is a {target.kind}")
        return "number"
    output = answer_output(manifest)
    inner = output_spec(manifest, output).shape[1:]
    if len([extent for extent in inner if extent != 1]) > 1:
        raise InvalidData(
            f"the version gives {list(inner)} numbers a row in '{output}'; compared are one number, or one for each class"
        )
    is_one = all(extent == 1 for extent in inner)
    return "number" if is_one and target.kind == "number" and not reading.labels else "category"


def output_spec(manifest: Manifest, output: str) -> TensorSpec:
    return next(spec for spec in manifest.signature.outputs if spec.name == output)
