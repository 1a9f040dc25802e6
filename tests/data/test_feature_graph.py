"""The preprocessing graph against plain numpy, the calendar, and rows it has never seen."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from modeltap.data.features import FittedFeatures, fit_features
from modeltap.data.fitting import FitSettings
from modeltap.domain.dataset import Column, Kind, Schema
from modeltap.domain.features import CODES, FEATURES
from modeltap.domain.recipe import Clean, Transforms
from modeltap.domain.signature import Array, Batch, Signature, TensorSpec
from modeltap.engines.onnx import OnnxEngine
from modeltap.errors import InvalidData, InvalidRecipe

NETWORK = FitSettings(transforms=Transforms(), clean=Clean(), trees=False, auto_categories="one-hot")
TREES = msgspec.structs.replace(NETWORK, trees=True)


def schema_of(**kinds: Kind) -> Schema:
    return Schema(form="table", columns=tuple(Column(name=name, kind=kind) for name, kind in kinds.items()))


def texts(*values: str) -> Array:
    return np.array(values, dtype=object)


def fitted(schema: Schema, batch: Batch, settings: FitSettings = NETWORK, target: Array | None = None) -> FittedFeatures:
    rows = len(next(iter(batch.values())))
    return fit_features(schema, batch, np.arange(rows) % 2 if target is None else target, settings)


def run(features: FittedFeatures, batch: Batch) -> Batch:
    outputs = []
    if features.spec.shape:
        outputs.append(TensorSpec(FEATURES, "FP32", (-1, *features.spec.shape)))
    if features.spec.cardinalities:
        outputs.append(TensorSpec(CODES, "INT64", (-1, len(features.spec.cardinalities))))
    return OnnxEngine(features.graph.SerializeToString(), Signature(features.inputs, tuple(outputs))).run(batch)


def column(features: FittedFeatures, given: Batch, name: str) -> NDArray[np.float32]:
    found: NDArray[np.float32] = given[FEATURES][:, features.spec.names.index(name)]  # type: ignore[assignment]
    return found


def test_numbers_are_imputed_marked_and_standardised_as_numpy_does_it() -> None:
    values = np.array([1.0, 2.0, np.nan, 10.0, 1e9])
    features = fitted(schema_of(n=("number")), {"n": values})
    given = run(features, {"n": values})
    filled = np.where(np.isnan(values), np.nanmedian(values), values)
    np.testing.assert_allclose(column(features, given, "n"), (filled - filled.mean()) / filled.std(), rtol=1e-6)
    assert column(features, given, "n:missing").tolist() == [0, 0, 1, 0, 0]


def test_large_numbers_keep_their_differences() -> None:
    values = 1.7e15 + np.arange(100.0)
    features = fitted(schema_of(n="number"), {"n": values})
    given = column(features, run(features, {"n": values}), "n")
    np.testing.assert_allclose(given, (values - values.mean()) / values.std(), atol=1e-4)


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        ("min-max", lambda v: (v - v.min()) / (v.max() - v.min())),
        ("log", lambda v: (lambda w: (w - w.mean()) / w.std())(np.sign(v) * np.log1p(np.abs(v)))),
        ("none", lambda v: v),
    ],
)
def test_each_transform_against_numpy(transform: str, expected: object) -> None:
    values = np.array([-5.0, 0.0, 3.0, 700.0])
    settings = msgspec.structs.replace(NETWORK, transforms=Transforms(columns={"n": transform}))
    features = fitted(schema_of(n="number"), {"n": values}, settings)
    np.testing.assert_allclose(column(features, run(features, {"n": values}), "n"), expected(values), rtol=1e-6)  # type: ignore[operator]


def test_outliers_are_clipped_to_the_quantiles_of_training() -> None:
    values = np.arange(1000.0)
    settings = msgspec.structs.replace(NETWORK, clean=Clean(outliers="clip"), transforms=Transforms(numbers="none"))
    features = fitted(schema_of(n="number"), {"n": values}, settings)
    given = column(features, run(features, {"n": np.array([-1e6, 500.0, 1e6, np.nan])}), "n")
    np.testing.assert_allclose(given, [*np.quantile(values, [0.005]), 500, np.quantile(values, 0.995), 499.5], rtol=1e-6)


def test_trees_get_missing_numbers_as_they_are_and_nothing_scaled() -> None:
    values = np.array([1.0, np.nan, 3.0])
    features = fitted(schema_of(n="number"), {"n": values}, TREES)
    np.testing.assert_array_equal(run(features, {"n": values})[FEATURES][:, 0], values.astype(np.float32))


def test_a_number_beyond_32_bits_stays_finite() -> None:
    features = fitted(schema_of(n="number"), {"n": np.array([1.0, 2.0])})
    assert np.isfinite(run(features, {"n": np.array([1e300, -1e300])})[FEATURES]).all()


def test_a_constant_column_gives_zeros() -> None:
    features = fitted(schema_of(n="number"), {"n": np.full(5, 7.0)})
    assert run(features, {"n": np.array([7.0])})[FEATURES].tolist() == [[0.0]]


def test_month_weekday_and_hour_are_those_of_the_calendar() -> None:
    start = datetime(1896, 2, 27, 5, tzinfo=UTC)
    days = [start + timedelta(days=97 * i, hours=i % 24) for i in range(700)]
    seconds = np.array([day.timestamp() for day in days])
    features = fitted(schema_of(t="datetime"), {"t": seconds}, TREES)
    given = run(features, {"t": seconds})
    assert column(features, given, "t:month").astype(int).tolist() == [day.month - 1 for day in days]
    assert column(features, given, "t:weekday").astype(int).tolist() == [day.weekday() for day in days]
    assert column(features, given, "t:hour").round().astype(int).tolist() == [day.hour for day in days]


def test_rare_and_unseen_categories_share_a_bucket() -> None:
    values = texts(*["a"] * 40, *["b"] * 40, *["c"] * 2)
    features = fitted(schema_of(c="category"), {"c": values})
    assert features.spec.names == ("c=a", "c=b", "c:other")
    given = run(features, {"c": texts("a", "b", "c", "never seen", "")})[FEATURES]
    assert given.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]]


def test_without_rare_rows_an_unseen_category_is_none_of_them() -> None:
    features = fitted(schema_of(c="category"), {"c": texts(*"ab" * 20)})
    assert run(features, {"c": texts("z")})[FEATURES].tolist() == [[0, 0]]


def test_embedded_categories_are_codes_with_0_for_the_rare_and_the_unseen() -> None:
    settings = msgspec.structs.replace(NETWORK, auto_categories="embedding")
    features = fitted(schema_of(c="category"), {"c": texts(*"aab" * 20, "c")}, settings)
    assert features.spec.cardinalities == (3,)
    assert run(features, {"c": texts("a", "b", "z")})[CODES].tolist() == [[1], [2], [0]]


def test_ordered_categories_stand_in_the_order_of_their_mean_target() -> None:
    values = texts(*["low"] * 10, *["high"] * 10, *["mid"] * 10)
    target = np.array([0.0] * 10 + [9.0] * 10 + [5.0] * 10)
    settings = msgspec.structs.replace(TREES, transforms=Transforms(categories="ordinal"))
    features = fitted(schema_of(c="category"), {"c": values}, settings, target)
    given = run(features, {"c": texts("low", "mid", "high", "never seen")})[FEATURES][:, 0]
    np.testing.assert_array_equal(given, [0, 1, 2, np.nan])


def test_nothing_left_to_learn_from_is_said() -> None:
    schema = Schema(form="table", columns=(Column(name="y", kind="number", role="target"),))
    with pytest.raises(InvalidData, match="no feature is left"):
        fit_features(schema, {}, np.zeros(3), NETWORK)


def test_a_transform_for_another_kind_is_refused() -> None:
    settings = msgspec.structs.replace(NETWORK, transforms=Transforms(columns={"c": "log"}))
    with pytest.raises(InvalidRecipe, match=r"'c' is a category; allowed: .*one-hot"):
        fitted(schema_of(c="category"), {"c": texts("a", "b")}, settings)


def test_equal_rows_give_equal_bytes() -> None:
    batch = {"n": np.arange(9.0), "c": texts(*"abcabcabc"), "t": np.arange(9.0) * 86_400}
    graphs = {fitted(schema_of(n="number", c="category", t="datetime"), batch).graph.SerializeToString() for _ in range(2)}
    assert len(graphs) == 1
