"""What a compress job knows, and the bounds that it is given, as a person writes them."""

from __future__ import annotations

import math
from typing import Any, Literal

import msgspec

from modeltap.control.reading import Reading
from modeltap.domain.certificate import Demand, Measure
from modeltap.errors import InvalidInput

Method = Literal["int8", "int4", "prune", "distil"]

MAX_DROP: dict[Measure, float] = {"loss": 0.05, "accuracy": 0.005, "rmse": 0.02}
"""Where nothing else is demanded: nats a token (about five percent of perplexity), half a point, two percent."""
LARGEST_DROP: dict[Measure, float] = {"loss": 100.0, "accuracy": 1.0, "rmse": 100.0}
LARGEST_GAIN = 1000.0
POINTS, PERCENT = "pp", "%"


class CompressSpec(msgspec.Struct, frozen=True, kw_only=True):
    """`dataset` is empty where texts were given."""

    model: str
    digest: str
    name: str
    method: Method
    demand: Demand
    dataset: str = ""
    dataset_digest: str = ""
    texts: tuple[str, ...] = ()
    reading: Reading | None = None
    """Of an imported version: how the dataset is read for it."""
    amount: float = 0.0
    """Of prune: the share of each layer's channels and units, or of all weights, that goes."""
    is_unstructured: bool = False
    """Single weights become 0 and stay where they are."""
    rounds: int = 1
    """Of prune: in so many steps, with a part of the training after each."""
    recipe: dict[str, Any] = {}
    """The full document of the student, or of the training after pruning."""
    temperature: float = 1.0
    """Of distil: what the teacher's logits are divided by."""
    alpha: float = 0.0
    """Of distil: the teacher's share of the loss."""
    checkpoint_every_s: float = 10.0


def parse_demand(max_drop: float | str | None, min_gain: float | None, measure: Measure) -> Demand:
    """The bounds of a certificate. Raises InvalidInput for one that means nothing."""
    return Demand(
        max_drop=MAX_DROP[measure] if max_drop is None else parse_drop(max_drop, measure),
        min_gain=None if min_gain is None else bound("min_gain", min_gain, LARGEST_GAIN),
    )


def parse_drop(given: float | str, measure: Measure) -> float:
    """0.005 of `0.5pp` (accuracy), 0.02 of `2%` (rmse), a number as it is. Raises InvalidInput."""
    if isinstance(given, str):
        text = given.strip()
        unit = next((unit for unit in (POINTS, PERCENT) if text.endswith(unit)), "")
        fitting = {"accuracy": POINTS, "rmse": PERCENT}.get(measure, "")
        try:
            number = float(text.removesuffix(unit))
        except ValueError:
            number = math.nan
        if math.isnan(number) or unit not in ("", fitting):
            like = {"accuracy": "0.5pp, or 0.005 of all rows", "rmse": "2%, or 0.02 of the parent's", "loss": "0.05 nats"}[
                measure
            ]
            raise InvalidInput(f"max_drop is '{given}'; this version is compared by its {measure}, so write {like}")
        given = number / 100 if unit else number
    return bound("max_drop", given, LARGEST_DROP[measure])


def bound(name: str, value: float, most: float) -> float:
    """The value. Raises InvalidInput unless it is more than 0 and at most so much."""
    if not (math.isfinite(value) and 0 < value <= most):
        raise InvalidInput(f"{name} is {value:g}; it is more than 0 and at most {most:g}")
    return value
