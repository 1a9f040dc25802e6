"""What a fitted scikit-learn model says of the columns it takes: their names, whether they hold numbers, categories or texts,
and values that they have had, as far as its parts keep any.

Letters: F columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from modeltap.errors import InvalidData

MAX_COLUMNS = 10_000
MAX_KEPT = 200
"""Values kept of a column: more are not tried."""
ROW_WISE = ("Normalizer", "Binarizer")
COLUMN_WISE = (
    "SimpleImputer",
    "StandardScaler",
    "MinMaxScaler",
    "MaxAbsScaler",
    "RobustScaler",
    "PowerTransformer",
    "QuantileTransformer",
)
"""What gives a column for each that it takes, so that the part behind it still speaks of the same ones."""


@dataclass
class Facts:
    """Of one column. `numbers` are values that lie in the middle of it, and at its edges."""

    name: str
    kind: Literal["number", "category", "text"] = "number"
    numbers: list[float] = field(default_factory=list)
    exact: list[float] = field(default_factory=list)
    """Of these, values that are tried as they are."""
    words: list[str] = field(default_factory=list)
    missing: Any = None
    """What scikit-learn is given where a category is missing: None, NaN, or an empty text."""
    fill: str | None = None
    """The category that stands in for a missing one."""


def read_columns(model: Any) -> tuple[list[Facts], bool]:
    """The columns in order, and whether they have names of their own. Raises InvalidData where nothing tells how many."""
    names = getattr(model, "feature_names_in_", None)
    text = _vectorizer(model)
    if names is None and text is not None:
        facts = [Facts("text", kind="text", words=_words(text))]
        return facts, False
    count = getattr(model, "n_features_in_", None)
    if names is None and count is None:
        raise InvalidData(
            f"the {type(model).__name__} does not say how many columns it takes; fit it on a table, or on an array of rows"
        )
    told = [f"x{n}" for n in range(int(count or 0))] if names is None else [str(name) for name in names]
    if not 0 < len(told) <= MAX_COLUMNS:
        raise InvalidData(f"the model takes {len(told):,} columns; imported are models of 1 to {MAX_COLUMNS:,}")
    facts = [Facts(name) for name in told]
    _walk(model, list(range(len(facts))), facts)
    return facts, names is not None


def _walk(part: Any, columns: Sequence[int], facts: list[Facts]) -> None:
    """Reads what the part keeps of the columns, and what follows it while the columns stay the same ones."""
    kind = type(part).__name__
    if kind == "Pipeline":
        for _, step in part.steps:
            if step is None or isinstance(step, str):
                continue
            _walk(step, columns, facts)
            if type(step).__name__ == "ColumnTransformer":
                _read_asked(step, part.steps[-1][1], columns, facts)
            if type(step).__name__ not in COLUMN_WISE:
                return
        return
    if kind == "ColumnTransformer":
        for name, inner, _ in part.transformers_:
            if not isinstance(inner, str):
                _walk(inner, [columns[at] for at in part._transformer_to_input_indices[name]], facts)
        return
    if kind == "FeatureUnion":
        for _, inner in part.transformer_list:
            if not isinstance(inner, str):
                _walk(inner, columns, facts)
        return
    if kind in ("CountVectorizer", "TfidfVectorizer") and len(columns) == 1:
        facts[columns[0]].kind, facts[columns[0]].words = "text", _words(part)
        return
    _read_part(part, [facts[at] for at in columns])


def _read_asked(chosen: Any, last: Any, columns: Sequence[int], facts: list[Facts]) -> None:
    """Where the trees at the end ask columns that came through as they were, or scaled. Of boosted ones, values of training
    stand just there, and a rounded one goes the other way."""
    names = getattr(chosen, "output_indices_", {})
    asked = _thresholds(last, getattr(last, "n_features_in_", -1))
    bins = getattr(getattr(last, "_bin_mapper", None), "bin_thresholds_", None)
    for name, inner, _ in chosen.transformers_:
        places = chosen._transformer_to_input_indices.get(name, [])
        width = range(names[name].start, names[name].stop) if name in names else range(0)
        scaler = inner.steps[-1][1] if type(inner).__name__ == "Pipeline" else inner
        is_plain = isinstance(inner, str) or type(inner).__name__ == "FunctionTransformer"
        if len(width) != len(places) or not (is_plain or hasattr(scaler, "scale_")):
            continue
        for at, (feature, place) in enumerate(zip(width, places, strict=True)):
            values = np.asarray(bins[feature] if bins is not None else asked.get(feature, ()), dtype=float)
            if len(values) and not is_plain:
                rows = np.zeros((len(values), len(places)))
                rows[:, at] = values
                values = scaler.inverse_transform(rows)[:, at]
            one = facts[columns[place]]
            if bins is not None:  # other trees ask between the values that training had
                one.exact += values[np.isfinite(values)][:MAX_KEPT].tolist()
            _keep(one, values)


def _read_part(part: Any, facts: list[Facts]) -> None:
    _read_categories(part, facts)
    _read_imputer(part, facts)
    ranges = {
        "mean_": getattr(part, "scale_", None),
        "center_": getattr(part, "scale_", None),
        "data_min_": getattr(part, "data_range_", None),
    }
    for name, spread in ranges.items():
        middle = getattr(part, name, None)
        if _fits(middle, facts):
            width = np.ones(len(facts)) if not _fits(spread, facts) else np.asarray(spread)
            for one, at, wide in zip(facts, np.asarray(middle, dtype=float), width, strict=True):
                one.numbers += [float(at), float(at + wide), float(at - wide / 2)]
    for edges in (getattr(part, "bin_edges_", None), getattr(getattr(part, "_bin_mapper", None), "bin_thresholds_", None)):
        if edges is not None and len(edges) == len(facts):
            for one, values in zip(facts, edges, strict=True):
                _keep(one, np.asarray(values, dtype=float))
                one.exact += one.numbers[-MAX_KEPT:]
    for at, values in _thresholds(part, len(facts)).items():
        _keep(facts[at], values)


def _read_categories(part: Any, facts: list[Facts]) -> None:
    categories = getattr(part, "categories_", None)
    if not isinstance(categories, list) or len(categories) != len(facts):
        return
    for one, values in zip(facts, categories, strict=True):
        kept = np.asarray(values)
        if kept.dtype.kind in "OUS":
            one.kind = "category"
            one.words = [str(value) for value in kept.tolist() if isinstance(value, str)]
            gone = [value for value in kept.tolist() if not isinstance(value, str)]
            if gone and one.fill is None:
                one.missing, one.fill = gone[0], str(gone[0])
        else:
            _keep(one, kept.astype(float))


def _read_imputer(part: Any, facts: list[Facts]) -> None:
    filled = getattr(part, "statistics_", None)
    if filled is None or len(filled) != len(facts):
        return
    for one, value in zip(facts, np.asarray(filled, dtype=object), strict=True):
        if isinstance(value, str):
            one.kind, one.fill, one.missing = "category", value, part.missing_values
        elif value is not None and np.isfinite(value):
            one.numbers.append(float(value))


def _thresholds(part: Any, num_columns: int) -> dict[int, np.ndarray[Any, Any]]:
    """Column → where its trees ask."""
    trees = [one.tree_ for one in np.ravel(getattr(part, "estimators_", [])) if hasattr(one, "tree_")]
    trees += [part.tree_] if hasattr(part, "tree_") else []
    if not trees or getattr(part, "n_features_in_", None) != num_columns:
        return {}
    asked = np.concatenate([tree.feature for tree in trees])
    values = np.concatenate([tree.threshold for tree in trees])
    return {int(at): values[asked == at] for at in np.unique(asked) if at >= 0}


def _keep(one: Facts, values: np.ndarray[Any, Any]) -> None:
    finite = np.unique(values[np.isfinite(values)])
    one.numbers += finite[np.linspace(0, len(finite) - 1, min(MAX_KEPT, len(finite))).astype(int)].tolist()


def _fits(values: Any, facts: list[Facts]) -> bool:
    return isinstance(values, np.ndarray) and values.shape == (len(facts),) and values.dtype.kind in "fi"


def _vectorizer(model: Any) -> Any | None:
    """The part that takes texts, where the model takes nothing else."""
    first = model
    while type(first).__name__ == "Pipeline":
        first = first.steps[0][1]
    return first if type(first).__name__ in ("CountVectorizer", "TfidfVectorizer") else None


def _words(vectorizer: Any) -> list[str]:
    return sorted(map(str, vectorizer.vocabulary_))[:2000]
