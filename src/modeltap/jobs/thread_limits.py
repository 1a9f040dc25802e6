"""How a runner learns how many threads it may use: variables that the libraries it loads read when they start."""

from __future__ import annotations

import os
from collections.abc import Mapping

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "POLARS_MAX_THREADS",
    "RAYON_NUM_THREADS",
)
"""Of OpenMP (torch, scikit-learn, OpenVINO's plain builds), BLAS, polars, and the tokenizers."""


def thread_environment(threads: int) -> dict[str, str]:
    """Variables for a process that may use so many. What a recipe sets later, torch's threads, is the same number."""
    return dict.fromkeys(THREAD_VARIABLES, str(max(1, threads)))


def granted_threads(environment: Mapping[str, str] | None = None) -> int:
    """How many this process may use, of libraries that read no such variable; 0 where nobody said it."""
    told = (os.environ if environment is None else environment).get(THREAD_VARIABLES[0], "")
    return int(told) if told.isascii() and told.isdigit() else 0
