"""A scikit-learn model in a .skops file → the files of a bundle, by way of a confined process."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from modeltap.errors import InvalidData, MissingExtra
from modeltap.importing.import_options import ImportOptions
from modeltap.importing.network_asking import import_network
from modeltap.importing.onnx import Imported

ENDING = ".skops"
LIBRARIES = ("skops", "skl2onnx", "sklearn")
TIMEOUT_S = 300.0


def find_skops(folder: Path) -> Path | None:
    """The one .skops file in the folder; None where there is none. Raises InvalidData for several."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() == ENDING and path.is_file())
    if len(found) > 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found[:5])
        raise InvalidData(f"one {ENDING} file is imported, here are: {names}; send the right one alone")
    return found[0] if found else None


def import_skops(path: Path, folder: Path, options: ImportOptions, *, timeout_s: float = TIMEOUT_S) -> Imported:
    """The bundle of the model, with its files in the (existing, empty) folder.

    Raises InvalidData for a file that holds other things than scikit-learn's own, or a model whose graph answers otherwise than
    scikit-learn; MissingExtra where that is not installed.
    """
    if any(find_spec(library) is None for library in LIBRARIES):
        raise MissingExtra(what="what reads scikit-learn models", extra="sklearn")
    return import_network("modeltap.importing.skops_child", path, folder, options, what="model", timeout_s=timeout_s)
