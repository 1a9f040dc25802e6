"""The file of a batch of requests: one JSON object a line, each checked before the first is sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from modeltap.errors import InvalidData, InvalidInput

MAX_REQUESTS = 50_000
MAX_TOLD = 100
"""Lines that do not fit, of which the batch tells."""
MAX_CUSTOM_ID_CHARS = 512


class RequestLine(NamedTuple):
    """One request; `number` is that of its line, from 1 on."""

    number: int
    custom_id: str
    body: bytes


class _Line(msgspec.Struct):
    custom_id: str
    method: str
    url: str
    body: msgspec.Raw


class _Body(msgspec.Struct):
    model: str = ""
    stream: bool | None = None


def check_requests(path: Path, filename: str, endpoint: str) -> int:
    """How many there are. Raises InvalidData naming the lines that do not fit, with what is wrong in each."""
    problems: list[tuple[str, str]] = []
    first_with: dict[str, int] = {}
    num_requests = 0
    for number, line in _lines(path):
        num_requests += 1
        if num_requests > MAX_REQUESTS:
            raise InvalidData(f"'{filename}' has more than {MAX_REQUESTS:,} requests; send them as several batches")
        try:
            custom_id = _parse(number, line, endpoint).custom_id
        except InvalidInput as problem:
            problems.append((f"line {number}", problem.message))
        else:
            known = first_with.setdefault(custom_id, number)
            if known != number:
                problems.append((f"line {number}", f"the custom_id '{custom_id[:80]}' is that of line {known}, too"))
        if len(problems) >= MAX_TOLD:
            break
    if problems:
        told = "; ".join(f"{where}: {what}" for where, what in problems[:3])
        raise InvalidData(f"'{filename}' is no file of requests to {endpoint}: {told}", fields=problems)
    if not num_requests:
        raise InvalidData(f"'{filename}' holds no request; send one JSON object a line")
    return num_requests


def read_requests(path: Path, endpoint: str) -> Iterator[RequestLine]:
    """Those of a file that was checked, in its order."""
    for number, line in _lines(path):
        yield _parse(number, line, endpoint)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of every line that is not empty."""
    with path.open("rb") as source:
        for number, line in enumerate(source, start=1):
            stripped = line.strip().removeprefix(b"\xef\xbb\xbf") if number == 1 else line.strip()
            if stripped:
                yield number, stripped


def _parse(number: int, line: bytes, endpoint: str) -> RequestLine:
    try:
        found = msgspec.json.decode(line, type=_Line)
        body = msgspec.json.decode(found.body, type=_Body)
    except msgspec.ValidationError as problem:
        raise InvalidInput(
            f"{str(problem).replace('`', '')}; a request is"
            f' {{"custom_id": "1", "method": "POST", "url": "{endpoint}", "body": {{…}}}}'
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise InvalidInput(f"not JSON: {str(problem).replace('`', '')}") from None
    if not 1 <= len(found.custom_id) <= MAX_CUSTOM_ID_CHARS:
        raise InvalidInput(f"custom_id has {len(found.custom_id)} characters; allowed are 1 to {MAX_CUSTOM_ID_CHARS}")
    if found.method != "POST":
        raise InvalidInput(f"method is '{found.method[:20]}'; it must be POST")
    if found.url != endpoint:
        raise InvalidInput(f"url is '{found.url[:80]}'; all requests of the batch go to {endpoint}")
    if body.stream:
        raise InvalidInput("body.stream is true; an answer in a file cannot be streamed, leave it out")
    return RequestLine(number, found.custom_id, bytes(found.body))
