"""A search: the candidates of a portfolio are trained one after the other while there is time, and the best of them blended.

A candidate whose first fold adds nothing to those before it gets no other. Every finished candidate is kept on the disk, so a
job that was killed trains none of them again. The clock decides only how many candidates there are: where it cut none, equal
arguments give equal bytes.

Letters: K candidates, J rows that candidates are judged on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from modeltap.bundle.blend import Member, blend_graph
from modeltap.domain.progress import Progress
from modeltap.domain.search import Tried
from modeltap.errors import InvalidData, InvalidRecipe
from modeltap.recipe.auto_architecture import AutoOptions
from modeltap.training.auto_blend import adds_nothing, blend_weights, mean_loss, standing_answer
from modeltap.training.auto_candidate import Candidate, Finished, Terms, View, member_graphs, train_candidate
from modeltap.training.auto_metrics import judged_metrics
from modeltap.training.auto_store import candidate_run, keep_finished, read_finished
from modeltap.training.stopped import Stopped

FOLDER = "search"
TRAINING_SHARE = 0.85
"""Of the time budget, in which candidates are trained; what is left is for the proof, the evaluation and the bundle."""
LEAST_SHARE = 0.35
"""The same where others keep the processor busy: the rest of the work then takes so many times as long, too."""


@dataclass(frozen=True)
class Found:
    """`graph` reads the tensors of the `views`, and answers as the blend does."""

    graph: onnx.ModelProto
    views: tuple[str, ...]
    tried: tuple[Tried, ...]
    seconds: tuple[float, ...]
    """Of each that was tried; 0 of one that was left out."""
    answer: NDArray[np.float32]
    """Of the blend, to the judged rows."""
    notices: tuple[str, ...]
    history: list[dict[str, Any]]
    """Of the candidate with the largest weight."""
    best_epoch: int | None


class Search:
    """`target_J`, `weight_J`: of the rows that candidates are judged on. `loss`: what they are judged by. `began_s`: when the
    time budget began, by the clock of `terms`. open_view: the features that a candidate reads."""

    def __init__(
        self,
        candidates: Sequence[Candidate],
        options: AutoOptions,
        terms: Terms,
        open_view: Callable[[Candidate], View],
        *,
        target_J: NDArray[Any],
        weight_J: NDArray[np.float64],
        loss: str,
        began_s: float,
        workdir: Path,
        report: Callable[[Progress], None],
        stop_requested: Callable[[], bool],
    ) -> None:
        self._candidates, self._options, self._terms, self._open_view = candidates, options, terms, open_view
        self._target_J, self._weight_J, self._loss = target_J, weight_J, loss
        self._folder = workdir / FOLDER
        self._report, self._stop_requested = report, stop_requested
        self._began_s = began_s
        self._start_s, self._start_work_s = terms.clock(), terms.work_clock()
        self._behind: dict[str, float] = {}
        """Seconds of each candidate that got no second fold."""
        self._failed: dict[str, InvalidData | InvalidRecipe] = {}

    def run(self) -> Found:
        """Raises Stopped when asked to stop, and what training raises if that is so of all candidates."""
        finished: list[Finished] = []
        for place in range(len(self._candidates)):
            if finished and self._is_over(1.0):
                break
            done = self._finish(place, finished)
            if done is None:
                continue
            if done.behind:
                self._behind[done.candidate.name] = done.seconds
            else:
                finished.append(done)
            self._tell(place, 1.0, f"{self._title(place)}: {self._judgement(done)}, {done.seconds:.1f} s")
        if not finished:
            raise next(iter(self._failed.values()))
        return self._blend(finished)

    def _finish(self, place: int, finished: list[Finished]) -> Finished | None:
        """The candidate, from the disk if it was finished before; None if the time ended first, or it could not be trained."""
        candidate = self._candidates[place]
        try:
            return self._train(place, candidate, finished)
        except (InvalidData, InvalidRecipe) as problem:
            self._failed[candidate.name] = problem
            return None

    def _train(self, place: int, candidate: Candidate, finished: list[Finished]) -> Finished | None:
        is_first = not finished
        view = self._open_view(candidate)
        folder = self._folder / f"candidate-{place:02}"
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "finished.safetensors"
        run = candidate_run(candidate, view, self._terms.rounds, self._terms.labels, self._terms.threads)
        found = read_finished(kept, candidate, run=run)
        if found is not None:
            self._began_s -= found.seconds
            return found
        self._tell(place, 0.0, self._title(place))

        def told(progress: Progress) -> None:
            line = msgspec.structs.replace(progress, message=self._title(place))
            self._report(msgspec.structs.replace(line, fraction=self._fraction(place, progress.fraction)))

        try:
            done = train_candidate(
                candidate,
                view,
                self._terms,
                workdir=folder,
                report=told,
                stop_requested=lambda: self._stop_requested() or (not is_first and self._is_over(1.0)),
                time_up=self._is_over if is_first else lambda _share: False,
                adds_nothing=self._race(finished),
            )
        except Stopped:
            if self._stop_requested():
                raise
            return None
        keep_finished(kept, done, run=run)
        for inner in folder.glob("fold-*"):
            shutil.rmtree(inner, ignore_errors=True)
        self._terms.saved()
        return done

    def _race(self, finished: list[Finished]) -> Callable[[NDArray[np.float32]], bool]:
        """Whether answers to the first fold add nothing to what stands."""
        fold_J = self._terms.rounds.fold_of
        if not finished or fold_J is None or not self._options.blend:
            return lambda _answer: False
        first_J = fold_J == 0
        facts = self._target_J[first_J], self._weight_J[first_J]
        standing = standing_answer([done.answer[first_J] for done in finished], *facts, loss=self._loss)
        return lambda answer: adds_nothing(answer, standing, *facts, loss=self._loss)

    def _is_over(self, share: float) -> bool:
        """Whether so large a share of the time that was left for training is over."""
        spent_s = self._terms.clock() - self._start_s
        work_s = self._terms.work_clock() - self._start_work_s
        slowness = max(1.0, spent_s / work_s) if work_s > 0 else 1.0
        training = max(LEAST_SHARE, 1 - (1 - TRAINING_SHARE) * slowness)
        return spent_s >= share * (training * self._options.time_budget - (self._start_s - self._began_s))

    def _blend(self, finished: list[Finished]) -> Found:
        weight_K = self._weights(finished)
        chosen = [(done, float(weight)) for done, weight in zip(finished, weight_K, strict=True) if weight > 0]
        members = []
        for done, weight in chosen:
            graphs = member_graphs(done, self._open_view(done.candidate), self._terms, workdir=self._folder)
            members += [Member(done.candidate.view, graph, weight / len(graphs)) for graph in graphs]
        heaviest = max(chosen, key=lambda pair: pair[1])[0]
        by_name = {done.candidate.name: (done, float(w)) for done, w in zip(finished, weight_K, strict=True)}
        tried = tuple(self._tried(candidate, *by_name.get(candidate.name, (None, 0.0))) for candidate in self._candidates)
        spent_s = {**self._behind, **{done.candidate.name: done.seconds for done in finished}}
        return Found(
            graph=blend_graph(members),
            views=tuple(dict.fromkeys(member.view for member in members)),
            tried=tried,
            seconds=tuple(spent_s.get(candidate.name, 0.0) for candidate in self._candidates),
            answer=np.sum([done.answer * np.float32(weight) for done, weight in chosen], axis=0, dtype=np.float32),
            notices=self._notices(finished, tried),
            history=heaviest.history,
            best_epoch=heaviest.epochs,
        )

    def _weights(self, finished: list[Finished]) -> NDArray[np.float64]:
        answers_K = [done.answer for done in finished]
        if self._options.blend:
            return blend_weights(answers_K, self._target_J, self._weight_J, loss=self._loss)
        losses = [mean_loss(answer, self._target_J, self._weight_J, name=self._loss) for answer in answers_K]
        weight_K = np.zeros(len(losses))
        weight_K[int(np.argmin(losses))] = 1.0
        return weight_K

    def _tried(self, candidate: Candidate, done: Finished | None, weight: float) -> Tried:
        name, architecture = candidate.name, candidate.recipe.model.architecture
        if done is None:
            state: Any = "behind" if name in self._behind else "failed" if name in self._failed else "left out"
            return Tried(name=name, architecture=architecture, state=state)
        return Tried(
            name=name,
            architecture=architecture,
            state="cut" if done.cut else "trained",
            metrics=judged_metrics(done.answer, self._target_J),
            weight=weight,
            epochs=done.epochs,
        )

    def _notices(self, finished: list[Finished], tried: Sequence[Tried]) -> tuple[str, ...]:
        notices = [
            f"the time budget ended while '{done.candidate.name}' grew: its best trees so far were kept"
            for done in finished
            if done.cut
        ]
        notices += [f"candidate '{name}' could not be trained: {problem.message}" for name, problem in self._failed.items()]
        missing = [one.name for one in tried if one.state == "left out"]
        if missing:
            names = ", ".join(missing)
            notices.append(
                f"the time budget of {self._options.time_budget} s left out {len(missing)} of {len(self._candidates)}"
                f" candidates ({names}); the same recipe may give another digest when there is more time"
            )
        return tuple(notices)

    def _title(self, place: int) -> str:
        return f"{place + 1} of {len(self._candidates)}, {self._candidates[place].name}"

    def _judgement(self, done: Finished) -> str:
        if done.behind:
            return "adds nothing to those before it"
        told = judged_metrics(done.answer, self._target_J)
        return ", ".join(f"{name} {value:.4g}" for name, value in told.items() if value is not None)

    def _fraction(self, place: int, inner: float) -> float:
        return (place + inner) / len(self._candidates)

    def _tell(self, place: int, inner: float, message: str) -> None:
        self._report(Progress(phase="train", fraction=self._fraction(place, inner), message=message))
