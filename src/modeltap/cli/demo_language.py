"""What the language demo does and tells: from plain text to a model that writes, on two processors in about two minutes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modeltap.cli.certificate_text import show_certificate
from modeltap.cli.chat import begin, show
from modeltap.cli.demo_story import FOLDER, Story, remove_made
from modeltap.cli.demo_topics import Topics, write_topics
from modeltap.cli.follow import follow_to_end
from modeltap.cli.output import duration, number
from modeltap.client.values import CompressResult, TrainResult, read_answer

if TYPE_CHECKING:
    from modeltap.cli.invocation import Invocation
    from modeltap.client import Dataset, Deployment

NAME = "pydoc"
TASK = "text-generation"
STEPS = 400
RECIPE = {
    "model.architecture": "gpt",
    "model.layers": "4",
    "model.width": "192",
    "model.heads": "6",
    "model.context": "128",
    "model.vocabulary": "2048",
    "batch_size": "16",
    "optimizer.lr": "0.003",
    "threads": "2",
}
"""2.2 million weights, which see the text about seven times in 400 steps: a minute and a half of two processors."""
OPENING = 'The "for" statement'
NUM_WRITTEN = 64
HONEST = "So small a model, after so little reading, has the words of its text; its sentences say little."
WRITING: Mapping[str, Any] = {"max_tokens": NUM_WRITTEN, "temperature": 0.7, "options": {"seed": 0}}


def run_language_demo(run: Invocation, *, steps: int | None, keep: bool, serve: bool) -> None:
    """Text, training, compression, deployment and a text that is written; what it made stays where `keep` says so."""
    began_s = time.monotonic()
    story = Story(run)
    run.out.say("modeltap demo --language: a language model from nothing, on the help texts of Python", style="bold")
    if run.has_home_flag:
        run.out.say(f"(add --home {run.home} to the commands below, or set MODELTAP_HOME)", style="dim")
    topics = write_topics(run.home / FOLDER)
    dataset = _add(run, story, topics)
    trained = _train(run, story, dataset, {**RECIPE, "steps": str(steps or STEPS)})
    smaller = _compress(run, story, trained)
    is_smaller = smaller.state != "rejected"
    deployment = _deploy(run, story, smaller.version if is_smaller else trained.version)
    text, usage = _write(run, story, deployment)
    document = {
        "name": "demo",
        "dataset": dataset.id,
        "versions": [trained.version, smaller.version],
        "metrics": trained.metrics,
        "certificate": smaller.certificate,
        "deployment": deployment.name,
        "deployed": smaller.version if is_smaller else trained.version,
        "prompt": OPENING,
        "text": text,
        "usage": usage,
        "kept": keep,
        "seconds": round(time.monotonic() - began_s, 3),
    }
    if not keep:
        remove_made(run, [dataset], [trained.version, smaller.version], [deployment])
    run.out.answer(document, lambda: _tell_end(run, keep=keep, seconds=time.monotonic() - began_s))
    if serve:
        from modeltap.cli.up import serve_home

        serve_home(run)


def _add(run: Invocation, story: Story, topics: Topics) -> Dataset:
    story.begin("Bring text: one document a line", ["data", "add", str(topics.path), "--name", NAME])
    dataset = run.client.datasets.add(topics.path, name=NAME)
    known = "" if dataset.created else "; known already"
    story.result(f"{dataset.id}: {topics.num_topics} topics of Python's help(), {topics.num_chars:,} characters{known}")
    story.end()
    return dataset


def _train(run: Invocation, story: Story, dataset: Dataset, settings: Mapping[str, str]) -> TrainResult:
    pieces = [piece for key, value in settings.items() for piece in ("--set", f"{key}={value}")]
    story.begin(
        "Train: a tokenizer and a small GPT, from random weights; topics that it never sees measure it",
        ["train", NAME, "--task", TASK, *pieces],
    )
    job = run.client.train(dataset, task=TASK, settings=dict(settings), name=NAME, wait=False)
    result = read_answer(follow_to_end(run.client, run.out, job.id).result or {}, TrainResult)
    measured = result.metrics["val"]
    low, high = measured["perplexity_interval"]
    story.result(
        f"{result.version} is trained: on topics that it never saw its perplexity is {number(measured['perplexity'])}"
        f" ({number(low)} to {number(high)}), {number(measured['bits_per_byte'])} bits a byte"
    )
    for notice in result.notices:
        story.result(f"! {notice}")
    story.end()
    return result


def _compress(run: Invocation, story: Story, trained: TrainResult) -> CompressResult:
    story.begin(
        "Compress: eight bits a weight, measured against the model it came from", ["compress", trained.version, "--int8"]
    )
    job = run.client.compress(trained.version, "int8", wait=False)
    result = read_answer(follow_to_end(run.client, run.out, job.id).result or {}, CompressResult)
    show_certificate(run.out, result.certificate)
    if result.state == "rejected":
        story.result(f"{result.version} is rejected, so {trained.version} is deployed as it is")
    story.end()
    return result


def _deploy(run: Invocation, story: Story, version: str) -> Deployment:
    story.begin("Deploy: it first repeats the texts that were recorded", ["deploy", version, "--name", NAME])
    deployment = run.client.deployments.create(version, name=NAME)
    story.result(f"POST {run.client.url}/v1/completions")
    story.end()
    return deployment


def _write(run: Invocation, story: Story, deployment: Deployment) -> tuple[str, dict[str, Any]]:
    """What it writes after the opening, shown as it comes."""
    story.begin(
        "Let it write; what follows is its own, as it is",
        ["chat", NAME, OPENING, "--max-tokens", str(NUM_WRITTEN), "--temperature", str(WRITING["temperature"])],
    )
    with begin(run, lambda client: client.complete(deployment, OPENING, **WRITING)) as written:
        run.out.say()
        run.out.add(OPENING)
        show(run.out, written)
    run.out.say()
    story.end()
    return written.text, written.usage


def _tell_end(run: Invocation, *, keep: bool, seconds: float) -> None:
    out = run.out
    out.say()
    out.say(f"All of it took {duration(seconds)}. {HONEST}", style="bold green")
    if not keep:
        return
    key = run.home / "admin.key"
    out.say("It stays. A server in the background ends a minute after its last request; this one goes on until Ctrl-C:")
    out.say()
    out.say("  $ modeltap up", style="cyan")
    out.say()
    out.say("Then talk with it here, with curl, or with OpenAI's own client:")
    out.say()
    for line in next_steps("http://127.0.0.1:8000", str(key)):
        out.say(f"  {line}" if line else "", style="cyan")


def next_steps(url: str, key: str) -> list[str]:
    """Lines to copy: of the terminal, then of Python."""
    return [
        f'$ modeltap chat {NAME} "{OPENING.replace(chr(34), "")}"',
        f'$ curl {url}/v1/completions -H "Authorization: Bearer $(cat {key})" -H "Content-Type: application/json" \\',
        f'    -d \'{{"model": "{NAME}", "prompt": "The", "max_tokens": 40, "stream": true}}\'',
        "",
        "import openai",
        f'client = openai.OpenAI(base_url="{url}/v1", api_key=open("{key}").read().strip())',
        f'print(client.completions.create(model="{NAME}", prompt="The", max_tokens=40).choices[0].text)',
    ]
