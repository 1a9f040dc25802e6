"""The server's side of a language model: texts are generated in an engine process, which is started again when it ends.

Of the texts that were being generated then, those of which nothing was sent yet are begun once more and nobody notices; the
others end in ReplicaLost, because another process might go on with other words.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from modeltap.bundle.files import lay_out
from modeltap.bundle.golden import Golden
from modeltap.domain.generation import Deliver, GenerationRequest, Grammar, TokenDelta
from modeltap.domain.model import Language
from modeltap.domain.replica import ENDED, SETTLED_S, ReplicaEvent, ReplicaState, Restart, next_state, plan_restart
from modeltap.engines import tokens_openvino, tokens_reference
from modeltap.engines.child_process import told_status
from modeltap.engines.grammar import GrammarTrial
from modeltap.engines.process import START_S
from modeltap.engines.token_streams import Delivery, Stream, Streams
from modeltap.engines.tokens_link import ChildLink
from modeltap.engines.tokens_wire import Begin, Drop, EngineSettings, Failed, FromEngine, Loaded, Open, Ready, Refusal, Stepped
from modeltap.errors import (
    Broken,
    GoldenMismatch,
    InvalidInput,
    MissingExtra,
    ModeltapError,
    Overloaded,
    ReplicaLost,
    Unavailable,
)

MAX_GRAMMARS = 2048
"""Compiled by one process, which keeps them all: after so many another one takes its place, once nothing runs."""
ATTEMPTS = 3
"""So often a text is begun: one that ends its engine each time must not end it for ever."""
PATIENCE_S = 10.0
"""So long texts wait for an engine that could not be started again."""

EngineKind = Literal["openvino-genai", "reference"]

_ERRORS: dict[str, type[ModeltapError]] = {e.code: e for e in (InvalidInput, GoldenMismatch, Overloaded, Broken)}
_DECODER = msgspec.msgpack.Decoder(FromEngine)
_log = logging.getLogger(__name__)


class TokenProcess:
    """A TokenEngine. `start` makes one; `on_end` is called each time its process ends without being asked to."""

    def __init__(
        self,
        name: str,
        files: Mapping[str, Path],
        language: Language,
        golden: Golden,
        *,
        settings: EngineSettings,
        engine: EngineKind,
        start_timeout_s: float,
        on_end: Callable[[TokenProcess], None],
    ) -> None:
        self.name = name
        self.language = language
        self.settings = settings
        self.state: ReplicaState = "starting"
        """Of the process that runs now; a new one begins again with starting."""
        self.num_restarts = 0
        self._files = dict(files)
        self._golden = golden
        self._engine = engine
        self._start_timeout_s = start_timeout_s
        self._on_end = on_end
        self._streams = Streams()
        self._delivery = Delivery(self._streams, self._deliver)
        self._grammars = GrammarTrial(name, files, vocabulary=language.vocabulary)
        self._link: ChildLink[FromEngine] | None = None
        self._begun: asyncio.Future[ModeltapError | None] | None = None
        self._restart = Restart()
        self._restarting: asyncio.Task[None] | None = None
        self._is_down = False
        """It could not be started again, and is tried later."""
        self._ready_s: float | None = None
        self._has_finished = False
        self._heard_s = 0.0
        self._compiled: set[Grammar] = set()
        """By the process that runs now."""
        self._watch: asyncio.TimerHandle | None = None
        self._is_closed = False

    @classmethod
    async def start(
        cls,
        name: str,
        files: Mapping[str, Path],
        language: Language,
        golden: Golden,
        *,
        settings: EngineSettings | None = None,
        engine: EngineKind = "openvino-genai",
        start_timeout_s: float = START_S,
        on_end: Callable[[TokenProcess], None] = lambda _: None,
    ) -> TokenProcess:
        """An engine that repeated its golden prompts. Raises GoldenMismatch or Broken; then there is no process."""
        made = cls(
            name,
            files,
            language,
            golden,
            settings=settings or EngineSettings(),
            engine=engine,
            start_timeout_s=start_timeout_s,
            on_end=on_end,
        )
        await made._open()
        return made

    @property
    def pid(self) -> int:
        """Of the process that runs now, or of the last one."""
        assert self._link is not None
        return self._link.pid

    @property
    def memory_bytes(self) -> int:
        """What the engine process and the one that tries grammars hold now."""
        return (self._link.memory_bytes if self._link is not None else 0) + self._grammars.memory_bytes

    @property
    def num_streams(self) -> int:
        """Texts that are generated or wait."""
        return len(self._streams)

    def submit(self, request: GenerationRequest, deliver: Deliver) -> None:
        """Begins with the text. Raises InvalidInput, ContextTooLong, Conflict for an id that is being generated, Overloaded."""
        if self._is_closed:
            raise self._unloaded()
        self._check(request)
        if len(self._streams) >= self.settings.max_streams + self.settings.max_waiting:
            raise Overloaded(
                f"{self.settings.max_streams} texts are generated and {self.settings.max_waiting} wait; try again later"
            )
        if self._is_down:
            raise self._down()
        grammar = request.sampling.grammar
        is_known = grammar is None or self._grammars.known(grammar)
        stream = self._streams.add(request, deliver)
        if is_known:
            self._begin(stream)
        else:
            stream.trial = asyncio.get_running_loop().create_task(self._try_grammar(stream))

    def cancel(self, request_id: str) -> None:
        """Its place is free within a step."""
        stream = self._streams.named(request_id)
        if stream is None or not self._streams.take(stream):
            return
        if stream.is_begun and self._link is not None:
            self._link.send(Drop(stream.number))

    def kill(self) -> None:
        """Ends the process at once, as if it had died: it is started again."""
        if self._link is not None:
            self._link.kill("was ended")

    async def close(self) -> None:
        """What still runs ends in Unavailable; comes back when no process is left."""
        self._is_closed = True
        if self._watch is not None:
            self._watch.cancel()
        if self._restarting is not None:
            self._restarting.cancel()
            await asyncio.gather(self._restarting, return_exceptions=True)
        self._streams.end_all(self._unloaded)
        if self.state == "ready":
            self._advance("drain")
        if self._link is not None:
            await self._link.close()
        if self.state == "draining":
            self._advance("stop")
        await self._grammars.close()

    def _check(self, request: GenerationRequest) -> None:
        if self._engine == "reference":
            tokens_reference.check(request, self.language)
        else:
            tokens_openvino.check(request, self.language, self.settings)

    # The process.

    async def _open(self) -> None:
        """Starts one, and waits until it is ready. Raises GoldenMismatch, MissingExtra or Broken; then there is none."""
        self.state = "starting"
        self._begun = asyncio.get_running_loop().create_future()
        link = self._link = ChildLink(f"the engine of {self.name}", _DECODER, on_heard=self._hear, on_end=self._ended)
        folder = Path(tempfile.mkdtemp(prefix="modeltap-engine-"))
        problem: ModeltapError | None = None
        is_ready, status = False, 0
        try:
            lay_out(self._files, folder)
            await link.connect("modeltap.engines.tokens_child")
            link.send(self._opening(folder))
            async with asyncio.timeout(self._start_timeout_s):
                problem = await self._begun
            is_ready = problem is None
        except TimeoutError:
            raise Broken(f"the engine process of {self.name} was not ready within {self._start_timeout_s:g} s") from None
        finally:
            self._begun = None
            shutil.rmtree(folder, ignore_errors=True)
            if not is_ready:
                self._fail()
                status = await link.close()
        if isinstance(problem, ReplicaLost):
            raise Broken(
                f"the engine process of {self.name} ended while it was started ({told_status(status)}); the server's log has"
                " the reason"
            )
        if problem is not None:
            raise problem

    def _opening(self, folder: Path) -> Open:
        is_exact = self._engine == "openvino-genai" and self._golden.environment == _environment_here()
        return Open(
            engine=self._engine,
            files={name: str(path) for name, path in self._files.items()},
            folder=str(folder),
            language=self.language,
            settings=self.settings,
            prompts=self._golden.prompts,
            is_exact=is_exact,
        )

    def _hear(self, message: FromEngine) -> None:
        self._heard_s = time.monotonic()
        match message:
            case Stepped(pieces, refusals):
                self._delivery.put(pieces)
                for refusal in refusals:
                    self._refuse(refusal)
            case Loaded():
                self._advance("load")
            case Ready():
                self._advance("warm")
                self._is_ready()
            case Failed(code, text):
                self._tell(_ERRORS.get(code, Broken)(text))

    def _is_ready(self) -> None:
        self._ready_s = time.monotonic()
        self._has_finished = self._is_down = False
        self._compiled.clear()
        self._tell(None)
        for stream in self._streams:
            if stream.trial is None:
                self._begin(stream)

    def _tell(self, problem: ModeltapError | None) -> None:
        """Whoever starts it hears how that went, once."""
        if self._begun is not None and not self._begun.done():
            self._begun.set_result(problem)

    def _ended(self, what: str) -> None:
        """The process died, or had to be ended."""
        self._delivery.flush()
        was_ready = self.state == "ready"
        self._fail()
        self._tell(self._lost(what))
        if not was_ready or self._is_closed:
            return
        for stream in self._streams:
            if stream.has_sent or (stream.is_begun and stream.attempts >= ATTEMPTS):
                self._streams.take(stream)
                stream.tell(self._lost(what))
            else:
                stream.is_begun = False
        self._restarting = asyncio.get_running_loop().create_task(self._start_again())
        self._on_end(self)

    async def _start_again(self) -> None:
        """Another process, however often that must be tried."""
        assert self._link is not None and self._ready_s is not None
        # One that brought a text to its end had a good start, however soon it ended.
        lived_s = SETTLED_S if self._has_finished else time.monotonic() - self._ready_s
        giving_up = asyncio.get_running_loop().call_later(PATIENCE_S, self._give_up, "is being started again")
        try:
            await self._link.close()
            while True:
                self._restart = plan_restart(self._restart, lived_s)
                self.num_restarts += 1
                _log.warning("the engine of %s is started again in %g s", self.name, self._restart.pause_s)
                await asyncio.sleep(self._restart.pause_s)
                try:
                    await self._open()
                except ModeltapError as problem:
                    lived_s = 0.0
                    _log.error("the engine of %s could not be started again: %s", self.name, problem.message)
                    self._give_up("could not be started again")
                else:
                    return
        finally:
            giving_up.cancel()

    def _give_up(self, what: str) -> None:
        """Nobody waits for an engine that does not come."""
        if self.state != "ready":
            self._is_down = True
            self._streams.end_all(lambda: self._down(what))

    def _unloaded(self) -> Unavailable:
        return Unavailable(f"{self.name} is being unloaded; try again")

    def _lost(self, what: str) -> ReplicaLost:
        return ReplicaLost(f"the engine process of {self.name} {what}; try again")

    def _down(self, what: str = "could not be started again") -> ReplicaLost:
        return ReplicaLost(f"the engine of {self.name} {what}; try again later", retry_after_s=PATIENCE_S)

    # The texts.

    async def _try_grammar(self, stream: Stream) -> None:
        grammar = stream.request.sampling.grammar
        assert grammar is not None
        try:
            await self._grammars.check(grammar)
        except ModeltapError as problem:
            if self._streams.take(stream):
                stream.tell(problem)
            return
        stream.trial = None
        if self._streams.numbered(stream.number) is stream:
            self._begin(stream)

    def _begin(self, stream: Stream) -> None:
        """Now, or when there is a process that is ready."""
        if self.state != "ready" or stream.is_begun:
            return
        assert self._link is not None
        stream.is_begun = True
        stream.attempts += 1
        if stream.request.sampling.grammar is not None:
            self._compiled.add(stream.request.sampling.grammar)
        self._link.send(Begin(stream.number, stream.request.prompt_ids, stream.request.sampling))
        if self._watch is None:
            self._heard_s = time.monotonic()
            self._watch = asyncio.get_running_loop().call_later(self.settings.step_timeout_s, self._look)

    def _deliver(self, stream: Stream, delta: TokenDelta) -> None:
        stream.has_sent = True
        if delta.finish is not None:
            self._has_finished = True
            self._streams.take(stream)
        stream.tell(delta)
        if len(self._compiled) > MAX_GRAMMARS and not self._streams and self._link is not None:
            self._link.kill(f"had compiled {MAX_GRAMMARS:,} grammars and is replaced")

    def _refuse(self, refusal: Refusal) -> None:
        stream = self._streams.numbered(refusal.number)
        if stream is not None:
            self._streams.take(stream)
            stream.tell(_ERRORS.get(refusal.code, Broken)(refusal.message))

    def _look(self) -> None:
        """Whether a step takes too long. One timer serves all texts."""
        self._watch = None
        if self.state != "ready" or not any(stream.is_begun for stream in self._streams):
            return
        left_s = self._heard_s + self.settings.step_timeout_s - time.monotonic()
        if left_s > 0:
            self._watch = asyncio.get_running_loop().call_later(left_s, self._look)
        elif self._link is not None:
            self._link.kill(f"did not make a step within {self.settings.step_timeout_s:g} s and was ended")

    def _fail(self) -> None:
        if self.state not in ENDED:
            self._advance("fail")

    def _advance(self, event: ReplicaEvent) -> None:
        self.state = next_state(self.state, event)


def _environment_here() -> dict[str, str]:
    try:
        return tokens_openvino.tokens_environment()
    except ModuleNotFoundError as problem:
        raise MissingExtra(what="openvino-genai", extra="llm") from problem
