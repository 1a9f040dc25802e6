"""A Hugging Face directory of a language model → the files of a bundle: read and converted by a child process that is trusted
with two folders alone, then asked the golden prompts in an engine process."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from modeltap.bundle.files import CARD, GOLDEN, MANIFEST, description_files
from modeltap.compression.golden import record_golden_prompts
from modeltap.compression.openvino import OPENVINO_FILES
from modeltap.domain.model import Manifest
from modeltap.errors import Broken, MissingExtra
from modeltap.importing.asking import ask_child, refuse
from modeltap.importing.huggingface_child import Asked, Verdict
from modeltap.importing.import_card import write_language_import_card
from modeltap.importing.language_directory import SMALL_FILES, find_directory
from modeltap.importing.onnx import Imported

TIMEOUT_S = 600.0
S_PER_BYTE = 300 / (1 << 30)
"""More for each byte: a model is read, converted and written."""
MEMORY_BYTES = 16 << 30
MEMORY_PER_BYTE = 16
"""Of address space: half-precision weights become float32 in torch, then in OpenVINO, and are mapped once more when written."""
MADE = (*OPENVINO_FILES, *SMALL_FILES)


def is_language_directory(folder: Path) -> bool:
    """Whether what was sent is a directory of this kind, and not a graph with a config beside it."""
    found = find_directory(folder)
    return found is not None and not any(path.suffix == ".onnx" for path in found.iterdir())


def import_huggingface(source: Path, folder: Path, *, timeout_s: float | None = None) -> Imported:
    """The bundle of the directory: its own files where they are, new ones in the (existing, empty) folder.

    Raises InvalidData for what cannot be read, converted or served, also where it ends, hangs or overfills its process;
    Broken where the engine does not load what was made of it, MissingExtra.
    """
    size_bytes = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    limit_s = TIMEOUT_S + S_PER_BYTE * size_bytes if timeout_s is None else timeout_s
    verdict = _convert(source, folder, size_bytes, limit_s)
    files = {name: source / verdict.inside / name for name in verdict.taken}
    files |= {name: folder / name for name in MADE if (folder / name).is_file()}
    if any(not _is_plain(name) for name in (*verdict.taken, verdict.inside or "x")) or not set(OPENVINO_FILES[:2]) <= set(
        files
    ):
        raise Broken("the process that reads models gave no bundle; it is not imported")
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    assert manifest.language is not None
    golden = record_golden_prompts(files, manifest.language)
    card = write_language_import_card(manifest, notices=verdict.notices)
    for name, content in description_files(manifest=manifest, golden=golden, card=card).items():
        (folder / name).write_bytes(content)
    files |= {name: folder / name for name in (MANIFEST, GOLDEN, CARD)}
    return Imported(files=files, manifest=manifest, notices=verdict.notices)


def _convert(source: Path, folder: Path, size_bytes: int, limit_s: float) -> Verdict:
    asked = Asked(
        source=str(source),
        folder=str(folder),
        memory_bytes=MEMORY_BYTES + MEMORY_PER_BYTE * size_bytes,
        processor_s=int(limit_s * (os.cpu_count() or 1)) + 1,
        parent_pid=os.getpid(),
    )
    verdict = ask_child(
        "modeltap.importing.huggingface_child",
        asked,
        Verdict,
        what="model",
        timeout_s=limit_s,
        done_with_it="read and converted",
    )
    if verdict.code == MissingExtra.code:
        raise MissingExtra(what="what converts language models", extra="llm")
    refuse(verdict)
    return verdict


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and "\\" not in name and "\0" not in name
