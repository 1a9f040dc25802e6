"""Requests come again with other numbers: what was found out about their JSON is kept, and the next one is filled in.

A plan is made of a request that was read in full, and found by the exact text around its numbers. Where it does not fit, the
request is read in full again, which also says what is wrong with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from modeltap.api.asgi import Answer
from modeltap.api.inference_answer import PlannedOutputs
from modeltap.api.inference_request import InferRequest
from modeltap.api.json_numbers import mark, read_block
from modeltap.api.narrowing import element_of, graph_numbers, narrowed
from modeltap.api.tensor_data import BinaryData, JsonData
from modeltap.data.tensor_bytes import numbers_from_bytes
from modeltap.domain.signature import NUMPY_DTYPE, Array, Batch, Datatype
from modeltap.errors import InvalidValue

MAX_PLANS = 256
MAX_TEXT_BYTES = 4096
NOT_PLANNED = frozenset({"BYTES", "BOOL", "FP16"})


class _Input:
    """One tensor of a plan."""

    __slots__ = ("count", "datatype", "element", "name", "num_bytes", "shape")

    def __init__(self, name: str, datatype: Datatype, shape: tuple[int, ...]) -> None:
        self.name = name
        self.datatype: Datatype = datatype
        self.shape = shape
        self.element = element_of(datatype)
        self.count = math.prod(shape)
        self.num_bytes: int = self.count * NUMPY_DTYPE[datatype].itemsize

    def numbers(self, block: bytes) -> Array | None:
        """What the text of an array of numbers holds; None where that is not for this tensor."""
        numbers = read_block(block, self.element, self.shape)
        if numbers is None or len(numbers) != self.count:
            return None
        try:
            if self.element != "d":
                numbers = graph_numbers(numbers, self.datatype)
            return narrowed(numbers, self.datatype).reshape(self.shape)
        except InvalidValue:
            return None


class Plan:
    """Everything about a request but its numbers."""

    __slots__ = ("_after", "_before", "_inputs", "_only", "num_bytes", "planned", "rows", "shown")

    def __init__(self, text: bytes, request: InferRequest, rows: int, planned: PlannedOutputs) -> None:
        self._inputs = [_Input(tensor.name, tensor.datatype, tensor.shape) for tensor in request.tensors]
        self.num_bytes = sum(one.num_bytes for one in self._inputs)
        self._before, array, self._after = text.partition(mark(0))
        self._only = self._inputs[0] if array and len(self._inputs) == 1 else None
        self.rows = rows
        self.planned = planned
        self.shown: dict[tuple[str, str | None], Callable[[Batch], Answer]] = {}
        """How its outputs become the answer, by the name that was asked for and the coding of the answer."""

    def from_bytes(self, rest: memoryview) -> Batch | None:
        """The inputs of a request whose tensors are these bytes, one after the other."""
        if len(rest) != self.num_bytes:
            return None
        place = 0
        batch: Batch = {}
        for one in self._inputs:
            end = place + one.num_bytes
            batch[one.name] = numbers_from_bytes(rest[place:end], one.datatype).reshape(one.shape)
            place = end
        return batch

    def from_text(self, body: bytes) -> Batch | None:
        """The inputs of a request whose JSON is that of the plan but for one array of numbers; None for every other one.

        What stands between the plan's two ends is parsed as an array of numbers, so that the whole can be nothing else.
        """
        only = self._only
        if only is None or not body.startswith(self._before) or not body.endswith(self._after):
            return None
        block = body[len(self._before) : len(body) - len(self._after)]
        numbers = only.numbers(block) if block.startswith(b"[") else None
        return None if numbers is None else {only.name: numbers}

    def from_blocks(self, blocks: Sequence[bytes]) -> Batch | None:
        """The inputs of a request whose arrays of numbers are these, in order."""
        batch: Batch = {}
        for one, block in zip(self._inputs, blocks, strict=True):
            numbers = one.numbers(block)
            if numbers is None:
                return None
            batch[one.name] = numbers
        return batch


class Plans:
    """Those of one version, by the text around the numbers."""

    def __init__(self) -> None:
        self._plans: dict[bytes, Plan] = {}
        self.newest: Plan | None = None

    def get(self, text: bytes) -> Plan | None:
        return self._plans.get(text)

    def keep(self, text: bytes, request: InferRequest, rows: int, planned: PlannedOutputs) -> None:
        """For the next request of that text, unless this one has something of its own: an id, a time limit, texts."""
        if len(text) > MAX_TEXT_BYTES or request.id is not None or request.timeout_us or request.priority:
            return
        kinds = {type(tensor.data) for tensor in request.tensors}
        if kinds not in ({BinaryData}, {JsonData}) or any(tensor.datatype in NOT_PLANNED for tensor in request.tensors):
            return
        if any(isinstance(tensor.data, JsonData) and not tensor.data.is_cut for tensor in request.tensors):
            return
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        self.newest = self._plans[text] = Plan(text, request, rows, planned)
