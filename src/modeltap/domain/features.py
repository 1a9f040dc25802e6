"""What preprocessing hands to a network: one float tensor, and the codes of categories that are embedded."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

FEATURES = "modeltap.features"
"""Name of the float32 tensor between preprocessing and network, (N, *shape)."""
CODES = "modeltap.codes"
"""Name of the int64 tensor (N, K) of category codes; there only where categories are embedded, or tokens are the input."""


class FeatureSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Shapes per sample. `shape` of FEATURES is () where there is no float input; `cardinalities` has one entry a column of
    CODES: codes lie in [0, cardinality)."""

    shape: tuple[int, ...] = ()
    cardinalities: tuple[int, ...] = ()
    padding: int | None = None
    """Of texts: CODES are a row of ids of any length, filled up with this one; `cardinalities` is as long as the longest."""
    names: tuple[str, ...] = ()
    """Of the float features in a table, for reports and for weights a person reads."""
    categories: tuple[tuple[int, int], ...] = ()
    """(place, count) of float features that are codes 0 to count - 1 of categories, which trees part in any two sets."""


class FeatureBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Features of N samples: float32 (N, *shape) and, where there are codes, int64 (N, K)."""

    features: NDArray[np.float32]
    codes: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.features)
