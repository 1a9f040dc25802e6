"""A trained module → one ONNX graph with a softmax for classes or raw units for numbers, the same bytes on every run.

Letters: N samples, C classes.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from modeltap.domain.features import FeatureSpec
from modeltap.domain.signature import ONNX_OPSET
from modeltap.errors import Broken, InvalidRecipe
from modeltap.training.graphs import PREDICTION, clean_graph, input_names
from modeltap.training.recurrent_export import with_operators
from modeltap.training.targets import TargetScale

TOLERANCE = 1e-5
CHECKED_SIZES = (1, 2, 33)


class _Probabilities(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.network = module

    def forward(self, *inputs: Tensor) -> Tensor:
        return torch.softmax(self.network(*inputs), dim=-1)


class _Vectors(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.network = module

    def forward(self, *inputs: Tensor) -> Tensor:
        vector_ND: Tensor = self.network(*inputs)
        return vector_ND


class _Values(nn.Module):
    def __init__(self, module: nn.Module, scale: TargetScale) -> None:
        super().__init__()
        self.network = module
        self.scale = scale

    def forward(self, *inputs: Tensor) -> Tensor:
        value_N: Tensor = self.network(*inputs)[:, 0]
        return value_N if self.scale == TargetScale() else value_N * self.scale.std + self.scale.mean


def export_network(
    module: nn.Module, spec: FeatureSpec, scale: TargetScale | None, rows: list[Tensor], *, gives_vectors: bool = False
) -> onnx.ModelProto:
    """The graph: FEATURES and CODES as the spec has them → `prediction`, (N, C) probabilities, or (N,) raw values where there
    is a scale, or the module's own vectors. `rows` are some real inputs, on which the graph was seen to answer as the module
    does, within 1e-5; of texts also where they are cut to half their length.

    Raises InvalidRecipe if the module cannot be a graph, Broken if the graph answers differently.
    """
    if gives_vectors:
        answering: nn.Module = _Vectors(module)
    else:
        answering = _Probabilities(module) if scale is None else _Values(module, scale)
    answering = answering.cpu().eval()
    axes = {0: torch.export.Dim.DYNAMIC, **({} if spec.padding is None else {1: torch.export.Dim.DYNAMIC})}
    names = input_names(spec)
    example = tuple(_rows(tensor, 3) for tensor in rows)
    with _quiet():
        try:
            program = torch.onnx.export(
                with_operators(answering),
                example,
                dynamo=True,
                opset_version=ONNX_OPSET,
                input_names=names,
                output_names=[PREDICTION],
                dynamic_shapes=(tuple(dict(axes) for _ in names),),
                external_data=False,
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as problem:
            first = str(problem.__cause__ or problem).strip().splitlines()[0]
            raise InvalidRecipe(f"this architecture cannot be written as an ONNX graph: {first}") from problem
    assert program is not None
    graph = clean_graph(program.model_proto, weights_under="network.")
    unit = 1.0 if scale is None else scale.std
    _verify(graph, answering, names, rows, unit=unit)
    if spec.padding is not None:
        _verify(graph, answering, names, [ids[:, : (ids.shape[1] + 1) // 2] for ids in rows], unit=unit)
    return graph


def _verify(graph: onnx.ModelProto, module: nn.Module, names: Sequence[str], rows: list[Tensor], *, unit: float) -> None:
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for size in CHECKED_SIZES:
        batch = [_rows(tensor, size) for tensor in rows]
        with torch.no_grad():
            expected = module(*batch).numpy()
        try:
            given = session.run([PREDICTION], {name: tensor.numpy() for name, tensor in zip(names, batch, strict=True)})[0]
        except (Fail, InvalidArgument, RuntimeException) as problem:
            raise InvalidRecipe(
                f"the graph of this architecture does not take {size} rows; its module must work for any number of them"
            ) from problem
        allowed = TOLERANCE * np.maximum(unit, np.abs(expected))
        if given.shape != expected.shape or not (np.abs(given - expected) <= allowed).all():
            worst = np.abs(given - expected).max() if given.shape == expected.shape else f"shape {given.shape}"
            raise Broken(f"the graph does not repeat the network's answers for {size} rows (difference: {worst})")


def _rows(tensor: Tensor, size: int) -> Tensor:
    """`size` rows, from the start again where there are fewer."""
    return tensor[torch.arange(size) % len(tensor)]


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter speaks of its own inner matters on stdout, in warnings and in logs."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
