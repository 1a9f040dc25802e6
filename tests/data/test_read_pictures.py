"""Folders and archives of pictures: classes, parts, sizes, colours, and files that are broken."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modeltap.data.read import read_source
from modeltap.data.source import ReadOptions, Source
from modeltap.errors import InvalidData


def picture(mode: str = "L", size: tuple[int, int] = (6, 4), *, shade: int = 100, form: str = "PNG") -> bytes:
    out = io.BytesIO()
    colour = {"L": shade, "1": 1, "RGB": (shade, 20, 30), "RGBA": (shade, 20, 30, 128), "P": 3, "I;16": shade * 256}[mode]
    Image.new(mode, size, colour).save(out, form)  # type: ignore[arg-type]
    return out.getvalue()


def read_zip(tmp_path: Path, files: Mapping[str, bytes], **options: object) -> Source:
    path = tmp_path / "blob"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return read_source(path, filename="pets.zip", options=ReadOptions(**options))  # type: ignore[arg-type]


def refusal(tmp_path: Path, files: Mapping[str, bytes], **options: object) -> str:
    with pytest.raises(InvalidData) as caught:
        read_zip(tmp_path, files, **options)
    return caught.value.message


def pixels(source: Source, part: str = "rows") -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(source.parts[part].column("image"))  # type: ignore[index]


@pytest.mark.parametrize("wrapping", ["", "pets/", "data/pets/"])
def test_a_folder_for_each_class(tmp_path: Path, wrapping: str) -> None:
    names = {"cat/1.png": 10, "cat/2.png": 20, "dog/old/1.png": 30}
    source = read_zip(tmp_path, {wrapping + name: picture(shade=shade) for name, shade in names.items()})
    assert source.form == "images"
    assert source.columns == ("image", "label")
    assert source.parts["rows"].column("label") == ["cat", "cat", "dog"]
    assert pixels(source).shape == (3, 4, 6)
    assert pixels(source)[:, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("wrapping", ["", "pets/"])
def test_given_parts(tmp_path: Path, wrapping: str) -> None:
    files = {
        f"{wrapping}{part}/{label}/{n}.png": picture()
        for part, n in (("train", 1), ("train", 2), ("Valid", 1), ("test", 1))
        for label in ("cat", "dog")
    }
    source = read_zip(tmp_path, files)
    assert {part: rows.num_rows for part, rows in source.parts.items()} == {"train": 4, "val": 2, "test": 2}


def test_a_real_folder_is_read_like_an_archive(tmp_path: Path) -> None:
    for name in ("cat/1.png", "dog/1.png", ".DS_Store", "__MACOSX/cat/._1.png", "notes.md"):
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(picture())
    source = read_source(tmp_path / "pets", filename="pets")
    assert source.parts["rows"].column("label") == ["cat", "dog"]
    assert any("notes.md" in notice for notice in source.notices)


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "WEBP", "TIFF", "JPEG"])
def test_formats(tmp_path: Path, form: str) -> None:
    ending = {"JPEG": "JPG", "TIFF": "tif"}.get(form, form.lower())
    source = read_zip(tmp_path, {f"{label}/a.{ending}": picture("RGB", form=form) for label in "ab"})
    assert pixels(source).shape == (2, 4, 6, 3)
    assert np.abs(pixels(source)[0, 0, 0].astype(int) - [100, 20, 30]).max() <= 4


def test_other_sizes_are_brought_to_the_most_common_one(tmp_path: Path) -> None:
    files = {"a/1.png": picture(), "a/2.png": picture(), "b/1.png": picture(size=(12, 8))}
    source = read_zip(tmp_path, files)
    assert pixels(source).shape == (3, 4, 6)
    assert any(notice.startswith("resized 1 picture of another size to 4 × 6") for notice in source.notices)
    assert pixels(read_zip(tmp_path, files, image_size=(3, 5))).shape == (3, 3, 5)
    assert "image_size" in refusal(tmp_path, files, image_size=(0, 5))


def test_one_colour_picture_makes_all_of_them_colour(tmp_path: Path) -> None:
    source = read_zip(tmp_path, {"a/1.png": picture(shade=7), "b/1.png": picture("RGB"), "b/2.gif": picture("P", form="GIF")})
    assert pixels(source).shape == (3, 4, 6, 3)
    assert pixels(source)[0, 0, 0].tolist() == [7, 7, 7]


def test_transparency_is_dropped_and_deep_greys_are_scaled(tmp_path: Path) -> None:
    source = read_zip(tmp_path, {"a/1.png": picture("RGBA"), "b/1.png": picture("RGB")})
    assert pixels(source)[0, 0, 0].tolist() == [100, 20, 30]
    assert any("transparency" in notice for notice in source.notices)
    deep = read_zip(tmp_path, {"a/1.png": picture("I;16"), "b/1.png": picture("1")})
    assert pixels(deep)[:, 0, 0].tolist() == [100, 255]


def test_a_broken_picture_is_named_or_skipped(tmp_path: Path) -> None:
    noisy = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)).save(noisy, "PNG")
    cut = noisy.getvalue()[:600]
    for broken in (cut, b"no picture", b""):
        files = {"a/good.png": picture(), "b/good.png": picture(shade=9), "b/evil.png": broken}
        assert "'b/evil.png'" in refusal(tmp_path, files)
        source = read_zip(tmp_path, files, skip_broken=True)
        assert source.parts["rows"].column("label") == ["a", "b"]
        assert pixels(source)[:, 0, 0].tolist() == [100, 9]
        assert any("evil.png" in notice for notice in source.notices)
    assert "no picture" in refusal(tmp_path, {"a/1.png": b"", "b/1.png": b""}, skip_broken=True)


def test_a_picture_bomb_is_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    message = refusal(tmp_path, {"a/1.png": picture(), "b/bomb.png": bomb})
    assert "'b/bomb.png'" in message
    assert "too large" in message


def test_too_many_pixels_together(tmp_path: Path) -> None:
    files = {f"{label}/1.png": picture(size=(200, 200)) for label in "ab"}
    assert "smaller image_size" in refusal(tmp_path, files, max_unpacked_bytes=50_000)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["1.png", "2.png"], "class/file.png"),
        (["pets/1.png", "pets/2.png"], "one folder"),
        (["train/1.png", "test/1.png"], "class/1.png"),
        (["a.md", "b.md"], "allowed"),
    ],
)
def test_layouts_that_name_no_classes(tmp_path: Path, names: list[str], told: str) -> None:
    assert told in refusal(tmp_path, dict.fromkeys(names, picture()))
