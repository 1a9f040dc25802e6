"""Models as scikit-learn's users have them, fitted on small tables made here; written with skops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

NUM_ROWS = 300
NUMBERS, WORDS = ["age", "hours"], ["job", "city"]


def table() -> pl.DataFrame:
    """Two numbers, of which one is missing here and there, and two categories."""
    chance = np.random.default_rng(0)
    hours = chance.normal(35, 8, NUM_ROWS)
    hours[::9] = np.nan
    return pl.DataFrame(
        {
            "age": chance.normal(40, 10, NUM_ROWS),
            "hours": hours,
            "job": chance.choice(["baker", "clerk", "driver", "pilot"], NUM_ROWS, p=[0.45, 0.45, 0.06, 0.04]),
            "city": chance.choice(["Ulm", "Wien", "Zürich"], NUM_ROWS),
        }
    )


def classes(rows: pl.DataFrame) -> list[str]:
    chance = np.random.default_rng(1)
    score = rows["age"].to_numpy() + (rows["job"].to_numpy() == "baker") * 8 + chance.normal(0, 4, len(rows))
    return np.where(score > 44, "high", np.where(score > 36, "middle", "low")).tolist()


def amounts(rows: pl.DataFrame) -> Any:
    return rows["age"].to_numpy() * 2 + (rows["city"].to_numpy() == "Wien") * 3


def columns(*, encoder: Any = None) -> ColumnTransformer:
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    encoder = encoder or OneHotEncoder(handle_unknown="ignore")
    return ColumnTransformer([("numbers", numbers, NUMBERS), ("words", encoder, WORDS)], sparse_threshold=0)


def ordinal() -> ColumnTransformer:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return ColumnTransformer([("words", encoder, WORDS)], remainder="passthrough")


def fitted(last: Any, *, before: Any = None, target: str = "classes") -> Pipeline:
    """A pipeline of raw columns that ends in `last`."""
    rows = table()
    given = classes(rows) if target == "classes" else amounts(rows)
    return Pipeline([("columns", before or columns()), ("model", last)]).fit(rows, given)


def logistic() -> Pipeline:
    return fitted(LogisticRegression())


def forest() -> Pipeline:
    return fitted(RandomForestClassifier(15, random_state=0))


def boosted() -> Pipeline:
    return fitted(HistGradientBoostingClassifier(max_iter=15, random_state=0), before=ordinal())


def boosted_numbers() -> Pipeline:
    return fitted(
        HistGradientBoostingRegressor(max_iter=15, loss="poisson", random_state=0), before=ordinal(), target="amounts"
    )


def ridge() -> Pipeline:
    return fitted(Ridge(), target="amounts")


def rare() -> Pipeline:
    """Whose rare categories skl2onnx forgets."""
    encoder = OneHotEncoder(min_frequency=40, handle_unknown="infrequent_if_exist")
    return fitted(LogisticRegression(), before=columns(encoder=encoder))


def write(model: Any, path: Path) -> Path:
    import skops.io

    path.parent.mkdir(parents=True, exist_ok=True)
    skops.io.dump(model, path)
    return path
