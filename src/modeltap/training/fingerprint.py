"""What names a run: everything that decides its weights."""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np
import torch
from torch import nn

from modeltap.training.teaching import teacher_digest
from modeltap.training.trained import Assignment

ROWS = 4096


def run_digest(given: Assignment, module: nn.Module) -> str:
    """Names everything that decides the run: recipe, threads, data (by its targets and up to 4096 rows), weights' shapes,
    torch's version. A checkpoint of another digest is not gone on from."""
    digest = hashlib.sha256()
    shapes = {name: list(tensor.shape) for name, tensor in module.state_dict().items()}
    facts = [given.recipe, given.spec, list(given.labels), given.threads, str(torch.__version__), shapes]
    if given.teacher is not None:
        facts.append(teacher_digest(given.teacher))
    digest.update(msgspec.json.encode(facts, order="sorted"))
    for batch, target in ((given.data.train, given.data.train_target), (given.data.val, given.data.val_target)):
        digest.update(np.ascontiguousarray(target).tobytes())
        rows = np.unique(np.linspace(0, max(0, len(batch) - 1), ROWS, dtype=np.int64))[: len(batch)]
        for array in (batch.features, batch.codes):
            if array is not None:
                digest.update(str(array.shape).encode())
                digest.update(np.ascontiguousarray(array[rows]).tobytes())
    return digest.hexdigest()
