"""The folder in which a runner and the processes that train for it meet: arrays written once and mapped by all, what is told,
what is wanted, and how it ended. Plain arrays and JSON; gone when training ends.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from modeltap.domain.features import FeatureSpec
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.errors import InvalidData, InvalidRecipe, ModeltapError, StorageFailed

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
    """What each process is told, beside the arrays."""

    run: str
    recipe: Recipe
    threads: int
    workdir: str
    checkpoint_every_s: float


class NetworkTerms(Terms, frozen=True, kw_only=True, tag="network"):
    spec: FeatureSpec
    labels: tuple[str, ...]
    start: tuple[str, ...]
    """Names of the weights to begin with; the arrays are numbered."""


class LanguageTerms(Terms, frozen=True, kw_only=True, tag="language"):
    vocabulary: int
    context: int
    base: dict[str, str]
    """Paths of the files that are trained on, by their names."""


@dataclass(frozen=True)
class Heard:
    """Who hears how far a training is, and says whether it should stop."""

    report: Callable[[Progress], None]
    saved: Callable[[], None]
    stop_requested: Callable[[], bool]


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

    def write(self, terms: Terms, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Arrays and terms, in place of whatever was here. Raises StorageFailed if the disk refuses."""
        try:
            self.remove()
            self.path.mkdir(parents=True)
            for name, array in arrays.items():
                np.save(self._array(name), array, allow_pickle=False)
            (self.path / "terms.json").write_bytes(msgspec.json.encode(terms))
        except OSError as problem:
            raise StorageFailed(
                f"what they train on could not be written for the processes: {problem.strerror}; free some space"
            ) from None

    def read_terms(self) -> NetworkTerms | LanguageTerms:
        return msgspec.json.decode((self.path / "terms.json").read_bytes(), type=NetworkTerms | LanguageTerms)

    def has(self, name: str) -> bool:
        return self._array(name).exists()

    def map(self, name: str) -> NDArray[Any]:
        """The array as it lies in its file; no more of it is in memory than is looked at."""
        path = self._array(name)
        mode: Literal["r"] | None = "r" if path.stat().st_size > SMALL_BYTES else None  # no rows cannot be mapped
        mapped: NDArray[Any] = np.load(path, mmap_mode=mode, allow_pickle=False)
        return mapped

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

    def _array(self, name: str) -> Path:
        return self.path / f"{name}.npy"
