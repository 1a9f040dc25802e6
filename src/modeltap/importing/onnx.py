"""An ONNX graph → the files of a bundle, by way of a child process that is not trusted with more than a folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from modeltap.bundle.files import CARD, GOLDEN, GRAPH, MANIFEST, open_bundle
from modeltap.domain.model import Manifest
from modeltap.importing.asking import ask_child, refuse
from modeltap.importing.compared import Compared
from modeltap.importing.onnx_child import Asked, Verdict

TIMEOUT_S = 300.0
MEMORY_BYTES = 4 << 30
MEMORY_PER_BYTE = 8
"""Of address space, for each byte of the graph and its weights: parsed, put together, loaded, and run."""


@dataclass(frozen=True)
class Imported:
    """A bundle that can be stored: its files by name, and what was noticed when the graph was tried."""

    files: dict[str, Path]
    manifest: Manifest
    notices: list[str]
    compared: Compared | None = None
    """With the framework that it was made with, where that is at hand."""


def import_onnx(graph: Path, folder: Path, *, sample: str = "", timeout_s: float = TIMEOUT_S) -> Imported:
    """The bundle of the graph, with its files in the (existing, empty) folder. Weights may lie beside the graph. `sample`
    is the path of a file with real rows, which become golden ones.

    Raises InvalidData for what cannot be read, loaded or served, also where it ends, hangs or overfills its process.
    """
    size_bytes = sum(path.stat().st_size for path in graph.parent.rglob("*") if path.is_file())
    asked = Asked(
        graph=str(graph),
        folder=str(folder),
        sample=sample,
        memory_bytes=MEMORY_BYTES + MEMORY_PER_BYTE * size_bytes,
        processor_s=int(timeout_s) + 1,
        parent_pid=os.getpid(),
    )
    verdict = ask_child("modeltap.importing.onnx_child", asked, Verdict, what="graph", timeout_s=timeout_s)
    refuse(verdict)
    files = {name: folder / name for name in (MANIFEST, GRAPH, GOLDEN, CARD)}
    return Imported(files=files, manifest=open_bundle(files).manifest, notices=verdict.notices)
