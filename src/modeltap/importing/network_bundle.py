"""A network as a graph, with its source framework at hand → the files of a bundle, once both gave the same answers.

Letters: N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modeltap import __version__
from modeltap.bundle.environment import environment
from modeltap.bundle.files import bundle_files
from modeltap.bundle.golden import Golden, record_golden, wire_rows
from modeltap.bundle.golden_cases import record_case
from modeltap.domain.dataset import Schema
from modeltap.domain.model import EngineChoice, Lineage, Manifest
from modeltap.domain.signature import Array, Batch, Signature
from modeltap.engines.onnx import OnnxEngine
from modeltap.errors import InvalidData
from modeltap.importing.compared import Compared
from modeltap.importing.import_card import write_import_card
from modeltap.importing.rows_of_graph import SAMPLE_ROWS, measure_rows
from modeltap.importing.samples import resized
from modeltap.tasks import tensors

EXPECTED_DIFFERENCE = 1e-5
"""Relative to the larger of 1 and the number: what rounding in another order makes. More is told."""
MOST_DIFFERENCE = 1e-3
"""What is refused: that is another network."""
COMPARED_SIZES = (1, 3)
"""Beside all rows at once."""
MAX_GOLDEN_ROW_BYTES = 64 << 10
"""Larger rows are kept as tensors in binary, which is shorter."""
GOLDEN_ROWS = 8
GOLDEN_CASE_ROWS = 2
SOURCE_ROWS = "the rows of a request depend on each other in this network, so requests are run one at a time"


@dataclass(frozen=True)
class Network:
    """`answer` is what the source framework gives for a batch, by output."""

    graph: bytes
    signature: Signature
    schema: Schema
    """Of its inputs; without columns where they are no rows."""
    answer: Callable[[Batch], Mapping[str, Array]]
    source: str
    source_digest: str
    architecture: str
    task: str = tensors.TASK.name
    labels: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    notices: Sequence[str] = ()
    recipe: str = ""
    weights: Mapping[str, Array] = field(default_factory=dict)
    described: Mapping[str, Any] = field(default_factory=dict)
    """What the weights are of, as `architecture.json`; empty where they cannot be trained on."""


def write_network(network: Network, target: Path, sample: Batch, *, is_given: bool) -> tuple[list[str], Compared]:
    """Writes the bundle into `target`; what is worth knowing of it, and how near its answers are to the source's.

    Raises InvalidData for a graph that answers otherwise than the framework that the model is of.
    """
    plain = OnnxEngine(network.graph, network.signature)
    compared = compare_answers(plain.run, network.answer, sample, source=network.source, is_given=is_given)
    notices = [*network.notices, *told_of(compared)]
    min_batch = measure_rows(plain.run, resized(sample, SAMPLE_ROWS), graph_bytes=len(network.graph))
    notices += [SOURCE_ROWS] if min_batch is None else []
    schema = network.schema if min_batch is not None else Schema(form="arrays", columns=(), missing=())
    manifest = Manifest(
        task=network.task,
        architecture=network.architecture,
        signature=network.signature,
        engine=EngineChoice(min_batch=1 if min_batch is None else min_batch),
        schema=schema,
        output=network.signature.outputs[0].name,
        labels=network.labels,
        lineage=Lineage(code_version=__version__, source_digest=network.source_digest),
        is_batched=min_batch is not None,
    )
    engine = OnnxEngine(network.graph, network.signature, min_batch=manifest.engine.min_batch)
    files = bundle_files(
        manifest=manifest,
        graph=network.graph,
        golden=_golden(manifest, sample, engine),
        card=write_import_card(manifest, facts=network.facts, notices=notices, what="network"),
        recipe_yaml=network.recipe,
        weights=network.weights if network.described else {},
        architecture=network.described,
    )
    for name, content in files.items():
        (target / name).write_bytes(content)
    return notices, compared


def compare_answers(
    run: Callable[[Batch], Batch],
    answer: Callable[[Batch], Mapping[str, Array]],
    sample: Batch,
    *,
    source: str,
    is_given: bool,
) -> Compared:
    """How far the graph's answers are from the source's, also for fewer rows. Raises InvalidData for another network's."""
    num_rows = len(next(iter(sample.values())))
    largest = 0.0
    for size in (num_rows, *(size for size in COMPARED_SIZES if size < num_rows)):
        rows = {name: values[:size] for name, values in sample.items()}
        given, expected = run(rows), answer(rows)
        for name, wanted in expected.items():
            largest = max(largest, _difference(name, given[name], wanted, source))
    return Compared(source=source, difference=float(f"{largest:.3g}"), rows=num_rows, is_given=is_given)


def _difference(name: str, given: Array, wanted: Array, source: str) -> float:
    if given.shape != wanted.shape:
        raise InvalidData(f"'{name}' has the shape {list(given.shape)} in the graph, and {list(wanted.shape)} in {source}")
    if not np.array_equal(np.isnan(given), np.isnan(wanted)):
        raise InvalidData(f"'{name}' is no number where {source} gives one, or the other way round")
    apart = np.abs(given.astype(np.float64) - wanted.astype(np.float64))
    apart = np.where(given == wanted, 0.0, apart)  # also two infinities
    far = apart / np.maximum(1.0, np.abs(wanted.astype(np.float64)))
    if np.nanmax(far, initial=0.0) > MOST_DIFFERENCE:
        raise InvalidData(
            f"the graph does not repeat the answers of {source}: '{name}' differs by up to {np.nanmax(apart):.3g}; it is not"
            " imported"
        )
    return float(np.nanmax(apart, initial=0.0))


def told_of(compared: Compared) -> list[str]:
    """A notice, where the difference is more than rounding."""
    if compared.difference <= EXPECTED_DIFFERENCE:
        return []
    return [f"answers differ from those of {compared.source} by up to {compared.difference:g}"]


def _golden(manifest: Manifest, sample: Batch, engine: OnnxEngine) -> Golden:
    """Rows in the form they arrive in where they are small, else whole requests of tensors."""
    row_bytes = sum(values[:1].nbytes for values in sample.values())
    if manifest.schema.features and row_bytes <= MAX_GOLDEN_ROW_BYTES:
        some: dict[str, Sequence[Any]] = {name: list(values[:GOLDEN_ROWS]) for name, values in sample.items()}
        return record_golden(manifest.schema, wire_rows(manifest.schema, some), engine.run)
    few = {name: values[:GOLDEN_CASE_ROWS] for name, values in sample.items()}
    cases = (record_case(few, manifest.signature, engine.run),)
    return Golden(rows=[], answers={}, environment=environment(), cases=cases)
