"""`architecture: auto` by the steps of the real runner: from a table to a version that says what was tried."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from workshop import Workshop

from modeltap.bundle.files import open_bundle
from modeltap.bundle.golden import replay_golden
from modeltap.data.rows import RowReader
from modeltap.engines.select import open_engine

NUM_ROWS = 240
TREES = {"model": {"architecture": "auto", "architectures": ["gradient-boosting"], "time_budget": 3600}}


def table(*, number: bool) -> str:
    """A size, a colour that is sometimes missing, and a price, or whether it is high, that follows from both."""
    draw = np.random.default_rng(0)
    lines = ["size,colour,answer"]
    for _ in range(NUM_ROWS):
        size, colour = draw.normal(), draw.choice(["red", "green", "blue", ""])
        price = 2 * size + {"red": 3, "green": -3, "blue": 0, "": 1}[colour] + draw.normal() / 4
        lines.append(f"{size:.4f},{colour},{f'{price:.4f}' if number else ('low', 'high')[price > 0]}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path_factory.mktemp("home"))
    workshop.add("goods", table(number=False))
    workshop.add("prices", table(number=True))
    yield workshop
    workshop.close()


@pytest.fixture(scope="module")
def searched(shop: Workshop) -> dict[str, Any]:
    return shop.train("goods", "tabular-classification", TREES, target="answer")


def test_the_job_says_what_every_candidate_was_worth(searched: dict[str, Any]) -> None:
    candidates = searched["candidates"]
    assert len(candidates) > 2 and {one["architecture"] for one in candidates} == {"gradient-boosting"}
    assert sum(one["weight"] for one in candidates) == pytest.approx(1)
    assert all(one["state"] == "trained" and one["seconds"] >= 0 and one["metrics"]["log_loss"] > 0 for one in candidates)
    assert searched["metrics"]["test"]["accuracy"] > 0.8
    assert 0.8 < searched["metrics"]["val"]["accuracy"] <= 1


def test_the_bundle_is_one_graph_from_raw_rows_and_its_lineage_names_the_candidates(
    shop: Workshop, searched: dict[str, Any]
) -> None:
    bundle = open_bundle(shop.files(searched["version"]))
    assert bundle.manifest.architecture == "auto"
    assert [one.name for one in bundle.manifest.lineage.tried] == [one["name"] for one in searched["candidates"]]
    engine = open_engine(bundle)
    replay_golden(bundle.golden, bundle.manifest.schema, bundle.manifest.signature, engine.run)
    rows = [{"size": 2.0, "colour": "red"}, {"size": -2.0, "colour": "green"}, {"size": None, "colour": "never seen"}]
    outputs = engine.run(RowReader(bundle.manifest.schema).rows(rows))
    assert outputs["label"].tolist()[:2] == ["high", "low"]


def test_the_report_has_a_table_of_the_candidates(shop: Workshop, searched: dict[str, Any]) -> None:
    report = shop.models.extras(shop.models.get(searched["version"]))["report"]
    assert report is not None
    page = shop.artifacts.path(report).read_text(encoding="utf-8")
    assert "<h2>Candidates</h2>" in page
    assert all(f"<td>{one['name']}</td>" in page for one in searched["candidates"])


def test_the_same_search_has_the_same_digest(shop: Workshop, searched: dict[str, Any]) -> None:
    assert shop.train("goods", "tabular-classification", TREES, target="answer")["digest"] == searched["digest"]


def test_numbers_are_searched_with_linear_models_too(shop: Workshop) -> None:
    recipe = {"model": {"architecture": "auto", "architectures": ["linear"]}, "data": {"split": {"time": "size"}}}
    result = shop.train("prices", "tabular-regression", recipe, target="answer")
    assert [(one["name"], one["weight"]) for one in result["candidates"]] == [("linear", 1)]
    assert result["metrics"]["test"]["rmse"] < 3


def test_a_table_without_candidates_has_none_in_its_result(shop: Workshop) -> None:
    assert "candidates" not in shop.train("prices", "tabular-regression", {"model": {"max_iter": 5}}, target="answer")
