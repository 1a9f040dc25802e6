"""Picture files and pixel arrays → uint8 arrays of one shape, the same way in training and in serving."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modeltap.errors import InvalidValue

MAX_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")


def decode_picture(data: bytes, shape: tuple[int, ...] | None) -> NDArray[np.uint8]:
    """uint8 (H, W) or (H, W, 3) of a PNG, JPEG, BMP, GIF, WebP or TIFF file.

    With `shape` it is converted to that many channels and, if its size differs, resized (bilinear); without it a grey
    picture gives (H, W) and any other (H, W, 3). Raises InvalidValue if the file is broken, of another kind or too large.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        # Filters of warnings belong to the whole process, and pictures are read on several threads: none is set here.
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise InvalidValue(f"the picture has {width} × {height} pixels; at most {MAX_PIXELS:,} are read")
            picture.load()
            return _as_array(picture, shape)
    except UnidentifiedImageError:
        raise InvalidValue("the bytes are not a picture; allowed: PNG, JPEG, BMP, GIF, WebP, TIFF") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InvalidValue(f"the picture is too large; at most {MAX_PIXELS:,} pixels are read") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as problem:
        raise InvalidValue(f"the picture is broken: {problem}") from None


def _as_array(picture: Any, shape: tuple[int, ...] | None) -> NDArray[np.uint8]:
    from PIL import Image

    grey = picture.mode in ("1", "L", "I;16", "I", "F") if shape is None else _channels(shape) == 1
    mode = "L" if grey else ("RGBA" if shape is not None and _channels(shape) == 4 else "RGB")
    if picture.mode.startswith("I;16"):
        wide = np.asarray(picture, dtype=np.uint16)
        picture = Image.fromarray((wide >> 8).astype(np.uint8))
    picture = picture.convert(mode)
    if shape is not None and picture.size != (shape[1], shape[0]):
        picture = picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    pixels = np.array(picture, dtype=np.uint8)
    return pixels if shape is None else pixels.reshape(shape)


def encode_png(pixels: NDArray[np.uint8], *, level: int = -1) -> bytes:
    """A PNG file of uint8 (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); no metadata, so equal pixels give equal bytes. `level`:
    how hard zlib tries, from 1 to 9, or as it does by itself."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(
        out, "PNG", compress_level=level
    )
    return out.getvalue()


def parse_image(value: Any, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """uint8 of `shape` from picture bytes, a base64 or data-URL text, or (nested) numbers from 0 to 255."""
    if isinstance(value, bytes | bytearray | memoryview):
        return decode_picture(bytes(value), shape)
    if isinstance(value, str):
        return decode_picture(decode_base64(value), shape)
    return parse_pixels(value, shape)


def decode_base64(text: str) -> bytes:
    """The bytes of a base64 text or of a data URL (`data:image/png;base64,…`)."""
    body = text.strip()
    if body.startswith("data:"):
        head, _, body = body.partition(",")
        if not head.endswith(";base64"):
            raise InvalidValue("a data URL must be base64: data:image/png;base64,…")
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidValue("the text is not base64; send a picture as base64, as a data URL or as numbers") from None


def parse_pixels(value: Any, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """uint8 of `shape` from numbers; a trailing channel axis of 1 may be there or not."""
    try:
        pixels = np.asarray(value)
    except ValueError:
        raise InvalidValue("the rows of the picture differ in length") from None
    if pixels.dtype.kind not in "uif":
        raise InvalidValue("a pixel is not a number; pixels are whole numbers from 0 to 255")
    if pixels.dtype != np.uint8:
        if pixels.size and not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 255):
            raise InvalidValue("pixels are whole numbers from 0 to 255")
        if pixels.dtype.kind == "f" and not np.array_equal(pixels, np.floor(pixels)):
            raise InvalidValue(
                "pixels are whole numbers from 0 to 255, and the model scales them itself; multiply scaled ones by 255"
            )
        pixels = pixels.astype(np.uint8)
    return fit_shape(pixels, shape)


def fit_shape(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The array in `shape`, if the two differ in axes of length 1 alone. Raises InvalidValue naming both otherwise."""
    if values.shape == shape:
        return values
    if [n for n in values.shape if n != 1] == [n for n in shape if n != 1]:
        return values.reshape(shape)
    raise InvalidValue(f"the shape is {list(values.shape)}, the model takes {list(shape)}")


def _channels(shape: tuple[int, ...]) -> int:
    return shape[2] if len(shape) == 3 else 1
