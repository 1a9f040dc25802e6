"""Compression of versions that were imported: on rows that a person names, as none of theirs are known."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from modeltap.bundle.files import RECIPE, WEIGHTS
from modeltap.control.compress_spec import Method
from modeltap.control.reading import Reading, plan_reading, truth_kind
from modeltap.domain.certificate import Measure
from modeltap.domain.dataset import Dataset
from modeltap.domain.model import ModelVersion
from modeltap.domain.recipe import Recipe
from modeltap.errors import CannotCompress, InvalidInput
from modeltap.recipe.parse import parse_recipe
from modeltap.tasks import image_classification, tabular_classification, tabular_regression, tensors
from modeltap.tasks.catalogue import find_task

OF_BITS = ("int8", "int4")
SCIKIT_LEARN = "scikit-learn"


class ImportedPlan(NamedTuple):
    """`teacher` is a recipe of nothing but the version's task, of which a student has its own."""

    dataset: Dataset
    reading: Reading
    measure: Measure
    teacher: Recipe


def plan_imported(
    version: ModelVersion,
    method: Method,
    dataset: Dataset | str | None,
    target: str | None,
    labels: Sequence[str],
    scale: float | None,
    *,
    texts: Sequence[str],
) -> ImportedPlan:
    """Raises CannotCompress for a version that has no smaller form, with what may do for it, or for which no rows were named;
    InvalidInput, InvalidData where version and dataset do not fit."""
    manifest = version.manifest
    if find_task(manifest.task).target == "none":
        raise CannotCompress(f"{version.id} has no target that the answers of both could be compared with")
    if manifest.engine.name != "onnxruntime":
        raise CannotCompress(f"{version.id} is served by another server; compress the model where it runs")
    if texts:
        raise InvalidInput("--texts is for language models; name rows with their truth with --data DATASET")
    if not isinstance(dataset, Dataset):
        raise CannotCompress(
            f"{version.id} was imported, so the rows that it learned from are not known, and with rows it is calibrated and"
            " compared: name some with their truth with --data DATASET"
        )
    if not manifest.is_batched:
        raise CannotCompress(
            f"{version.id} is run for one request at a time, as its rows depend on each other; export it with a free first axis"
            " and import that"
        )
    if method in OF_BITS and manifest.architecture == SCIKIT_LEARN:
        raise CannotCompress(
            f"{version.id} is of scikit-learn, with no layers whose weights could be written in"
            f" {method.removeprefix('int')} bits; teach a small network what it answers: --distil recipe.yaml"
        )
    reading = plan_reading(version, dataset, target=target, labels=labels, scale=scale)
    assert reading is not None
    column = dataset.schema.column(reading.target)
    assert column is not None
    is_class = truth_kind(manifest, column, reading) == "category"
    task = manifest.task
    if task == tensors.TASK.name:
        of_class = image_classification if dataset.schema.form == "images" else tabular_classification
        task = (of_class if is_class else tabular_regression).TASK.name
    teacher = parse_recipe({"task": task, "data": {"target": reading.target}})
    return ImportedPlan(dataset, reading, "accuracy" if is_class else "rmse", teacher)


def check_form(version: ModelVersion, method: Method, files: Collection[str]) -> None:
    """Raises CannotCompress for a version that has whole numbers already, and for one that cannot be pruned as its layers are
    not known, or what they are for."""
    manifest = version.manifest
    if method in OF_BITS and manifest.lineage.parent and WEIGHTS not in files:
        raise CannotCompress(f"{version.id} is compressed already; compress its parent {manifest.lineage.parent}")
    if method != "prune":
        return
    if WEIGHTS in files and manifest.task == tensors.TASK.name:
        raise CannotCompress(
            f"{version.id} was imported without a task, so what its layers are trained for is not known; import it again with"
            " --task image-classification, --task tabular-classification or --task tabular-regression"
        )
    if WEIGHTS not in files or RECIPE not in files:
        raise CannotCompress(
            f"{version.id} was imported as a graph, whose layers cannot be written narrower; import it as layers (a Sequential"
            " of Keras, or weights with a recipe), or use --int8 or --distil recipe.yaml"
        )
