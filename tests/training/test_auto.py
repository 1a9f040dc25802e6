"""A search over candidates: the same bytes again, also after a kill; what the clock cuts is said; weights and rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from assignments import ignore, make_recipe, never
from sklearn.datasets import load_breast_cancer, load_diabetes
from threadpoolctl import threadpool_limits

from modeltap.domain.features import FEATURES, FeatureBatch, FeatureSpec
from modeltap.domain.progress import Progress
from modeltap.errors import InvalidRecipe
from modeltap.recipe.auto_architecture import AutoOptions
from modeltap.training.auto import FOLDER, TRAINING_SHARE, Found, Search
from modeltap.training.auto_blend import blend_weights
from modeltap.training.auto_candidate import Candidate, Terms, View
from modeltap.training.auto_metrics import judged_metrics
from modeltap.training.auto_rounds import plan_rounds
from modeltap.training.stopped import Stopped
from modeltap.training.trained import TrainingData

LABELS = ("malignant", "benign")
TREES = {"max_iter": 30, "learning_rate": 0.3, "max_leaf_nodes": 4, "early_stopping_rounds": 5}
CANDIDATES = (
    Candidate("trees", "plain", make_recipe("gradient-boosting", TREES)),
    Candidate("line", "scaled", make_recipe("linear", {}, epochs=4, batch_size=64, optimizer={"lr": 0.05})),
    Candidate("stumps", "plain", make_recipe("gradient-boosting", {**TREES, "max_leaf_nodes": 2})),
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def tables() -> dict[str, TrainingData]:
    """Rows as they are, and scaled as networks want them."""
    source = load_breast_cancer()
    plain = source.data.astype(np.float32)
    scaled = ((plain - plain.mean(0)) / plain.std(0)).astype(np.float32)
    return {name: cut(rows, source.target.astype(np.int64)) for name, rows in (("plain", plain), ("scaled", scaled))}


def cut(rows: np.ndarray, target: np.ndarray) -> TrainingData:
    val = np.arange(len(target)) % 5 == 0
    return TrainingData(FeatureBatch(features=rows[~val]), target[~val], FeatureBatch(features=rows[val]), target[val])


class Clock:
    """Passes so many seconds at each look."""

    def __init__(self, pace_s: float = 0.0) -> None:
        self.now_s, self.pace_s = 0.0, pace_s

    def __call__(self) -> float:
        self.now_s += self.pace_s
        return self.now_s


def search(
    workdir: Path,
    *,
    candidates: tuple[Candidate, ...] = CANDIDATES,
    folds: int = 2,
    labels: tuple[str, ...] = LABELS,
    data: dict[str, TrainingData] | None = None,
    report: Callable[[Progress], None] = ignore,
    stop_requested: Callable[[], bool] = never,
    clock: Callable[[], float] | None = None,
    work_clock: Callable[[], float] | None = None,
    **options: Any,
) -> Found:
    held = data or tables()
    first = held[candidates[0].view]
    every = np.concatenate([first.train_target, first.val_target])
    rounds = plan_rounds(every, folds=folds, is_class=bool(labels), seed=0)
    target = every if folds > 1 else first.val_target
    clock = clock or Clock()
    facts = {"threads": 1, "rounds": rounds, "checkpoint_every_s": 10.0, "clock": clock, "work_clock": work_clock or clock}

    def open_view(candidate: Candidate) -> View:
        pooled = rounds.pooled(held[candidate.view])
        return View(FeatureSpec(shape=pooled.train.features.shape[1:]), pooled)

    return Search(
        candidates,
        AutoOptions(**options),
        Terms(labels=labels, saved=lambda: None, **facts),
        open_view,
        target_J=target,
        weight_J=np.ones(len(target)),
        loss="cross-entropy" if labels else "mse",
        began_s=clock(),
        workdir=workdir,
        report=report,
        stop_requested=stop_requested,
    ).run()


def ask(found: Found, data: dict[str, TrainingData]) -> np.ndarray:
    session = onnxruntime.InferenceSession(found.graph.SerializeToString())
    given = {f"modeltap/{view}/{FEATURES}": data[view].val.features for view in found.views}
    return session.run(None, given)[0]


def test_candidates_answer_together_and_better_than_each(tmp_path: Path) -> None:
    found = search(tmp_path)
    weights = [one.weight for one in found.tried]
    assert sum(weights) == pytest.approx(1) and sum(weight > 0 for weight in weights) > 1
    data = tables()
    given = ask(found, data)
    assert given.sum(1) == pytest.approx(np.ones(len(given)), abs=1e-5)
    together = judged_metrics(found.answer, np.concatenate([data["plain"].train_target, data["plain"].val_target]))
    assert together["log_loss"] < min(one.metrics["log_loss"] for one in found.tried)
    assert [one.state for one in found.tried] == ["trained"] * 3 and not found.notices


def test_a_search_that_was_stopped_goes_on_to_the_same_bytes_and_trains_nothing_twice(tmp_path: Path) -> None:
    whole = search(tmp_path / "whole")
    seen: list[str] = []
    with pytest.raises(Stopped):
        search(
            tmp_path / "stopped",
            report=lambda line: seen.append(line.message),
            stop_requested=lambda: any(message.startswith("2 of 3") for message in seen),
        )
    kept = tmp_path / "stopped" / FOLDER / "candidate-00" / "finished.safetensors"
    before = kept.stat().st_mtime_ns
    began: list[str] = []
    again = search(tmp_path / "stopped", report=lambda line: began.append(line.message))
    assert kept.stat().st_mtime_ns == before
    assert "1 of 3, trees" not in began and "2 of 3, line" in began
    assert again.graph.SerializeToString(deterministic=True) == whole.graph.SerializeToString(deterministic=True)
    assert again.tried == whole.tried


def test_what_was_kept_of_another_run_is_trained_anew(tmp_path: Path) -> None:
    search(tmp_path, candidates=CANDIDATES[:1])
    other = Candidate("trees", "plain", make_recipe("gradient-boosting", {**TREES, "learning_rate": 0.1}))
    changed = search(tmp_path, candidates=(other,))
    assert changed.tried == search(tmp_path / "fresh", candidates=(other,)).tried


def test_the_clock_leaves_out_candidates_but_never_the_first_and_says_so(tmp_path: Path) -> None:
    seen: list[str] = []
    clock = Clock()

    def report(line: Progress) -> None:
        seen.append(line.message)
        if line.message.startswith("1 of 3, trees: "):
            clock.now_s = 10 * TRAINING_SHARE

    found = search(tmp_path, report=report, clock=clock, time_budget=10)
    assert [one.state for one in found.tried] == ["trained", "left out", "left out"]
    assert [one.weight for one in found.tried] == [1, 0, 0]
    assert "10 s left out 2 of 3 candidates (line, stumps)" in found.notices[0]


def test_a_candidate_is_given_up_when_the_time_ends_and_the_first_ends_with_what_grew(tmp_path: Path) -> None:
    tree = Candidate("slow", "plain", make_recipe("gradient-boosting", {**TREES, "max_iter": 500, "learning_rate": 0.001}))
    found = search(tmp_path, candidates=(tree, CANDIDATES[1]), clock=Clock(1.0), time_budget=5)
    assert [one.state for one in found.tried] == ["cut", "left out"]
    assert found.tried[0].epochs is not None and found.tried[0].epochs < 100
    assert len(found.notices) == 2 and "its best trees so far were kept" in found.notices[0]


def test_where_others_keep_the_processor_busy_more_time_is_kept_for_the_rest(tmp_path: Path) -> None:
    seen: list[str] = []
    clock, work = Clock(), Clock()

    def report(line: Progress) -> None:
        seen.append(line.message)
        if line.message.startswith("1 of 3, trees: "):
            clock.now_s, work.now_s = 60, 20

    found = search(tmp_path, report=report, clock=clock, work_clock=work, time_budget=100)
    assert [one.state for one in found.tried] == ["trained", "left out", "left out"]
    calm = search(tmp_path / "calm", report=report, clock=(again := Clock()), work_clock=again, time_budget=100)
    assert [one.state for one in calm.tried] == ["trained"] * 3


def test_a_candidate_that_adds_nothing_in_its_first_fold_gets_no_other(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    rows = draw.normal(size=(2_500, 3)).astype(np.float32)
    target = (np.square(rows).sum(1) + draw.normal(size=2_500) > 3).astype(np.int64)
    data = {"plain": cut(rows, target), "scaled": cut(rows, target)}
    found = search(tmp_path, data=data, candidates=CANDIDATES[:2])
    assert [one.state for one in found.tried] == ["trained", "behind"]
    assert (found.tried[1].weight, found.tried[1].metrics) == (0, {}) and found.seconds[1] >= 0
    told: list[str] = []
    again = search(tmp_path, data=data, candidates=CANDIDATES[:2], report=lambda line: told.append(line.message))
    assert again.tried == found.tried
    assert told[1] == "2 of 2, line: adds nothing to those before it, 0.0 s", "nothing of it is trained again"


def test_a_candidate_that_cannot_be_trained_is_told_of_and_the_others_answer(tmp_path: Path) -> None:
    wild = Candidate("wild", "scaled", make_recipe("linear", {}, epochs=2, batch_size=8, optimizer={"name": "sgd", "lr": 3e38}))
    found = search(tmp_path, candidates=(wild, CANDIDATES[0]))
    assert [(one.state, one.weight) for one in found.tried] == [("failed", 0), ("trained", 1)]
    assert "candidate 'wild' could not be trained: the " in found.notices[0]
    with pytest.raises(InvalidRecipe, match=r"lower optimizer\.lr"):
        search(tmp_path / "alone", candidates=(wild,))


def test_one_round_is_judged_on_the_validation_part(tmp_path: Path) -> None:
    data = tables()
    found = search(tmp_path, folds=1, candidates=CANDIDATES[:1])
    assert len(found.answer) == len(data["plain"].val_target)
    np.testing.assert_allclose(ask(found, data), found.answer, atol=1e-6)


def test_without_a_blend_the_best_answers_alone(tmp_path: Path) -> None:
    found = search(tmp_path, blend=False, candidates=(CANDIDATES[0], CANDIDATES[2]))
    losses = [one.metrics["log_loss"] for one in found.tried]
    assert [one.weight for one in found.tried] == [float(loss == min(losses)) for loss in losses]


def test_numbers_are_the_mean_of_the_folds(tmp_path: Path) -> None:
    source = load_diabetes()
    data = {"plain": cut(source.data.astype(np.float32), source.target.astype(np.float64))}
    found = search(tmp_path, labels=(), data=data, candidates=CANDIDATES[:1])
    truth = data["plain"].val_target
    assert np.sqrt(np.mean((ask(found, data) - truth) ** 2)) < truth.std() * 0.8
    assert set(found.tried[0].metrics) == {"rmse", "mae"}


def test_weights_favour_what_lowers_the_loss_of_the_mean_and_leave_out_what_is_worth_little() -> None:
    target = np.array([0.0, 10.0, 20.0, 30.0])
    ones = np.ones(4)
    low, high, noise = target - 1, target + 1, np.array([5.0, 5.0, 5.0, 5.0])
    assert blend_weights([low, high, noise], target, ones, loss="mse").tolist() == [0.5, 0.5, 0]
    assert blend_weights([low, low, noise], target, ones, loss="mse").tolist() == [1, 0, 0]


def test_every_row_is_left_out_once_and_folds_have_their_share_of_each_class() -> None:
    target = np.array([0] * 40 + [1] * 8)
    rounds = plan_rounds(target, folds=4, is_class=True, seed=3)
    assert rounds.fold_of is not None
    for fold in range(4):
        assert np.bincount(target[rounds.fold_of == fold]).tolist() == [10, 2]


def test_the_area_is_that_of_pairs_with_ties_counted_half() -> None:
    score = np.array([0.1, 0.4, 0.4, 0.8], dtype=np.float32)
    told = judged_metrics(np.stack([1 - score, score], 1), np.array([0, 0, 1, 1]))
    assert told["roc_auc"] == pytest.approx(3.5 / 4)
    assert judged_metrics(np.stack([1 - score, score], 1), np.array([1, 1, 1, 1]))["roc_auc"] is None
