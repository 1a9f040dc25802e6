"""An uploaded model → a folder of plain files, with the graph among them."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from modeltap.data.read_members import zip_members
from modeltap.data.source import ReadOptions
from modeltap.errors import InvalidData

GRAPH_ENDING = ".onnx"
USUAL_GRAPH = "model.onnx"
ZIP_START = b"PK"
MAX_MEMBERS = 2000
CHUNK_BYTES = 1 << 20
_DRIVE = re.compile(r"[A-Za-z]:")


def unpack_model(upload: Path, folder: Path, *, limit_bytes: int) -> None:
    """Puts the files of an uploaded graph, or of a ZIP with a graph and its weights, into the (existing, empty) folder.

    Raises InvalidData for an archive that is broken, leads out of the folder, or grows over the limit.
    """
    with upload.open("rb") as source:
        is_archive = source.read(2) == ZIP_START
    if not is_archive:
        upload.rename(folder / USUAL_GRAPH)
        return
    options = ReadOptions(max_members=MAX_MEMBERS, max_unpacked_bytes=limit_bytes)
    with zip_members(upload, "the archive", options) as members:
        for member in members:
            path = place_in(folder, member.name)
            with member.open() as source, path.open("xb") as target:
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)


def place_in(folder: Path, name: str) -> Path:
    """Where the file of that relative name goes; its parents are made. Raises InvalidData for a name that leads elsewhere."""
    if not is_inside(name):
        raise InvalidData(f"'{name[:80]}' cannot be the name of a file of a model; use plain relative names")
    path = folder.joinpath(*PurePosixPath(name).parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def is_inside(name: str) -> bool:
    """Whether the name is relative, plain, and cannot lead out of the folder that it is in."""
    parts = name.split("/")
    return name.isprintable() and "\\" not in name and not _DRIVE.match(name) and all(p not in ("", ".", "..") for p in parts)


def find_graph(folder: Path) -> Path:
    """The one graph in the folder. Raises InvalidData where there is none or more than one."""
    found = sorted(path for path in folder.rglob(f"*{GRAPH_ENDING}") if path.is_file())
    usual = [path for path in found if path.name == USUAL_GRAPH]
    chosen = usual if len(usual) == 1 else found
    if len(chosen) != 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found[:5]) or "none"
        raise InvalidData(
            f"one file that ends in {GRAPH_ENDING} is imported, here are: {names}; name the right one {USUAL_GRAPH}"
        )
    return chosen[0]
