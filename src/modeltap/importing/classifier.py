"""A Hugging Face directory of a classifier of texts → the files of a bundle, by way of a confined process."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from modeltap.errors import MissingExtra
from modeltap.importing.classifier_config import is_classifier
from modeltap.importing.import_options import ImportOptions
from modeltap.importing.language_directory import CONFIG, MAX_CONFIG_BYTES, find_directory, read_json
from modeltap.importing.network_asking import import_network
from modeltap.importing.onnx import Imported


def find_classifier(folder: Path) -> Path | None:
    """The folder with the config of a classifier, this one or the only one within it; None where there is none.

    Raises InvalidData for a config.json that cannot be read.
    """
    directory = find_directory(folder)
    if directory is None or not is_classifier(read_json(directory / CONFIG, MAX_CONFIG_BYTES)):
        return None
    return directory


def import_classifier(directory: Path, folder: Path, options: ImportOptions) -> Imported:
    """The bundle of the classifier, with its files in the (existing, empty) folder.

    Raises InvalidData for what cannot be read, built or served, MissingExtra where torch is not installed.
    """
    if any(find_spec(name) is None for name in ("torch", "onnxscript", "tokenizers")):
        raise MissingExtra(what="what builds the network of a classifier", extra="train")
    return import_network("modeltap.importing.classifier_child", directory, folder, options, what="model")
