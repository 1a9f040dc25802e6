"""NumPy archives (.npz) → pictures or arrays with their target; nothing is unpickled. Letters: N samples.

A feature array is called x, data, features, inputs or images, its target y, target or labels; a part stands beside it:
x_train, train_images, y_test, val_labels, …
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np

from modeltap.data.read_arrays import plain_array
from modeltap.data.read_members import PACKING, Member
from modeltap.data.source import PARTS, PartRows, ReadOptions, Source
from modeltap.domain.dataset import Form, Part
from modeltap.domain.signature import Array
from modeltap.errors import InvalidData

FEATURE_KEYS = frozenset({"x", "data", "features", "feature", "inputs", "input", "images", "image"})
TARGET_KEYS = frozenset({"y", "target", "targets", "labels", "label"})
PART_WORDS: Mapping[str, Part] = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
}  # fmt: skip
MAX_HEADER_BYTES = 10_000


def read_npz(member: Member, options: ReadOptions) -> Source:
    """Pictures where the features are uint8 (N, H, W) or (N, H, W, 1, 3 or 4), else arrays; parts as the keys name them.

    Raises InvalidData for keys that are not understood, lengths that differ, pickled objects and a broken archive.
    """
    arrays = _load(member, options)
    found: dict[Part, dict[str, Array]] = {}
    ignored = []
    for key in sorted(arrays):
        meant = _meaning(key)
        if meant is None:
            ignored.append(key)
            continue
        part, what = meant
        if what in found.setdefault(part, {}):
            raise InvalidData(f"'{member.name}' holds two arrays of {what}s for '{part}', one of them '{key}'; keep one")
        found[part][what] = arrays[key]
    if not found or any("feature" not in pair for pair in found.values()):
        raise InvalidData(
            f"'{member.name}' holds the arrays {', '.join(sorted(arrays)) or '(none)'}; expected are x and y,"
            " or x_train, y_train, x_test, y_test (also data/target, images/labels, and a part val)"
        )
    if "rows" in found and len(found) > 1:
        raise InvalidData(f"'{member.name}' holds arrays with and without a part (train, test) in their name; keep one kind")
    notices = (f"the arrays {', '.join(ignored)} were left out",) if ignored else ()
    return _as_source(found, notices)


def _as_source(found: Mapping[Part, Mapping[str, Array]], notices: tuple[str, ...]) -> Source:
    import polars as pl

    order = [part for part in ("rows", *PARTS) if part in found]
    features = {part: found[part]["feature"] for part in order}
    form: Form = "images" if all(_is_picture(values) for values in features.values()) else "arrays"
    feature = "image" if form == "images" else "x"
    if any("target" in found[p] for p in order) and not all("target" in found[p] for p in order):
        raise InvalidData("one part has a target and another has none; give both parts their target")
    targets = {p: _plain_target(found[p]["target"]) for p in order if "target" in found[p]}
    target = "target" if any(t.dtype.kind == "f" for t in targets.values()) else "label"
    parts: dict[Part, PartRows] = {}
    for part in order:
        values = features[part] if form == "images" else plain_array(features[part], feature)
        table = pl.DataFrame()
        if part in targets:
            if len(targets[part]) != len(values):
                raise InvalidData(f"'{part}' has {len(values):,} samples and {len(targets[part]):,} targets")
            table = pl.DataFrame([pl.Series(target, targets[part])])
        parts[part] = PartRows(table, {feature: np.ascontiguousarray(values)})
    shapes = {values.arrays[feature].shape[1:] for values in parts.values()}
    if len(shapes) > 1:
        raise InvalidData(f"the parts differ in the shape of a sample: {', '.join(map(str, sorted(shapes)))}")
    if not all(rows.num_rows for rows in parts.values()):
        raise InvalidData("a part holds no samples")
    return Source(form, (feature, target) if targets else (feature,), parts, notices)


def _is_picture(values: Array) -> bool:
    return values.dtype == np.uint8 and (values.ndim == 3 or (values.ndim == 4 and values.shape[3] in (1, 3, 4)))


def _plain_target(values: Array) -> Array:
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise InvalidData(
            f"the target has the shape {list(values.shape)}; it must be one value a sample"
            " (for one-hot targets give the class numbers: y.argmax(axis=1))"
        )
    match values.dtype.kind:
        case "b":
            return values
        case "i" | "u":
            return values.astype(np.int64)
        case "f":
            return values.astype(np.float64)
        case "U":
            return values.astype(object)
        case "S":
            try:
                return np.array([v.decode() for v in values.tolist()], dtype=object)
            except UnicodeDecodeError:
                raise InvalidData("the target holds bytes that are not UTF-8 text") from None
    raise InvalidData(f"the target holds {values.dtype}; allowed: whole numbers, numbers, truths and texts")


def _meaning(key: str) -> tuple[Part, str] | None:
    """(part, 'feature' or 'target') of a key such as `x_train`, `trainImages` or `labels`."""
    words = [w for w in re.split(r"[^a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()) if w]
    parts = [PART_WORDS[w] for w in words if w in PART_WORDS]
    rest = [w for w in words if w not in PART_WORDS]
    if len(rest) != 1 or len(parts) > 1:
        return None
    part: Part = parts[0] if parts else "rows"
    word = rest[0]
    glued = re.fullmatch("(x|y)(train|test|val|valid)", word)
    if glued and not parts:
        part, word = PART_WORDS[glued[2]], glued[1]
    if word in FEATURE_KEYS:
        return part, "feature"
    return (part, "target") if word in TARGET_KEYS else None


def _load(member: Member, options: ReadOptions) -> dict[str, Array]:
    try:
        with member.open() as stream, zipfile.ZipFile(io.BytesIO(stream.read()) if not stream.seekable() else stream) as z:
            infos = z.infolist()
            if len(infos) > 1000 or sum(info.file_size for info in infos) > options.max_unpacked_bytes:
                raise InvalidData(
                    f"'{member.name}' grows to more than {options.max_unpacked_bytes:,} bytes (or 1,000 arrays);"
                    " split it, or raise max_unpacked_bytes"
                )
            if any(info.compress_type not in PACKING for info in infos):
                raise InvalidData(f"'{member.name}' is packed in a way that is not read; write it with numpy.savez_compressed")
            return {_key(info.filename): _read_array(z, info) for info in infos if not info.is_dir()}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError):
        raise InvalidData(f"'{member.name}' is not a complete .npz file") from None


def _key(filename: str) -> str:
    return filename[:-4] if filename.endswith(".npy") else filename


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """The array, after its header was found to promise exactly the bytes that follow: nothing is reserved for a lie."""
    key = _key(info.filename)
    with archive.open(info) as stream:
        try:
            version = np.lib.format.read_magic(stream)
            read_header = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
            shape, by_column, dtype = read_header(stream, max_header_size=MAX_HEADER_BYTES)
        except (ValueError, TypeError) as problem:
            raise InvalidData(f"'{key}' is not a NumPy array: {str(problem).splitlines()[0][:120]}") from None
        if dtype.hasobject:
            raise InvalidData(f"'{key}' holds pickled Python objects, which are never loaded; save plain numbers or texts")
        if dtype.names is not None or dtype.kind not in "biufUS":
            raise InvalidData(f"'{key}' holds {dtype}; allowed: numbers, truth values and texts")
        num_values = int(np.prod(shape, dtype=object)) if shape else 1
        if num_values * dtype.itemsize > info.file_size or any(extent < 0 for extent in shape):
            raise InvalidData(f"'{key}' is cut off: its header says {list(shape)} of {dtype}, but there are fewer bytes")
        data = stream.read(num_values * dtype.itemsize)
    if len(data) < num_values * dtype.itemsize:
        raise InvalidData(f"'{key}' is cut off: its header says {list(shape)} of {dtype}, but there are fewer bytes")
    flat = np.frombuffer(data, dtype=dtype)
    values = flat.reshape(shape, order="F" if by_column else "C")
    return values.astype(dtype.newbyteorder("="), copy=False)
