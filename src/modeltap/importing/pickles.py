"""Pickles, in whatever dress they come: known by their bytes, never opened, and refused with the safe way to write the model
anew."""

from __future__ import annotations

import bz2
import io
import lzma
import pickletools
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

from modeltap.errors import InvalidData

ENDINGS = (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".cpkl")
LOOKED_AT_BYTES = 1 << 20
"""Of a file, and of what is packed in it; the names of classes stand at its beginning."""
OLD_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of torch began before they were archives."""
_NAMES_A_CLASS = frozenset({"GLOBAL", "INST", "STACK_GLOBAL"})
_PROTOCOL = re.compile(rb"\x80[\x01-\x05]")
_OPCODES_LOOKED_AT = 2000
GENERAL = "write it where it was made as ONNX, .skops (scikit-learn), .keras or .safetensors"


class Library(NamedTuple):
    """How a pickle of it is known, and how its models are written without one."""

    mark: bytes
    name: str
    way: str


LIBRARIES = (
    Library(b"skorch", "skorch", "torch.onnx.export(net.module_, …)"),
    Library(b"xgboost", "XGBoost", "onnxmltools.convert_xgboost(model, …), and import the .onnx file"),
    Library(b"lightgbm", "LightGBM", "onnxmltools.convert_lightgbm(model, …), and import the .onnx file"),
    Library(b"catboost", "CatBoost", 'model.save_model("model.onnx", format="onnx")'),
    Library(b"sklearn", "scikit-learn", 'skops.io.dump(model, "model.skops")'),
    Library(b"keras", "Keras", 'model.save("model.keras")'),
    Library(b"torch", "PyTorch", 'torch.save(model.state_dict(), "net.pth"), or torch.onnx.export'),
    Library(b"transformers", "transformers", 'model.save_pretrained("DIR", safe_serialization=True)'),
)
"""In the order in which they are looked for: a later one is often named within one before it."""


def find_pickle(folder: Path) -> Path | None:
    """The first file of the folder that is pickled, where there is no graph beside it that could be meant."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if any(path.suffix.lower() == ".onnx" and not is_pickle(first_bytes(path)) for path in files):
        return None
    return next((path for path in files if path.suffix.lower() in ENDINGS or is_pickle(first_bytes(path))), None)


def refuse_pickle(path: Path) -> NoReturn:
    """Raises InvalidData that names what it is of, as far as its bytes say, and how that is written without a pickle."""
    raise InvalidData(told_of_pickle(path))


def told_of_pickle(path: Path) -> str:
    """What is said of a pickled file."""
    start = first_bytes(path)
    inside = unpacked(start)
    known = next((library for library in LIBRARIES if library.mark in inside), None)
    dress = " (packed)" if inside is not start else ""
    told = f"'{path.name[:80]}' is a pickled file{dress}: opening it can run any code, so it is refused;"
    if known is None:
        return f"{told} where you trust it, {GENERAL}"
    return f"{told} it is of {known.name}: where you trust it, write it anew: {known.way}"


def first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LOOKED_AT_BYTES)


def is_pickle(start: bytes) -> bool:
    """Whether a file that begins so is pickled, packed or not."""
    inside = unpacked(start)
    if _PROTOCOL.match(inside):
        return True
    try:
        for count, (opcode, _, _) in enumerate(pickletools.genops(io.BytesIO(inside))):
            if opcode.name in _NAMES_A_CLASS:
                return True
            if count > _OPCODES_LOOKED_AT:
                return False
    except (ValueError, IndexError, OverflowError):  # no pickle, or one of text that goes on
        return False
    return False


def unpacked(start: bytes) -> bytes:
    """The beginning of what is packed in it as joblib packs; itself where it is not packed, or not so."""
    for mark, opened in _PACKED.items():
        if start.startswith(mark):
            try:
                return opened(start) or start
            except (zlib.error, OSError, EOFError, lzma.LZMAError, ValueError):
                return start
    return start


def _inflated(window: int) -> Callable[[bytes], bytes]:
    return lambda start: zlib.decompressobj(window).decompress(start, LOOKED_AT_BYTES)


def _lzma(start: bytes) -> bytes:
    return lzma.LZMADecompressor(memlimit=1 << 27).decompress(start, LOOKED_AT_BYTES)


_PACKED: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": _inflated(zlib.MAX_WBITS | 16),
    b"\x78\x01": _inflated(zlib.MAX_WBITS),
    b"\x78\x5e": _inflated(zlib.MAX_WBITS),
    b"\x78\x9c": _inflated(zlib.MAX_WBITS),
    b"\x78\xda": _inflated(zlib.MAX_WBITS),
    b"BZh": lambda start: bz2.BZ2Decompressor().decompress(start, LOOKED_AT_BYTES),
    b"\xfd7zXZ": _lzma,
    b"\x5d\x00\x00": _lzma,
}
"""How a packed file begins, and what opens no more of it than is looked at."""
