"""The folder in which a runner and the processes that train for it meet: rows written once and mapped by all, what is told,
what is wanted, and how it ended. Plain arrays and JSON; gone when training ends.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from modeltap.domain.features import FeatureBatch, FeatureSpec
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.errors import InvalidData, InvalidRecipe, ModeltapError, StorageFailed
from modeltap.training.trained import TrainingData

SMALL_BYTES = 4096
NAMED: dict[str, type[ModeltapError]] = {kind.__name__: kind for kind in (InvalidData, InvalidRecipe, StorageFailed)}
"""What a training process may end with that starting it again would not mend."""


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of the first process: how far it is, or that it saved a checkpoint beyond the one it began with."""

    progress: Progress | None = None
    saved: bool = False


class Ended(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How training ended where it did not come to its end: by request, or with a named error."""

    how: Literal["stopped", "failed"]
    error: str = ""
    message: str = ""
    fields: tuple[tuple[str, str], ...] = ()

    def problem(self) -> ModeltapError:
        return NAMED[self.error](self.message, fields=self.fields)


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What each process is told, beside the rows."""

    run: str
    recipe: Recipe
    spec: FeatureSpec
    labels: tuple[str, ...]
    threads: int
    workdir: str
    checkpoint_every_s: float
    start: tuple[str, ...]
    """Names of the weights to begin with; the arrays are numbered."""


@dataclass(frozen=True)
class RanksFolder:
    path: Path

    @property
    def told(self) -> Path:
        return self.path / "told.jsonl"

    @property
    def meeting(self) -> Path:
        """Where processes find each other; each start of them needs a fresh one."""
        return self.path / "meeting"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def write(self, terms: Terms, data: TrainingData, start: Mapping[str, NDArray[Any]]) -> None:
        """Rows and terms, in place of whatever was here. Raises StorageFailed if the disk refuses."""
        arrays = {
            "train.target": data.train_target,
            "val.target": data.val_target,
            **_arrays("train", data.train),
            **_arrays("val", data.val),
            **{f"start.{place}": start[name] for place, name in enumerate(terms.start)},
        }
        try:
            self.remove()
            self.path.mkdir(parents=True)
            for name, array in arrays.items():
                np.save(self.path / f"{name}.npy", array, allow_pickle=False)
            (self.path / "terms.json").write_bytes(msgspec.json.encode(terms))
        except OSError as problem:
            raise StorageFailed(
                f"the rows could not be written for the processes: {problem.strerror}; free some space"
            ) from None

    def read_terms(self) -> Terms:
        return msgspec.json.decode((self.path / "terms.json").read_bytes(), type=Terms)

    def map_data(self) -> TrainingData:
        """The rows as they lie in the files; no more of them is in memory than is looked at."""
        train, val = self._map_batch("train"), self._map_batch("val")
        return TrainingData(train=train, train_target=self._map("train.target"), val=val, val_target=self._map("val.target"))

    def map_start(self, terms: Terms) -> dict[str, NDArray[Any]]:
        return {name: self._map(f"start.{place}") for place, name in enumerate(terms.start)}

    def ask_to_stop(self) -> None:
        (self.path / "stop").touch()

    def is_asked_to_stop(self) -> bool:
        return (self.path / "stop").exists()

    def end(self, ended: Ended) -> None:
        """Says how it ended; of two that say it, the later one counts."""
        fresh = self.path / f"ended.{os.getpid()}"
        fresh.write_bytes(msgspec.json.encode(ended))
        fresh.replace(self.path / "ended.json")

    def read_end(self) -> Ended | None:
        try:
            return msgspec.json.decode((self.path / "ended.json").read_bytes(), type=Ended)
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def _map_batch(self, part: str) -> FeatureBatch:
        codes = self.path / f"{part}.codes.npy"
        return FeatureBatch(
            features=self._map(f"{part}.features"), codes=self._map(f"{part}.codes") if codes.exists() else None
        )

    def _map(self, name: str) -> NDArray[Any]:
        path = self.path / f"{name}.npy"
        mode: Literal["r"] | None = "r" if path.stat().st_size > SMALL_BYTES else None  # no rows cannot be mapped
        mapped: NDArray[Any] = np.load(path, mmap_mode=mode, allow_pickle=False)
        return mapped


def _arrays(part: str, batch: FeatureBatch) -> dict[str, NDArray[Any]]:
    codes = {} if batch.codes is None else {f"{part}.codes": batch.codes}
    return {f"{part}.features": batch.features, **codes}
