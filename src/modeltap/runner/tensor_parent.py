"""The version that is compressed, opened with the rows that it learned from and those that it did not; and its child."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from modeltap.bundle.files import ARCHITECTURE, RECIPE, WEIGHTS, Bundle
from modeltap.compression.pairs import Drop, accuracy_drop, rmse_drop
from modeltap.control.compress_spec import CompressSpec
from modeltap.data.store import open_dataset
from modeltap.data.text_reading import FittedTexts
from modeltap.domain.dataset import Kind, Part, Schema
from modeltap.domain.engine import Engine
from modeltap.domain.features import FeatureSpec
from modeltap.domain.recipe import Recipe, Split
from modeltap.domain.signature import Array, Batch, Signature
from modeltap.engines.select import open_engine
from modeltap.errors import InvalidData
from modeltap.evaluation.slices import RowGroup, slice_rows
from modeltap.recipe.document import load_document
from modeltap.recipe.parse import parse_recipe
from modeltap.runner.imported_rows import ImportedRows, prepare_imported
from modeltap.runner.judge import cells, run_in_chunks, slice_columns
from modeltap.runner.prepare import PartData, Prepared, prepare
from modeltap.runner.steps import Step
from modeltap.tasks import tensors
from modeltap.tasks.catalogue import find_task


@dataclass(frozen=True)
class Parent:
    """`engine` answers as its deployments do."""

    id: str
    bundle: Bundle
    recipe: Recipe | None
    """None of what was imported as a graph."""
    prepared: Prepared
    engine: Engine
    imported: ImportedRows | None = None
    """Of what was imported: which of its outputs is the answer, and of what."""

    @property
    def is_whole(self) -> bool:
        """Whether its graph is not known to be a network behind its preprocessing."""
        is_plain = self.bundle.manifest.task == tensors.TASK.name
        return self.imported is not None and (is_plain or ARCHITECTURE not in self.bundle.files)

    @property
    def compared(self) -> tuple[Part, PartData]:
        """The rows on which parent and child are compared: those of the test part, or else of the validation part."""
        held_out: tuple[Part, ...] = ("test", "val")
        for name in held_out:
            if len(self.prepared.parts[name]):
                return name, self.prepared.parts[name]
        raise InvalidData(f"the recipe of {self.id} leaves no row for a test, nor for a validation; nothing can be compared")

    def described(self) -> dict[str, Any]:
        """The network as architecture.json has it."""
        told: dict[str, Any] = msgspec.json.decode(self.bundle.files[ARCHITECTURE].read_bytes())
        return told

    def feature_spec(self) -> FeatureSpec:
        return msgspec.convert(self.described()["features"], FeatureSpec)

    def weights(self) -> dict[str, NDArray[Any]]:
        from safetensors.numpy import load_file

        held: dict[str, NDArray[Any]] = load_file(self.bundle.files[WEIGHTS])
        return held

    def answers(self, engine: Engine, rows: PartData) -> Array:
        """Probabilities or numbers, of every row."""
        outputs = run_in_chunks(engine.run, rows.columns)
        if self.imported is not None and self.imported.output in outputs:
            return self.imported.answers(outputs)
        return outputs[engine.signature.outputs[0].name]

    def drop(self, others: Array, rows: PartData, *, by_slice: bool = False) -> Drop:
        """How much worse the child answers these rows. others: its answers to them."""
        own = self.answers(self.engine, rows)
        slices = self._slices(rows) if by_slice else {}
        if self.prepared.labels:
            return accuracy_drop(own.argmax(1) == rows.target, others.argmax(1) == rows.target, slices)
        return rmse_drop(own.astype(np.float64), others.astype(np.float64), rows.target, slices)

    def _slices(self, rows: PartData) -> dict[str, list[RowGroup]]:
        """By the columns that an evaluation is sliced by, and by the truth itself."""
        columns = slice_columns(self.prepared.schema)
        by: dict[str, tuple[Sequence[Any], Kind]] = {
            column.name: (cells(rows.columns[column.name]), column.kind) for column in columns
        }
        target = self.prepared.schema.target
        assert target is not None
        labels = self.prepared.labels
        truth: Sequence[Any] = [labels[code] for code in rows.target.tolist()] if labels else rows.target.tolist()
        by[target.name] = (truth, "category" if labels else "number")
        return slice_rows(by, list(by), num_rows=len(rows))


@dataclass(frozen=True)
class Child:
    """What a method made of the parent; `graph` is an onnx.ModelProto from raw columns to answers."""

    graph: Any
    signature: Signature
    method: str
    """As the certificate tells it."""
    recipe: Recipe | None
    schema: Schema
    weights: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    architecture: Mapping[str, Any] = field(default_factory=dict)
    texts: FittedTexts | None = None
    history: Sequence[dict[str, Any]] = ()
    calibration_digest: str = ""
    calibration_rows: int = 0
    notes: tuple[str, ...] = ()


def open_parent(step: Step, spec: CompressSpec, bundle: Bundle) -> Parent:
    """Raises Broken for a bundle that does not load, InvalidData for rows that are no longer as the recipe says."""
    recipe = None
    if RECIPE in bundle.files:
        recipe = parse_recipe(load_document(bundle.files[RECIPE].read_text(encoding="utf-8")))
    stored = open_dataset(step.artifacts.paths(spec.dataset_digest))
    if spec.reading is not None:
        split = Split() if recipe is None else recipe.data.split
        prepared, imported = prepare_imported(stored, spec.dataset, bundle.manifest, spec.reading, split)
        return Parent(spec.model, bundle, recipe, prepared, open_engine(bundle), imported)
    assert recipe is not None
    return Parent(spec.model, bundle, recipe, prepare(stored, recipe, find_task(recipe.task)), open_engine(bundle))


def rows_of(part: PartData, most: int) -> Batch:
    """The columns of so many rows, evenly spaced over the part."""
    index = np.unique(np.linspace(0, len(part) - 1, most).astype(np.int64))
    return {name: values[index] for name, values in part.columns.items()}
