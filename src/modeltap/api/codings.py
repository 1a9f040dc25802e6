"""Packed bodies: gzip and deflate, unpacked never beyond a limit."""

from __future__ import annotations

import zlib

from modeltap.errors import InvalidInput, TooLarge, UnsupportedMedia

CODINGS = frozenset({"gzip", "deflate"})
LEVEL = 1
"""The fastest: numbers do not get much smaller with more."""
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


def unpack(body: bytes, coding: str, *, limit_bytes: int) -> bytes:
    """The body as it was before it was packed. It takes no more memory than `limit_bytes`, whatever it would grow to.

    Raises UnsupportedMedia for another coding, TooLarge, and InvalidInput for a body that is broken or not complete.
    """
    if coding not in CODINGS:
        raise UnsupportedMedia(f"a body with the content-encoding '{coding[:40]}' is not read here; allowed: gzip, deflate")
    unpacker = zlib.decompressobj(_wbits(body, coding))
    try:
        text = unpacker.decompress(body, limit_bytes + 1)
    except zlib.error as problem:
        raise InvalidInput(f"the body is not {coding}: {problem}") from None
    if len(text) > limit_bytes:
        raise TooLarge(given_bytes=None, limit_bytes=limit_bytes)
    if not unpacker.eof:
        raise InvalidInput(f"the {coding} body ends in the middle")
    if unpacker.unused_data:
        raise InvalidInput(f"something is left behind the end of the {coding} body")
    return text


def pack(body: bytes, coding: str) -> bytes:
    """The body in one of CODINGS; deflate is zlib's format, as HTTP has it."""
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP if coding == "gzip" else _ZLIB)
    return packer.compress(body) + packer.flush()


def asked_coding(accepted: str | None) -> str | None:
    """The coding of an Accept-Encoding that asks for that one alone, as clients write it who want it; None for the lists that
    browsers and libraries send with everything: a small answer is not worth the time."""
    if accepted is None:
        return None
    name, _, quality = accepted.strip().casefold().partition(";")
    name = name.strip()
    return name if name in CODINGS and quality.replace(" ", "") not in ("q=0", "q=0.0") else None


def _wbits(body: bytes, coding: str) -> int:
    if coding == "gzip":
        return _GZIP
    # Some send deflate without zlib's two bytes in front, which are a multiple of 31.
    is_zlib = len(body) >= 2 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return _ZLIB if is_zlib else _RAW
