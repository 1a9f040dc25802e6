"""Pictures in a folder for each class → uint8 arrays of one shape and their labels. Letters: N pictures, H high, W wide."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from modeltap.data.images import FORMATS, MAX_PIXELS, decode_picture
from modeltap.data.read_members import Member
from modeltap.data.source import PartRows, ReadOptions, Source
from modeltap.data.wording import counted
from modeltap.domain.dataset import Part
from modeltap.errors import InvalidData, InvalidValue

IMAGE = "image"
LABEL = "label"
MAX_SIDE = 4096
GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
ALPHA_MODES = frozenset({"LA", "La", "RGBA", "RGBa", "PA"})
Labelled = Sequence[tuple[Member, str]]


def read_images(found: Mapping[Part, Labelled], options: ReadOptions) -> Source:
    """All pictures in the most common size (or the given one): (N, H, W) if all are grey, else (N, H, W, 3).

    Raises InvalidData naming the file that is broken or too large, unless broken ones are to be skipped.
    """
    import polars as pl

    if options.image_size is not None and not all(1 <= side <= MAX_SIDE for side in options.image_size):
        raise InvalidData(f"image_size is {options.image_size}; height and width are from 1 to {MAX_SIDE}")
    notices: list[str] = []
    sizes, modes, broken = _scan(found, options)
    kept = {part: [(m, label) for m, label in rows if m.name not in broken] for part, rows in found.items()}
    if not sizes:
        raise InvalidData("no picture could be decoded")
    height, width = options.image_size or sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))[0][0]
    grey = all(mode in GREY_MODES for mode in modes)
    shape = (height, width) if grey else (height, width, 3)
    num_pictures = sum(len(rows) for rows in kept.values())
    if num_pictures * int(np.prod(shape)) > options.max_unpacked_bytes:
        raise InvalidData(
            f"{num_pictures:,} pictures of {height} × {width} are more than {options.max_unpacked_bytes:,} bytes;"
            " give a smaller image_size"
        )
    num_resized = sum(count for size, count in sizes.items() if size != (height, width))
    if num_resized:
        notices.append(f"resized {counted(num_resized, 'picture')} of another size to {height} × {width}")
    if any(mode in ALPHA_MODES for mode in modes):
        notices.append("the transparency of pictures was dropped")
    parts: dict[Part, PartRows] = {}
    for part, rows in kept.items():
        pixels = np.empty((len(rows), *shape), dtype=np.uint8)
        good: list[str] = []
        for member, _ in rows:
            try:
                pixels[len(good)] = decode_picture(member.read(), shape)
            except InvalidValue as problem:
                _refuse_or_skip(member, problem, options, broken)
                continue
            good.append(member.name)
        names = set(good)
        labels = [label for member, label in rows if member.name in names]
        if not labels:
            raise InvalidData(f"no picture of the part {part} could be decoded")
        parts[part] = PartRows(pl.DataFrame([pl.Series(LABEL, labels, dtype=pl.String)]), {IMAGE: pixels[: len(good)]})
    if broken:
        notices.append(f"skipped {counted(len(broken), 'broken picture')}: {', '.join(sorted(broken)[:5])}")
    return Source("images", (IMAGE, LABEL), parts, tuple(notices))


def _scan(found: Mapping[Part, Labelled], options: ReadOptions) -> tuple[Counter[tuple[int, int]], set[str], dict[str, str]]:
    """How often each (height, width) occurs, the colour modes, and the files that are no pictures; from headers alone."""
    sizes: Counter[tuple[int, int]] = Counter()
    modes: set[str] = set()
    broken: dict[str, str] = {}
    for rows in found.values():
        for member, _ in rows:
            try:
                size, mode = _header(member)
            except InvalidValue as problem:
                _refuse_or_skip(member, problem, options, broken)
                continue
            sizes[size] += 1
            modes.add(mode)
    return sizes, modes, broken


def _header(member: Member) -> tuple[tuple[int, int], str]:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings(), member.open() as stream:
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(stream.read()), formats=FORMATS) as picture:
                width, height = picture.size
                mode = picture.mode
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InvalidValue(f"the picture is too large; at most {MAX_PIXELS:,} pixels are read") from None
    except UnidentifiedImageError:
        raise InvalidValue("the bytes are not a picture; allowed: PNG, JPEG, BMP, GIF, WebP, TIFF") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as problem:
        raise InvalidValue(f"the picture is broken: {problem}") from None
    return (height, width), mode


def _refuse_or_skip(member: Member, problem: InvalidValue, options: ReadOptions, broken: dict[str, str]) -> None:
    if not options.skip_broken:
        raise InvalidData(
            f"'{member.name}': {problem.message}; mend or remove it, or leave broken pictures out with skip_broken"
        ) from None
    broken[member.name] = problem.message
