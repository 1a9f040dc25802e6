"""Sizes as people write them: 500 MB, 4GiB, or plain bytes."""

from __future__ import annotations

import re

from modeltap.errors import InvalidInput

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_SIZE = re.compile(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([a-zA-Z]*)\s*")


def parse_size(given: int | str) -> int:
    """Bytes, at least one. Raises InvalidInput for what is no size."""
    found = _SIZE.fullmatch(str(given))
    unit = None if found is None else _UNITS.get(found[2].casefold())
    if found is None or unit is None or (size := int(float(found[1]) * unit)) < 1:
        raise InvalidInput(f"'{str(given)[:40]}' is no size; give bytes, or a number with KB, MB, GB, MiB or GiB: 4GB")
    return size
