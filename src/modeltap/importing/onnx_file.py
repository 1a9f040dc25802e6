"""An ONNX file as it was sent: where its weights are, which operators it uses, and the same in one file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modeltap.errors import InvalidData
from modeltap.importing.unpacking import is_inside

MAX_GRAPH_BYTES = 2**31 - 1
"""Of a graph in one file, as protobuf has it."""
RUNTIME_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Whose operators ONNX Runtime has."""


def read_graph(path: Path) -> tuple[Any, bool]:
    """The onnx.ModelProto, with the weights that lie beside it in the same folder; and whether there were any.

    Raises InvalidData for what is no graph, and for weights that are not where the graph says or lie outside of its folder.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import load_external_data_for_tensor

    try:
        model = onnx.load_model(path, load_external_data=False)
    except DecodeError:
        raise InvalidData("the file is not an ONNX graph, or it is not complete") from None
    if not model.graph.node and not model.graph.output:
        raise InvalidData("the file is not an ONNX graph, or it is empty")
    outside = [tensor for tensor in tensors_of(model) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    for tensor in outside:
        _check_place(tensor, path.parent)
        load_external_data_for_tensor(tensor, str(path.parent))
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    return model, bool(outside)


def whole_graph(model: Any) -> bytes:
    """The graph in one piece. Raises InvalidData for one of 2 GB."""
    try:
        if model.ByteSize() <= MAX_GRAPH_BYTES:
            content: bytes = model.SerializeToString()
            return content
    except ValueError:
        pass
    raise InvalidData(f"the graph and its weights are more than {MAX_GRAPH_BYTES:,} bytes; at most that many are served")


def find_fault(model: Any) -> str | None:
    """What onnx's own checker says against the graph, if anything. It knows fewer versions than ONNX Runtime, which decides."""
    from onnx import checker

    try:
        checker.check_model(model)
    except (checker.ValidationError, ValueError) as problem:
        lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
        return lines[0][:300] if lines else "it is not valid"
    return None


def foreign_operators(model: Any) -> list[str]:
    """Operators of libraries that ONNX Runtime does not bring, as `domain.Operator`, sorted."""
    own = {(function.domain, function.name) for function in model.functions}
    return sorted(
        {
            f"{node.domain}.{node.op_type}"
            for node in nodes_of(model)
            if node.domain not in RUNTIME_DOMAINS and (node.domain, node.op_type) not in own
        }
    )


def nodes_of(model: Any) -> Iterator[Any]:
    """Every node, also those of functions and of graphs inside of nodes."""
    yield from _nodes(model.graph.node)
    for function in model.functions:
        yield from _nodes(function.node)


def tensors_of(model: Any) -> Iterator[Any]:
    """Every constant, wherever it stands."""
    yield from _graph_tensors(model.graph)
    for node in nodes_of(model):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield from _sparse(attribute.sparse_tensor)
            for sparse in attribute.sparse_tensors:
                yield from _sparse(sparse)
            for graph in (*attribute.graphs, *((attribute.g,) if attribute.HasField("g") else ())):
                yield from _graph_tensors(graph)


def _graph_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from _sparse(sparse)


def _sparse(sparse: Any) -> Iterator[Any]:
    yield sparse.values
    yield sparse.indices


def _nodes(nodes: Any) -> Iterator[Any]:
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                waiting += attribute.g.node
            for graph in attribute.graphs:
                waiting += graph.node


def _check_place(tensor: Any, folder: Path) -> None:
    """Raises InvalidData unless the tensor's bytes are inside of a file of the folder."""
    facts = {entry.key: entry.value for entry in tensor.external_data}
    location = facts.get("location", "")
    told = f"the graph keeps '{tensor.name[:80]}' in '{location[:80]}'"
    if not is_inside(location):
        raise InvalidData(f"{told}, which is not a plain name inside of the model's folder; export the model anew")
    path = folder / location
    if path.is_symlink() or not path.is_file() or path.stat().st_nlink > 1:
        raise InvalidData(f"{told}, which did not come with it; import the folder, or a ZIP of the graph and that file")
    try:
        offset, length = int(facts.get("offset") or 0), int(facts.get("length") or 0)
    except ValueError:
        offset = length = -1
    if offset < 0 or length < 0 or offset + length > path.stat().st_size:
        raise InvalidData(f"{told} beyond the end of that file; it is not complete, or not of this graph")
