"""A network's graph with weights of eight or four bits, as ONNX Runtime computes with them. Equal input gives equal bytes.

Letters: N rows.
"""

from __future__ import annotations

import contextlib
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from modeltap.bundle.join import strip_incidentals
from modeltap.domain.signature import Batch, num_rows
from modeltap.errors import CannotCompress
from modeltap.training.graphs import PREDICTION, clean_graph

CALIBRATION_BATCH = 64
STATIC = (
    "Conv",
    "Gemm",
    "MatMul",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "Relu",
    "Clip",
    "LeakyRelu",
    "Add",
    "Mul",
    "Concat",
    "Pad",
    "Reshape",
    "Transpose",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
)
"""What is computed in whole numbers throughout; softmax and what stands behind it is not among them."""
DYNAMIC = ("MatMul", "Gather", "LSTM", "Attention")
RECURRENT = frozenset({"LSTM", "GRU", "RNN", "Loop", "Scan"})
FEWEST_TERMS = 32
"""Of the sums that a convolution computes: of 3x3 pixels of one channel there are 9."""
BLOCK = 32
"""Weights of one column that share a scale."""
INT8_PRODUCTS = 4
"""ONNX Runtime's accuracy level at which rows are rounded to eight bits before they are multiplied."""
LEAST_SHARE = 0.5
"""Of a network's weights that four bits must reach; with less nearly nothing is saved."""


def quantize_static(network: Any, calibration: Batch) -> Any:
    """The network in whole numbers of eight bits, a scale for each channel of the weights.

    calibration: what the network takes, of some rows of the training part: the range of each tensor between its layers is
    what these rows give. Raises CannotCompress for a network without a layer that it is known of.
    """
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType
    from onnxruntime.quantization import quantize_static as run

    class Rows(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = _batches(calibration)

        def get_next(self) -> Batch | None:
            return next(self.batches, None)

    def write(path: Path) -> None:
        run(
            _copy(network),
            path,
            Rows(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(STATIC),
            nodes_to_exclude=thin_convolutions(network),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )

    made = _written(write)
    if not any(node.op_type == "QuantizeLinear" for node in made.graph.node):
        raise CannotCompress("the network has no layer that can be computed in eight bits")
    return made


def quantize_dynamic(network: Any) -> Any:
    """The network with weights of eight bits; what is multiplied with them is rounded row by row as it comes.

    Convolutions stay as they are: ONNX Runtime has no fast form for them. Raises CannotCompress where no layer is left.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as run

    def write(path: Path) -> None:
        run(
            _with_products(network),
            path,
            op_types_to_quantize=list(DYNAMIC),
            per_channel=True,
            weight_type=QuantType.QInt8,
        )

    made = _written(write)
    if num_bytes(made) >= num_bytes(network):
        raise CannotCompress("no layer of the network has a form with weights of eight bits that would be smaller")
    return made


def quantize_int4(network: Any) -> Any:
    """The network with weights of four bits in its fully connected layers.

    Raises CannotCompress where those hold less than half of the weights: ONNX Runtime has four bits for no other layer.
    """
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    plain = _with_products(network)
    share = _dense_share(plain)
    if share < LEAST_SHARE:
        raise CannotCompress(
            f"four bits are for the weights of fully connected layers, which hold {share:.0%} of this network's; convolutions,"
            " recurrent layers and embeddings have no such form in ONNX Runtime; use --int8, --prune 0.5 or --distil RECIPE"
        )
    with _quiet():
        quantizer = MatMulNBitsQuantizer(plain, block_size=BLOCK, is_symmetric=True, accuracy_level=INT8_PRODUCTS)
        quantizer.process()
    return _clean(quantizer.model.model)


def thin_convolutions(network: Any) -> list[str]:
    """The nodes of which static eight bits keep off: they hold next to no weights, and whole numbers are slower there."""
    held = {weight.name: weight.dims for weight in network.graph.initializer}
    convolutions = [node for node in network.graph.node if node.op_type == "Conv" and node.input[1] in held]
    return [node.name for node in convolutions if math.prod(held[node.input[1]][1:]) < FEWEST_TERMS]


def is_recurrent(network: Any) -> bool:
    """Whether it has layers whose steps follow each other: no range that was measured holds for those."""
    return any(node.op_type in RECURRENT for node in network.graph.node)


def num_bytes(network: Any) -> int:
    return int(network.ByteSize())


def _batches(features: Batch) -> Iterator[Batch]:
    for start in range(0, num_rows(features), CALIBRATION_BATCH):
        yield {name: values[start : start + CALIBRATION_BATCH] for name, values in features.items()}


def _with_products(network: Any) -> Any:
    """A copy in which every fully connected layer with constant weights is a product and a sum."""
    from onnx import helper, numpy_helper

    made = _copy(network)
    held = {weight.name: weight for weight in made.graph.initializer}
    nodes: list[Any] = []
    turned: set[str] = set()
    for node in made.graph.node:
        told = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        plain = told.get("alpha", 1.0) == 1.0 and told.get("beta", 1.0) == 1.0 and not told.get("transA", 0)
        if node.op_type != "Gemm" or not plain or node.input[1] not in held:
            nodes.append(node)
            continue
        weight = held[node.input[1]]
        if told.get("transB", 0) and weight.name not in turned:
            turned.add(weight.name)
            array = np.ascontiguousarray(numpy_helper.to_array(weight).T)
            weight.CopyFrom(numpy_helper.from_array(array, weight.name))
        has_bias = len(node.input) > 2 and node.input[2]
        product = f"{node.output[0]}_product" if has_bias else node.output[0]
        nodes.append(helper.make_node("MatMul", [node.input[0], weight.name], [product], name=f"{node.name}_product"))
        if has_bias:
            nodes.append(helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{node.name}_sum"))
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    return made


def _dense_share(network: Any) -> float:
    """Of all numbers that the network holds, those that products take."""
    sizes = {weight.name: int(np.prod(weight.dims)) for weight in network.graph.initializer}
    dense = {node.input[1] for node in network.graph.node if node.op_type == "MatMul" and node.input[1] in sizes}
    total = sum(sizes.values())
    return sum(sizes[name] for name in dense) / total if total else 0.0


def _written(write: Callable[[Path], None]) -> Any:
    """What the library writes into a file, without what it says of itself."""
    import onnx

    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "network.onnx"
        write(path)
        return _clean(onnx.load(path))


def _clean(network: Any) -> Any:
    """Names by their places, opsets that are used, the output called as before; a graph that was made elsewhere keeps the
    names that it is asked by."""
    used = {node.domain for node in network.graph.node}
    kept = [opset for opset in network.opset_import if opset.domain in used or not opset.domain]
    del network.opset_import[:]
    network.opset_import.extend(kept)
    if network.graph.output[0].name == PREDICTION:
        return clean_graph(network)
    strip_incidentals(network)
    return network


def _copy(network: Any) -> Any:
    made = type(network)()
    made.CopyFrom(network)
    return made


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The library speaks of preprocessing, and of its own ways, in logs and warnings."""
    root = logging.getLogger()
    level = root.level
    try:
        root.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)
