"""How much a row of each class counts. Trees are weighted too, and need no torch for it.

Letters: C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modeltap.domain.recipe import Loss
from modeltap.errors import InvalidRecipe, nearest


def class_weights(loss: Loss, labels: Sequence[str], count_C: Sequence[int]) -> list[float] | None:
    """A weight for each class, or None where all weigh the same; `balanced` is N / (C * count), as in scikit-learn.

    Raises InvalidRecipe for a label that the data does not have.
    """
    if loss.class_weights is None:
        return None
    if isinstance(loss.class_weights, Mapping):
        for label in loss.class_weights:
            if label not in labels:
                raise InvalidRecipe(f"loss.class_weights: there is no class '{label}'{nearest(label, labels)}")
        return [loss.class_weights.get(label, 1.0) for label in labels]
    total = sum(count_C)
    return [total / (len(count_C) * count) if count else 1.0 for count in count_C]
