"""How well a language model foresees texts: loss, perplexity, bits a byte, with intervals; and samples of what it writes."""

# Letters: N rows (documents, or pieces of them), R resamples.

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from modeltap.errors import InvalidValue
from modeltap.evaluation.arrays import Floats
from modeltap.evaluation.intervals import Intervals
from modeltap.evaluation.resampling import draw_rows, interval
from modeltap.evaluation.result import Evaluation, Metrics, Written

LARGEST_LOSS = 700.0
"""Above it the perplexity is no number."""


def evaluate_generation(
    nats_N: Floats, tokens_N: Floats, bytes_N: Floats, *, written: Sequence[Written] = (), seed: int = 0
) -> Evaluation:
    """nats_N: sums of the negative log-probabilities of each row's tokens; tokens_N, bytes_N: how many tokens it has, and
    bytes of text that they stand for. Equal arguments give equal bytes.

    Raises InvalidValue where nothing was measured, or no number.
    """
    if not len(nats_N) or not tokens_N.sum() or not np.isfinite(nats_N).all():
        raise InvalidValue(
            f"{len(nats_N):,} rows with {int(tokens_N.sum()):,} tokens were measured, and their loss must be a number;"
            " a model that diverged in training has none: lower its learning rate"
        )
    sums_R3 = np.concatenate(
        [
            np.stack([(weight_RN * values_N).sum(axis=1) for values_N in (nats_N, tokens_N, bytes_N)], axis=1)
            for weight_RN in draw_rows(len(nats_N), seed=seed)
        ]
    )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        loss_R = sums_R3[:, 0] / sums_R3[:, 1]
        bits_R = sums_R3[:, 0] / math.log(2) / sums_R3[:, 2]
        intervals: Intervals = {
            "loss": interval(loss_R),
            "perplexity": interval(np.exp(loss_R)),
            "bits_per_byte": interval(bits_R),
        }
    nats, tokens, size = float(nats_N.sum()), float(tokens_N.sum()), float(bytes_N.sum())
    loss = nats / tokens
    metrics: Metrics = {
        "loss": loss,
        "perplexity": math.exp(loss) if loss < LARGEST_LOSS else None,
        "bits_per_byte": nats / math.log(2) / size if size else None,
    }
    return Evaluation(kind="generation", num_rows=len(nats_N), metrics=metrics, intervals=intervals, written=list(written))
