"""A network of another framework, read by a confined process: what that process is told, what it tells, and how it is asked."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from modeltap.bundle.files import open_bundle
from modeltap.errors import InvalidData, ModeltapError
from modeltap.importing.asking import ask_child, refuse
from modeltap.importing.compared import Compared
from modeltap.importing.import_options import ImportOptions
from modeltap.importing.onnx import Imported

TIMEOUT_S = 600.0
MEMORY_BYTES = 16 << 30
MEMORY_PER_BYTE = 16
"""Of address space: torch reserves much, and the weights are there as arrays, as a network and as a graph."""
RESIDENT_BYTES = 3 << 30
"""That it may hold beside so many times its file; an import of a small model holds one."""


class NetworkAsked(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told."""

    source: str
    """The file, or the folder, of the model."""
    folder: str
    """Where the bundle's files go."""
    options: ImportOptions
    memory_bytes: int
    processor_s: int


class NetworkVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What it found. `code` is that of an error, or empty."""

    code: str = ""
    detail: str = ""
    notices: list[str] = []
    compared: Compared | None = None


class Written(NamedTuple):
    """A bundle that a child wrote."""

    notices: list[str]
    compared: Compared


def import_network(
    module: str, source: Path, folder: Path, options: ImportOptions, *, what: str, timeout_s: float = TIMEOUT_S
) -> Imported:
    """The bundle that the child's module makes of the source, with its files in the (existing, empty) folder.

    Raises InvalidData for what cannot be read, built or served, also where it ends, hangs or overfills its process.
    """
    size_bytes = sum(path.stat().st_size for path in _files(source))
    asked = NetworkAsked(
        source=str(source),
        folder=str(folder),
        options=options,
        memory_bytes=MEMORY_BYTES + MEMORY_PER_BYTE * size_bytes,
        processor_s=int(timeout_s * (os.cpu_count() or 1)) + 1,
    )
    verdict = ask_child(
        module,
        asked,
        NetworkVerdict,
        what=what,
        timeout_s=timeout_s,
        resident_bytes=RESIDENT_BYTES + MEMORY_PER_BYTE * size_bytes,
    )
    refuse(verdict)
    files = {path.name: path for path in sorted(folder.iterdir())}
    return Imported(files=files, manifest=open_bundle(files).manifest, notices=verdict.notices, compared=verdict.compared)


def answer_with(read: Callable[[NetworkAsked], Written]) -> None:
    """The child: what `read` writes and finds, told on standard output."""
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=NetworkAsked)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # frameworks talk; what they say is not the verdict
    try:
        written = read(asked)
        verdict = NetworkVerdict(notices=written.notices, compared=written.compared)
    except ModeltapError as problem:
        verdict = NetworkVerdict(code=problem.code, detail=problem.message)
    except MemoryError:
        verdict = NetworkVerdict(code=InvalidData.code, detail="the model takes more memory than it may")
    with out:
        out.write(msgspec.json.encode(verdict))


def digest_of(paths: Iterable[Path], *texts: str) -> str:
    """SHA-256 over the contents of the files, in this order, and these texts."""
    total = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    for text in filter(None, texts):
        total.update(hashlib.sha256(text.encode()).digest())
    return total.hexdigest()


def _files(source: Path) -> list[Path]:
    return [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
