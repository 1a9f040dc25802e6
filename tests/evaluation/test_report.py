"""The report is one page that needs nothing else, escapes what users wrote, and is the same bytes every time."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from modeltap.errors import MissingExtra
from modeltap.evaluation.plots import learning_charts
from modeltap.evaluation.report import format_interval, format_number, render_report
from modeltap.evaluation.result import evaluate_classification, evaluate_regression
from modeltap.evaluation.svg import printable

HISTORY = [
    {"epoch": 1, "train_loss": 0.9, "val_loss": 0.8, "val_accuracy": 0.6, "lr": 0.001},
    {"epoch": 2, "train_loss": 0.7, "val_loss": 0.6, "val_accuracy": 0.8, "lr": 0.0005},
    {"epoch": 3, "train_loss": 0.6, "val_loss": 0.7, "val_accuracy": float("nan"), "lr": 0.0001},
]
EVIL = "<script>alert('$x^2$')</script> & \"_x\""
VOID = {"meta", "path", "use", "rect", "image", "br", "circle"}


class Page(HTMLParser):
    """Tags that are open, what was seen of them, and the text outside of style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


def classification(num_classes: int = 3, *, num_rows: int = 300, labels: list[str] | None = None):
    rng = np.random.default_rng(0)
    label_N = np.arange(num_rows) % num_classes
    prob_NC = rng.dirichlet(np.ones(num_classes), num_rows)
    prob_NC[np.arange(num_rows), label_N] += 0.3
    return evaluate_classification(
        prob_NC / prob_NC.sum(axis=1, keepdims=True),
        label_N,
        labels=labels or [f"class {c}" for c in range(num_classes)],
        columns={"shop & <b>place</b>": (["<i>north</i>", None, "south"] * (num_rows // 3), "category")},
        slice_by=["shop & <b>place</b>"],
    )


def report(evaluation, **changes):
    arguments = {
        "title": "shop@3",
        "history": HISTORY,
        "recipe_yaml": "task: tabular-classification\n",
        "facts": {"Model": "shop", "Version": "3", "Dataset": "sales@1"},
    }
    return render_report(evaluation=evaluation, **(arguments | changes))


@pytest.fixture(scope="module")
def classification_page():
    return report(classification())


def test_a_classification_report_shows_everything(classification_page):
    evaluation = classification()
    page = Page(classification_page)
    assert page.open == []
    headings = [
        "Metrics", "Training", "Predictions", "Confusion matrix", "ROC", "Precision and recall", "Calibration",
        "Most frequent mistakes", "Classes", "Slices", "Recipe", "Learning rate", "task: tabular-classification", "sales@1",
    ]  # fmt: skip
    for heading in headings:
        assert heading in page.text
    assert format_number(evaluation.metrics["accuracy"]) in page.text
    assert format_interval(evaluation.intervals["accuracy"]) in page.text
    assert "The lowest on validation is 0.6, at epoch 2." in page.text
    assert "(missing)" in page.text


def test_a_regression_report_shows_everything():
    rng = np.random.default_rng(0)
    target_N = rng.gamma(3, 40_000, 200)
    page = Page(report(evaluate_regression(target_N * 1.1, target_N), history=[]))
    assert page.open == []
    for heading in ("RMSE", "R²", "Predicted and actual", "Residuals"):
        assert heading in page.text
    for heading in ("Training", "Confusion", "Classes", "Slices"):
        assert heading not in page.text


@pytest.mark.parametrize("num_classes", [2, 30])
def test_any_number_of_classes(num_classes):
    evaluation = classification(num_classes, num_rows=360)
    page = Page(report(evaluation))
    assert page.open == []
    assert len(evaluation.curves.roc) == min(num_classes, 10) - (num_classes == 2)
    assert ("Shown are the 10 most frequent" in page.text) == (num_classes > 10)
    assert f"class {num_classes - 1}" in page.text


def test_the_page_refers_to_nothing_outside():
    evaluation = classification(120, num_rows=360)
    html = report(evaluation)
    assert "://" not in html
    page = Page(html)
    assert "Shown are the 10 most frequent of 120 classes" in page.text
    assert any(tag == "image" for tag, _ in page.tags)
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe", "object", "base"}
        for name, value in attributes.items():
            if name in {"href", "xlink:href", "src"}:
                assert value.startswith(("#", "data:image/png;base64,"))
            assert not re.search(r"url\((?!#)", value or "")


def test_what_users_wrote_is_text():
    labels = [EVIL, "_hidden", "汉字 \x00\x1b", "$\\frac{1}$"]
    evaluation = classification(4, num_rows=300, labels=labels)
    page = Page(report(evaluation, title=EVIL, recipe_yaml=EVIL, facts={EVIL: EVIL}))
    assert page.open == []
    assert {"script", "b", "i"}.isdisjoint(tag for tag, attributes in page.tags if "style" not in attributes)
    assert page.text.count(EVIL) >= 5
    assert "shop & <b>place</b>" in page.text
    assert "_hidden" in page.text


def test_equal_facts_give_equal_bytes(classification_page):
    assert report(classification()) == classification_page


def test_ids_of_charts_do_not_meet(classification_page):
    ids = [attributes["id"] for _, attributes in Page(classification_page).tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_drawing_leaves_matplotlib_as_it_was():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    learning_charts(HISTORY)
    assert dict(mpl.rcParams) == before


def test_colours_follow_the_page():
    (loss, *_) = learning_charts(HISTORY)
    assert "var(--series-0)" in loss.svg
    assert "#fe00" not in loss.svg


def test_learning_charts_are_of_what_was_measured():
    assert [chart.title for chart in learning_charts(HISTORY)] == ["Loss", "Accuracy", "Learning rate"]
    assert [chart.title for chart in learning_charts([{"epoch": e, "train_loss": 1 / e} for e in (1, 2)])] == ["Loss"]
    rmse = learning_charts([{"epoch": e, "val_rmse": 1 / e} for e in (1, 2)])
    assert [chart.title for chart in rmse] == ["RMSE"]
    assert learning_charts(HISTORY[:1]) == []
    assert learning_charts([]) == []


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r"pip install 'modeltap\[train\]'"):
        report(classification())


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.0, "0.0000"), (1.0, "1.0000"), (0.87654, "0.8765"), (-0.5, "-0.5000"), (53.2149, "53.21"),
     (12345.6, "12,346"), (1.2e9, "1.200e+09"), (0.00004, "4.000e-05")],
)  # fmt: skip
def test_numbers_are_short(value, shown):
    assert format_number(value) == shown


def test_long_labels_are_cut_in_charts():
    assert printable("a\nb\tc", limit=10) == "a b c"
    assert printable("x" * 50, limit=10) == "x" * 9 + "…"
