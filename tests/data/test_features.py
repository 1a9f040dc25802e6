"""The graph that preprocessing becomes, against what numpy computes in 64 bits from the same training rows."""

from __future__ import annotations

import calendar
import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeltap.data.features import FittedFeatures, fit_features
from modeltap.data.fitting import FitSettings
from modeltap.data.rows import parse_column
from modeltap.domain.dataset import DEFAULT_MISSING, Column, Schema
from modeltap.domain.features import CODES, FEATURES
from modeltap.domain.recipe import Clean, Transforms
from modeltap.domain.signature import Signature, TensorSpec
from modeltap.engines.onnx import OnnxEngine
from modeltap.errors import InvalidData, InvalidRecipe

TARGET = Column(name="target", kind="category", role="target")


class Fitted:
    """Preprocessing fitted to columns of raw values, and the graph that it is."""

    def __init__(
        self,
        data: dict[str, tuple[Column, Any]],
        *,
        trees: bool = False,
        categories: str = "one-hot",
        target: Any = None,
        clean: Clean | None = None,
        tokens: bool = False,
        **transforms: Any,
    ) -> None:
        self.columns = {name: column for name, (column, _) in data.items()}
        schema = Schema(form="table", columns=(*self.columns.values(), TARGET))
        batch = self.typed({name: values for name, (_, values) in data.items()})
        num_rows = len(next(iter(batch.values())))
        given = FitSettings(
            transforms=Transforms(**transforms), clean=clean or Clean(), trees=trees, auto_categories=categories, tokens=tokens
        )
        self.fitted: FittedFeatures = fit_features(schema, batch, np.zeros(num_rows) if target is None else target, given)
        spec = self.fitted.spec
        outputs = []
        if spec.shape:
            outputs.append(TensorSpec(FEATURES, "FP32", (-1, *spec.shape)))
        if spec.cardinalities:
            outputs.append(TensorSpec(CODES, "INT64", (-1, len(spec.cardinalities))))
        self._engine = OnnxEngine(self.fitted.graph.SerializeToString(), Signature(self.fitted.inputs, tuple(outputs)))

    def typed(self, raw: dict[str, Any]) -> dict[str, Any]:
        return {name: parse_column(self.columns[name], values, missing=DEFAULT_MISSING) for name, values in raw.items()}

    def run(self, **raw: Any) -> dict[str, np.ndarray]:
        return self._engine.run(self.typed(raw))

    def features(self, **raw: Any) -> np.ndarray:
        return self.run(**raw)[FEATURES]

    def named(self, **raw: Any) -> dict[str, list[float]]:
        """Feature name → its values."""
        return dict(zip(self.fitted.spec.names, self.features(**raw).T.tolist(), strict=True))


def number(name: str = "x") -> Column:
    return Column(name=name, kind="number")


def word(name: str = "c") -> Column:
    return Column(name=name, kind="category")


TRAINED = np.array([1.0, 2.0, 4.0, np.nan, 10.0, -3.0, 2.0, np.nan, 7.5])
SERVED = [1.0, -50.0, None, 2.0, 1e9, -0.0]


def filled(values: Any, trained: np.ndarray = TRAINED) -> np.ndarray:
    return np.array([np.nanmedian(trained) if v is None or math.isnan(v) else v for v in values], dtype=np.float64)


def test_standardized_numbers_with_the_median_for_missing_ones_and_a_mark():
    fitted = Fitted({"x": (number(), TRAINED)})
    train = filled(TRAINED)
    named = fitted.named(x=SERVED)
    expected = (filled(SERVED) - train.mean()) / train.std()
    assert list(named) == ["x", "x:missing"]
    np.testing.assert_allclose(named["x"], np.clip(expected, -1e6, 1e6), rtol=1e-6)
    assert named["x:missing"] == [0, 0, 1, 0, 0, 0]


def test_a_column_that_missed_nothing_in_training_has_no_mark():
    fitted = Fitted({"x": (number(), [1.0, 2.0, 3.0]), "z": (number("z"), [1.0, None, 3.0])})
    assert fitted.fitted.spec.names == ("x", "z", "z:missing")
    np.testing.assert_allclose(fitted.features(x=[None], z=[2.0]), [[0.0, 0.0, 0.0]], atol=1e-7)


def test_min_max_log_and_none():
    train = filled(TRAINED)
    low, span = train.min(), train.max() - train.min()
    scaled = Fitted({"x": (number(), TRAINED)}, numbers="min-max").named(x=SERVED)["x"]
    np.testing.assert_allclose(scaled, np.clip((filled(SERVED) - low) / span, -1e6, 1e6), rtol=1e-6)
    logged = np.sign(train) * np.log1p(np.abs(train))
    served = np.sign(filled(SERVED)) * np.log1p(np.abs(filled(SERVED)))
    given_log = Fitted({"x": (number(), TRAINED)}, numbers="log").named(x=SERVED)["x"]
    np.testing.assert_allclose(given_log, (served - logged.mean()) / logged.std(), rtol=1e-6)
    plain = Fitted({"x": (number(), TRAINED)}, numbers="none").named(x=SERVED)["x"]
    np.testing.assert_array_equal(plain, filled(SERVED).astype(np.float32))


def test_clipping_to_the_quantiles_of_training():
    clean = Clean(outliers="clip", outlier_quantiles=(0.1, 0.9))
    train = filled(TRAINED)
    low, high = np.quantile(train, [0.1, 0.9])
    clipped = np.clip(train, low, high)
    given_clipped = Fitted({"x": (number(), TRAINED)}, clean=clean).named(x=SERVED)["x"]
    np.testing.assert_allclose(given_clipped, (np.clip(filled(SERVED), low, high) - clipped.mean()) / clipped.std(), rtol=1e-6)
    known = TRAINED[~np.isnan(TRAINED)]
    low, high = np.quantile(known, [0.1, 0.9])
    trees = Fitted({"x": (number(), TRAINED)}, trees=True, clean=clean).features(x=[-50.0, None, 50.0])[:, 0]
    np.testing.assert_array_equal(trees, np.array([low, np.nan, high], dtype=np.float32))


def test_trees_get_numbers_as_they_are_and_missing_ones_missing():
    fitted = Fitted({"x": (number(), TRAINED), "b": (Column(name="b", kind="boolean"), [True, None] * 4 + [False])}, trees=True)
    assert fitted.fitted.spec.names == ("x", "b")
    given_rows = fitted.features(x=[1.5, None, 1e300], b=[True, None, False])
    np.testing.assert_array_equal(given_rows[:, 0], np.array([1.5, np.nan, np.finfo(np.float32).max], dtype=np.float32))
    np.testing.assert_array_equal(given_rows[:, 1], np.array([1, np.nan, 0], dtype=np.float32))


def test_a_missing_truth_is_the_more_frequent_one():
    values = [True, True, True, None, False]
    fitted = Fitted({"b": (Column(name="b", kind="boolean"), values)}, numbers="none")
    assert fitted.named(b=["yes", "no", None]) == {"b": [1, 0, 1], "b:missing": [0, 0, 1]}


USUAL = st.floats(-1e12, 1e12).map(lambda number: number if abs(number) > 1e-25 else 0.0)


@settings(max_examples=40)
@given(st.lists(USUAL, min_size=2, max_size=30), st.lists(USUAL, min_size=1, max_size=5))
def test_any_numbers_are_scaled_as_numpy_scales_them(trained, served):
    train = np.array(trained)
    given_rows = Fitted({"x": (number(), train)}).features(x=served)[:, 0]
    if train.min() == train.max():
        assert not given_rows.any()
    else:
        expected = np.clip((np.array(served) - train.mean()) / train.std(), -1e6, 1e6)
        np.testing.assert_allclose(given_rows, expected, rtol=1e-5, atol=1e-6)


def test_large_numbers_keep_their_differences():
    trained = 1.7e15 + np.arange(100.0)
    given_rows = Fitted({"x": (number(), trained)}).features(x=trained)[:, 0]
    np.testing.assert_allclose(given_rows, (trained - trained.mean()) / trained.std(), atol=1e-4)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e-300, 5e15, 1e300])
@pytest.mark.parametrize("transform", ["standardize", "min-max", "log"])
def test_a_constant_column_says_nothing_whatever_it_is_in_serving(constant, transform):
    """Also where the mean of many equal numbers is rounded: 0.1 a hundred times has a deviation of 1e-17 to numpy."""
    fitted = Fitted({"x": (number(), np.full(101, constant))}, numbers=transform)
    assert not fitted.features(x=[constant, 0.0, -1.0, 1e308, None]).any()


@pytest.mark.parametrize("scale", [1e300, 1e-300, 1e150, 1e-160, 1.0])
@pytest.mark.parametrize("transform", ["standardize", "min-max", "log", "none"])
def test_huge_and_tiny_numbers_stay_finite_and_keep_their_order(scale, transform):
    trained = np.array([1.0, 1.2, 1.4, 1.7, np.nan]) * scale
    fitted = Fitted({"x": (number(), trained)}, numbers=transform)
    served = fitted.features(x=[-1.79e308, *np.array([1.0, 1.3, 1.7]) * scale, 1.79e308])[:, 0].astype(np.float64)
    assert np.isfinite(served).all() and (np.diff(served) >= 0).all()
    if transform in ("standardize", "min-max"):
        assert (np.diff(served) > 0).all()
        reference = Fitted({"x": (number(), np.array([1.0, 1.2, 1.4, 1.7, np.nan]))}, numbers=transform)
        np.testing.assert_allclose(served[1:4], reference.features(x=[1.0, 1.3, 1.7])[:, 0], rtol=1e-5)


@pytest.mark.parametrize("trees", [False, True])
def test_a_column_without_a_value_or_with_one_category_alone_is_left_out(trees):
    nothing = {"x": (number(), [None, None]), "c": (word(), ["a", "a"]), "t": (Column(name="t", kind="datetime"), [None, None])}
    fitted = Fitted({**nothing, "z": (number("z"), [1.0, 2.0])}, trees=trees)
    assert [spec.name for spec in fitted.fitted.inputs] == ["z"] and fitted.fitted.spec.names == ("z",)
    assert [notice.split("'")[1] for notice in fitted.fitted.notices] == ["x", "c", "t"]
    with pytest.raises(InvalidData, match="no feature is left"):
        Fitted(nothing, trees=trees)


def test_each_number_goes_to_its_own_transform():
    fitted = Fitted(
        {"x": (number(), [0.0, 4.0]), "z": (number("z"), [0.0, 4.0]), "w": (number("w"), [0.0, 4.0])},
        columns={"x": "min-max", "w": "drop"},
        numbers="none",
    )
    assert fitted.named(x=[2.0], z=[2.0], w=[2.0]) == {"x": [0.5], "z": [2.0]}


def test_words_are_one_hot_and_unseen_ones_all_zeros_where_none_was_rare():
    fitted = Fitted({"c": (word(), ["b", "a", "b", ""] * 10)})
    assert fitted.fitted.spec.names == ("c=b", "c:missing", "c=a")
    assert fitted.features(c=["a", "b", None, "NA", "new"]).tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_rare_words_share_a_bucket_with_unseen_ones():
    texts = ["a"] * 60 + ["b"] * 30 + ["r1", "r2"]
    fitted = Fitted({"c": (word(), texts)})
    assert fitted.fitted.spec.names == ("c=a", "c=b", "c:other")
    assert fitted.features(c=["r1", "new", "a", ""]).tolist() == [[0, 0, 1], [0, 0, 1], [1, 0, 0], [0, 0, 1]]
    assert "2 rare categories" in fitted.fitted.notices[0]


def test_the_most_frequent_words_have_codes_of_their_own():
    texts = [f"w{n}" for n in range(30) for _ in range(30 - n)]
    fitted = Fitted({"c": (word(), texts)}, max_categories=3, rare_count=1)
    assert fitted.fitted.spec.names == ("c=w0", "c=w1", "c=w2", "c:other")


def test_embedded_words_have_codes_and_an_unseen_one_never_an_untrained_code():
    frequent = Fitted({"c": (word(), ["b"] * 20 + ["a"] * 10), "d": (word("d"), ["x", "", "x"] * 10)}, categories="embedding")
    assert frequent.fitted.spec.cardinalities == (2, 2)
    assert frequent.run(c=["b", "a", "new"], d=["x", "y", ""])[CODES].tolist() == [[0, 0], [1, 0], [0, 1]]
    rare = Fitted({"c": (word(), ["b"] * 60 + ["a"] * 30 + ["r"])}, categories="embedding")
    assert rare.fitted.spec.cardinalities == (3,)
    assert rare.run(c=["b", "a", "r", "new"])[CODES].tolist() == [[1], [2], [0], [0]]


def test_trees_get_many_words_in_the_order_of_their_mean_target():
    texts = [f"w{n:02d}" for n in range(20)] * 10
    target = np.array([(n * 7) % 20 for n in range(20)] * 10, dtype=np.float64)
    fitted = Fitted({"c": (word(), texts)}, trees=True, categories="ordinal", target=target, rare_count=1)
    given_order = fitted.features(c=texts[:20])[:, 0]
    assert np.array_equal(np.argsort(given_order), np.argsort(target[:20]))
    assert np.isnan(fitted.features(c=["never seen"])[0, 0])
    rare = Fitted({"c": (word(), [*texts, "r"])}, trees=True, target=np.append(target, 3.0))
    assert rare.features(c=["r", "never seen"])[:, 0].tolist() == [-1, -1]
    network = Fitted({"c": (word(), ["a"] * 20 + ["b"] * 30)}, categories="ordinal", target=np.array([1.0] * 20 + [0.0] * 30))
    assert network.features(c=["a", "b", "never seen"])[:, 0].tolist() == [1, 0, 0]


def test_trees_get_few_words_one_hot():
    fitted = Fitted({"c": (word(), ["a", "b"] * 20)}, trees=True, categories="ordinal")
    assert fitted.fitted.spec.names == ("c=a", "c=b")


def seconds(day: date) -> float:
    return (day - date(1970, 1, 1)).days * 86_400.0


def test_month_and_weekday_of_every_day_of_many_years():
    """Leap years, centuries and days before 1970; against Python's own calendar."""
    days = [date(1899, 12, 1) + timedelta(days=n) for n in range(0, 75_000, 7)]
    days += [date(year, month, calendar.monthrange(year, month)[1]) for year in range(1896, 2105) for month in (1, 2, 12)]
    days += [date(year, month, 1) for year in (1, 4, 100, 400, 1600, 1700, 2000, 2100, 9999) for month in (1, 2, 3, 12)]
    fitted = Fitted({"t": (Column(name="t", kind="datetime"), [seconds(day) for day in days[:50]])}, trees=True)
    assert fitted.fitted.spec.names == ("t:elapsed", "t:month", "t:weekday")
    served = fitted.features(t=[day.isoformat() for day in days])
    assert served[:, 1].tolist() == [day.month - 1 for day in days]
    assert served[:, 2].tolist() == [day.weekday() for day in days]
    np.testing.assert_allclose(served[:, 0], [seconds(day) / 86_400 for day in days])


def test_hours_are_there_where_training_has_any_and_the_day_does_not_change_within():
    moments = [datetime(1969, 12, 31, hour, 30, tzinfo=UTC) for hour in range(24)]
    fitted = Fitted({"t": (Column(name="t", kind="datetime"), moments)}, trees=True)
    served = fitted.named(t=moments)
    assert served["t:hour"] == [hour + 0.5 for hour in range(24)]
    assert set(served["t:weekday"]) == {2} and set(served["t:month"]) == {11}


def test_networks_get_points_on_circles_and_a_date_for_a_missing_one():
    days = [date(2020, 1, 1) + timedelta(days=n) for n in range(0, 700, 9)]
    fitted = Fitted({"t": (Column(name="t", kind="datetime"), [*days, None])})
    served = fitted.named(t=[date(2021, 4, 5), None])
    assert list(served) == [
        "t:elapsed", "t:elapsed:missing", "t:month:sin", "t:month:cos", "t:weekday:sin", "t:weekday:cos",
    ]  # fmt: skip
    assert served["t:month:sin"][0] == pytest.approx(math.sin(2 * math.pi * 3 / 12), abs=1e-6)
    assert served["t:weekday:cos"][0] == pytest.approx(1.0, abs=1e-6)
    assert served["t:elapsed:missing"] == [0, 1] and np.isfinite(list(served.values())).all()
    elapsed = Fitted({"t": (Column(name="t", kind="datetime"), days)}, dates="elapsed")
    assert elapsed.fitted.spec.names == ("t:elapsed",)
    with pytest.raises(InvalidData, match="no feature is left"):
        Fitted({"t": (Column(name="t", kind="datetime"), days)}, dates="drop", columns={"t": "drop"})


def test_a_missing_date_stays_missing_for_trees():
    fitted = Fitted({"t": (Column(name="t", kind="datetime"), [date(2020, 1, 1), date(2021, 1, 1)])}, trees=True)
    assert np.isnan(fitted.features(t=[None])).all()


PICTURES = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3) * 10


def test_pictures_are_scaled_and_normalised_by_channel():
    column = Column(name="p", kind="image", shape=(2, 2, 3), datatype="UINT8")
    fitted = Fitted({"p": (column, PICTURES)}, image_mean=(0.1, 0.2, 0.3), image_std=(0.5, 0.6, 0.7))
    expected = (PICTURES / 255 - np.array([0.1, 0.2, 0.3])) / np.array([0.5, 0.6, 0.7])
    np.testing.assert_allclose(fitted.features(p=PICTURES), expected, rtol=1e-6, atol=1e-7)
    flat = Fitted({"p": (column, PICTURES)}, trees=True)
    np.testing.assert_allclose(flat.features(p=PICTURES), PICTURES.reshape(2, 12) / 255, rtol=1e-6)
    for wrong in ({"image_mean": (0.1, 0.2)}, {"image_std": (1.0, 0.0, 1.0)}, {"columns": {"p": "log"}}):
        with pytest.raises(InvalidRecipe):
            Fitted({"p": (column, PICTURES)}, **wrong)


def test_arrays_are_scaled_by_place():
    column = Column(name="v", kind="array", shape=(3,))
    values = np.array([[1.0, 5.0, 0.1], [3.0, 5.0, 0.1], [8.0, 5.0, 0.1]])
    fitted = Fitted({"v": (column, values)})
    single = values.astype(np.float32).astype(np.float64)
    expected = (single[:, 0] - single[:, 0].mean()) / single[:, 0].std()
    np.testing.assert_allclose(fitted.features(v=values)[:, 0], expected, rtol=1e-6)
    assert not fitted.features(v=[[1.0, 99.0, -4.0]])[:, 1:].any()
    assert fitted.fitted.spec.names == ("v[0]", "v[1]", "v[2]")
    np.testing.assert_array_equal(Fitted({"v": (column, values)}, trees=True).features(v=values), values.astype(np.float32))
    with pytest.raises(InvalidRecipe, match="allowed: auto, standardize"):
        Fitted({"v": (column, values)}, columns={"v": "parts"})


def test_tokens_that_training_never_reached_are_read_as_token_0():
    column = Column(name="v", kind="array", shape=(3,), datatype="INT64")
    fitted = Fitted({"v": (column, np.array([[0, 1, 2], [5, 4, 3]]))}, tokens=True)
    assert fitted.fitted.spec.cardinalities == (6, 6, 6) and not fitted.fitted.spec.shape
    assert fitted.run(v=[[5, 6, -1], [0, 2**62, 1]])[CODES].tolist() == [[5, 0, 0], [0, 0, 1]]
    assert "tokens from 0 to 5" in fitted.fitted.notices[0]
    for wrong in ([[0, -1, 2]], [[0, 10**9, 2]]):
        with pytest.raises(InvalidData, match="tokens"):
            Fitted({"v": (column, np.array(wrong))}, tokens=True)


NAMES = [
    "label",
    "prediction",
    "a b",
    "Größe (m²)",
    "日本",
    'with "quotes"',
    "it's",
    "a\nb",
    "a/b",
    "<x>",
    "x:missing",
    "modeltap.x",
    " ",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_column_may_be_called_anything(name):
    fitted = Fitted({name: (number(name), [1.0, 3.0, None]), "c": (word(), ["a", "b", "a"])})
    assert fitted.features(**{name: [2.0], "c": ["a"]}).shape == (1, 4)
    assert fitted.fitted.inputs[0].name == name


@pytest.mark.parametrize("name", ["modeltap.features", "modeltap.codes", "modeltap/features/Cast_1", ""])
def test_but_not_what_the_graph_calls_its_own_tensors(name):
    with pytest.raises(InvalidData, match="rename the column"):
        Fitted({name: (number(name), [1.0, 3.0])})


def test_equal_data_gives_equal_bytes():
    def content() -> bytes:
        fitted = Fitted(
            {
                "x": (number(), TRAINED),
                "c": (word(), list("abcabcabc")),
                "t": (Column(name="t", kind="datetime"), ["2020-01-01"] * 9),
            }
        )
        data: bytes = fitted.fitted.graph.SerializeToString(deterministic=True)
        return data

    assert content() == content()


@pytest.mark.parametrize(
    ("transforms", "told"),
    [
        ({"columns": {"x": "one-hot"}}, "'x' is a number; allowed: auto, standardize, min-max, log, none, drop"),
        ({"columns": {"c": "log"}}, "'c' is a category; allowed: auto, one-hot, embedding, ordinal, codes, drop"),
        ({"columns": {"xx": "log"}}, "did you mean 'x'"),
    ],
)
def test_a_transform_that_does_not_fit_is_refused(transforms, told):
    with pytest.raises(InvalidRecipe, match=told):
        Fitted({"x": (number(), [1.0, 2.0]), "c": (word(), ["a", "b"])}, **transforms)


def test_a_table_and_a_whole_picture_cannot_be_mixed():
    column = Column(name="p", kind="image", shape=(2, 2, 3), datatype="UINT8")
    with pytest.raises(InvalidData, match="'p' is a whole image and cannot be mixed"):
        Fitted({"p": (column, PICTURES), "x": (number(), [1.0, 2.0])})
