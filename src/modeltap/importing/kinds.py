"""The kinds of models that are imported: how each is known by its files, and what reads it. One line a kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from modeltap.errors import InvalidData, InvalidInput
from modeltap.importing.classifier import find_classifier, import_classifier
from modeltap.importing.encoder import find_encoder, import_encoder
from modeltap.importing.huggingface import import_huggingface, is_language_directory
from modeltap.importing.import_options import ImportOptions
from modeltap.importing.keras import find_keras, find_saved_model, import_keras, refuse_saved_model
from modeltap.importing.mlflow import find_mlflow, open_mlflow, with_signature
from modeltap.importing.onnx import Imported, import_onnx
from modeltap.importing.pickles import find_pickle, refuse_pickle
from modeltap.importing.skops import find_skops, import_skops
from modeltap.importing.state_dict import find_state_dict, import_state_dict
from modeltap.importing.unpacking import find_graph

SAMPLE = frozenset({"sample"})
ALL = frozenset(ImportOptions.__struct_fields__)


class Kind(NamedTuple):
    """`find` looks into the folder of an upload and gives what `read` takes, or None where it is of another kind; `read` takes
    that, the (existing, empty) folder for the bundle, and what was said beside it."""

    name: str
    find: Callable[[Path], Path | None]
    read: Callable[[Path, Path, ImportOptions], Imported]
    takes: frozenset[str] = frozenset()
    """Of `ImportOptions`."""


def _language(folder: Path) -> Path | None:
    return folder if is_language_directory(folder) else None


def _import_mlflow(found: Path, bundle: Path, options: ImportOptions) -> Imported:
    """By the kind of the model in the directory, with the rows of its example where that kind takes some."""
    opened = open_mlflow(found)
    kind = next(kind for kind in KINDS if kind.find(opened.folder) is not None)
    if kind.read is _import_mlflow:
        raise InvalidData("the MLflow directory holds another one where its model should be; import that one")
    if opened.sample is not None and not options.sample and "sample" in kind.takes:
        options = msgspec.structs.replace(options, sample=str(opened.sample))
    return with_signature(opened, import_any(opened.folder, bundle, options))


KINDS: tuple[Kind, ...] = (
    Kind("an MLflow model", find_mlflow, _import_mlflow, frozenset({"sample", "task", "labels"})),
    Kind("a TensorFlow SavedModel", find_saved_model, refuse_saved_model),
    Kind("a classifier of texts", find_classifier, import_classifier, SAMPLE),
    Kind("an encoder of texts", find_encoder, lambda found, bundle, _: import_encoder(found, bundle)),
    Kind("a language model", _language, lambda found, bundle, _: import_huggingface(found, bundle)),
    Kind("a model of Keras", find_keras, import_keras, frozenset({"sample", "task", "labels"})),
    Kind("weights alone", find_state_dict, import_state_dict, frozenset({"recipe", "sample", "task", "labels"})),
    Kind("a scikit-learn model", find_skops, import_skops, SAMPLE),
    Kind("a pickled file", find_pickle, lambda found, _bundle, _options: refuse_pickle(found), ALL),
    Kind("an ONNX graph", find_graph, lambda found, bundle, said: import_onnx(found, bundle, sample=said.sample), SAMPLE),
)
"""In the order in which they are tried: the last one refuses what is of no kind, and says what is."""


def import_any(files: Path, bundle: Path, options: ImportOptions) -> Imported:
    """The bundle of whatever lies in `files`, with its files in the (existing, empty) folder `bundle`.

    Raises InvalidInput for an option that its kind does not take, InvalidData for what cannot be imported, MissingExtra.
    """
    for kind in KINDS:
        found = kind.find(files)
        if found is None:
            continue
        unused = [name for name in options.given() if name not in kind.takes]
        if unused:
            takes = f"; it takes: {', '.join(sorted(kind.takes))}" if kind.takes else ""
            raise InvalidInput(f"this is {kind.name}, which takes no {unused[0]}{takes}")
        return kind.read(found, bundle, options)
    raise AssertionError("the last kind refuses what is of no kind")
