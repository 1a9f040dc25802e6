"""One candidate of a search: trained once, or once a fold, and its answers on the rows that it is judged on.

Letters: J judged rows, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from modeltap.domain.features import FeatureSpec
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.recipe.architectures import find_architecture
from modeltap.training.auto_answers import graph_answers
from modeltap.training.auto_rounds import Round, Rounds
from modeltap.training.boosting import fit_boosting
from modeltap.training.trained import Assignment, TrainingData
from modeltap.training.trees_merge import merge_trees


@dataclass(frozen=True)
class Candidate:
    """`view` names the features that it reads; candidates of one view share them. `recipe` is complete."""

    name: str
    view: str
    recipe: Recipe


@dataclass(frozen=True)
class View:
    spec: FeatureSpec
    data: TrainingData


@dataclass(frozen=True)
class Finished:
    """A candidate that can answer every row: with the mean of its graphs, one a round or one that stands for them all."""

    candidate: Candidate
    graphs: list[onnx.ModelProto]
    """Of trees."""
    weights: list[dict[str, NDArray[Any]]]
    """Of networks, by their names in the module; one a round."""
    answer: NDArray[np.float32]
    """On the judged rows: (J, C) probabilities or (J,) numbers, of graphs that did not learn from them."""
    seconds: float
    epochs: int | None
    """The best one, or the number of trees; the mean of all rounds."""
    cut: bool
    """Its time ended before it did."""
    history: list[dict[str, Any]]
    """Of the first round."""
    behind: bool = False
    """Its first fold added nothing to the candidates before it: it has no other, and answers nothing."""


@dataclass(frozen=True)
class Terms:
    """What all candidates of a search share."""

    labels: Sequence[str]
    threads: int
    rounds: Rounds
    checkpoint_every_s: float
    saved: Callable[[], None]
    clock: Callable[[], float]
    work_clock: Callable[[], float]
    """Passes only while this process is given a processor."""


def train_candidate(
    candidate: Candidate,
    view: View,
    terms: Terms,
    *,
    workdir: Path,
    report: Callable[[Progress], None],
    stop_requested: Callable[[], bool],
    time_up: Callable[[float], bool],
    adds_nothing: Callable[[NDArray[np.float32]], bool] = lambda _answer: False,
) -> Finished:
    """Raises as `fit` does. time_up: asked while trees grow whether so large a share of their time is over; then they end.
    adds_nothing: asked what the answers to the first of several folds are worth."""
    start_s = terms.clock()
    trained: list[Round] = []
    was_cut = False

    def is_over() -> bool:
        nonlocal was_cut
        was_cut |= (over := time_up((len(trained) + 1) / terms.rounds.folds))
        return over

    def told(progress: Progress) -> None:
        report(_of_all(progress, len(trained), terms.rounds.folds))

    for fold in range(terms.rounds.folds):
        plain = _assignment(candidate, view, terms, fold, workdir)
        given = replace(plain, report=told, stop_requested=stop_requested, saved=terms.saved, time_up=is_over)
        given.workdir.mkdir(parents=True, exist_ok=True)
        trained.append(_fit(given))
        if not fold and terms.rounds.folds > 1 and adds_nothing(trained[0].answer):
            return _behind(candidate, trained[0], terms.clock() - start_s)
    return Finished(
        candidate=candidate,
        graphs=_merged([one.graph for one in trained if one.graph is not None]),
        weights=[one.weights for one in trained if one.graph is None],
        answer=terms.rounds.gather([one.answer for one in trained]),
        seconds=terms.clock() - start_s,
        epochs=round(float(np.mean([one.best_epoch or len(one.history) for one in trained]))),
        cut=was_cut,
        history=trained[0].history,
    )


def _behind(candidate: Candidate, first: Round, seconds: float) -> Finished:
    return Finished(
        candidate=candidate,
        graphs=[],
        weights=[],
        answer=first.answer[:0],
        seconds=seconds,
        epochs=None,
        cut=False,
        history=[],
        behind=True,
    )


def member_graphs(done: Finished, view: View, terms: Terms, *, workdir: Path) -> list[onnx.ModelProto]:
    """Of a candidate that answers: trees are graphs already, networks become such."""
    if not done.weights:
        return done.graphs
    from modeltap.training.auto_network import export_fold

    architecture = find_architecture(done.candidate.recipe.model.architecture)
    return [
        export_fold(_assignment(done.candidate, view, terms, fold, workdir), architecture, weights)
        for fold, weights in enumerate(done.weights)
    ]


def _assignment(candidate: Candidate, view: View, terms: Terms, fold: int, workdir: Path) -> Assignment:
    return Assignment(
        recipe=candidate.recipe,
        spec=view.spec,
        data=terms.rounds.data(view.data, fold),
        labels=terms.labels,
        threads=terms.threads,
        workdir=workdir / f"fold-{fold}",
        report=lambda _progress: None,
        stop_requested=lambda: False,
        checkpoint_every_s=terms.checkpoint_every_s,
    )


def _fit(given: Assignment) -> Round:
    architecture = find_architecture(given.recipe.model.architecture)
    if architecture.family != "boosting":
        from modeltap.training.auto_network import train_fold

        return train_fold(given, architecture)
    trees = fit_boosting(given, architecture)
    answer = graph_answers(trees.graph, given.data.val, threads=given.threads)
    return Round(graph=trees.graph, weights={}, answer=answer, history=trees.history, best_epoch=trees.best_epoch)


def _merged(graphs: list[onnx.ModelProto]) -> list[onnx.ModelProto]:
    """One graph of all trees, unless they know different classes."""
    merged = merge_trees(graphs) if len(graphs) > 1 else None
    return graphs if merged is None else [merged]


def _of_all(progress: Progress, done: int, folds: int) -> Progress:
    """The progress of a round as that of the candidate; what is said of a single epoch is left out."""
    return Progress(
        phase="train",
        fraction=(done + progress.fraction) / folds,
        loss=progress.loss,
        metric=progress.metric,
        metric_name=progress.metric_name,
        samples_per_s=progress.samples_per_s,
    )
