"""The folder of one trial: what it is to do, its checkpoint, what it learned, and how it ended."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, Literal

import msgspec

from modeltap.errors import Broken
from modeltap.storage.disk import disk_failures

TASK, RESULT, LEARNED, LOCK = "task.json", "result.json", "learned", "lock"
WEIGHTS, GRAPH, ABOUT = "weights.safetensors", "graph.onnx", "about.json"


class TrialTask(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides a trial. `features` is a folder beside those of the trials."""

    number: int
    recipe: dict[str, Any]
    features: str
    metric: str
    told_every: int
    """Epochs between two reports of the metric."""
    threads: int
    checkpoint_every_s: float


class TrialResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a trial ended by itself. What it learned is in its folder before this is written."""

    state: Literal["complete", "failed"]
    value: float | None = None
    reason: str = ""


class Learned(msgspec.Struct, frozen=True, kw_only=True):
    """Of a network its weights, of trees their graph: enough to make the version of it."""

    architecture: dict[str, Any]
    history: list[dict[str, Any]]
    best_epoch: int | None
    weights: dict[str, Any] = {}
    graph: bytes = b""

    @property
    def kept_entry(self) -> dict[str, Any]:
        """Of the epoch whose weights were kept."""
        return self.history[(self.best_epoch or len(self.history)) - 1]


class _About(msgspec.Struct, frozen=True, kw_only=True):
    architecture: dict[str, Any]
    history: list[dict[str, Any]]
    best_epoch: int | None


class TrialFolder:
    def __init__(self, path: Path) -> None:
        self.path = path

    def write_task(self, task: TrialTask) -> None:
        """Raises StorageFailed."""
        with disk_failures("keeping a trial"):
            self.path.mkdir(parents=True, exist_ok=True)
        self._put(TASK, msgspec.json.encode(task))

    @property
    def has_task(self) -> bool:
        return (self.path / TASK).exists()

    def read_task(self) -> TrialTask:
        return msgspec.json.decode((self.path / TASK).read_bytes(), type=TrialTask)

    def write_result(self, result: TrialResult) -> None:
        """The trial has ended, once this is there. Raises StorageFailed."""
        self._put(RESULT, msgspec.json.encode(result))

    def read_result(self) -> TrialResult | None:
        """None while it has not ended by itself."""
        try:
            return msgspec.json.decode((self.path / RESULT).read_bytes(), type=TrialResult)
        except FileNotFoundError:
            return None

    def write_learned(self, learned: Learned) -> None:
        """Raises StorageFailed."""
        folder = self.path / LEARNED
        about = _About(architecture=learned.architecture, history=learned.history, best_epoch=learned.best_epoch)
        with disk_failures("keeping what a trial learned"):
            folder.mkdir(exist_ok=True)
            if learned.weights:
                from safetensors.numpy import save

                (folder / WEIGHTS).write_bytes(save(learned.weights))
            if learned.graph:
                (folder / GRAPH).write_bytes(learned.graph)
        self._put(f"{LEARNED}/{ABOUT}", msgspec.json.encode(about))

    def read_learned(self) -> Learned:
        """Raises Broken if it is no longer there."""
        folder = self.path / LEARNED
        try:
            about = msgspec.json.decode((folder / ABOUT).read_bytes(), type=_About)
            weights = {}
            if (folder / WEIGHTS).exists():
                from safetensors.numpy import load_file

                weights = load_file(folder / WEIGHTS)
            graph = (folder / GRAPH).read_bytes() if (folder / GRAPH).exists() else b""
        except OSError as problem:
            raise Broken(f"what trial {self.path.name} learned is gone; start the search again") from problem
        return Learned(
            architecture=about.architecture,
            history=about.history,
            best_epoch=about.best_epoch,
            weights=weights,
            graph=graph,
        )

    def remove(self) -> None:
        """Nothing is left of it. What the disk refuses is left to a later collection."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _put(self, name: str, content: bytes) -> None:
        path = self.path / name
        fresh = path.with_name(f"{path.name}.new")
        with disk_failures("keeping a trial"):
            with fresh.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
