"""One file that holds everything a run needs to go on: tensors and plain values in the safetensors format, written so that a
crash at any moment leaves the old file or the new one, never half of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from modeltap.errors import StorageFailed
from modeltap.faults import crash_point

CHECKPOINT = "checkpoint.safetensors"
"""Its name in the job's folder."""
FORMAT = "modeltap-checkpoint-1"


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any], *, run: str) -> None:
    """The file is on the disk when this returns. `run` is the digest of what the checkpoint belongs to.

    Raises StorageFailed if the disk refuses; the checkpoint before it is still there then.
    """
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(state, sort_keys=True)
    content = save(plain, {"format": FORMAT, "run": run, "state": text, "sha256": _digest(plain, run, text)})
    fresh = path.with_name(f"{path.name}.new")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        crash_point("checkpoint.before_rename")
        fresh.replace(path)
        _sync_directory(path.parent)
    except OSError as problem:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise StorageFailed(f"the checkpoint could not be written: {problem.strerror}; free some space") from problem
    crash_point("checkpoint.renamed")


def read_checkpoint(path: Path, *, run: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and values of the checkpoint of this run; None if there is none, it belongs to another run, or a single bit of
    it changed."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            if about.get("format") != FORMAT or about.get("run") != run:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        if about["sha256"] != _digest(tensors, run, about["state"]):
            return None
        return tensors, json.loads(about["state"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def _digest(tensors: Mapping[str, Tensor], run: str, state: str) -> str:
    digest = hashlib.sha256(json.dumps([run, state]).encode())
    for name in sorted(tensors):
        array = tensors[name].numpy()
        digest.update(json.dumps([name, str(array.dtype), array.shape]).encode())
        digest.update(array.data)
    return digest.hexdigest()


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
