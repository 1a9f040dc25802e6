"""A bidirectional LSTM over subwords: the largest value of each unit over the text decides.

Letters: N texts, T ids of a text, D numbers of an embedding, H units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from modeltap.domain.features import FeatureSpec
from modeltap.recipe.text_architectures import LstmOptions
from modeltap.training.architectures.sequences import without_filling
from modeltap.training.architectures.starting import glorot, orthogonal, uniform

NOTHING = -1e9
"""Of a place behind the end of a text: never the largest."""


class MeasuredRecurrence(nn.Module):
    """(N, T, D) and lengths (N,) → every step's output (N, T, 2H); the way back begins at a row's own end."""

    def __init__(self, cells: nn.LSTM) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, sequence_NTD: Tensor, length_N: Tensor) -> Tensor:
        packed = pack_padded_sequence(sequence_NTD, length_N.cpu(), batch_first=True, enforce_sorted=False)
        steps: Tensor = pad_packed_sequence(self.cells(packed)[0], batch_first=True, total_length=sequence_NTD.shape[1])[0]
        return steps


class TextLstm(nn.Module):
    def __init__(self, options: LstmOptions, vocabulary: int, num_outputs: int, *, padding: int) -> None:
        super().__init__()
        self.padding = padding
        self.table = uniform(nn.Embedding(vocabulary, options.dim))
        cells = nn.LSTM(options.dim, options.units, batch_first=True, bidirectional=True)
        orthogonal(cells)
        self.recurrence = MeasuredRecurrence(cells)
        self.dropout = nn.Dropout(options.dropout)
        self.last = glorot(nn.Linear(2 * options.units, num_outputs))

    def forward(self, ids_NT: Tensor) -> Tensor:
        ids_NT = without_filling(ids_NT, self.padding) if self.training else ids_NT
        there_NT = ids_NT != self.padding
        steps_NTH = self.recurrence(self.dropout(self.table(ids_NT)), there_NT.sum(1).clamp_min(1))
        largest_NH = torch.where(there_NT.unsqueeze(2), steps_NTH, NOTHING).amax(1)
        logit_NC: Tensor = self.last(self.dropout(largest_NH))
        return logit_NC


def build(options: LstmOptions, spec: FeatureSpec, num_outputs: int) -> nn.Module:
    return TextLstm(options, max(spec.cardinalities), num_outputs, padding=spec.padding or 0)
