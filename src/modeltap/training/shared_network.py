"""A network trained by several processes: its rows and start weights as arrays, and what each process makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from modeltap.domain.architecture import Architecture
from modeltap.domain.features import FeatureBatch
from modeltap.recipe.architectures import find_architecture
from modeltap.training.determinism import deterministic
from modeltap.training.distributed.files import Heard, NetworkTerms, RanksFolder
from modeltap.training.distributed.group import Ranks
from modeltap.training.distributed.run import train_together
from modeltap.training.fingerprint import run_digest
from modeltap.training.network import TrainedNetwork, build_network, train_network, with_graph
from modeltap.training.trained import Assignment, Trained, TrainingData


def fit_distributed(given: Assignment, architecture: Architecture) -> Trained:
    """As `fit_network`, by `distributed.processes` processes. Raises as `fit` does, and RanksLost."""
    return with_graph(given, architecture, train_distributed(given, architecture))


def train_distributed(given: Assignment, architecture: Architecture) -> TrainedNetwork:
    """As `fit_distributed`, without the graph."""
    with deterministic(seed=given.recipe.seed, threads=given.threads):
        network = build_network(given, architecture)
    terms = NetworkTerms(
        run=run_digest(given, network.module),
        recipe=given.recipe,
        spec=given.spec,
        labels=tuple(given.labels),
        threads=given.threads,
        workdir=str(given.workdir.absolute()),
        checkpoint_every_s=given.checkpoint_every_s,
        start=tuple(sorted(given.start)),
    )
    heard = Heard(given.report, given.saved, given.stop_requested)
    kept = train_together(terms, _arrays(given, terms), epochs=given.recipe.epochs, heard=heard)
    network.module.load_state_dict(kept.weights)
    return replace(network, standing=kept.standing)


def train_share(terms: NetworkTerms, folder: RanksFolder, ranks: Ranks, heard: Heard) -> None:
    """What one of the processes does."""
    given = Assignment(
        recipe=terms.recipe,
        spec=terms.spec,
        data=_map_data(folder),
        labels=terms.labels,
        threads=terms.threads,
        workdir=Path(terms.workdir),
        report=heard.report,
        stop_requested=heard.stop_requested,
        checkpoint_every_s=terms.checkpoint_every_s,
        saved=heard.saved,
        start={name: folder.map(f"start.{place}") for place, name in enumerate(terms.start)},
    )
    train_network(given, find_architecture(terms.recipe.model.architecture), ranks)


def _arrays(given: Assignment, terms: NetworkTerms) -> Mapping[str, NDArray[Any]]:
    data = given.data
    return {
        "train.target": data.train_target,
        "val.target": data.val_target,
        **_part_arrays("train", data.train),
        **_part_arrays("val", data.val),
        **{f"start.{place}": given.start[name] for place, name in enumerate(terms.start)},
    }


def _part_arrays(part: str, batch: FeatureBatch) -> dict[str, NDArray[Any]]:
    codes = {} if batch.codes is None else {f"{part}.codes": batch.codes}
    return {f"{part}.features": batch.features, **codes}


def _map_data(folder: RanksFolder) -> TrainingData:
    def part(name: str) -> FeatureBatch:
        codes = f"{name}.codes"
        return FeatureBatch(features=folder.map(f"{name}.features"), codes=folder.map(codes) if folder.has(codes) else None)

    return TrainingData(
        train=part("train"), train_target=folder.map("train.target"), val=part("val"), val_target=folder.map("val.target")
    )
