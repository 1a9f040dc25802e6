"""What a network learns of a teacher, and weights that stay 0."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from assignments import assign, make_data, make_recipe
from torch import nn
from torch.nn import functional

from modeltap.domain.features import FeatureSpec
from modeltap.errors import InvalidData
from modeltap.training.fingerprint import run_digest
from modeltap.training.fit import Teacher, fit
from modeltap.training.targets import TargetScale
from modeltap.training.teaching import hold_zeros, lesson

SPEC = FeatureSpec(shape=(4,))
LABELS = ("a", "b", "c")


def hard(outputs, target):
    return functional.cross_entropy(outputs, target)


def test_the_loss_of_classes_by_hand():
    teacher = Teacher(answer=np.array([[0.9, 0.1], [0.5, 0.5]]), temperature=2.0, alpha=0.25)
    target, loss = lesson(teacher, torch.tensor([0, 1]), hard, None)
    student = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    soft = torch.tensor([[0.75, 0.25], [0.5, 0.5]])  # the root of 9 to 1, and even odds
    divergence = (soft * (soft.log() - torch.log_softmax(student / 2, 1))).sum(1).mean()
    expected = 0.25 * 4 * divergence + 0.75 * functional.cross_entropy(student, torch.tensor([0, 1]))
    assert loss(student, target).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_loss_of_numbers_is_in_the_units_of_the_scale():
    teacher = Teacher(answer=np.array([12.0, 8.0]), temperature=1.0, alpha=0.5)
    target, loss = lesson(
        teacher, torch.tensor([0.0, 1.0]), lambda o, t: functional.mse_loss(o[:, 0], t), TargetScale(10.0, 2.0)
    )
    assert loss(torch.tensor([[1.0], [1.0]]), target).item() == pytest.approx(0.5 * 2.0 + 0.5 * 0.5)


def test_a_teacher_answers_every_row():
    with pytest.raises(InvalidData, match="1 rows of 2"):
        lesson(Teacher(answer=np.ones((1, 2)), temperature=1.0, alpha=0.5), torch.tensor([0, 1]), hard, None)


def test_a_student_of_a_teacher_that_is_always_right_learns_what_the_labels_hide(tmp_path: Path):
    data = make_data(SPEC, labels=LABELS)
    answer = np.eye(3)[data.train_target] * 0.98 + 0.02 / 3
    wrong = type(data)(data.train, np.zeros_like(data.train_target), data.val, data.val_target)
    recipe = make_recipe("mlp", {"hidden": [16]}, epochs=15, batch_size=16, optimizer={"name": "adam", "lr": 0.01})
    trained = [
        fit(
            recipe,
            SPEC,
            wrong,
            labels=LABELS,
            threads=1,
            workdir=tmp_path,
            report=lambda _: None,
            stop_requested=lambda: False,
            teacher=Teacher(answer=answer, temperature=1.0, alpha=alpha),
        )
        for alpha in (1.0, 0.01)
    ]
    taught, told_wrong = (one.history[-1]["val_accuracy"] for one in trained)
    assert taught > 0.8 > 0.6 > told_wrong, "and a checkpoint of another lesson is not gone on from"


def test_another_lesson_is_another_run(tmp_path: Path):
    module = nn.Linear(4, 3)
    given = assign(make_recipe("mlp", {}), SPEC, tmp_path, labels=LABELS)
    teachers = [None, *(Teacher(answer=np.full((101, 3), 1 / 3), temperature=t, alpha=0.5) for t in (1.0, 2.0))]
    digests = {run_digest(type(given)(**{**vars(given), "teacher": teacher}), module) for teacher in teachers}
    assert len(digests) == 3


def test_zeros_stay_zero_while_others_learn():
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        module[0].weight[:, :2] = 0
    hold_zeros(module)
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    before = module[0].weight.detach().clone()
    for _ in range(5):
        optimizer.zero_grad()
        module(torch.rand(16, 4)).square().sum().backward()
        optimizer.step()
    after = module[0].weight.detach()
    assert (after[:, :2] == 0).all() and (after[:, 2:] != before[:, 2:]).all()
