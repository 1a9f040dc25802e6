"""A model that Keras saved (.keras, .h5) → the files of a bundle, by way of a confined process."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from modeltap.errors import InvalidData, MissingExtra
from modeltap.importing.declared import check_labels, check_task
from modeltap.importing.import_options import ImportOptions
from modeltap.importing.network_asking import import_network
from modeltap.importing.onnx import Imported

ENDINGS = (".keras", ".h5", ".hdf5")
SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")


def find_keras(folder: Path) -> Path | None:
    """The one file of Keras's in the folder; None where there is none. Raises InvalidData for several."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix.lower() in ENDINGS)
    if len(found) > 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found[:5])
        raise InvalidData(f"one model of Keras's is imported, here are: {names}; send the right one alone")
    return found[0] if found else None


def import_keras(path: Path, folder: Path, options: ImportOptions) -> Imported:
    """The bundle of the model, with its files in the (existing, empty) folder: layers and weights where a recipe can say them,
    else its graph alone.

    Raises InvalidRecipe for a task or labels that do not fit, InvalidData for what cannot be read or brings code, MissingExtra
    where Keras is not installed.
    """
    check_labels(options.labels, check_task(options.task))
    if any(find_spec(name) is None for name in ("keras", "h5py", "torch", "onnxscript")):
        raise MissingExtra(what="what reads models of Keras", extra="keras")
    return import_network("modeltap.importing.keras_child", path, folder, options, what="model")


def find_saved_model(folder: Path) -> Path | None:
    """The folder of a TensorFlow SavedModel in the folder, if there is one."""
    found = sorted(path for name in SAVED_MODEL for path in folder.rglob(name))
    return found[0].parent if found else None


def refuse_saved_model(folder: Path, bundle: Path, options: ImportOptions) -> Imported:
    """Raises InvalidData, always: a SavedModel is a program of TensorFlow."""
    raise InvalidData(
        "the folder is a TensorFlow SavedModel, a program that only TensorFlow runs; where it was made, save the Keras model it"
        ' came from (model.save("model.keras")), or convert it to ONNX (python -m tf2onnx.convert --saved-model DIR --output'
        " model.onnx), and import that file"
    )
