"""A search from its recipe to a version: the best trial's own model, with the search in its lineage."""

from __future__ import annotations

import pytest
from flows_under_fault import table
from searches import SMALL, submit, tunings

from modeltap.errors import InvalidRecipe
from modeltap.recipe.document import load_document
from modeltap.training.stopped import Stopped

LR = {"optimizer.lr": {"low": 1e-3, "high": 1e-1, "log": True}}


@pytest.fixture(scope="module")
def toy(workshop):
    workshop.add("searched", table(300), target="label")
    return "searched"


@pytest.fixture(scope="module")
def search(workshop, toy):
    """Six trials, two at a time; two of them cannot be trained."""
    space = {"optimizer.lr": [0.01, 0.05, 1e30], "model.hidden": [[4], [6, 4]]}
    recipe = {**SMALL, "search": {"space": space, "sampler": "grid", "metric": "roc_auc", "parallel": 2}}
    search = submit(workshop, toy, recipe, trials=9, name="best")
    return search, search.run()


def test_the_version_is_the_best_trial_and_says_which_search_found_it(workshop, search):
    found, result = search
    version = workshop.models.get(result["version"])
    searched = version.manifest.lineage.searched
    assert (version.name, result["name"]) == ("best", "best")
    assert searched is not None
    assert (searched.trials, searched.metric, searched.sampler) == (6, "roc_auc", "grid")
    trials = tunings(workshop).trials(found.job.id)
    complete = [trial for trial in trials if trial.state == "complete"]
    assert searched.complete == len(complete) == result["trials"]["complete"]
    assert searched.value == max(trial.value for trial in complete if trial.value is not None)
    assert searched.params == trials[searched.trial].params == result["trials"]["best"]["params"]
    assert set(searched.space) == {"optimizer.lr", "model.hidden"}
    assert searched.value == pytest.approx(version.manifest.metrics["val"]["roc_auc"], abs=1e-6)


def test_the_versions_recipe_trains_the_same_model_again(workshop, toy, search):
    _, result = search
    text = workshop.files(result["version"])["recipe.yaml"].read_text()
    assert "search" not in load_document(text)
    again = workshop.train(toy, recipe=text)
    for name in ("model.onnx", "weights.safetensors", "recipe.yaml"):
        assert workshop.files(again["version"])[name].read_bytes() == workshop.files(result["version"])[name].read_bytes()


def test_people_hear_of_every_trial_once_and_of_the_best_so_far(search):
    found, result = search
    assert sorted(int(message.split()[1]) for message in found.messages) == list(range(6))
    assert any(f"trial {result['trials']['best']['trial']} is complete" in m and "best so far" in m for m in found.messages)
    counts = [progress.trials for progress in found.told if progress.trials is not None]
    assert [one.num_ended for one in counts] == sorted(one.num_ended for one in counts)
    assert max(one.running for one in counts) <= 2


def test_what_is_left_is_what_people_read(workshop, search):
    found, result = search
    folder = workshop.home / "jobs" / found.job.id
    page = (folder / "report.html").read_text()
    assert f"of {result['trials']['total']} trials" in page
    assert [path.name for path in (folder / "trials").iterdir()] == [str(result["trials"]["best"]["trial"])]


def test_a_trial_that_diverges_is_told_of_and_the_others_go_on(workshop, search):
    found, result = search
    assert (result["trials"]["complete"], result["trials"]["failed"]) == (4, 2)
    for failed in (trial for trial in tunings(workshop).trials(found.job.id) if trial.state == "failed"):
        assert "loss became" in failed.reason
        assert failed.params["optimizer.lr"] == 1e30
        assert f"trial {failed.number} failed: {failed.reason}" in found.messages


def test_where_no_trial_is_completed_the_job_says_why(workshop, toy):
    recipe = {**SMALL, "optimizer": "sgd", "search": {"space": {"optimizer.lr": [1e30, 1e31]}}}
    with pytest.raises(InvalidRecipe) as failed:
        submit(workshop, toy, recipe, trials=2, name="none").run()
    assert "none of 2 trials was completed" in failed.value.message
    assert "loss became" in failed.value.message


def test_a_search_that_was_stopped_goes_on_with_the_trial_it_was_at(workshop, toy):
    recipe = {**SMALL, "search": {"space": LR, "seed": 3}}
    whole = submit(workshop, toy, recipe, trials=3, name="same")
    stopped = submit(workshop, toy, recipe, trials=3, name="same")
    with pytest.raises(Stopped):
        stopped.run(stop_after=1)
    first, second = whole.run(), stopped.run()
    assert first["digest"] == second["digest"]
    assert tunings(workshop).trials(whole.job.id) == tunings(workshop).trials(stopped.job.id)
    assert len(stopped.messages) == 3


def test_no_trial_begins_when_the_time_is_over_but_the_first_one_is_completed(workshop, toy):
    recipe = {**SMALL, "search": {"space": LR, "timeout": 1e-6}}
    search = submit(workshop, toy, recipe, trials=3, name="late")
    result = search.run()
    assert (result["trials"]["complete"], result["trials"]["total"]) == (1, 3)
    assert [trial.state for trial in tunings(workshop).trials(search.job.id)] == ["complete"]


def test_trees_are_searched_too_and_so_are_numbers(workshop):
    workshop.add("numbers", b"x,y\n" + b"".join(b"%d,%d\n" % (i % 37, 3 * (i % 37) + i % 5) for i in range(300)), target="y")
    space = {"model.learning_rate": [0.02, 0.2]}
    recipe = {
        "task": "tabular-regression",
        "model": {"architecture": "gradient-boosting", "max_iter": 20, "early_stopping_rounds": 0, "min_samples_leaf": 5},
        "search": {"space": space, "metric": "mae", "sampler": "grid"},
    }
    result = submit(workshop, "numbers", recipe, trials=2, name="trees").run()
    version = workshop.models.get(result["version"])
    assert version.manifest.lineage.searched is not None
    assert version.manifest.lineage.searched.value == pytest.approx(version.manifest.metrics["val"]["mae"], rel=1e-5)
    assert version.manifest.lineage.searched.params["model.learning_rate"] == 0.2


def test_a_search_without_a_validation_part_or_a_space_is_refused_at_once(workshop, toy):
    with pytest.raises(InvalidRecipe, match=r"data\.split\.val is 0"):
        submit(workshop, toy, {**SMALL, "data": {"target": "label", "split": {"val": 0}}, "search": {"space": LR}})
    with pytest.raises(InvalidRecipe, match="has no search section"):
        submit(workshop, toy, SMALL)
    with pytest.raises(InvalidRecipe, match="search with `modeltap tune`"):
        workshop.train(toy, recipe={**SMALL, "search": {"space": LR}})


def test_only_a_search_has_trials(workshop):
    imported = next(job for job in workshop.jobs.list() if job.kind == "import")
    assert tunings(workshop).trials(imported.id) == []
