"""A file of rows or a picture → the body of a prediction and its content type, by its ending or its first bytes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from modeltap.client.predicting import IMAGE_TYPES
from modeltap.client.transport import plain_value
from modeltap.errors import InvalidData

JSON_TYPE = "application/json"
IMAGE_MAGIC = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"BM": "image/bmp",
    b"II*\x00": "image/tiff",
    b"MM\x00*": "image/tiff",
}


def read_input(source: str) -> tuple[bytes, str]:
    """(body, content type); `-` is stdin. Raises InvalidData for what is missing, empty or not what its ending says."""
    data, ending = _read(source)
    if not data.strip():
        raise InvalidData(f"'{source}' is empty")
    kind = ending if ending in KNOWN else sniffed_ending(data)
    if kind in IMAGE_TYPES:
        return data, IMAGE_TYPES[kind]
    match kind:
        case ".csv":
            return data, "text/csv"
        case ".tsv" | ".tab":
            return data, "text/tab-separated-values"
        case ".jsonl" | ".ndjson":
            return _instances(_json_lines(data, source)), JSON_TYPE
        case ".parquet" | ".pq":
            return _instances(_parquet_rows(data, source)), JSON_TYPE
        case _:
            value = _json(data, source)
            return (_instances(value) if isinstance(value, list) else data), JSON_TYPE


KNOWN = frozenset({".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson", ".parquet", ".pq", *IMAGE_TYPES})


def _read(source: str) -> tuple[bytes, str]:
    if source == "-":
        return sys.stdin.buffer.read(), ""
    path = Path(source).expanduser()
    try:
        return path.read_bytes(), path.suffix.lower()
    except OSError as problem:
        raise InvalidData(f"'{source}' cannot be read: {problem.strerror or problem}") from None


def sniffed_ending(data: bytes) -> str:
    """The ending that the first bytes tell of; text that is no JSON is CSV."""
    if data.startswith(b"PAR1"):
        return ".parquet"
    if data[8:12] == b"WEBP":
        return ".webp"
    for magic, image_type in IMAGE_MAGIC.items():
        if data.startswith(magic) and (magic != b"BM" or b"\x00" in data[:16]):
            return next(ending for ending, known in IMAGE_TYPES.items() if known == image_type)
    text = data.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not text.startswith((b"{", b"[")):
        return ".csv"
    return ".jsonl" if _is_json_lines(text) else ".json"


def _is_json_lines(text: bytes) -> bool:
    first, _, rest = text.partition(b"\n")
    try:
        msgspec.json.decode(first)
    except msgspec.DecodeError:
        return False
    return bool(rest.strip())


def _json(data: bytes, source: str) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise InvalidData(f"'{source}' is not JSON: {problem}") from None


def _json_lines(data: bytes, source: str) -> list[Any]:
    rows = []
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append(msgspec.json.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as problem:
            raise InvalidData(f"'{source}', line {number} is not JSON: {problem}") from None
    return rows


def _parquet_rows(data: bytes, source: str) -> list[Any]:
    import io

    import polars as pl

    try:
        return pl.read_parquet(io.BytesIO(data)).to_dicts()
    except (pl.exceptions.PolarsError, OSError) as problem:
        raise InvalidData(f"'{source}' is not a Parquet file: {str(problem).splitlines()[0]}") from None


def _instances(rows: list[Any]) -> bytes:
    return msgspec.json.encode({"instances": rows}, enc_hook=plain_value)
