"""What trials are trained on, fitted once and laid down as arrays that every trial's process maps into its memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from modeltap.domain.features import FeatureBatch, FeatureSpec
from modeltap.storage.disk import disk_failures
from modeltap.training.trained import TrainingData

ABOUT = "about.json"
PARTS = ("train", "val")


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What stands beside the arrays. `start`: names of the weights that a network begins with, in the order of their files."""

    spec: FeatureSpec
    labels: tuple[str, ...]
    start: tuple[str, ...] = ()
    options: dict[str, Any] = {}
    """Keys of the architecture that only the data, or the version that is begun with, could tell."""


@dataclass(frozen=True)
class SharedFeatures:
    """As `fit` takes them. The arrays cannot be written to."""

    about: About
    data: TrainingData
    start: Mapping[str, NDArray[Any]]


def write_features(folder: Path, about: About, data: TrainingData, start: Mapping[str, NDArray[Any]]) -> None:
    """The folder is whole when ABOUT is there. Raises StorageFailed."""
    arrays: dict[str, NDArray[Any]] = {"train.target": data.train_target, "val.target": data.val_target}
    for part, batch in (("train", data.train), ("val", data.val)):
        arrays[f"{part}.features"] = batch.features
        if batch.codes is not None:
            arrays[f"{part}.codes"] = batch.codes
    arrays |= {f"start.{place}": start[name] for place, name in enumerate(about.start)}
    with disk_failures("keeping the features"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
        fresh = folder / f"{ABOUT}.new"
        fresh.write_bytes(msgspec.json.encode(about))
        fresh.replace(folder / ABOUT)


def are_there(folder: Path) -> bool:
    """Whether the features were written to their end."""
    return (folder / ABOUT).exists()


def open_features(folder: Path) -> SharedFeatures:
    """Raises StorageFailed."""
    with disk_failures("reading the features"):
        about = msgspec.json.decode((folder / ABOUT).read_bytes(), type=About)
        batches = {
            part: FeatureBatch(features=_mapped(folder, f"{part}.features"), codes=_mapped_or_none(folder, f"{part}.codes"))
            for part in PARTS
        }
        data = TrainingData(
            train=batches["train"],
            train_target=_mapped(folder, "train.target"),
            val=batches["val"],
            val_target=_mapped(folder, "val.target"),
        )
        start = {name: _mapped(folder, f"start.{place}") for place, name in enumerate(about.start)}
    return SharedFeatures(about, data, start)


def _mapped(folder: Path, name: str) -> NDArray[Any]:
    path = folder / f"{name}.npy"
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array.view(np.ndarray) if array.size else np.load(path, allow_pickle=False)


def _mapped_or_none(folder: Path, name: str) -> NDArray[Any] | None:
    return _mapped(folder, name) if (folder / f"{name}.npy").exists() else None
