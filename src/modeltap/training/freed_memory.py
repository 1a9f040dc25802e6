"""What a step of training frees stays with the process for the next one."""

from __future__ import annotations

import ctypes
import sys

KEPT_BYTES = 2**28
LARGEST_KEPT_BYTES = 2**25
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Freed blocks up to LARGEST_KEPT_BYTES, KEPT_BYTES of them in all, are not given back to the system until the process
    ends, where the C library is glibc. To get them again, page by page, took half the time of a step whose tensors are of
    some megabytes, and a tenth of a small one."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
