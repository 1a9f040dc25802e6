"""What is measured on: the model's shape, and how long prompts and answers are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

LAYERS, WIDTH, HEADS, INNER, VOCABULARY, CONTEXT = 12, 768, 12, 2048, 32_000, 1024
"""A Llama of 110 million parameters whose input and output share their table."""
END = "<|end|>"
PROMPT_TOKENS = 64
ANSWER_TOKENS = 64
NUM_PROMPTS = 256
"""Different ones, so that nothing is found that was read before."""
STREAMS = (1, 16, 64)
THREADS = 2


@dataclass(frozen=True)
class Made:
    """The model in the forms that the contenders load; `prompts` is a JSON list of [text, ids]."""

    folder: Path
    openvino: Path
    prompts: Path


@dataclass(frozen=True)
class Load:
    """What a contender did in one stretch. Times are milliseconds."""

    rate: float
    """Tokens of answers in a second."""
    first_ms: float
    """From the request to its first token, median."""
    gap_ms: float
    """Between two pieces of one answer, 99th percentile."""
    client_s: float
    """Processor time of the client for 1,000 tokens; 0 where there is none."""
    errors: int = 0


def percentile_ms(values_s: Sequence[float], percent: float) -> float:
    """0 where there is no value: the stretch was too short for one."""
    return 1e3 * float(np.percentile(values_s, percent)) if values_s else 0.0
