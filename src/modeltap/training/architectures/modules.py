"""Small torch modules that torch.nn lacks: axes, channels, windows as Keras counts them, and the last step of a sequence.

Letters: N samples, H height, W width, C channels, T steps of a sequence.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class AddChannel(nn.Module):
    """(N, H, W) → (N, H, W, 1), or (N, 1, H, W) with `axis` 1; no copy."""

    def __init__(self, *, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, image: Tensor) -> Tensor:
        return image.unsqueeze(self.axis)


class ChannelsFirst(nn.Module):
    """(N, H, W, C) → (N, C, H, W) in channels_last memory; no copy."""

    def forward(self, image_NHWC: Tensor) -> Tensor:
        return image_NHWC.permute(0, 3, 1, 2)


class ChannelsLast(nn.Module):
    """(N, C, H, W) → (N, H, W, C); no copy where the memory is channels_last."""

    def forward(self, image_NCHW: Tensor) -> Tensor:
        return image_NCHW.permute(0, 2, 3, 1)


class Pad(nn.Module):
    """The image (N, C, H, W) with a border: (left, right, top, bottom)."""

    def __init__(self, border: tuple[int, int, int, int], *, value: float) -> None:
        super().__init__()
        self.border = border
        self.value = value

    def forward(self, image_NCHW: Tensor) -> Tensor:
        return functional.pad(image_NCHW, self.border, value=self.value)


class AveragePool(nn.Module):
    """Mean of each window, over the pixels that lie inside the image."""

    share: Tensor

    def __init__(
        self, *, size: tuple[int, int], stride: tuple[int, int], border: tuple[int, int, int, int], image: tuple[int, int]
    ) -> None:
        super().__init__()
        self.size, self.stride, self.border = size, stride, border
        inside = functional.pad(torch.ones(1, 1, *image), border)
        self.register_buffer("share", functional.avg_pool2d(inside, size, stride), persistent=False)

    def forward(self, image_NCHW: Tensor) -> Tensor:
        if not any(self.border):
            return functional.avg_pool2d(image_NCHW, self.size, self.stride)
        return functional.avg_pool2d(functional.pad(image_NCHW, self.border), self.size, self.stride) / self.share


class GlobalAverage(nn.Module):
    """(N, C, H, W) → (N, C)."""

    def forward(self, image_NCHW: Tensor) -> Tensor:
        return image_NCHW.mean((2, 3))


class SequenceNorm(nn.Module):
    """Batch normalisation of the last axis of (N, T, C)."""

    def __init__(self, norm: nn.BatchNorm1d) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, sequence_NTC: Tensor) -> Tensor:
        normal: Tensor = self.norm(sequence_NTC.transpose(1, 2))
        return normal.transpose(1, 2)


class Recurrence(nn.Module):
    """(N, T, C) → every step's output, or the last one of each direction."""

    def __init__(self, cells: nn.LSTM | nn.GRU, *, return_sequences: bool) -> None:
        super().__init__()
        self.cells = cells
        self.return_sequences = return_sequences

    def forward(self, sequence_NTC: Tensor) -> Tensor:
        steps: Tensor = self.cells(sequence_NTC)[0]
        if self.return_sequences:
            return steps
        if not self.cells.bidirectional:
            return steps[:, -1]
        units = self.cells.hidden_size
        return torch.cat([steps[:, -1, :units], steps[:, 0, units:]], dim=1)


class Reshape(nn.Module):
    """(N, …) → (N, *shape)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, given: Tensor) -> Tensor:
        return given.reshape(-1, *self.shape)


class TwoClasses(nn.Module):
    """One logit (N, 1) → two (N, 2) with the same probabilities: softmax of (0, z) is (1 - sigmoid(z), sigmoid(z))."""

    def forward(self, logit_N1: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(logit_N1), logit_N1], dim=1)
