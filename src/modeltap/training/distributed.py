"""A network trained by several processes of this machine: written down for them, launched, taken back from the checkpoint."""

from __future__ import annotations

from dataclasses import replace

import torch

from modeltap.domain.architecture import Architecture
from modeltap.errors import Broken
from modeltap.training.checkpoint import read_checkpoint
from modeltap.training.determinism import deterministic
from modeltap.training.distributed_agent import Agent
from modeltap.training.distributed_files import RanksFolder, Terms
from modeltap.training.fingerprint import run_digest
from modeltap.training.network import CHECKPOINT, TrainedNetwork, build_network, with_graph
from modeltap.training.schedules import Plateau
from modeltap.training.standing import Standing
from modeltap.training.stopped import Stopped
from modeltap.training.trained import Assignment, Trained

FOLDER = "ranks"


def fit_distributed(given: Assignment, architecture: Architecture) -> Trained:
    """As `fit_network`, by `distributed.processes` processes. Raises as `fit` does, and RanksLost."""
    return with_graph(given, architecture, train_distributed(given, architecture))


def train_distributed(given: Assignment, architecture: Architecture) -> TrainedNetwork:
    """As `fit_distributed`, without the graph."""
    with deterministic(seed=given.recipe.seed, threads=given.threads):
        network = build_network(given, architecture)
    run = run_digest(given, network.module)
    found = _read_end(given, run)
    if found is None:
        _launch(given, run)
        found = _read_end(given, run)
        if found is None:
            raise Broken("the training processes ended without a word; the job's log may have the reason")
    weights, standing = found
    network.module.load_state_dict(weights)
    return replace(network, standing=standing)


def _launch(given: Assignment, run: str) -> None:
    folder = RanksFolder(given.workdir.absolute() / FOLDER)
    terms = Terms(
        run=run,
        recipe=given.recipe,
        spec=given.spec,
        labels=tuple(given.labels),
        threads=given.threads,
        workdir=str(given.workdir.absolute()),
        checkpoint_every_s=given.checkpoint_every_s,
        start=tuple(sorted(given.start)),
    )
    folder.write(terms, given.data, given.start)
    agent = Agent(
        folder,
        processes=given.recipe.distributed.processes,
        report=given.report,
        saved=given.saved,
        stop_requested=given.stop_requested,
    )
    try:
        came_to_an_end = agent.launch()
        ended = folder.read_end()
    finally:
        folder.remove()
    if ended is not None and ended.how == "failed":
        raise ended.problem()
    if ended is not None or not came_to_an_end:
        raise Stopped


def _read_end(given: Assignment, run: str) -> tuple[dict[str, torch.Tensor], Standing] | None:
    """Weights and standing of the run's checkpoint if that holds its end."""
    found = read_checkpoint(given.workdir / CHECKPOINT, run=run)
    if found is None:
        return None
    tensors, state = found
    if not (state["ended"] or state["epoch"] >= given.recipe.epochs):
        return None
    kept = {name.removeprefix("weights."): tensor for name, tensor in tensors.items() if name.startswith("weights.")}
    return kept, Standing(losses=tensors["losses"], **{**state, "plateau": Plateau(**state["plateau"])})
