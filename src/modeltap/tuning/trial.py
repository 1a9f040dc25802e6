"""One trial from its folder to what it learned: the training of `train`, with a metric that is told after every epoch.

Letters: N rows, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from modeltap.domain.progress import Progress
from modeltap.errors import InvalidData, InvalidInput, ModeltapError, StorageFailed
from modeltap.evaluation.classification import confusion_matrix, count_classes, label_metrics, probability_metrics
from modeltap.evaluation.regression import regression_metrics
from modeltap.recipe.architectures import find_architecture
from modeltap.recipe.parse import parse_recipe
from modeltap.training.trained import Assignment, Trained, Watched, describe
from modeltap.tuning.features import open_features
from modeltap.tuning.trial_files import Learned, TrialFolder, TrialResult, TrialTask

FEATURES = "features"
"""Beside the folders of the trials: what they are trained on, a folder a kind."""
PROBABILITY_METRICS = ("roc_auc", "log_loss", "calibration_error")

Tell = Callable[[int, float], None]
"""(epoch, metric); what it raises ends the trial."""


def run_trial(
    folder: TrialFolder,
    *,
    tell: Tell,
    progress: Callable[[Progress], None],
    stop_requested: Callable[[], bool],
    saved: Callable[[], None],
) -> None:
    """The trial has a result when this returns. Raises Stopped, what `tell` raises, and StorageFailed, after each of which it
    goes on from its checkpoint."""
    task = folder.read_task()
    try:
        given = open_assignment(task, folder.path, tell=tell, progress=progress, stop_requested=stop_requested, saved=saved)
        learned = learn(given)
        value = learned.kept_entry.get(f"val_{task.metric}", math.nan)
        if not math.isfinite(value):
            raise InvalidData(f"{task.metric} is undefined on the validation part")
    except StorageFailed:
        raise
    except ModeltapError as problem:
        folder.write_result(TrialResult(state="failed", reason=problem.message))
    except MemoryError:
        reason = "the machine's memory did not suffice; search fewer or smaller widths, or set search.parallel: 1"
        folder.write_result(TrialResult(state="failed", reason=reason))
    else:
        folder.write_learned(learned)
        folder.write_result(TrialResult(state="complete", value=value))


def open_assignment(
    task: TrialTask,
    workdir: Path,
    *,
    tell: Tell = lambda _epoch, _value: None,
    progress: Callable[[Progress], None] = lambda _progress: None,
    stop_requested: Callable[[], bool] = lambda: False,
    saved: Callable[[], None] = lambda: None,
) -> Assignment:
    """What training is told. Raises InvalidRecipe, StorageFailed."""
    shared = open_features(workdir.parents[1] / FEATURES / task.features)
    recipe = parse_recipe(task.recipe)
    options = {**recipe.model.options, **shared.about.options}
    recipe = msgspec.structs.replace(recipe, model=msgspec.structs.replace(recipe.model, options=options))
    name = f"val_{task.metric}"

    def report(told: Progress) -> None:
        progress(told)
        if told.epoch_metrics and name in told.epoch_metrics and told.epoch_metrics["epoch"] % task.told_every == 0:
            tell(int(told.epoch_metrics["epoch"]), float(told.epoch_metrics[name]))

    return Assignment(
        recipe=recipe,
        spec=shared.about.spec,
        data=shared.data,
        labels=shared.about.labels,
        threads=task.threads,
        workdir=workdir,
        report=report,
        stop_requested=stop_requested,
        checkpoint_every_s=task.checkpoint_every_s,
        saved=saved,
        start=shared.start,
        watched=Watched(task.metric, measure_of(task.metric, num_classes=len(shared.about.labels))),
    )


def learn(given: Assignment) -> Learned:
    """Trained as `fit` does it, but for the network's graph, which only the best trial needs. Raises as `fit` does."""
    architecture = find_architecture(given.recipe.model.architecture)
    if architecture.family == "boosting":
        from modeltap.training.boosting import fit_boosting

        trees = fit_boosting(given, architecture)
        return Learned(
            architecture=trees.architecture,
            history=trees.history,
            best_epoch=trees.best_epoch,
            graph=trees.graph.SerializeToString(deterministic=True),
        )
    from modeltap.training.network import train_network

    network = train_network(given, architecture)
    target = None if network.scale is None else {"mean": network.scale.mean, "std": network.scale.std}
    return Learned(
        architecture=describe(architecture, network.options, given.spec, given.num_outputs, target=target),
        history=network.standing.history,
        best_epoch=network.standing.best_epoch,
        weights={name: tensor.detach().cpu().numpy().copy() for name, tensor in network.module.state_dict().items()},
    )


def finish(learned: Learned, given: Assignment) -> Trained:
    """What `fit` would have given, from what the trial learned: nothing is trained again. Raises InvalidRecipe, Broken."""
    if learned.graph:
        import onnx

        return Trained(
            graph=onnx.load_from_string(learned.graph),
            weights={},
            architecture=learned.architecture,
            history=learned.history,
            best_epoch=learned.best_epoch,
        )
    from modeltap.training.building import load_start
    from modeltap.training.network import build_network, with_graph

    architecture = find_architecture(given.recipe.model.architecture)
    network = build_network(given, architecture)
    load_start(network.module, learned.weights)
    network.standing.history, network.standing.best_epoch = learned.history, learned.best_epoch
    return with_graph(given, architecture, network)


def measure_of(metric: str, *, num_classes: int) -> Callable[[NDArray[Any], NDArray[Any]], float]:
    """A function of answers, (N, C) probabilities or (N,) values, and targets; NaN where the metric is undefined.

    Raises InvalidInput for a metric that the task does not have.
    """
    if not num_classes:
        return lambda value_N, target_N: regression_metrics(value_N.astype(np.float64), target_N)[metric]
    if metric in PROBABILITY_METRICS:
        return lambda prob_NC, label_N: probability_metrics(prob_NC, label_N)[metric]

    def of_labels(prob_NC: NDArray[Any], label_N: NDArray[Any]) -> float:
        confusion_CC = confusion_matrix(label_N, prob_NC.argmax(axis=1), num_classes=num_classes)
        found = label_metrics(count_classes(confusion_CC))
        if metric not in found:
            raise InvalidInput(f"there is no metric '{metric}' of classes")
        return float(found[metric])

    return of_labels
