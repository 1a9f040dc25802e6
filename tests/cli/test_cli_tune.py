"""A search as the command line tells of it."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest
from rich.console import Console
from rich.progress import Progress as Bar

from modeltap.cli.follow import MovingBar, step_line
from modeltap.cli.main import run
from modeltap.cli.output import Output
from modeltap.cli.trials_text import best_text, counts_text, trial_facts
from modeltap.client.values import Job
from modeltap.domain.progress import Progress
from modeltap.domain.tuning import Best, TrialCounts

BEST = Best(trial=17, value=0.91532, params={"optimizer.lr": 0.00312, "model.hidden": [128, 64]})
COUNTS = TrialCounts(total=40, metric="roc_auc", complete=31, pruned=6, failed=1, running=2, best=BEST)


def test_a_person_reads_how_many_trials_ended_how_and_which_is_the_best():
    assert counts_text(COUNTS) == "31 complete, 6 pruned, 1 failed, 2 running of 40"
    assert counts_text(TrialCounts(total=3, metric="mae")) == "0 complete of 3"
    assert best_text(COUNTS) == "roc_auc 0.9153 in trial 17: optimizer.lr 0.00312, model.hidden [128, 64]"


def test_the_line_of_progress_has_the_best_so_far_and_the_time_that_is_left():
    progress = Progress(phase="tune", fraction=0.95, trials=COUNTS, remaining_s=75)
    assert step_line(progress) == "38/40  6 pruned  1 failed  best roc_auc 0.9153 (trial 17)  1 min 15 s left"


def test_trials_and_what_is_said_scroll_above_the_bar_once():
    written = io.StringIO()
    view = MovingBar(Output(as_json=False), Bar(console=Console(file=written, width=80)), "job-a")
    for told in (
        Progress(phase="tune", message="trial 1 is complete", trials=COUNTS),
        Progress(phase="tune", trials=COUNTS),
        Progress(phase="train", message="goes on in epoch 3"),
        Progress(phase="train", message="goes on in epoch 3"),
        Progress(phase="bundle", message="writing the bundle"),
    ):
        view.progress(told)
    assert written.getvalue().splitlines() == ["trial 1 is complete", "goes on in epoch 3"]


@pytest.mark.parametrize("state", ["running", "succeeded"])
def test_a_job_tells_of_its_trials_while_it_runs_and_afterwards(state):
    told = {"trials": json.loads('{"total": 40, "metric": "roc_auc", "complete": 40}')}
    job = Job(
        id="job-a",
        kind="tune",
        state=state,
        created_at=datetime.now(UTC),
        progress=Progress(phase="tune", trials=COUNTS),
        result=told if state == "succeeded" else None,
    )
    facts = dict(trial_facts(job))
    assert facts["trials"] == ("40 complete of 40" if state == "succeeded" else counts_text(COUNTS))
    assert ("best so far" in facts) == (state == "running")
    assert trial_facts(Job(id="job-b", kind="train", state=state)) == []


def test_a_search_without_a_recipe_is_wrong_usage(capsys):
    assert run(["tune", "adult", "--task", "tabular-classification", "--json"]) == 2
    assert "--recipe" in capsys.readouterr().out
