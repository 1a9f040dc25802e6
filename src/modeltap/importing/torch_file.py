"""Files of weights alone, of torch's own kind (.pth, .pt) and safetensors, as arrays; whatever could run code is refused.

Read in a process of its own: `torch.load` is given `weights_only=True` besides, and every tensor comes to main memory.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from modeltap.errors import InvalidData

SAFETENSORS = ".safetensors"
EXPORT = 'torch.save(model.state_dict(), "net.pth")'
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "net", "weights")
"""Keys under which a checkpoint has the weights beside an optimizer's and a number of epochs."""
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")
"""Set before every name by what wraps a network: DataParallel, torch.compile, Lightning."""
ROUNDED = "the weights are float64; the network computes with float32"
MAX_TENSORS = 100_000
_CLASS = re.compile(r"(?:GLOBAL|global|Unsupported (?:class|global)[:]?)\s+`?([\w.]+)`?")


class WeightFile(NamedTuple):
    """Arrays by name, float32 but for counters; in the network's own order where the file keeps it."""

    arrays: dict[str, NDArray[Any]]
    is_ordered: bool
    notices: list[str]


def read_weights(path: Path) -> WeightFile:
    """Raises InvalidData, with the safe way to save it anew, for what is no plain dictionary of tensors."""
    notices: list[str] = []
    is_ordered = path.suffix.lower() != SAFETENSORS
    tensors = _state_dict(_read_torch(path), notices) if is_ordered else _read_safetensors(path)
    if not tensors:
        raise InvalidData(f"the file holds no tensors; save the weights of the network: {EXPORT}")
    if len(tensors) > MAX_TENSORS:
        raise InvalidData(f"the file holds {len(tensors):,} tensors; at most {MAX_TENSORS:,} are read")
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return WeightFile({name: _array(name, tensor, notices) for name, tensor in tensors.items()}, is_ordered, notices)


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        loaded: dict[str, Any] = load_file(path)
    except (SafetensorError, KeyError, ValueError):
        raise InvalidData(
            'the file is no safetensors file, or is damaged; write it with safetensors.torch.save_file(model.state_dict(), "net'
            '.safetensors")'
        ) from None
    return loaded


def _read_torch(path: Path) -> Any:
    import torch

    if zipfile.is_zipfile(path):
        _check_archive(path)
        try:
            unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except (ValueError, RuntimeError, pickle.UnpicklingError, EOFError, IndexError, KeyError):
            raise InvalidData(f"the file is damaged, or was not written by torch.save; write it anew: {EXPORT}") from None
        if unsafe:
            raise _holds_objects(sorted(unsafe)[0])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that torch did not write
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        found = _CLASS.search(str(problem))
        if found is None:
            raise InvalidData(f"the file holds more than tensors, or is damaged; save the weights alone: {EXPORT}") from None
        raise _holds_objects(found[1]) from None
    except (RuntimeError, ValueError, EOFError, KeyError, IndexError, TypeError, AttributeError, AssertionError, OSError):
        raise InvalidData(f"the file is damaged, or was not written by torch.save; write it anew: {EXPORT}") from None


def _holds_objects(name: str) -> InvalidData:
    return InvalidData(
        f"the file holds an object of the class {name[:120]}, as a whole pickled model does: opening it can run any code, so it"
        f" is refused; where you trust it, save its weights alone: {EXPORT}"
    )


def _check_archive(path: Path) -> None:
    """Raises InvalidData for an archive that is no state_dict by its members' names, or that grows when it is opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise InvalidData(f"the file is damaged; write it anew: {EXPORT}") from None
    inner = {member.filename.partition("/")[2] for member in members}
    if any(name.startswith("code/") or name == "constants.pkl" for name in inner):
        raise InvalidData(f"the file is TorchScript, which is code; save the weights alone: {EXPORT}")
    if any(name.startswith(("models/", "data/weights")) or name == "archive_format" for name in inner):
        raise InvalidData(
            "the file is a program of torch.export; export it as ONNX (torch.onnx.export) and import that, or save the weights"
            f" alone: {EXPORT}"
        )
    if "data.pkl" not in inner:
        raise InvalidData(f"the file was not written by torch.save; write it anew: {EXPORT}")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise InvalidData(f"the file was compressed after it was saved; torch writes it as it is: {EXPORT}")


def _state_dict(loaded: Any, notices: list[str]) -> dict[str, Any]:
    import torch

    if isinstance(loaded, torch.Tensor):
        raise InvalidData(f"the file holds one tensor without a name; save the weights of the network: {EXPORT}")
    if not isinstance(loaded, Mapping):
        raise InvalidData(f"the file holds a {type(loaded).__name__}, no dictionary of tensors; save: {EXPORT}")
    for key in WRAPPERS:
        inner = loaded.get(key)
        if isinstance(inner, Mapping) and inner and all(isinstance(value, torch.Tensor) for value in inner.values()):
            left = [str(name)[:40] for name in loaded if name != key]
            notices += [f"of the checkpoint '{key}' was taken; not: {', '.join(left[:8])}"] if left else []
            loaded = inner
            break
    tensors: dict[str, Any] = {}
    for name, value in loaded.items():
        if not isinstance(value, torch.Tensor):
            raise InvalidData(f"'{str(name)[:80]}' is a {type(value).__name__}, no tensor; save the weights alone: {EXPORT}")
        tensors[str(name)] = value
    return tensors


def _array(name: str, tensor: Any, notices: list[str]) -> NDArray[Any]:
    import torch

    told = f"'{name[:80]}'"
    if tensor.is_meta:
        raise InvalidData(
            f"{told} is on the device 'meta' and holds no numbers; load the network where they are, move it to the CPU, and"
            ' save it: torch.save({k: v.cpu() for k, v in model.state_dict().items()}, "net.pth")'
        )
    if tensor.layout != torch.strided:
        raise InvalidData(f"{told} is sparse; save it dense: v.to_dense()")
    if tensor.is_quantized or tensor.is_complex():
        kind = "quantized" if tensor.is_quantized else "complex"
        raise InvalidData(f"{told} is {kind}; weights are floats: save the network before it was changed")
    if tensor.numel() > tensor.untyped_storage().nbytes():
        raise InvalidData(f"{told} shows its numbers many times over; save it as it is read: v.contiguous()")
    plain = tensor.detach().cpu()
    if not plain.is_floating_point():
        if name.rpartition(".")[2] == "num_batches_tracked":
            return np.asarray(plain.numpy())
        raise InvalidData(f"{told} holds {str(plain.dtype).removeprefix('torch.')}, and weights are floats; leave it out")
    array = np.ascontiguousarray(plain.float().numpy())
    if not np.isfinite(array).all():
        raise InvalidData(f"{told} holds numbers that are not finite; the training that made it has diverged")
    if plain.dtype == torch.float64 and ROUNDED not in notices:
        notices.append(ROUNDED)
    return array
