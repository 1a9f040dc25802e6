"""The trials of a search, kept in a file: what is asked next, what was told, and which is the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from modeltap.domain import tuning
from modeltap.domain.metrics import LOWER_IS_BETTER
from modeltap.domain.recipe import Search
from modeltap.domain.tuning import Best, Trial, TrialCounts
from modeltap.recipe.search_space import Dimension
from modeltap.tuning.sampling import Grid, new_pruner, new_sampler
from modeltap.tuning.space import distribution, recipe_values
from modeltap.tuning.study_log import StudyLog

STUDY_FILE = "study.jsonl"
NAME = "search"
"""Of the one study in the file; Hyperband draws from it."""
REASON, SPENT_S = "reason", "spent_s"
BEST_TRIALS = 5
"""Whose values importance is judged by, at the least."""
MIN_TRIALS = 8
"""With fewer, importance would be chance."""
STATES: dict[TrialState, tuning.TrialState] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Study:
    """One search. Whatever a method changed is in the file when it returns; a process that opens it goes on from there."""

    def __init__(self, path: Path, search: Search, space: Sequence[Dimension], *, max_epochs: int) -> None:
        """`search` with its metric; `max_epochs` of the longest trial. Raises StorageFailed, InvalidRecipe, MissingExtra."""
        assert search.metric is not None
        self.search, self.space, self.metric = search, tuple(space), search.metric
        self.lower_is_better = self.metric in LOWER_IS_BETTER
        self._distributions = {one.key: distribution(one) for one in space}
        self._log = StudyLog(path)
        self._storage = JournalStorage(self._log)
        first = new_sampler(search, space, self._distributions, number=0)
        self.num_trials = min(search.trials, first.num_points) if isinstance(first, Grid) else search.trials
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=NAME,
            direction="minimize" if self.lower_is_better else "maximize",
            sampler=first,
            pruner=new_pruner(search, max_epochs=max_epochs),
            load_if_exists=True,
        )
        # Hyperband sorts trials into brackets from its first look on; without this a search that went on would sort later.
        self._study.pruner.prune(self._study, optuna.trial.create_trial(state=TrialState.FAIL))
        self._log.flush(sync=True)

    def ask(self) -> Trial | None:
        """The next trial, running; None once all were asked for. The same one after a kill, if all before it are the same."""
        number = len(self._frozen())
        if number >= self.num_trials:
            return None
        self._study.sampler = new_sampler(self.search, self.space, self._distributions, number=number)
        self._study.ask(self._distributions)
        self._log.flush(sync=True)
        return self.trial(number)

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Whether the trial ends here, pruned. What was told of an epoch before is not told again."""
        trial_id, frozen = self._id(number), self._frozen()[number]
        if epoch in frozen.intermediate_values or not math.isfinite(value):
            return False
        self._storage.set_trial_intermediate_value(trial_id, epoch, value)
        ends = self._study.pruner.prune(self._study, self._storage.get_trial(trial_id))
        if ends:
            told = f"others were better at epoch {epoch}"
            self._storage.set_trial_user_attr(trial_id, REASON, told)
            self._study.tell(number, state=TrialState.PRUNED)
        self._log.flush(sync=ends)
        return ends

    def complete(self, number: int, value: float) -> None:
        self._study.tell(number, value)
        self._log.flush(sync=True)

    def fail(self, number: int, reason: str) -> None:
        self._end(number, TrialState.FAIL, reason)

    def prune(self, number: int, reason: str) -> None:
        self._end(number, TrialState.PRUNED, reason)

    def trial(self, number: int) -> Trial:
        return self._trial(self._frozen()[number])

    def trials(self) -> list[Trial]:
        """In the order of their numbers."""
        return [self._trial(frozen) for frozen in self._frozen()]

    @property
    def best(self) -> Trial | None:
        """The first of the complete trials with the best value."""
        complete = [trial for trial in self.trials() if trial.state == "complete" and trial.value is not None]
        if not complete:
            return None
        return min(complete, key=lambda trial: ((trial.value or 0.0) * (1 if self.lower_is_better else -1), trial.number))

    def counts(self) -> TrialCounts:
        states = [trial.state for trial in self.trials()]
        counted = {state: states.count(state) for state in ("complete", "pruned", "failed", "running")}
        best = self.best
        return TrialCounts(
            total=self.num_trials,
            metric=self.metric,
            best=None if best is None else Best(trial=best.number, value=best.value or 0.0, params=best.params),
            **counted,
        )

    @property
    def spent_s(self) -> float:
        """Seconds of searching by all processes that wrote here."""
        return float(self._study.user_attrs.get(SPENT_S, 0.0))

    def spend(self, seconds: float) -> None:
        """Noted with the next change."""
        self._study.set_user_attr(SPENT_S, seconds)

    def importances(self) -> dict[str, float]:
        """Share of each key in what tells the best trials from the others, the largest first; empty of too few trials."""
        valued = [trial for trial in self.trials() if trial.state == "complete"]
        if len(valued) < MIN_TRIALS or len({trial.value for trial in valued}) < 2:
            return {}
        share = min(0.5, max(0.1, BEST_TRIALS / len(valued)))
        found = get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator(target_quantile=share))
        return {key: float(value) for key, value in found.items()}

    def _end(self, number: int, state: TrialState, reason: str) -> None:
        self._storage.set_trial_user_attr(self._id(number), REASON, reason)
        self._study.tell(number, state=state)
        self._log.flush(sync=True)

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._storage.get_study_id_from_name(NAME), number)

    def _frozen(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _trial(self, frozen: FrozenTrial) -> Trial:
        last = frozen.last_step
        return Trial(
            number=frozen.number,
            state=STATES[frozen.state],
            params=recipe_values(self.space, frozen.params),
            value=frozen.value if frozen.value is not None else frozen.intermediate_values.get(last or 0),
            epochs=last or 0,
            reason=str(frozen.user_attrs.get(REASON, "")),
        )
