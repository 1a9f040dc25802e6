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
from modeltap.domain.signature import NUMPY_DTYPE, Batch, Datatype
from modeltap.errors import InvalidValue

MAX_PLANS = 256
MAX_TEXT_BYTES = 4096
NOT_PLANNED = frozenset({"BYTES", "BOOL", "FP16"})


class Plan:
    """Everything about a request but its numbers."""

    __slots__ = ("_after", "_before", "_inputs", "_is_one_array", "num_bytes", "planned", "rows", "shown")

    def __init__(self, text: bytes, request: InferRequest, rows: int, planned: PlannedOutputs) -> None:
        self._inputs: list[tuple[str, Datatype, tuple[int, ...], int, int]] = []
        for tensor in request.tensors:
            count = math.prod(tensor.shape)
            num_bytes = count * NUMPY_DTYPE[tensor.datatype].itemsize
            self._inputs.append((tensor.name, tensor.datatype, tensor.shape, count, num_bytes))
        self.num_bytes = sum(one[4] for one in self._inputs)
        self._before, array, self._after = text.partition(mark(0))
        self._is_one_array = bool(array) and len(self._inputs) == 1
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
        for name, datatype, shape, _, num_bytes in self._inputs:
            batch[name] = numbers_from_bytes(rest[place : place + num_bytes], datatype).reshape(shape)
            place += num_bytes
        return batch

    def from_text(self, body: bytes) -> Batch | None:
        """The inputs of a request whose JSON is that of the plan but for one array of numbers; None for every other one.

        What stands between the plan's two ends is parsed as an array of numbers, so that the whole can be nothing else.
        """
        start = len(self._before)
        if not self._is_one_array or body[start : start + 1] != b"[":
            return None
        if not body.startswith(self._before) or not body.endswith(self._after):
            return None
        return self.from_blocks((body[start : len(body) - len(self._after)],))

    def from_blocks(self, blocks: Sequence[bytes]) -> Batch | None:
        """The inputs of a request whose arrays of numbers are these, in order."""
        batch: Batch = {}
        for (name, datatype, shape, count, _), block in zip(self._inputs, blocks, strict=True):
            numbers = read_block(block, element_of(datatype), shape)
            if numbers is None or len(numbers) != count:
                return None
            try:
                batch[name] = narrowed(graph_numbers(numbers, datatype), datatype).reshape(shape)
            except InvalidValue:
                return None
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
