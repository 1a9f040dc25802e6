"""A request's body as the struct of its path; what does not fit is a 400 that names the field."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from modeltap.api.asgi import Receive, Scope
from modeltap.api.body import check_json, read_body
from modeltap.api.openai.problems import refused
from modeltap.errors import InvalidInput

T = TypeVar("T")
_PLACE = re.compile(r" - at `(?P<path>[^`]*)`$")
_FIELD = re.compile(r"(?:unknown|required) field `(?P<name>[^`]*)`")
LONGEST_PARAM = 120


async def read_request(scope: Scope, receive: Receive, decoder: msgspec.json.Decoder[T], *, limit_bytes: int) -> T:
    """The request. Raises InvalidInput with the field that is wrong, TooLarge."""
    return decode_request(await read_body(scope, receive, limit_bytes=limit_bytes), decoder)


def decode_request(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """The same of a body that was read."""
    if not body.strip():
        raise InvalidInput('the body is empty; send JSON such as {"model": "NAME", …}')
    check_json(body)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as problem:
        raise _wrong_field(str(problem)) from None
    except msgspec.DecodeError as problem:
        raise InvalidInput(f"the body is not JSON: {str(problem).replace('`', '')}") from None
    except UnicodeDecodeError:
        raise InvalidInput("the body is not UTF-8") from None
    except RecursionError:
        raise InvalidInput("the body is nested too deeply") from None


def _wrong_field(message: str) -> InvalidInput:
    place = _PLACE.search(message)
    param = "" if place is None else place["path"].removeprefix("$").removeprefix(".")
    field = _FIELD.search(message)
    if field is not None:
        param = f"{param}.{field['name']}" if param else field["name"]
    told = _PLACE.sub("", message).replace("`", "'")
    if "unknown field" in told or told.startswith("Expected 'null'"):
        told = f"'{param[:LONGEST_PARAM]}' is not taken here; leave it out"
    elif field is None and param:
        told = f"'{param[:LONGEST_PARAM]}': {told[:1].lower()}{told[1:]}"
    return refused(param[:LONGEST_PARAM], told) if param else InvalidInput(told)
