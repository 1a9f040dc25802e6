"""Recurrent layers as the ONNX operators LSTM and GRU. torch's exporter would trace every step of the sequence, which takes
minutes for long ones, and leaves start states that depend on the batch in the graph.

Letters: N samples, T steps, C features, H units, D directions.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from modeltap.domain.signature import ONNX_OPSET
from modeltap.training.architectures.modules import Recurrence
from modeltap.training.architectures.text_lstm import MeasuredRecurrence

GATES = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
"""Places of torch's gates in the order of ONNX: input, output, forget, cell; update, reset, hidden."""


class _Operator(nn.Module):
    """Answers nothing by itself: it says to the exporter which operator stands here."""

    W: Tensor
    R: Tensor
    B: Tensor

    def __init__(self, layer: Recurrence) -> None:
        super().__init__()
        cells = layer.cells
        self.op = type(cells).__name__
        self.units = cells.hidden_size
        self.directions = 2 if cells.bidirectional else 1
        self.return_sequences = layer.return_sequences
        for name, parts in (("W", ("weight_ih",)), ("R", ("weight_hh",)), ("B", ("bias_ih", "bias_hh"))):
            self.register_buffer(name, self._gathered(cells, parts))

    def _gathered(self, cells: nn.Module, parts: tuple[str, ...]) -> Tensor:
        """(D, …) with the gates in the order of ONNX."""
        rows = []
        for suffix in ("_l0", "_l0_reverse")[: self.directions]:
            gates = [getattr(cells, part + suffix).detach().split(self.units) for part in parts]
            rows.append(torch.cat([part[gate] for part in gates for gate in GATES[self.op]]))
        return torch.stack(rows)

    def forward(self, sequence_NTC: Tensor) -> Tensor:
        num_rows, num_steps = sequence_NTC.shape[:2]
        attributes: dict[str, Any] = {
            "hidden_size": self.units,
            "direction": "bidirectional" if self.directions == 2 else "forward",
            **({"linear_before_reset": 1} if self.op == "GRU" else {}),
        }
        every_TDNH, last_DNH = torch.onnx.ops.symbolic_multi_out(
            self.op,
            (sequence_NTC.transpose(0, 1), self.W, self.R, self.B),
            attributes,
            dtypes=(torch.float32, torch.float32),
            shapes=((num_steps, self.directions, num_rows, self.units), (self.directions, num_rows, self.units)),
            version=ONNX_OPSET,
        )
        if self.return_sequences:
            return every_TDNH.permute(2, 0, 1, 3).flatten(2)
        return last_DNH.transpose(0, 1).flatten(1)


class _MeasuredOperator(_Operator):
    """The same for rows of different lengths, which the operator is told."""

    def __init__(self, layer: MeasuredRecurrence) -> None:
        super().__init__(Recurrence(layer.cells, return_sequences=True))

    def forward(self, sequence_NTC: Tensor, length_N: Tensor) -> Tensor:  # type: ignore[override]
        num_rows, num_steps = sequence_NTC.shape[:2]
        every_TDNH = torch.onnx.ops.symbolic_multi_out(
            self.op,
            (sequence_NTC.transpose(0, 1), self.W, self.R, self.B, length_N.to(torch.int32)),
            {"hidden_size": self.units, "direction": "bidirectional"},
            dtypes=(torch.float32,),
            shapes=((num_steps, self.directions, num_rows, self.units),),
            version=ONNX_OPSET,
        )[0]
        return every_TDNH.permute(2, 0, 1, 3).flatten(2)


def with_operators(module: nn.Module) -> nn.Module:
    """A copy of the module for the exporter, each recurrent layer replaced by its operator; the module itself where it has
    none."""
    if not any(isinstance(part, Recurrence | MeasuredRecurrence) for part in module.modules()):
        return module
    copied = copy.deepcopy(module)
    for name, part in list(copied.named_modules()):
        if isinstance(part, Recurrence | MeasuredRecurrence):
            owner, _, last = name.rpartition(".")
            operator = _Operator(part) if isinstance(part, Recurrence) else _MeasuredOperator(part)
            setattr(copied.get_submodule(owner), last, operator)
    return copied
