"""NumPy archives: names of arrays, pictures and vectors, targets, and files that lie or carry pickles."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeltap.data.read import read_source
from modeltap.data.source import ReadOptions, Source
from modeltap.errors import InvalidData

PICTURES = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)


def read(tmp_path: Path, arrays: dict[str, Any], **options: object) -> Source:
    np.savez_compressed(tmp_path / "data.npz", **arrays)
    return read_source(tmp_path / "data.npz", filename="data.npz", options=ReadOptions(**options))  # type: ignore[arg-type]


def refusal(tmp_path: Path, arrays: dict[str, Any], **options: object) -> str:
    with pytest.raises(InvalidData) as caught:
        read(tmp_path, arrays, **options)
    return caught.value.message


def refused_bytes(tmp_path: Path, content: bytes) -> str:
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(InvalidData) as caught:
        read_source(tmp_path / "data.npz", filename="data.npz")
    return caught.value.message


@pytest.mark.parametrize(
    "keys",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X_TRAIN", "Y_train", "xTest", "yTest"),
        ("xtrain", "ytrain", "xtest", "ytest"),
    ],
)
def test_parts_are_known_by_their_keys(tmp_path: Path, keys: tuple[str, ...]) -> None:
    labels = np.array([0, 1, 0, 1])
    source = read(tmp_path, dict(zip(keys, (PICTURES, labels, PICTURES[:2], labels[:2]), strict=True)))
    assert source.form == "images"
    assert source.columns == ("image", "label")
    assert {part: rows.num_rows for part, rows in source.parts.items()} == {"train": 4, "test": 2}
    np.testing.assert_array_equal(source.parts["train"].column("image"), PICTURES)
    assert source.parts["test"].column("label") == [0, 1]


def test_a_validation_part(tmp_path: Path) -> None:
    arrays = {f"{part}_{what}": np.zeros((2, 3)) if what == "x" else np.zeros(2) for part in ("train", "val") for what in "xy"}
    assert list(read(tmp_path, arrays).parts) == ["train", "val"]


@pytest.mark.parametrize(
    ("values", "form", "name", "dtype", "shape"),
    [
        (np.zeros((3, 5, 5), np.uint8), "images", "image", np.uint8, (5, 5)),
        (np.zeros((3, 5, 5, 3), np.uint8), "images", "image", np.uint8, (5, 5, 3)),
        (np.zeros((3, 5, 5, 2), np.uint8), "arrays", "x", np.uint8, (5, 5, 2)),
        (np.zeros((3, 4), np.uint8), "arrays", "x", np.uint8, (4,)),
        (np.zeros((3, 4)), "arrays", "x", np.float32, (4,)),
        (np.zeros((3, 4, 2), np.float16), "arrays", "x", np.float32, (4, 2)),
        (np.zeros(3), "arrays", "x", np.float32, (1,)),
        (np.zeros((3, 4), ">i2"), "arrays", "x", np.int64, (4,)),
        (np.zeros((3, 4), bool), "arrays", "x", np.uint8, (4,)),
        (np.asfortranarray(np.arange(12.0).reshape(3, 4)), "arrays", "x", np.float32, (4,)),
    ],
)
def test_what_features_become(
    tmp_path: Path, values: np.ndarray[Any, Any], form: str, name: str, dtype: type, shape: tuple[int, ...]
) -> None:
    source = read(tmp_path, {"x": values, "y": [0, 1, 2]})
    column = source.parts["rows"].column(name)
    assert isinstance(column, np.ndarray)
    assert (source.form, column.dtype, column.shape) == (form, dtype, (3, *shape))
    np.testing.assert_array_equal(column.reshape(values.shape), values)


@pytest.mark.parametrize(
    ("target", "name", "cells"),
    [
        (np.array([1, 2], np.uint8), "label", [1, 2]),
        (np.array([[1], [2]]), "label", [1, 2]),
        (np.array(["cat", "dog"]), "label", ["cat", "dog"]),
        (np.array([b"cat", b"d\xc3\xb6g"]), "label", ["cat", "dög"]),
        (np.array([True, False]), "label", [True, False]),
        (np.array([0.5, 1.0], np.float32), "target", [0.5, 1.0]),
    ],
)
def test_what_targets_become(tmp_path: Path, target: np.ndarray[Any, Any], name: str, cells: list[object]) -> None:
    source = read(tmp_path, {"data": np.zeros((2, 2)), "target": target, "feature_names": np.array(["a", "b"])})
    assert source.columns == ("x", name)
    assert list(source.parts["rows"].column(name)) == cells
    assert any("feature_names" in notice for notice in source.notices)


def test_features_without_a_target(tmp_path: Path) -> None:
    assert read(tmp_path, {"x": np.zeros((2, 2))}).columns == ("x",)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"x": np.zeros((3, 2)), "y": np.zeros(2)}, "3 samples and 2 targets"),
        ({"samples": np.zeros(3)}, "expected are x and y"),
        ({"y": np.zeros(3)}, "expected are x and y"),
        ({"x": np.zeros((2, 2)), "y": np.zeros((2, 3))}, "argmax"),
        ({"x": np.array([[1.0, np.inf]])}, "not finite"),
        ({"x": np.array([["a"]])}, "allowed"),
        ({"x": np.zeros((0, 2))}, "no samples"),
        ({"x_train": np.zeros((2, 2)), "x_test": np.zeros((2, 3))}, "shape of a sample"),
        ({"x": np.zeros((2, 2)), "data": np.zeros((2, 2))}, "keep one"),
        ({"x": np.zeros((2, 2)), "x_test": np.zeros((2, 2))}, "keep one kind"),
        ({"x_train": np.zeros((2, 2)), "y_train": [0, 1], "x_test": np.zeros((2, 2))}, "both parts"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict[str, Any], told: str) -> None:
    assert told in refusal(tmp_path, arrays)


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    assert "never loaded" in refusal(tmp_path, {"x": np.array([{"a": 1}, None], dtype=object)})


def test_a_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 10**6)})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("x.npy", header.getvalue() + bytes(64))
    assert "cut off" in refused_bytes(tmp_path, archive.getvalue())


def test_archives_that_are_too_large_or_broken(tmp_path: Path) -> None:
    assert "more than 1,000 bytes" in refusal(tmp_path, {"x": np.zeros((100, 100))}, max_unpacked_bytes=1000)
    np.savez(tmp_path / "data.npz", x=np.zeros((50, 2)))
    whole = (tmp_path / "data.npz").read_bytes()
    assert "not a complete .npz" in refused_bytes(tmp_path, whole[:-30])
    assert "not a complete .npz" in refused_bytes(tmp_path, b"\x93NUMPY")
    flipped = bytearray(whole)
    flipped[300] ^= 0xFF
    assert "not a complete .npz" in refused_bytes(tmp_path, bytes(flipped))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("x.npy", b"no array at all")
    assert "not a NumPy array" in refused_bytes(tmp_path, archive.getvalue())
