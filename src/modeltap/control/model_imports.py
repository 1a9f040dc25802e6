"""Models made elsewhere: an upload is tried in a process of its own and becomes the next version of
a name."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from modeltap.control.models import Models
from modeltap.domain.names import parse_name
from modeltap.errors import InvalidInput
from modeltap.importing.import_options import ImportOptions
from modeltap.importing.kinds import import_any
from modeltap.importing.unpacking import unpack_model
from modeltap.storage.disk import disk_failures

IMPORTS = "imports"
"""Folder of the home with one folder for each import that is under way."""
STALE_S = 24 * 3600.0
"""What an import that was killed left behind is removed by the first one after this."""
AT_ONCE = 2
UPLOAD = "upload"
_slots = threading.BoundedSemaphore(AT_ONCE)


@contextmanager
def import_folder(home: Path) -> Iterator[Path]:
    """A fresh folder for one import; nothing of it is left afterwards. Its `files` is empty and takes plain files."""
    with disk_failures("keeping the upload"):
        root = home / IMPORTS
        root.mkdir(mode=0o700, exist_ok=True)
        _sweep(root)
        folder = Path(tempfile.mkdtemp(dir=root))
    try:
        with disk_failures("keeping the upload"):
            (folder / "files").mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def import_model(
    models: Models, name: str, folder: Path, *, limit_bytes: int, options: ImportOptions | None = None
) -> dict[str, Any]:
    """The registered candidate: its summary, and what was noticed. Blocks until the model was tried.

    folder: that of `import_folder`, with one file or archive as `upload`, or with plain files in `files`.
    Raises InvalidInput for the name and for options that do not fit, InvalidData for what cannot be imported, MissingExtra,
    StorageFailed.
    """
    parse_name("model", name)
    upload, files, bundle = folder / UPLOAD, folder / "files", folder / "bundle"
    with disk_failures("importing the model"):
        if upload.exists():
            if not upload.stat().st_size:
                raise InvalidInput("the file is empty; send the file of a model, or a ZIP of its files")
            unpack_model(upload, files, limit_bytes=limit_bytes)
        bundle.mkdir()
        with _slots:
            imported = import_any(files, bundle, options or ImportOptions())
    summary = models.register(name, imported.files, imported.manifest)
    compared = None if imported.compared is None else msgspec.to_builtins(imported.compared)
    return {**summary, "notices": imported.notices, "compared": compared}


def _sweep(root: Path) -> None:
    for left in root.iterdir():
        try:
            if time.time() - left.stat().st_mtime > STALE_S:
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:
            continue
