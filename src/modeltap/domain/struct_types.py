"""What the fields of our structs are, found out before threads ask for it.

msgspec does so when a type is first read, and shows it half done to a second thread that reads the same type meanwhile: that
process ends with SIGSEGV (seen with 0.22, rarely, where a server began to serve).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec

PACKAGE = __name__.partition(".")[0]


def settle_types() -> int:
    """How many types are known now: this package's whose modules are loaded. For the start of a process, before its threads."""
    num = 0
    for found in _structs(msgspec.Struct):
        with suppress(NameError, TypeError):  # it names what only type checkers see, and is never read
            msgspec.json.Decoder(found)
            num += 1
    return num


def _structs(base: Any) -> Iterator[Any]:
    for found in base.__subclasses__():
        if found.__module__.partition(".")[0] == PACKAGE:
            yield found
        yield from _structs(found)
