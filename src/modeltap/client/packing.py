"""What a person has at hand → one file to send: a file as it is, a folder or given parts as a ZIP, a data frame as a file."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from modeltap.errors import InvalidData, InvalidValue

Given = str | os.PathLike[str] | bytes | Any
"""A path, the bytes of a file, or a polars or pandas data frame."""

CHUNK_BYTES = 1 << 20
OnUpload = Callable[[int, int], None]
"""Called with (bytes sent, bytes in all)."""

JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin"})
PACKED_ENDING = ".gz"


@dataclass(frozen=True)
class Upload:
    """One file to send, opened at its beginning."""

    filename: str
    stream: IO[bytes]
    size_bytes: int


@contextmanager
def open_upload(data: Given, *, test: Given = None, val: Given = None, filename: str | None = None) -> Iterator[Upload]:
    """The file to send, readable while the context is open. `filename` names bytes, as their ending says what they are.

    Raises InvalidData for what is missing, empty or unreadable, before anything is sent.
    """
    parts = {part: given for part, given in (("train", data), ("val", val), ("test", test)) if given is not None}
    with ExitStack() as opened:
        if len(parts) > 1:
            yield _pack_parts(opened, parts, filename)
        elif not isinstance(data, bytes) and not _is_frame(data) and _existing(data).is_dir():
            path = _existing(data)
            archive = _Archive(opened)
            archive.add_folder(path, "")
            yield archive.finish(f"{path.resolve().name}.zip")
        else:
            yield _open_one(opened, data, filename)


def chunks_of(upload: Upload, on_upload: OnUpload | None) -> Iterator[bytes]:
    """The upload's bytes, piece by piece; `on_upload` is told after each."""
    sent_bytes = 0
    while chunk := upload.stream.read(CHUNK_BYTES):
        yield chunk
        sent_bytes += len(chunk)
        if on_upload is not None:
            on_upload(sent_bytes, upload.size_bytes)


def _pack_parts(opened: ExitStack, parts: Mapping[str, Given], filename: str | None) -> Upload:
    archive = _Archive(opened)
    for part, given in parts.items():
        if not isinstance(given, bytes) and not _is_frame(given) and _existing(given).is_dir():
            archive.add_folder(_existing(given), f"{part}/")
            continue
        one = _open_one(opened, given, filename)
        if one.filename.lower().endswith(".zip"):
            raise InvalidData(f"'{one.filename}' cannot be one of several parts; unpack it and give the folder")
        archive.add(one.stream, part + _ending(one.filename))
    return archive.finish(f"{Path(parts['train']).stem if isinstance(parts['train'], (str, os.PathLike)) else 'data'}.zip")


def _open_one(opened: ExitStack, given: Given, filename: str | None) -> Upload:
    if isinstance(given, bytes):
        if not filename:
            raise InvalidValue("bytes need a filename, as its ending says what they are: filename='adult.csv'")
        return Upload(filename, io.BytesIO(given), len(given))
    if _is_frame(given):
        return _write_frame(opened, given)
    path = _existing(given)
    if not path.is_file():
        raise InvalidData(f"'{path}' is not a plain file")
    try:
        stream = opened.enter_context(path.open("rb"))
    except OSError as problem:
        raise InvalidData(f"'{path}' cannot be read: {problem.strerror or problem}") from None
    size_bytes = os.fstat(stream.fileno()).st_size
    if size_bytes == 0:
        raise InvalidData(f"'{path}' is empty")
    return Upload(path.name, stream, size_bytes)


class _Archive:
    """A ZIP in a temporary file, with equal bytes for equal content. Pictures and tables are stored as they are."""

    def __init__(self, opened: ExitStack) -> None:
        self._file = opened.enter_context(tempfile.TemporaryFile(prefix="modeltap-"))  # noqa: SIM115, the stack closes it
        self._zip = opened.enter_context(zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED, allowZip64=True))

    def add(self, stream: IO[bytes], name: str) -> None:
        with self._zip.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
            shutil.copyfileobj(stream, member, 1 << 20)

    def add_folder(self, folder: Path, prefix: str) -> None:
        paths = sorted((p.relative_to(folder).as_posix(), p) for p in folder.rglob("*") if p.is_file())
        paths = [(name, path) for name, path in paths if not _is_junk(name)]
        if not paths:
            raise InvalidData(f"the folder '{folder}' holds no files")
        for name, path in paths:
            try:
                with path.open("rb") as stream:
                    self.add(stream, prefix + name)
            except OSError as problem:
                raise InvalidData(f"'{path}' cannot be read: {problem.strerror or problem}") from None

    def finish(self, filename: str) -> Upload:
        self._zip.close()
        size_bytes = self._file.tell()
        self._file.seek(0)
        return Upload(filename, self._file, size_bytes)


def _existing(given: Any) -> Path:
    if not isinstance(given, (str, os.PathLike)):
        raise InvalidValue(f"a {type(given).__name__} is not data; give a path, bytes, or a polars or pandas data frame")
    path = Path(given).expanduser()
    if not path.exists():
        raise InvalidData(f"there is no file or folder '{path}'")
    return path


def _is_frame(given: Any) -> bool:
    return hasattr(given, "write_parquet") or hasattr(given, "to_csv")


def _write_frame(opened: ExitStack, frame: Any) -> Upload:
    file = opened.enter_context(tempfile.TemporaryFile(prefix="modeltap-"))  # noqa: SIM115, the stack closes it
    if hasattr(frame, "write_parquet"):
        frame.write_parquet(file)
        filename = "data.parquet"
    else:
        file.write(frame.to_csv(index=False).encode())
        filename = "data.csv"
    size_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    return Upload(filename, file, size_bytes)


def _ending(filename: str) -> str:
    """`.csv`, and `.csv.gz` where the file is packed too."""
    suffixes = Path(filename).suffixes[-2:]
    return "".join(suffixes if len(suffixes) == 2 and suffixes[1].lower() == PACKED_ENDING else suffixes[-1:])


def _is_junk(name: str) -> bool:
    return any(piece.startswith(".") or piece in JUNK for piece in name.lower().split("/"))
