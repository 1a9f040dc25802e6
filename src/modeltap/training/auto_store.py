"""Finished candidates of a search on the disk, so that a job that was killed trains none of them again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from modeltap.recipe.render import recipe_document
from modeltap.training.auto_candidate import Candidate, Finished, View
from modeltap.training.auto_rounds import Rounds

ROWS = 4096


def keep_finished(path: Path, done: Finished, *, run: str) -> None:
    """On the disk when this returns. Raises StorageFailed if the disk refuses."""
    import torch

    from modeltap.training.checkpoint import write_checkpoint

    tensors = {"answer": torch.from_numpy(np.ascontiguousarray(done.answer))}
    for place, graph in enumerate(done.graphs):
        content = np.frombuffer(graph.SerializeToString(deterministic=True), dtype=np.uint8)
        tensors[f"graph.{place:03}"] = torch.from_numpy(content.copy())
    for fold, weights in enumerate(done.weights):
        tensors |= {f"weights.{fold:03}.{name}": torch.from_numpy(np.array(array)) for name, array in weights.items()}
    facts = {name: getattr(done, name) for name in ("seconds", "epochs", "cut", "behind", "history")}
    write_checkpoint(path, tensors, facts, run=run)


def read_finished(path: Path, candidate: Candidate, *, run: str) -> Finished | None:
    """What was kept; None if there is none, or it belongs to another run."""
    from modeltap.training.checkpoint import read_checkpoint

    found = read_checkpoint(path, run=run)
    if found is None:
        return None
    tensors, facts = found
    graphs = [onnx.load_from_string(tensors[name].numpy().tobytes()) for name in sorted(tensors) if name.startswith("graph.")]
    weights: dict[str, dict[str, NDArray[Any]]] = {}
    for name in sorted(tensors):
        kind, _, place = name.partition(".")
        if kind == "weights":
            fold, _, inner = place.partition(".")
            weights.setdefault(fold, {})[inner] = tensors[name].numpy()
    return Finished(
        candidate=candidate, graphs=graphs, weights=list(weights.values()), answer=tensors["answer"].numpy(), **facts
    )


def candidate_run(candidate: Candidate, view: View, rounds: Rounds, labels: Sequence[str], threads: int) -> str:
    """Names everything that decides a candidate: its recipe, the data (by its targets and up to 4,096 rows), the folds, the
    threads, the versions of what trains it."""
    import sklearn
    import torch

    facts = [recipe_document(candidate.recipe), view.spec, list(labels), rounds.folds, threads]
    facts += [str(torch.__version__), str(sklearn.__version__)]
    digest = hashlib.sha256(msgspec.json.encode(facts, order="sorted"))
    data = view.data
    for batch, target in ((data.train, data.train_target), (data.val, data.val_target)):
        digest.update(np.ascontiguousarray(target).tobytes())
        rows = np.unique(np.linspace(0, max(0, len(batch) - 1), ROWS, dtype=np.int64))[: len(batch)]
        arrays: list[NDArray[Any] | None] = [batch.features, batch.codes]
        for array in arrays:
            if array is not None:
                digest.update(str(array.shape).encode())
                digest.update(np.ascontiguousarray(array[rows]).tobytes())
    return digest.hexdigest()
