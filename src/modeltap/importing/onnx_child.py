"""Reads, tries and describes an ONNX graph in a process of its own: `python -P -m modeltap.importing.onnx_child`, started by
`importing/onnx.py`.

A file that crashes the parser, eats the memory or never ends does so here. It writes the bundle's files into a folder and one
JSON object, its verdict, to standard output.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from modeltap import __version__
from modeltap.bundle.environment import environment
from modeltap.bundle.files import GRAPH, description_files
from modeltap.bundle.golden import Golden, record_golden, wire_rows
from modeltap.bundle.golden_cases import Case, record_case
from modeltap.domain.model import EngineChoice, Lineage, Manifest
from modeltap.domain.signature import Batch, Signature
from modeltap.engines.confine import end_with_parent, leave_no_core, limit_memory, limit_processor_time
from modeltap.engines.onnx import GraphTensor, OnnxEngine, read_graph_tensors
from modeltap.errors import Broken, InvalidData, ModeltapError
from modeltap.importing.import_card import write_import_card
from modeltap.importing.inputs import GraphInput, first_axes_are_free, generated_inputs
from modeltap.importing.onnx_file import find_fault, foreign_operators, read_graph, whole_graph
from modeltap.importing.onnx_signature import datatype_of, input_specs, output_specs, schema_of
from modeltap.importing.rows_of_graph import SAMPLE_ROWS, measure_rows
from modeltap.importing.samples import read_sample
from modeltap.tasks.tensors import TASK

GOLDEN_ROWS = 8
MAX_CASE_BYTES = 8 << 20
"""Of a golden case's tensors; a larger one is not kept."""
NOT_TRIED = (
    "no values were found that the graph takes, so no answer of it was recorded, and none is repeated when it is deployed"
)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told."""

    graph: str
    folder: str
    """Where the bundle's files go."""
    sample: str = ""
    """A file of real rows; empty where none was given."""
    memory_bytes: int
    processor_s: int
    parent_pid: int


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What it found. `code` is that of an error, or empty."""

    code: str = ""
    detail: str = ""
    notices: list[str] = []


class Tried(NamedTuple):
    """A graph that was run, or that nothing could be found to run it with."""

    signature: Signature
    min_batch: int | None
    """None for a graph that does not answer row by row."""
    cases: tuple[Case, ...]


def describe_graph(path: Path, folder: Path, *, sample: Path | None = None) -> list[str]:
    """Writes the bundle of the graph at `path` into `folder`; what is worth knowing of it. Raises InvalidData."""
    model, has_outside_weights = read_graph(path)
    # A graph in one piece stays as it is, to the byte.
    content = whole_graph(model) if has_outside_weights else path.read_bytes()
    fault = find_fault(model)
    facts = _facts(model)
    unranked = frozenset(
        info.name for info in (*model.graph.input, *model.graph.output) if not info.type.tensor_type.HasField("shape")
    )
    try:
        inputs, outputs = read_graph_tensors(content)
    except Broken as problem:
        foreign = foreign_operators(model)
        if foreign:
            raise InvalidData(
                f"the graph uses operators that are not ONNX's own: {', '.join(foreign[:5])}; export it with standard ones"
            ) from None
        raise InvalidData(f"{problem.message}{f' (the checker says: {fault})' if fault else ''}") from None
    del model
    # ONNX Runtime tells a shape that it has found out, and none in the way of that of a single value.
    known = {one.name for one in (*inputs, *outputs) if one.axes}
    tried = _try(content, inputs, outputs, unranked - known)
    manifest = _manifest(content, tried)
    golden = Golden(rows=[], answers={}, environment=environment(), cases=tried.cases)
    if sample is not None:
        golden = _with_rows(golden, manifest, content, sample)
    notices = ([f"onnx's checker finds fault with the graph: {fault}"] if fault else []) + ([] if tried.cases else [NOT_TRIED])
    card = write_import_card(manifest, facts=facts, notices=notices)
    for name, data in {**description_files(manifest=manifest, golden=golden, card=card), GRAPH: content}.items():
        (folder / name).write_bytes(data)
    return notices


def _try(content: bytes, inputs: list[GraphTensor], outputs: list[GraphTensor], unranked: frozenset[str]) -> Tried:
    specs = input_specs(inputs, unranked=unranked)
    given = [GraphInput(one.name, datatype_of(one, "input"), one.axes) for one in inputs]
    free = [one for one in outputs if one.name not in unranked]
    draft = Signature(specs, output_specs(outputs, unranked=unranked, ranks={}))
    engine = OnnxEngine(content, draft)
    if inputs and first_axes_are_free(inputs) and (first_axes_are_free(free) or not free):
        sample, answer = _first_that_runs(engine, given, num_rows=SAMPLE_ROWS)
        if sample is not None:
            signature = Signature(specs, output_specs(outputs, unranked=unranked, ranks=_ranks(answer)))
            min_batch = measure_rows(engine.run, sample, graph_bytes=len(content))
            if min_batch is not None:
                padded = OnnxEngine(content, signature, min_batch=min_batch)
                some = {name: values[:3] for name, values in sample.items()}
                one = {name: values[-1:] for name, values in sample.items()}
                return Tried(signature, min_batch, _cases([some, one], signature, padded))
    sample, answer = _first_that_runs(engine, given, num_rows=None)
    signature = Signature(specs, output_specs(outputs, unranked=unranked, ranks=_ranks(answer)))
    return Tried(signature, None, () if sample is None else _cases([sample], signature, engine))


def _first_that_runs(engine: OnnxEngine, given: list[GraphInput], *, num_rows: int | None) -> tuple[Batch | None, Batch]:
    """Inputs that the graph takes, and its outputs for them."""
    for inputs in generated_inputs(given, num_rows=num_rows):
        try:
            return inputs, engine.run(inputs)
        except ModeltapError:
            continue
    return None, {}


def _cases(samples: list[Batch], signature: Signature, engine: OnnxEngine) -> tuple[Case, ...]:
    cases = []
    for inputs in samples:
        size_bytes = sum(values.nbytes for batch in (inputs, engine.run(inputs)) for values in batch.values())
        if size_bytes <= MAX_CASE_BYTES:
            cases.append(record_case(inputs, signature, engine.run))
    return tuple(cases)


def _with_rows(golden: Golden, manifest: Manifest, content: bytes, sample: Path) -> Golden:
    """With the answers of the sample's first rows. Raises InvalidData where the graph has no rows, or not such ones."""
    if not manifest.schema.features:
        raise InvalidData("rows were given, and the graph takes no rows but whole tensors; import it without them")
    batch = read_sample(sample, manifest.schema)
    some: dict[str, Sequence[Any]] = {name: list(values[:GOLDEN_ROWS]) for name, values in batch.items()}
    engine = OnnxEngine(content, manifest.signature, min_batch=manifest.engine.min_batch)
    recorded = record_golden(manifest.schema, wire_rows(manifest.schema, some), engine.run)
    return msgspec.structs.replace(recorded, cases=golden.cases)


def _ranks(outputs: Batch) -> dict[str, int]:
    return {name: values.ndim for name, values in outputs.items()}


def _manifest(content: bytes, tried: Tried) -> Manifest:
    is_batched = tried.min_batch is not None
    outputs = tried.signature.outputs
    return Manifest(
        task=TASK.name,
        architecture="onnx",
        signature=tried.signature,
        engine=EngineChoice(min_batch=tried.min_batch or 1),
        schema=schema_of(tried.signature, is_batched=is_batched),
        output=outputs[0].name if outputs else "",
        lineage=Lineage(code_version=__version__, source_digest=hashlib.sha256(content).hexdigest()),
        is_batched=is_batched,
    )


def _facts(model: Any) -> dict[str, str]:
    """What the file says of itself."""
    operators = sorted({node.op_type for node in model.graph.node})
    opsets = ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in model.opset_import)
    more = f" and {len(operators) - 40} more" if len(operators) > 40 else ""
    return {
        "made by": f"{model.producer_name} {model.producer_version}".strip(),
        "operator sets": opsets,
        "operators": ", ".join(operators[:40]) + more,
    }


def main() -> None:
    """The child: limits first, then the file."""
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
    end_with_parent(asked.parent_pid)
    leave_no_core()
    limit_processor_time(asked.processor_s)
    limit_memory(asked.memory_bytes)
    sample = Path(asked.sample) if asked.sample else None
    try:
        verdict = Verdict(notices=describe_graph(Path(asked.graph), Path(asked.folder), sample=sample))
    except ModeltapError as problem:
        verdict = Verdict(code=problem.code, detail=problem.message)
    except MemoryError:
        verdict = Verdict(code=InvalidData.code, detail="the graph takes more memory than it may")
    sys.stdout.buffer.write(msgspec.json.encode(verdict))


if __name__ == "__main__":
    main()
