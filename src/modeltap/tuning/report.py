"""The report on a search: a single HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping

from modeltap.domain.tuning import Trial
from modeltap.evaluation.metric_titles import METRIC_TITLES
from modeltap.evaluation.page import page_template, render_page
from modeltap.evaluation.report import format_number
from modeltap.recipe.search_space import told_value
from modeltap.tuning.charts import history_chart, importance_chart, parallel_chart
from modeltap.tuning.study import Study

MAX_ROWS = 500
ORDER = {"complete": 0, "pruned": 1, "failed": 2, "running": 3}


def render_search(study: Study, *, title: str, facts: Mapping[str, str]) -> str:
    """One self-contained page with the best trial, the charts and the trials, the best first. All text is escaped.

    Raises MissingExtra where matplotlib is not installed.
    """
    trials, best = study.trials(), study.best
    return render_page(
        page_template("search.html", room="modeltap.tuning", number=format_number, told=told_value),
        title=title,
        facts=facts,
        metric=METRIC_TITLES[study.metric][0] if study.metric in METRIC_TITLES else study.metric,
        counts=study.counts(),
        best=best,
        keys=[one.key for one in study.space],
        history=history_chart(trials, metric=study.metric, lower_is_better=study.lower_is_better),
        importance=importance_chart(study.importances()),
        parallel=parallel_chart(trials, study.space, metric=study.metric, lower_is_better=study.lower_is_better),
        trials=sorted(trials, key=lambda trial: _rank(trial, lower_is_better=study.lower_is_better))[:MAX_ROWS],
        left_out=max(0, len(trials) - MAX_ROWS),
    )


def _rank(trial: Trial, *, lower_is_better: bool) -> tuple[int, float, int]:
    value = trial.value if trial.value is not None else 0.0
    return ORDER[trial.state], value if lower_is_better else -value, trial.number
