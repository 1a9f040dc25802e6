"""What the demo does and tells: two models from real data to answers over a socket, step by step."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeltap.cli.demo_data import DemoData, Question, write_demo_data
from modeltap.cli.follow import follow_to_end
from modeltap.cli.metrics_text import headline
from modeltap.cli.output import duration, is_fancy
from modeltap.client.values import EvaluateResult, TrainResult, read_answer

if TYPE_CHECKING:
    from modeltap.cli.invocation import Invocation
    from modeltap.client import Dataset, Deployment

FOLDER = "demo"


@dataclass(frozen=True)
class Plan:
    """What is trained on a dataset."""

    data: DemoData
    task: str
    settings: dict[str, str]


@dataclass(frozen=True)
class Answered:
    """One question, what the deployment said, and the truth."""

    deployment: str
    question: Question
    answer: Any

    @property
    def label(self) -> str:
        return str(self.answer["label"])

    @property
    def is_right(self) -> bool:
        return self.label == self.question.expected


class Story:
    """Tells each step with the command that does the same, and how long it took."""

    def __init__(self, run: Invocation) -> None:
        self._run = run
        self._num_steps = 0
        self._began_s = time.monotonic()

    def begin(self, what: str, *commands: Sequence[str]) -> None:
        self._num_steps += 1
        self._began_s = time.monotonic()
        out = self._run.out
        out.say()
        out.say(f"{self._num_steps}. {what}", style="bold")
        for command in commands:
            out.say(f"   $ modeltap {typed(command)}", style="cyan")

    def result(self, text: str) -> None:
        self._run.out.say(f"   {text}")

    def end(self) -> None:
        self._run.out.say(f"   ({duration(time.monotonic() - self._began_s)})", style="dim")


def typed(command: Sequence[str]) -> str:
    """The command as a person types it, with ~ for their own folder."""
    own = f"{Path.home()}/"
    return " ".join(f"~/{shlex.quote(p.removeprefix(own))}" if p.startswith(own) else shlex.quote(p) for p in command)


def run_demo(run: Invocation, *, keep: bool, serve: bool) -> None:
    """Data, training, deployment and answers; what it made stays where `keep` says so."""
    began_s = time.monotonic()
    story = Story(run)
    run.out.say("modeltap demo: from raw data to answers, with real data that scikit-learn bundles", style="bold")
    if run.has_home_flag:
        run.out.say(f"(add --home {run.home} to the commands below, or set MODELTAP_HOME)", style="dim")
    digits, tumours = write_demo_data(run.home / FOLDER)
    plans = (
        Plan(digits, "image-classification", {"model.architecture": "cnn", "epochs": "15"}),
        Plan(tumours, "tabular-classification", {"model.architecture": "gradient-boosting"}),
    )
    datasets = _add_data(run, story, plans)
    results = _train(run, story, plans, datasets)
    evaluations = _evaluate(run, story, results, datasets)
    deployments = _deploy(run, story, plans, results)
    answered = _ask(run, story, plans, deployments)
    if not keep:
        remove_made(run, datasets, [result.version for result in results], deployments)
    document = {
        "name": "demo",
        "datasets": [d.id for d in datasets],
        "versions": [
            {"version": r.version, "task": p.task, "job": r.job, "test": e.metrics}
            for p, r, e in zip(plans, results, evaluations, strict=True)
        ],
        "deployments": [d.name for d in deployments],
        "answers": [{"deployment": a.deployment, "answer": a.answer, "expected": a.question.expected} for a in answered],
        "kept": keep,
        "seconds": round(time.monotonic() - began_s, 3),
    }
    run.out.answer(document, lambda: _tell_end(run, answered, keep=keep, seconds=time.monotonic() - began_s))
    if serve:
        from modeltap.cli.up import serve_home

        serve_home(run)


def _add_data(run: Invocation, story: Story, plans: Sequence[Plan]) -> list[Dataset]:
    story.begin("Bring data: pictures in a folder for each class, and a table", *(_add_command(p.data) for p in plans))
    datasets = []
    for plan in plans:
        data = plan.data
        dataset = run.client.datasets.add(data.path, name=data.name, target=data.target, test=data.test)
        datasets.append(dataset)
        parts = ", ".join(f"{part} {count:,}" for part, count in dataset.num_rows.items())
        story.result(f"{dataset.id}: {data.story} ({parts}){'' if dataset.created else '; known already'}")
    story.end()
    return datasets


def _train(run: Invocation, story: Story, plans: Sequence[Plan], datasets: Sequence[Dataset]) -> list[TrainResult]:
    story.begin(
        "Train: a convolutional network on the pictures, boosted trees on the table",
        *(_train_command(p) for p in plans),
    )
    jobs = [
        run.client.train(dataset, task=plan.task, settings=plan.settings, wait=False)
        for plan, dataset in zip(plans, datasets, strict=True)
    ]
    results = []
    for job in jobs:
        result = read_answer(follow_to_end(run.client, run.out, job.id).result or {}, TrainResult)
        results.append(result)
        story.result(f"{result.version} is trained")
    story.end()
    return results


def _evaluate(
    run: Invocation, story: Story, results: Sequence[TrainResult], datasets: Sequence[Dataset]
) -> list[EvaluateResult]:
    """Both versions on their test parts, which were never trained on."""
    commands = [("evaluate", r.version, "--part", "test", "--report", f"{r.name}.html") for r in results]
    story.begin("Evaluate on the test part, with 95 % intervals", *commands)
    jobs = [
        run.client.evaluate(result.version, dataset, part="test", wait=False)
        for result, dataset in zip(results, datasets, strict=True)
    ]
    evaluations = []
    for job in jobs:
        evaluation = read_answer(follow_to_end(run.client, run.out, job.id).result or {}, EvaluateResult)
        evaluations.append(evaluation)
        story.result(f"{evaluation.model}: {headline(evaluation.metrics)}{_hardest(evaluation)}")
    story.end()
    return evaluations


def _deploy(run: Invocation, story: Story, plans: Sequence[Plan], results: Sequence[TrainResult]) -> list[Deployment]:
    pairs = list(zip(plans, results, strict=True))
    story.begin(
        "Deploy: each version first repeats the answers that were recorded when it was trained",
        *(("deploy", r.version, "--name", p.data.name) for p, r in pairs),
    )
    deployments = [run.client.deployments.create(r.version, name=p.data.name) for p, r in pairs]
    for deployment in deployments:
        story.result(f"POST {run.client.url}{deployment.url}")
    story.end()
    return deployments


def _ask(run: Invocation, story: Story, plans: Sequence[Plan], deployments: Sequence[Deployment]) -> list[Answered]:
    files = [("predict", p.data.name, "--input", str(p.data.questions[0].path)) for p in plans]
    story.begin("Ask both about rows that they have never seen", *files)
    answered = []
    for plan, deployment in zip(plans, deployments, strict=True):
        pictures = [q.picture for q in plan.data.questions if q.picture is not None]
        if pictures:
            answers = [run.client.predict(deployment, image=picture)[0] for picture in pictures]
        else:
            answers = list(run.client.predict(deployment, [q.row for q in plan.data.questions]))
        answered += [Answered(deployment.name, q, a) for q, a in zip(plan.data.questions, answers, strict=True)]
    width = max(len(a.label) for a in answered)
    for a in answered:
        told = f"{a.deployment:7} says {a.label.ljust(width)}  {a.answer['score']:6.1%}"
        story.result(f"{told}  truth {a.question.expected.ljust(width)}  {_mark(a)}")
    story.end()
    return answered


def _hardest(evaluation: EvaluateResult) -> str:
    """The class that is found least often."""
    classes = [c for c in (evaluation.evaluation or {}).get("per_class", []) if c.get("recall") is not None]
    if not classes:
        return ""
    hardest = min(classes, key=lambda c: float(c["recall"]))
    return f"; hardest is '{hardest['label']}', found in {hardest['recall']:.0%} of {hardest['support']}"


def _mark(answered: Answered) -> str:
    if is_fancy(sys.stdout):
        return "✓" if answered.is_right else "✗"
    return "right" if answered.is_right else "wrong"


def _tell_end(run: Invocation, answered: Sequence[Answered], *, keep: bool, seconds: float) -> None:
    num_right = sum(a.is_right for a in answered)
    run.out.say()
    run.out.say(f"{num_right} of {len(answered)} answers are right; all of it took {duration(seconds)}.", style="bold green")
    if keep:
        run.out.say(
            "It stays: modeltap models list, modeltap deployments list, modeltap models show digits --report digits.html"
        )


def remove_made(
    run: Invocation, datasets: Sequence[Dataset], versions: Sequence[str], deployments: Sequence[Deployment]
) -> None:
    """Takes away what this run made; a name that answered before answers as it did."""
    for deployment in deployments:
        if deployment.previous:
            run.client.deployments.rollback(deployment.name)
        else:
            run.client.deployments.remove(deployment.name)
    for version in versions:
        run.client.models.remove(version)
    for dataset in datasets:
        if dataset.created:
            run.client.datasets.remove(dataset.id)


def _add_command(data: DemoData) -> list[str]:
    target = ["--target", data.target] if data.target else []
    test = ["--test", str(data.test)] if data.test else []
    return ["data", "add", str(data.path), "--name", data.name, *target, *test]


def _train_command(plan: Plan) -> list[str]:
    settings = [piece for key, value in plan.settings.items() for piece in ("--set", f"{key}={value}")]
    return ["train", plan.data.name, "--task", plan.task, *settings]
