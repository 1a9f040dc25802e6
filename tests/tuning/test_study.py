"""A study outlives its process: what is tried, what ends early and what is best are what they would have been."""

from __future__ import annotations

import pytest
from made_studies import EPOCHS, SPACE, open_study, run_study, score

from modeltap.errors import InvalidRecipe
from modeltap.recipe.search_space import Dimension
from modeltap.tuning.space import distribution, grid_values, recipe_value


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [("tpe", "median"), ("tpe", "hyperband"), ("random", "none"), ("cma-es", "median"), ("grid", "median")],
)
def test_a_study_that_is_opened_again_and_again_tries_what_one_tries_that_is_not(tmp_path, sampler, pruner):
    straight = run_study(tmp_path / "straight", sampler=sampler, pruner=pruner)
    killed = run_study(tmp_path / "killed", sampler=sampler, pruner=pruner, kill_often=True)
    assert killed.trials() == straight.trials()
    assert len(killed.trials()) == 12
    assert {trial.state for trial in killed.trials()} <= {"complete", "pruned"}
    tried = [tuple(map(str, trial.params.values())) for trial in straight.trials()]
    assert len(set(tried)) == len(tried), "no two trials are the same"


def test_other_seeds_try_other_values(tmp_path):
    first, second = (run_study(tmp_path / str(seed), seed=seed, sampler="random").trials() for seed in (1, 2))
    assert [trial.params for trial in first] != [trial.params for trial in second]


def test_a_trial_that_was_asked_for_is_there_after_a_kill_and_no_other_has_its_number(tmp_path):
    study = open_study(tmp_path / "study")
    asked = [study.ask() for _ in range(3)]
    study.fail(1, "it diverged")
    again = open_study(tmp_path / "study")
    assert [trial.number for trial in again.trials() if trial.state == "running"] == [0, 2]
    assert [trial.params for trial in again.trials()] == [trial.params for trial in asked if trial is not None]
    assert again.trials()[1].reason == "it diverged"
    following = again.ask()
    assert following is not None
    assert following.number == 3


def test_a_line_that_was_cut_short_is_as_if_it_had_not_been_begun(tmp_path):
    path = tmp_path / "study"
    run_study(path, trials=3)
    before = open_study(path).trials()
    with path.open("ab") as file:
        file.write(b'{"op_code": 4, "wor')
    study = open_study(path, trials=4)
    assert study.trials() == before
    fourth = study.ask()
    assert fourth is not None
    study.complete(fourth.number, 0.5)
    assert open_study(path, trials=4).trials() == [*before, study.trial(3)]


def test_the_best_is_the_first_of_the_best_complete_ones(tmp_path):
    study = open_study(tmp_path / "study", trials=4, pruner="none")
    for number, value in enumerate((0.7, 0.9, 0.9)):
        study.ask()
        study.complete(number, value)
    study.ask()
    study.report(3, 1, 0.99)
    study.prune(3, "the time of the search was over")
    counts = study.counts()
    assert counts.best is not None
    assert (counts.best.trial, counts.complete, counts.pruned, counts.num_ended) == (1, 3, 1, 4)
    assert study.ask() is None
    assert study.trial(3).value == 0.99


def test_a_lower_error_is_better(tmp_path):
    study = open_study(tmp_path / "study", trials=2, metric="log_loss")
    for number, value in enumerate((0.7, 0.3)):
        study.ask()
        study.complete(number, value)
    assert study.best is not None
    assert study.best.number == 1


def test_what_falls_behind_the_middle_is_pruned_but_not_before_the_first_have_ended(tmp_path):
    study = run_study(tmp_path / "study", pruner="median", sampler="random", trials=16)
    states = [trial.state for trial in study.trials()]
    assert states[:5] == ["complete"] * 5
    assert "pruned" in states
    pruned = [trial for trial in study.trials() if trial.state == "pruned"]
    assert all(trial.epochs < EPOCHS and "others were better" in trial.reason for trial in pruned)
    assert study.best is not None
    assert study.best.value == max(score(trial.params) for trial in study.trials())


def test_what_decides_is_known_after_enough_trials(tmp_path):
    assert open_study(tmp_path / "empty").importances() == {}
    found = run_study(tmp_path / "study", pruner="none", sampler="random", trials=24).importances()
    assert set(found) == set(SPACE)
    assert sum(found.values()) == pytest.approx(1.0)
    assert found["optimizer.lr"] > found["batch_size"], "the score does not look at the size of a batch"


def test_a_grid_has_every_combination_once_and_then_ends(tmp_path):
    study = run_study(
        tmp_path / "study",
        sampler="grid",
        trials=100,
        pruner="none",
        space={
            "optimizer.lr": [0.1, 0.01],
            "model.hidden": [[4], [8, 8], []],
            "model.dropout": {"low": 0, "high": 0.2, "step": 0.1},
        },
    )
    tried = {(t.params["optimizer.lr"], str(t.params["model.hidden"]), t.params["model.dropout"]) for t in study.trials()}
    assert tried == {(lr, h, d) for lr in (0.1, 0.01) for h in ("[4]", "[8, 8]", "[]") for d in (0.0, 0.1, 0.2)}
    assert study.num_trials == len(study.trials()) == 18


def test_a_range_is_no_grid_until_it_is_said_which_numbers(tmp_path):
    with pytest.raises(InvalidRecipe, match="set points: 5, or a step"):
        open_study(tmp_path / "study", sampler="grid", space={"optimizer.lr": {"low": 0.1, "high": 0.2}})


def test_cma_es_needs_numbers(tmp_path):
    with pytest.raises(InvalidRecipe, match="choices alone"):
        open_study(tmp_path / "study", sampler="cma-es", space={"optimizer.lr": [0.1, 0.2]})


@pytest.mark.parametrize(
    ("searched", "values"),
    [
        (Dimension(key="a", low=1, high=100, log=True, points=3), [1.0, 10.0, 100.0]),
        (Dimension(key="a", low=0, high=1, points=3), [0.0, 0.5, 1.0]),
        (Dimension(key="a", low=0, high=1, step=0.25), [0.0, 0.25, 0.5, 0.75, 1.0]),
        (Dimension(key="a", low=2, high=5, whole=True), [2, 3, 4, 5]),
        (Dimension(key="a", low=1, high=4, whole=True, points=2), [1, 4]),
        (Dimension(key="a", choices=([1], None, "x")), ["[1]", "null", '"x"']),
    ],
)
def test_the_values_of_a_grid_are_inside_their_range_and_evenly_spaced(searched, values):
    found = grid_values(searched)
    assert found == pytest.approx(values) if not searched.choices else found == values
    assert all(distribution(searched)._contains(distribution(searched).to_internal_repr(value)) for value in found)
    assert next(recipe_value(searched, value) for value in found) == (values[0] if not searched.choices else [1])
