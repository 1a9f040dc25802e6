"""The tune step: a search over recipes, each trial in a process of its own → the best one's model, registered.

What decides is in the study's file before it is acted on: a runner that is killed leaves trials that go on from their
checkpoints, under the same numbers and with the same values.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from modeltap.control.trainings import TrainSpec
from modeltap.control.tunings import TuneSpec
from modeltap.data.store import StoredDataset, open_dataset
from modeltap.domain.dataset import Dataset
from modeltap.domain.job import REPORT_FILE
from modeltap.domain.progress import Progress
from modeltap.domain.recipe import Recipe
from modeltap.domain.tuning import Searched, Trial
from modeltap.errors import InvalidRecipe, StorageFailed
from modeltap.faults import crash_point
from modeltap.recipe.architectures import find_architecture
from modeltap.recipe.parse import parse_recipe
from modeltap.recipe.render import recipe_document
from modeltap.recipe.search_space import candidate, corners, dimensions, told
from modeltap.runner.steps import Step
from modeltap.runner.train import conclude
from modeltap.runner.trial import STOPPED
from modeltap.runner.tune_features import featured_for, shared_features
from modeltap.runner.tune_processes import Messages, TrialProcess, TrialProcesses, load_beside
from modeltap.storage.datasets import DatasetRepository
from modeltap.storage.disk import disk_failures
from modeltap.tuning.report import render_search
from modeltap.tuning.study import STUDY_FILE, Study
from modeltap.tuning.trial import FEATURES, finish, open_assignment
from modeltap.tuning.trial_files import TrialFolder, TrialTask
from modeltap.tuning.trial_list import write_trials

TRIALS = "trials"
LOOK_EVERY_S = 0.25
TELL_EVERY_S = 1.0
MAX_REPORTS = 100
"""Of the metric by a trial; longer trials tell it every second epoch, or every third, …"""
UNKNOWN = 255
"""Exit status where the process that a trial was forked from is gone."""
MAX_DEATHS = 3
"""Processes of a trial in a row that were killed and got no further, before the trial has failed."""


def tune(step: Step) -> dict[str, Any]:
    """The registered version of the best trial, its metrics, and how the trials ended.

    Raises InvalidRecipe where none was completed, InvalidData, Stopped, StorageFailed.
    """
    spec = msgspec.convert(step.job.spec, TuneSpec)
    dataset = DatasetRepository(step.database, step.job.tenant).get(spec.dataset)
    stored = open_dataset(step.artifacts.paths(dataset.digest))
    step.report(Progress(phase="data", message=f"reading {dataset.id}"))
    searching = Searching(step, spec, stored)
    searching.run()
    best = searching.study.best
    if best is None:
        raise InvalidRecipe(_none_completed(searching.study.trials()))
    return _register(step, spec, dataset, stored, searching, best)


class Searching:
    """The trials of one search: those that run, and what comes next."""

    def __init__(self, step: Step, spec: TuneSpec, stored: StoredDataset) -> None:
        self._step, self._spec, self._stored = step, spec, stored
        search = parse_recipe(spec.recipe).search
        assert search is not None
        space = dimensions(search, spec.recipe, parse_recipe)
        plans = [parse_recipe(candidate(spec.recipe, corner)) for corner in corners(space)]
        max_epochs = max(map(_epochs, plans))
        self.study = Study(step.workdir / STUDY_FILE, search, space, max_epochs=max_epochs)
        self._told_every = -(-max_epochs // MAX_REPORTS)
        threads = max(plan.threads or spec.trial_threads for plan in plans)
        self.parallel = min(search.parallel, max(1, (step.job.given_threads or _cores()) // threads))
        self._families = sorted({find_architecture(plan.model.architecture).family for plan in plans})
        self._processes = TrialProcesses(self._families)
        self._is_loading = False
        self._deaths: Counter[int] = Counter()
        self._began_s = time.monotonic()
        self._spent_before_s = self.study.spent_s
        self._done_before = self.study.counts().num_ended
        self._told_s = 0.0

    @property
    def spent_s(self) -> float:
        """Of searching, by this runner and those before it."""
        return self._spent_before_s + time.monotonic() - self._began_s

    def run(self) -> None:
        """Every trial has ended. Raises Stopped and StorageFailed with all of them at a checkpoint."""
        waiting = [trial for trial in self.study.trials() if trial.state == "running"]
        self._tidy()
        write_trials(self._step.workdir, self.study.trials())
        self._tell()
        try:
            while True:
                self._step.pause_point()
                while len(self._processes.running) < self.parallel and (trial := self._next(waiting)) is not None:
                    self._start(trial)
                if not self._processes.running:
                    return
                if not self._is_loading and self._is_last():
                    self._is_loading = True
                    load_beside(self._families)
                for process, messages in self._processes.wait(LOOK_EVERY_S):
                    self._hear(process, messages)
                if self._is_late() and self.study.best is not None:
                    self._end_late()
                if time.monotonic() - self._told_s >= TELL_EVERY_S:
                    self._tell()
        finally:
            self._processes.stop_all()

    def task(self, trial: Trial) -> TrialTask:
        """What the trial does. Raises InvalidRecipe where nothing can be made of its values."""
        recipe = self.recipe(trial)
        return TrialTask(
            number=trial.number,
            recipe=recipe_document(recipe),
            features=shared_features(self._step, self._stored, recipe, self._step.workdir / FEATURES),
            metric=self.study.metric,
            told_every=self._told_every,
            threads=recipe.threads or self._spec.trial_threads,
            checkpoint_every_s=self._spec.checkpoint_every_s,
        )

    def recipe(self, trial: Trial) -> Recipe:
        """With its number of threads."""
        recipe = parse_recipe(candidate(self._spec.recipe, trial.params))
        return msgspec.structs.replace(recipe, threads=recipe.threads or self._spec.trial_threads)

    def folder(self, trial: Trial) -> TrialFolder:
        return TrialFolder(self._step.workdir / TRIALS / str(trial.number))

    def _next(self, waiting: list[Trial]) -> Trial | None:
        """One that a runner before this one had begun, else a new one; None where none is to begin."""
        if waiting:
            return waiting.pop(0)
        return None if self._is_late() and self.study.trials() else self.study.ask()

    def _is_last(self) -> bool:
        """All that are to run have begun."""
        counts = self.study.counts()
        return counts.num_ended + len(self._processes.running) >= counts.total

    def _start(self, trial: Trial) -> None:
        crash_point("trial.asked")
        folder = self.folder(trial)
        if folder.read_result() is not None:  # it ended, and whoever was to hear of it died
            self._ended(trial.number, 0)
            return
        if not folder.has_task:
            try:
                folder.write_task(self.task(trial))
            except InvalidRecipe as problem:
                self._fail(trial.number, problem.message)
                return
        self._processes.start(trial.number, folder.path, again=self._deaths[trial.number] > 0)

    def _hear(self, process: TrialProcess, messages: Messages | None) -> None:
        if messages is None:
            self._ended(process.number, self._processes.close(process))
            return
        for message in messages:
            if "epoch" in message:
                self._deaths[process.number] = 0
                self.study.spend(self.spent_s)
                ends = self.study.report(process.number, message["epoch"], message["value"])
                crash_point("trial.told")
                process.answer(b"prune" if ends else b"on")
            elif "saved" in message:
                self._deaths[process.number] = 0
                self._step.saved()
            elif "broken" in message:
                raise StorageFailed(message["broken"])
            else:
                process.fraction = message["fraction"]

    def _ended(self, number: int, code: int | None) -> None:
        """What came of a trial whose process has ended with this status."""
        trial = self.study.trial(number)
        if trial.state == "pruned":
            self._settle(trial, f"trial {number} is pruned: {trial.reason}")
            return
        result = self.folder(trial).read_result()
        crash_point("trial.ended")
        if result is None:
            self._died(trial, code)
        elif result.state == "failed" or result.value is None:
            self._fail(number, result.reason)
        else:
            self.study.complete(number, result.value)
            best = self.study.best
            is_best = best is not None and best.number == number
            shown = f"{self.study.metric} {result.value:.4f}{', the best so far' if is_best else ''}"
            self._settle(self.study.trial(number), f"trial {number} is complete: {shown}  ({told(trial.params)})")

    def _died(self, trial: Trial, code: int | None) -> None:
        """One that was killed goes on from its checkpoint, unless that happens again and again; others have failed."""
        self._step.pause_point()
        self._deaths[trial.number] += 1
        was_killed = code is None or code < 0 or code in (STOPPED, UNKNOWN)
        if was_killed and self._deaths[trial.number] < MAX_DEATHS:
            self._start(trial)
        elif was_killed:
            self._fail(trial.number, f"its process was killed {MAX_DEATHS} times in a row{_by(code)}")
        else:
            self._fail(trial.number, f"its process ended with status {code}; the job's log has the reason")

    def _fail(self, number: int, reason: str) -> None:
        self.study.fail(number, reason)
        self._settle(self.study.trial(number), f"trial {number} failed: {reason}")

    def _settle(self, trial: Trial, message: str) -> None:
        """After a trial's end is in the study: people hear of it, and what nobody needs any more is removed."""
        self._step.saved()
        self._tell(message)
        write_trials(self._step.workdir, self.study.trials())
        self._tidy()

    def _tidy(self) -> None:
        """Of all trials that have ended only the best one's folder is kept."""
        best = self.study.best
        for trial in self.study.trials():
            if trial.state != "running" and (best is None or trial.number != best.number):
                self.folder(trial).remove()

    def _is_late(self) -> bool:
        timeout_s = self.study.search.timeout
        return timeout_s is not None and self.spent_s >= timeout_s

    def _end_late(self) -> None:
        for process in tuple(self._processes.running.values()):
            self._processes.stop(process)
            if self.folder(self.study.trial(process.number)).read_result() is not None:
                self._ended(process.number, 0)
                continue
            self.study.prune(process.number, "the time of the search was over")
            self._settle(self.study.trial(process.number), f"trial {process.number} is ended: the time of the search is over")

    def _tell(self, message: str = "") -> None:
        """Where the search stands; a message, where a trial ended."""
        self._told_s = time.monotonic()
        counts = self.study.counts()
        under_way = sum(process.fraction for process in self._processes.running.values())
        done = (counts.num_ended + under_way) / counts.total
        gained = done - self._done_before / counts.total
        spent_s = time.monotonic() - self._began_s
        self._step.report(
            Progress(
                phase="tune",
                fraction=min(done, 1.0),
                message=message,
                metric=None if counts.best is None else counts.best.value,
                metric_name=counts.metric,
                remaining_s=spent_s / gained * (1 - done) if gained > 0 and counts.num_ended > self._done_before else None,
                trials=counts,
            )
        )


def _register(
    step: Step, spec: TuneSpec, dataset: Dataset, stored: StoredDataset, searching: Searching, best: Trial
) -> dict[str, Any]:
    """The best trial's model, which is not trained again, becomes a version."""
    study, counts = searching.study, searching.study.counts()
    folder = searching.folder(best)
    given = open_assignment(folder.read_task(), folder.path)
    prepared, recipe, featured = featured_for(step, stored, searching.recipe(best))
    step.pause_point()
    trained = finish(folder.read_learned(), given)
    page = render_search(study, title=f"{spec.name}: search", facts=_facts(step, spec, study))
    with disk_failures("writing the report"):
        (step.workdir / REPORT_FILE).write_text(page, encoding="utf-8")
    result = conclude(
        step,
        TrainSpec(
            dataset=spec.dataset,
            name=spec.name,
            recipe=recipe_document(recipe),
            checkpoint_every_s=spec.checkpoint_every_s,
        ),
        recipe,
        dataset,
        stored,
        prepared,
        featured,
        trained,
        searched=_searched(study, best),
    )
    if searching.parallel < study.search.parallel:
        told_of = f"{study.search.parallel} trials at a time were asked for, and {searching.parallel} had a processor core"
        result["notices"] = [*result["notices"], told_of]
    return {**result, "trials": msgspec.to_builtins(counts)}


def _searched(study: Study, best: Trial) -> Searched:
    counts, search = study.counts(), study.search
    assert best.value is not None
    return Searched(
        metric=study.metric,
        value=best.value,
        trial=best.number,
        params=best.params,
        trials=counts.num_ended,
        complete=counts.complete,
        pruned=counts.pruned,
        failed=counts.failed,
        sampler=search.sampler,
        pruner=search.pruner,
        seed=search.seed,
        space={key: _written(msgspec.to_builtins(said)) for key, said in search.space.items()},
    )


def _written(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if value is not None and value is not False}


def _facts(step: Step, spec: TuneSpec, study: Study) -> dict[str, str]:
    search = study.search
    return {
        "model": spec.name,
        "dataset": spec.dataset,
        "sampler": search.sampler,
        "pruner": search.pruner,
        "seed": str(search.seed),
        "job": step.job.id,
    }


def _none_completed(trials: list[Trial]) -> str:
    """Why there is nothing to register, by reason."""
    reasons: dict[str, list[int]] = {}
    for trial in trials:
        reasons.setdefault(trial.reason, []).append(trial.number)
    shown = [f"trial {', '.join(map(str, numbers[:5]))}{', …' * (len(numbers) > 5)}: {why}" for why, numbers in reasons.items()]
    return f"none of {len(trials)} trials was completed: {'; '.join(shown[:5])}"


def _by(code: int | None) -> str:
    if code is None or code >= 0:
        return ""
    return f" by signal {-code}{', as the system does when memory runs out' if code == -signal.SIGKILL else ''}"


def _epochs(recipe: Recipe) -> int:
    """The most a trial of it can tell its metric."""
    if find_architecture(recipe.model.architecture).family == "boosting":
        return int(recipe.model.options["max_iter"])
    return recipe.epochs


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
