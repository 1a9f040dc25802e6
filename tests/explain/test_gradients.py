"""Explanations by gradients are those that can be computed by hand, and find where a picture decides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from modeltap.explain.gradients import grad_cam, integrated_gradients


class Flat(nn.Module):
    """One linear layer over all pixels, two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = nn.Linear(20, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.answer(x.reshape(len(x), -1))


class Seeing(nn.Module):
    """A convolution that passes brightness on, as blocks of 2 × 2; class 1 is that it is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = nn.Conv2d(1, 1, 2, stride=2, bias=False)
        nn.init.constant_(self.seen.weight, 0.25)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = self.seen(x.permute(0, 3, 1, 2)).mean(dim=(1, 2, 3))
        return torch.stack([-bright, bright], dim=1)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (2, 2, 5)])
def test_of_a_linear_network_they_are_weight_times_distance_from_the_most_common_brightness(shape):
    torch.manual_seed(0)
    module, features = Flat(), np.random.default_rng(0).random((3, *shape)).astype(np.float32)
    found = integrated_gradients(module, features, np.array([0, 1, 1]))
    channels = shape[2] if len(shape) == 3 else 1
    spread = features.reshape(3, -1, channels)
    away = np.median(spread, axis=1, keepdims=True)
    weights = module.answer.weight.detach().numpy()[[0, 1, 1]].reshape(3, -1, channels)
    expected = (weights * (spread - away)).sum(axis=2).reshape(found.shape)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.shape == (3, *shape[:2])


def test_grad_cam_is_warm_where_the_convolution_sees_the_class():
    picture = np.zeros((1, 8, 8, 1), dtype=np.float32)
    picture[0, :4, 4:] = 1
    heat = grad_cam(Seeing().eval(), picture, np.array([1]))
    assert heat is not None
    assert heat.shape == (1, 8, 8)
    assert heat[0, :3, 5:].min() > 10 * abs(heat[0, 5:, :3]).max()


def test_a_network_without_a_convolution_has_no_grad_cam():
    assert grad_cam(Flat(), np.zeros((1, 4, 5), dtype=np.float32), np.array([0])) is None
