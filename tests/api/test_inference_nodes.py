"""ONNX's own node cases, imported and served: over /v2 they answer what ONNX Runtime answers in this process, to the bit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
from served_graphs import DATATYPES, binary_body, read_outputs, serve, shelve, tensor, to_binary
from workshop import Plane, Workshop

from modeltap.importing.onnx_signature import DATATYPES as SERVED

EVERY = 4
"""Of the cases that ONNX Runtime runs, one in so many: enough that every kind of operator is there."""
LEAST = 250


class NodeCase(NamedTuple):
    name: str
    model: Any
    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]


def all_cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.loader import load_model_tests

        return load_model_tests(kind="node")


def runnable(case: Any) -> NodeCase | None:
    """The case with what ONNX Runtime gives for it; None for what it does not run, or runs otherwise each time."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(case.model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_inputs()]
        if not {one.type for one in (*session.get_inputs(), *session.get_outputs())} <= set(SERVED):
            return None
        given = [np.asarray(value) for value in case.data_sets[0][0]]
        if len(given) != len(names) or any(value.dtype.kind == "O" and value.ndim == 0 for value in given):
            return None
        inputs = dict(zip(names, given, strict=True))
        first, second = session.run(None, inputs), session.run(None, inputs)
    except Exception:
        return None
    outputs = dict(zip([one.name for one in session.get_outputs()], first, strict=True))
    if any(to_binary(a) != to_binary(b) for a, b in zip(first, second, strict=True)):
        return None
    return NodeCase(case.name, case.model, inputs, outputs)


@pytest.fixture(scope="module")
def cases() -> list[NodeCase]:
    return [found for case in all_cases()[::EVERY] if (found := runnable(case)) is not None]


@pytest.fixture(scope="module")
def nodes(workshop: Workshop, cases: list[NodeCase], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp("nodes")
    served = {f"node-{at}": shelve(workshop, f"node-{at}", case.model, folder / str(at)) for at, case in enumerate(cases)}
    made = serve(workshop, served)
    yield made
    made.close()


def datatype_of(values: np.ndarray) -> str:
    return "BYTES" if values.dtype.kind in "OU" else next(n for n, (_, d) in DATATYPES.items() if values.dtype == d)


def fits_json(values: np.ndarray) -> bool:
    return values.dtype != np.float16 and (values.dtype.kind != "f" or bool(np.isfinite(values).all()))


def differing(given: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> list[str]:
    return [
        name
        for name, values in expected.items()
        if given[name].shape != values.shape or to_binary(given[name]) != to_binary(values)
    ]


def test_in_bytes_every_case_is_answered_to_the_bit(nodes, cases):
    assert len(cases) >= LEAST
    wrong = {}
    for at, case in enumerate(cases):
        inputs = [(name, datatype_of(values), values) for name, values in case.inputs.items()]
        body, headers = binary_body(inputs, parameters={"binary_data_output": True})
        answer = nodes.post(f"/v2/models/node-{at}/infer", content=body, headers=headers)
        if found := differing(read_outputs(answer), case.outputs):
            wrong[case.name] = found
    assert not wrong


def test_in_json_every_case_of_finite_numbers_is_answered_to_the_bit(nodes, cases):
    wrong, asked = {}, 0
    for at, case in enumerate(cases):
        if not all(map(fits_json, (*case.inputs.values(), *case.outputs.values()))):
            continue
        asked += 1
        inputs = [tensor(name, datatype_of(values), values, flat=at % 2 == 0) for name, values in case.inputs.items()]
        answer = nodes.post(f"/v2/models/node-{at}/infer", json={"inputs": inputs})
        if found := differing(read_outputs(answer), case.outputs):
            wrong[case.name] = found
    assert not wrong and asked >= LEAST * 3 // 4
