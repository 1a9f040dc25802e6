"""Losses, penalties and learning rates against hand-computed numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from modeltap.domain.recipe import Loss, Optimizer, Schedule
from modeltap.errors import InvalidRecipe
from modeltap.training.class_weights import class_weights
from modeltap.training.losses import class_loss, number_loss
from modeltap.training.optimizers import add_penalties, make_optimizer, penalised
from modeltap.training.schedules import Plateau, rate_fraction


def one_step(settings: Optimizer, weight: float, bias: float, gradient: float) -> tuple[float, float]:
    """Weight and bias of a 1x1 layer after one step, whose loss has that gradient for both."""
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, weight)
    nn.init.constant_(layer.bias, bias)
    optimizer = make_optimizer(settings, layer)
    (layer(torch.ones(1, 1)).sum() * gradient).backward()
    add_penalties(penalised(layer), l1=settings.l1, l2=settings.l2)
    optimizer.step()
    return layer.weight.item(), layer.bias.item()


def test_penalties_are_those_of_keras_and_spare_the_bias() -> None:
    settings = Optimizer(name="sgd", lr=0.1, l1=0.5, l2=0.25)
    weight, bias = one_step(settings, weight=-2.0, bias=3.0, gradient=1.0)
    assert weight == pytest.approx(-2.0 - 0.1 * (1.0 + 0.5 * -1 + 2 * 0.25 * -2.0))
    assert bias == pytest.approx(3.0 - 0.1 * 1.0)


def test_adamw_decays_weights_apart_from_the_gradient() -> None:
    settings = Optimizer(name="adamw", lr=0.1, weight_decay=0.5)
    weight, bias = one_step(settings, weight=2.0, bias=3.0, gradient=1.0)
    assert weight == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, abs=1e-5)
    assert bias == pytest.approx(3.0 - 0.1, abs=1e-5)
    with pytest.raises(InvalidRecipe, match="weight_decay is for adamw"):
        make_optimizer(Optimizer(name="adam", weight_decay=0.1), nn.Linear(1, 1))


def test_weighted_cross_entropy_is_the_mean_of_weighted_samples() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    target = torch.tensor([0, 1, 1])
    probability = np.exp(logits.numpy()) / np.exp(logits.numpy()).sum(1, keepdims=True)
    expected = -np.mean(np.array([3.0, 1.0, 1.0]) * np.log(probability[np.arange(3), target.numpy()]))
    weights = class_weights(Loss(class_weights={"yes": 3.0}), ["yes", "no"], [1, 2])
    assert class_loss(Loss(), torch.tensor(weights))(logits, target).item() == pytest.approx(expected, rel=1e-6)


def test_balanced_weights_give_each_class_the_same_say() -> None:
    weights = class_weights(Loss(class_weights="balanced"), ["a", "b", "c"], [10, 30, 60])
    assert weights is not None
    assert [weight * count for weight, count in zip(weights, [10, 30, 60], strict=True)] == pytest.approx([100 / 3] * 3)
    with pytest.raises(InvalidRecipe, match="no class 'yess'; did you mean 'yes'"):
        class_weights(Loss(class_weights={"yess": 2.0}), ["yes", "no"], [1, 1])


def test_losses_of_numbers() -> None:
    value, target = torch.tensor([[1.0], [5.0]]), torch.tensor([2.0, 2.0])
    assert number_loss(Loss(name="mse"))(value, target).item() == pytest.approx((1 + 9) / 2)
    assert number_loss(Loss(name="mae"))(value, target).item() == pytest.approx((1 + 3) / 2)
    assert number_loss(Loss(name="huber", delta=2.0))(value, target).item() == pytest.approx((0.5 + 2 * (3 - 1)) / 2)
    with pytest.raises(InvalidRecipe, match="'mse' is for numbers"):
        class_loss(Loss(name="mse"), None)
    with pytest.raises(InvalidRecipe, match="'cross-entropy' is for classes"):
        number_loss(Loss(name="cross-entropy"))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(), [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
        (Schedule(name="linear", warmup=0.2), [0.5, 1, 1, 6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7, 0]),
        (Schedule(name="linear", floor=0.1), [1 - 0.9 * step / 9 for step in range(10)]),
        (Schedule(name="cosine", floor=0.2), [0.2 + 0.4 * (1 + math.cos(math.pi * step / 9)) for step in range(10)]),
        (Schedule(name="step", every=2, factor=0.1), [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01]),
        (Schedule(name="exponential", factor=0.5, floor=0.2), [1, 1, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2]),
    ],
)
def test_learning_rate_over_a_run(schedule: Schedule, expected: list[float]) -> None:
    rates = [rate_fraction(schedule, step=step, epoch=step // 2, num_steps=10) for step in range(10)]
    assert rates == pytest.approx(expected)


def test_the_rate_drops_on_a_plateau() -> None:
    schedule, plateau, rates = Schedule(name="plateau", every=2, factor=0.5), Plateau(), []
    for epoch, loss in enumerate([1.0, 0.9, 0.95, 0.9, 0.8, 0.8, 0.8]):
        plateau.observe(loss, every=schedule.every)
        rates.append(rate_fraction(schedule, step=epoch, epoch=epoch, num_steps=10, drops=plateau.drops))
    assert rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
