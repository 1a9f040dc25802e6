"""A Hugging Face directory of an encoder of texts → the files of a bundle, by way of a child process that is not trusted with
more than two folders."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from modeltap.bundle.files import open_bundle
from modeltap.errors import MissingExtra
from modeltap.importing.asking import ask_child, refuse
from modeltap.importing.encoder_config import is_encoder
from modeltap.importing.language_directory import CONFIG, MAX_CONFIG_BYTES, find_directory, read_json
from modeltap.importing.onnx import Imported
from modeltap.importing.onnx_child import Asked, Verdict

TIMEOUT_S = 600.0
MEMORY_BYTES = 16 << 30
MEMORY_PER_BYTE = 16
"""Of address space: torch reserves much, and the weights are there as arrays, as a network and as a graph."""

RESIDENT_BYTES = 3 << 30
"""That it may hold beside so many times its files."""


def find_encoder(folder: Path) -> Path | None:
    """The folder with the config of an encoder, this one or the only one within it; None where there is none.

    Raises InvalidData for a config.json that cannot be read.
    """
    directory = find_directory(folder)
    if directory is None or not is_encoder(read_json(directory / CONFIG, MAX_CONFIG_BYTES)):
        return None
    return directory


def import_encoder(directory: Path, folder: Path, *, timeout_s: float = TIMEOUT_S) -> Imported:
    """The bundle of the encoder, with its files in the (existing, empty) folder.

    Raises InvalidData for what cannot be read, built or served, MissingExtra where torch is not installed.
    """
    if find_spec("torch") is None:
        raise MissingExtra(what="what builds the network of an encoder", extra="train")
    size_bytes = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    asked = Asked(
        graph=str(directory),
        folder=str(folder),
        memory_bytes=MEMORY_BYTES + MEMORY_PER_BYTE * size_bytes,
        processor_s=int(timeout_s) + 1,
        parent_pid=os.getpid(),
    )
    verdict = ask_child(
        "modeltap.importing.encoder_child",
        asked,
        Verdict,
        what="model",
        timeout_s=timeout_s,
        resident_bytes=RESIDENT_BYTES + MEMORY_PER_BYTE * size_bytes,
    )
    refuse(verdict)
    files = {path.name: path for path in sorted(folder.iterdir())}
    return Imported(files=files, manifest=open_bundle(files).manifest, notices=verdict.notices)
