"""An uploaded model → a folder of plain files under the names that their kinds have, with the graph among them."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path, PurePosixPath

from modeltap.data.read_members import zip_members
from modeltap.data.source import ReadOptions
from modeltap.errors import InvalidData
from modeltap.importing.pickles import OLD_TORCH, is_pickle

GRAPH_ENDING = ".onnx"
USUAL_GRAPH = "model.onnx"
ZIP_START = b"PK"
MAX_MEMBERS = 2000
CHUNK_BYTES = 1 << 20
MOST_GROWTH = 100
"""A packed byte becomes no more than so many: weights hardly pack at all, and what packs better holds nothing."""
ALWAYS_ALLOWED_BYTES = 64 << 20
ONE_FILE = {"schema.json": "model.skops", "model.weights.h5": "model.keras", "data.pkl": "model.pt"}
"""Archives that are a model of one file, by a member that they have at their top; torch has all in a folder."""
MARKS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"\x89HDF\r\n\x1a\n"), "model.h5"),
    (re.compile(re.escape(OLD_TORCH)), "model.pt"),
    (re.compile(rb"[\s\S]{8}\{"), "model.safetensors"),
)
START_BYTES = 1 << 16
MAX_NAME_BYTES = 1024
"""Of a file with its folders; with those of the home no system takes more than four times as many."""
MAX_FOLDERS = 64
"""That lie within each other."""
GGUF = b"GGUF"
TAR_AT, TAR = 257, b"ustar"
PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd", b"7z\xbc\xaf", b"Rar!")
NUMPY = b"\x93NUMPY"
_DRIVE = re.compile(r"[A-Za-z]:")


def unpack_model(upload: Path, folder: Path, *, limit_bytes: int) -> None:
    """Puts the files of an upload into the (existing, empty) folder: one file as it is, by the name of its kind, those of a ZIP
    by their own names.

    Raises InvalidData for an archive that is broken, leads out of the folder, or grows over the limit.
    """
    with upload.open("rb") as source:
        start = source.read(START_BYTES)
    name = _archive_of_one(upload) if start.startswith(ZIP_START) else _own_name(start)
    if name is not None:
        upload.rename(folder / name)
        return
    options = ReadOptions(max_members=MAX_MEMBERS, max_unpacked_bytes=limit_bytes)
    with zip_members(upload, "the archive", options) as members:
        _check_growth(sum(member.size_bytes for member in members), upload.stat().st_size)
        for member in members:
            path = place_in(folder, member.name)
            with member.open() as source, path.open("xb") as target:
                while chunk := source.read(CHUNK_BYTES):
                    target.write(chunk)


def place_in(folder: Path, name: str) -> Path:
    """Where the file of that relative name goes; its parents are made. Raises InvalidData for a name that leads elsewhere."""
    if not is_inside(name):
        raise InvalidData(f"{name[:80]!a} cannot be the name of a file of a model; use plain relative names")
    path = folder.joinpath(*PurePosixPath(name).parts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InvalidData(f"'{name[:80]}' lies in what is a file of the model itself; pack it anew") from None
    if path.is_dir():
        raise InvalidData(f"'{name[:80]}' is a file and a folder of the model; pack it anew")
    return path


def is_inside(name: str) -> bool:
    """Whether the name is relative, plain, and cannot lead out of the folder that it is in."""
    parts = name.split("/")
    return (
        name.isprintable()
        and len(name.encode(errors="replace")) <= MAX_NAME_BYTES
        and len(parts) <= MAX_FOLDERS
        and "\\" not in name
        and not _DRIVE.match(name)
        and all(part not in ("", ".", "..") and len(part.encode(errors="replace")) < 256 for part in parts)
    )


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


def _own_name(start: bytes) -> str:
    """What a file that begins so is called, so that its kind is known. Raises InvalidData for what no model is kept in."""
    if start[TAR_AT : TAR_AT + len(TAR)] == TAR:
        raise InvalidData("the file is a tar archive; pack the model as a ZIP: python -m zipfile -c model.zip DIR")
    if start.startswith(NUMPY):
        raise InvalidData("the file is a NumPy array, which is no model; export the model itself, such as to ONNX")
    if start.startswith(GGUF):
        raise InvalidData(
            "the file is GGUF, rounded weights for another engine; import the Hugging Face directory that it was made of, and"
            " make it smaller here (modeltap compress)"
        )
    for mark, name in MARKS:
        if mark.match(start):
            return name
    if is_pickle(start):
        return "model.pkl"
    if start.startswith(PACKED):
        raise InvalidData("the file is packed; send it as it is, or its folder as a ZIP: python -m zipfile -c model.zip DIR")
    return USUAL_GRAPH


def _archive_of_one(upload: Path) -> str | None:
    """What it is called, where it is a model and no archive of one; what is wrong with it is found when it is opened."""
    try:
        with zipfile.ZipFile(upload) as archive:
            names = archive.namelist()[:MAX_MEMBERS]
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        return None
    for inner, name in ONE_FILE.items():
        folders = 1 if name.endswith(".pt") else 0
        if any(entry.count("/") == folders and entry.rpartition("/")[2] == inner for entry in names):
            return name
    return None


def _check_growth(unpacked_bytes: int, packed_bytes: int) -> None:
    if unpacked_bytes > max(ALWAYS_ALLOWED_BYTES, MOST_GROWTH * packed_bytes):
        raise InvalidData(
            f"the archive has {packed_bytes:,} bytes and would become {unpacked_bytes:,}, more than {MOST_GROWTH} times as"
            " many; no model packs so well: send its files unpacked, as a form"
        )
