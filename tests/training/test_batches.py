"""What a step sees of the training part."""

from __future__ import annotations

import pytest
import torch

from modeltap.training.batches import Batches, order_of


@pytest.mark.parametrize(
    ("size", "batch_size", "sizes"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (3, 32, [3]), (1, 32, [1]), (3, 1, [1, 1, 1])],
)
def test_each_row_is_seen_once_an_epoch_and_none_alone(size: int, batch_size: int, sizes: list[int]) -> None:
    rows = torch.arange(size)
    batches = Batches([rows[:, None].float()], rows, batch_size=batch_size, device=torch.device("cpu"))
    order = batches.order(3, seed=0)
    seen, lengths = [], []
    for step in range(batches.num_steps):
        (features,), target, weight = batches.gather(order, step)
        assert weight is None
        assert torch.equal(features[:, 0].long(), target)
        seen += target.tolist()
        lengths.append(len(target))
    assert sorted(seen) == list(range(size))
    assert lengths == sizes == batches.sizes().tolist()


def test_an_epochs_order_is_a_function_of_seed_and_epoch() -> None:
    assert torch.equal(order_of(1, seed=7, size=50), order_of(1, seed=7, size=50))
    assert not torch.equal(order_of(1, seed=7, size=50), order_of(2, seed=7, size=50))
    assert not torch.equal(order_of(1, seed=7, size=50), order_of(1, seed=8, size=50))
