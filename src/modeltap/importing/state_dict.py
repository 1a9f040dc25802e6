"""Weights alone, as torch saves them or as safetensors, with the layers that they belong to → the files of a bundle."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from modeltap.errors import InvalidData, MissingExtra
from modeltap.importing.declared import read_declared
from modeltap.importing.import_options import ImportOptions
from modeltap.importing.network_asking import import_network
from modeltap.importing.onnx import Imported

ENDINGS = (".pth", ".pt", ".safetensors")
GRAPH_ENDING = ".onnx"


def find_state_dict(folder: Path) -> Path | None:
    """The one file of weights in the folder; None where there is none, or a graph beside it. Raises InvalidData for several."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = [path for path in files if path.suffix.lower() in ENDINGS]
    if not found or any(path.suffix.lower() == GRAPH_ENDING for path in files):
        return None
    if len(found) > 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found[:5])
        raise InvalidData(f"one file of weights is imported, here are: {names}; send the right one alone")
    return found[0]


def import_state_dict(path: Path, folder: Path, options: ImportOptions) -> Imported:
    """The bundle of the network whose layers the recipe lists, with its files in the (existing, empty) folder.

    Raises InvalidRecipe for a recipe that cannot be read, InvalidData for weights that are none, hold objects or do not fit
    the recipe, MissingExtra where torch is not installed.
    """
    read_declared(options)  # before anything is read: its mistakes are the caller's
    if find_spec("torch") is None or find_spec("onnxscript") is None:
        raise MissingExtra(what="what builds a network of layers", extra="train")
    return import_network("modeltap.importing.state_dict_child", path, folder, options, what="model")
