"""modeltap chat: talk with a deployed language model; the answer is shown while it is written."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from modeltap.cli.failures import report_failure
from modeltap.cli.invocation import Invocation, command
from modeltap.cli.output import Output
from modeltap.errors import InvalidInput, Loading, ModeltapError

if TYPE_CHECKING:
    from modeltap.cli.talk import Talk
    from modeltap.client import Client, Written

PROMPT = "> "
NEW = "/new"
LOAD_LIMIT_S = 300.0
"""A model that nobody called for a while is loaded again, a large one slowly."""


def register(parent: typer.Typer) -> None:
    command(parent, "chat", example='modeltap chat tales "Who are you?"')(chat)


def chat(
    run: Invocation,
    deployment: Annotated[str, typer.Argument(help="The public name.")],
    text: Annotated[str | None, typer.Argument(help="One question; without it a talk, or what is piped in.")] = None,
    system: Annotated[str | None, typer.Option(help="What the model is told before all.")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Of an answer; half of the model's context where none is given.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=2, help="0 is always the likeliest word; the model's own where none is given.")
    ] = None,
) -> None:
    """Talk with a deployed language model. Ctrl-C stops an answer, Ctrl-D ends the talk."""
    from modeltap.cli.talk import Talk

    is_talk = text is None and sys.stdin.isatty()
    if is_talk and run.out.as_json:
        raise typer.BadParameter("with --json give the text, or pipe it in", param_hint="TEXT")
    asked = text if text is not None else "" if is_talk else sys.stdin.read()
    if not is_talk and not asked.strip():
        raise InvalidInput("there is no text to answer; give it after the name, or pipe it in")
    facts = run.client.deployments.get(deployment)
    talk = Talk(facts, system=system, max_tokens=max_tokens, temperature=temperature)
    if not talk.is_chat:
        run.out.note(f"{deployment} has no chat template: it goes on with your text instead of answering it")
    if is_talk:
        Conversation(run, talk).hold(deployment)
        return
    with begin(run, lambda client: talk.ask(client, asked)) as written:
        show(run.out, written)
    document = {
        "deployment": deployment,
        "model": written.model,
        "answer": written.text,
        "finish_reason": written.finish_reason,
        "usage": written.usage,
    }
    run.out.answer(document, lambda: say_how_it_ended(run.out, written))


class Conversation:
    """Asks a person for a line, shows the answer, and so on, until there is no more line."""

    def __init__(self, run: Invocation, talk: Talk) -> None:
        self._run = run
        self._talk = talk
        self._out = run.out

    def hold(self, name: str) -> None:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  lines can be edited and taken back
        self._out.note(f"talking with {name}: Ctrl-C stops an answer, {NEW} begins anew, Ctrl-D ends")
        was_interrupted = False
        while True:
            try:
                line = input(PROMPT)
            except EOFError:
                self._out.say()
                return
            except KeyboardInterrupt:
                self._out.say()
                if was_interrupted:
                    return
                was_interrupted = True
                self._out.note("Ctrl-C again, or Ctrl-D, ends the talk")
                continue
            was_interrupted = False
            if line.strip() == NEW:
                self._talk.begin_anew()
                self._out.note("all of it is forgotten")
            elif line.strip():
                self._answer(line)

    def _answer(self, line: str) -> None:
        """Says it, and keeps it. What fails is told, and the talk goes on without it."""
        forgotten = self._talk.num_forgotten
        written: Written | None = None
        try:
            with begin(self._run, lambda client: self._talk.ask(client, line)) as written:
                if self._talk.num_forgotten > forgotten:
                    self._out.note("the beginning of the talk has no room any more and is left out")
                show(self._out, written)
            say_how_it_ended(self._out, written)
        except KeyboardInterrupt:
            self._out.say()
            self._out.note("(stopped)")
        except ModeltapError as problem:
            report_failure(problem, as_json=False)
        if written is not None and written.text:
            self._talk.keep(line, written.text)


def begin(run: Invocation, ask: Callable[[Client], Written]) -> Written:
    """What is asked for, begun. A model that has to be loaded first is waited for. Raises what the client raises."""
    give_up_at_s = time.monotonic() + LOAD_LIMIT_S
    is_told = False
    while True:
        try:
            return ask(run.awake_client())
        except Loading as problem:
            if time.monotonic() > give_up_at_s:
                raise
            if not is_told:
                run.out.note("the model is being loaded …")
                is_told = True
            time.sleep(max(0.1, problem.retry_after_s))


def show(out: Output, written: Written) -> None:
    """Every piece as it comes, on stdout; nothing of it with --json."""
    for piece in written:
        out.add(piece)
    if not written.text.endswith("\n"):
        out.say()


def say_how_it_ended(out: Output, written: Written) -> None:
    if written.finish_reason == "length":
        used = written.usage.get("completion_tokens")
        out.note(f"(cut after {used} tokens; --max-tokens gives it more, as far as the model's context goes)")
