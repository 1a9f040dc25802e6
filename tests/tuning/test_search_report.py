"""The page of a search: a person reads from it what was best, what decided, and what became of every trial."""

from __future__ import annotations

import re

from made_studies import open_study, run_study

from modeltap.tuning.report import render_search


def test_the_page_tells_of_every_trial_and_draws_the_search(tmp_path):
    study = run_study(tmp_path / "study", sampler="random", pruner="none", trials=14)
    page = render_search(study, title="<b>toy</b>: search", facts={"dataset": "toy@1"})
    assert "&lt;b&gt;toy&lt;/b&gt;: search" in page
    best, counts = study.best, study.counts()
    assert best is not None
    assert f"trial {best.number}</div>" in page
    assert f"of {counts.total} trials" in page
    assert list(re.findall(r"<h3>(.*?)</h3>", page)) == [
        "Course of the search",
        "What decided",
        "Values side by side",
    ]
    rows = re.findall(r'<td class="n">(\d+)</td><td>(complete|pruned|failed)</td>', page)
    assert sorted(int(number) for number, _ in rows) == list(range(14))
    assert int(rows[0][0]) == best.number, "the best stands first"
    for key in ("optimizer.lr", "model.hidden", "batch_size"):
        assert page.count(key) >= 3, "in the table of the best, in the charts, in the table of trials"
    assert "http" not in page.replace("http-equiv", ""), "it loads nothing from elsewhere"


def test_the_page_of_failures_alone_has_their_reasons_and_no_charts(tmp_path):
    study = open_study(tmp_path / "study", trials=2)
    for number in range(2):
        study.ask()
        study.fail(number, "the loss became <nan>")
    page = render_search(study, title="toy", facts={})
    assert page.count("the loss became &lt;nan&gt;") == 2
    assert "<svg" not in page


def test_equal_searches_give_equal_pages(tmp_path):
    pages = {render_search(run_study(tmp_path / name, trials=9), title="toy", facts={}) for name in ("a", "b")}
    assert len(pages) == 1
