"""The files of a folder, an archive or a compressed file, each opened only when it is read; nothing is unpacked to disk.

Input is untrusted: links, absolute paths, `..`, too many files and too many bytes are refused before anything is read.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from modeltap.data.source import ReadOptions
from modeltap.errors import InvalidData

PACKING = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin"})


@dataclass(frozen=True)
class Member:
    """One file: its name inside what was given, its size, and how to open it. `path` is set where it lies on disk as is."""

    name: str
    size_bytes: int
    open: Callable[[], IO[bytes]]
    path: Path | None = None

    def head(self, num_bytes: int = 4096) -> bytes:
        with self.open() as stream:
            return stream.read(num_bytes)

    def read(self) -> bytes:
        with self.open() as stream:
            return stream.read()


class _Guarded(io.RawIOBase):
    """A stream that stops at a number of bytes and names the file when its compressed data is broken."""

    def __init__(
        self, stream: IO[bytes] | gzip.GzipFile, name: str, *, limit_bytes: int, packed: IO[bytes] | None = None
    ) -> None:
        self._stream = stream
        self._packed = packed
        self._name = name
        self._left_bytes = limit_bytes
        self._limit_bytes = limit_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except (zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as problem:
            raise InvalidData(f"'{self._name}' is broken or not complete: {problem}") from None
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise InvalidData(
                f"'{self._name}' grows to more than {self._limit_bytes:,} bytes when it is unpacked; split it,"
                " or raise max_unpacked_bytes"
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        if self._packed is not None:
            self._packed.close()
        super().close()


def file_member(path: Path, name: str) -> Member:
    return Member(name, path.stat().st_size, lambda: path.open("rb"), path)


def gunzipped(member: Member, options: ReadOptions) -> Member:
    """The file inside a `.gz`, by its name without that ending."""

    def open_it() -> IO[bytes]:
        packed = member.open()
        unpacked = gzip.GzipFile(fileobj=packed, mode="rb")
        guarded = _Guarded(unpacked, member.name, limit_bytes=options.max_unpacked_bytes, packed=packed)
        return io.BufferedReader(guarded)

    return Member(member.name[:-3], member.size_bytes, open_it)


def folder_members(root: Path, options: ReadOptions) -> list[Member]:
    """The files under `root` in order of their names; junk of desktops and hidden files are left out."""
    members: list[Member] = []
    total_bytes = 0
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            if (Path(folder) / name).is_symlink():
                raise InvalidData(f"'{_relative(root, folder, name)}' is a link; put the file itself there")
        for name in files:
            relative = _relative(root, folder, name)
            if _is_junk(relative):
                continue
            path = Path(folder) / name
            if not path.is_file():
                raise InvalidData(f"'{relative}' is not a plain file")
            members.append(file_member(path, relative))
            total_bytes += members[-1].size_bytes
            _check_caps(len(members), total_bytes, options)
    return sorted(members, key=lambda m: m.name)


@contextmanager
def zip_members(path: Path, name: str, options: ReadOptions) -> Iterator[Sequence[Member]]:
    """The files of an archive in order of their names, readable while the context is open."""
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        raise InvalidData(f"'{name}' is not a complete ZIP archive") from None
    with archive:
        yield _checked(archive, options)


def _checked(archive: zipfile.ZipFile, options: ReadOptions) -> list[Member]:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    _check_caps(len(infos), sum(info.file_size for info in infos), options)
    seen: set[str] = set()
    members = []
    for info in infos:
        name = info.filename
        if name.startswith(("/", "\\")) or "\\" in name or re.match(r"^[A-Za-z]:", name) or ".." in name.split("/"):
            raise InvalidData(f"the archive holds '{name}', which leads out of it; pack it anew with plain relative names")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise InvalidData(f"the archive holds '{name}', which is a link or a device; only plain files are read")
        if info.flag_bits & 1:
            raise InvalidData(f"'{name}' in the archive is encrypted; pack it anew without a password")
        if info.compress_type not in PACKING:
            raise InvalidData(f"'{name}' in the archive is packed in a way that is not read; pack it anew with deflate")
        if name in seen:
            raise InvalidData(f"the archive holds '{name}' twice")
        seen.add(name)
        if not _is_junk(name):
            members.append(_zip_member(archive, info))
    return sorted(members, key=lambda m: m.name)


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    def open_it() -> IO[bytes]:
        try:
            stream = archive.open(info)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as problem:
            raise InvalidData(f"'{info.filename}' is broken or not complete: {problem}") from None
        return io.BufferedReader(_Guarded(stream, info.filename, limit_bytes=info.file_size))

    return Member(info.filename, info.file_size, open_it)


def _check_caps(num_members: int, total_bytes: int, options: ReadOptions) -> None:
    if num_members > options.max_members:
        raise InvalidData(f"there are more than {options.max_members:,} files; at most that many are read")
    if total_bytes > options.max_unpacked_bytes:
        raise InvalidData(
            f"the files are more than {options.max_unpacked_bytes:,} bytes together; split the data,"
            " or raise max_unpacked_bytes"
        )


def _relative(root: Path, folder: str, name: str) -> str:
    return (Path(folder) / name).relative_to(root).as_posix()


def _is_junk(name: str) -> bool:
    pieces = name.lower().split("/")
    return any(piece.startswith(".") or piece in JUNK for piece in pieces)
