"""A language model in a process of its own: `python -P -m modeltap.engines.tokens_child FD PARENT`, started by
`engines/tokens_process.py`.

It loads a model, goes on with its golden prompts as recorded, and then makes step after step for all texts it is given, with
one message a step. It ends when the other end of its socket is closed, or when a step fails: what the engine holds after that
is not to be trusted, and another process is started in its place.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from modeltap.bundle.golden_prompts import replay_prompts
from modeltap.data.tokenizer import open_tokenizer
from modeltap.domain.generation import Sampling, TokenDelta
from modeltap.engines.child_process import begin_child
from modeltap.engines.returning import Patience
from modeltap.engines.text_stream import Pieces, TokenText
from modeltap.engines.tokens import Chosen, TokenCore
from modeltap.engines.tokens_wire import (
    RECEIVE_BYTES,
    Begin,
    Drop,
    Failed,
    Frames,
    Loaded,
    Open,
    Piece,
    Ready,
    Refusal,
    Stepped,
    ToEngine,
    pack,
)
from modeltap.errors import Broken, ModeltapError

STEP_FAILED = 70
"""Exit status after a step that failed."""
BREATH_S = 1.0
"""While steps give nobody anything, as those that read a long prompt, so often the parent is told that they are made."""

_log = logging.getLogger("modeltap.engines.tokens_child")


class Session:
    """The texts that are being generated: ids from the core, characters and stop texts from here. No more than `max_streams`
    have a place at a time, which OpenVINO GenAI does not see to where it reads prompts in pieces."""

    def __init__(self, core: TokenCore, pieces: Pieces, *, max_streams: int, step_tokens: int) -> None:
        self._core = core
        self._pieces = pieces
        self._max_streams = max_streams
        self._step_tokens = step_tokens
        self._waiting: dict[int, Begin] = {}
        self._texts: dict[int, tuple[TokenText, bool]] = {}
        """With each text whether log-probabilities were asked for."""
        self._unread: dict[int, int] = {}
        """How long the prompts are of those that have no token yet."""

    @property
    def is_busy(self) -> bool:
        return self._core.is_busy or bool(self._waiting)

    @property
    def has_room(self) -> bool:
        """Whether the next step would read one more prompt, or begin with it."""
        num_texts = len(self._texts) + len(self._waiting)
        return num_texts < self._max_streams and num_texts + sum(self._unread.values()) < self._step_tokens

    def begin(self, asked: Begin) -> None:
        """As soon as there is a place."""
        self._waiting[asked.number] = asked
        self._unread[asked.number] = len(asked.prompt_ids)

    def drop(self, number: int) -> None:
        self._unread.pop(number, None)
        if self._waiting.pop(number, None) is None and self._texts.pop(number, None) is not None:
            self._core.drop(number)

    def step(self) -> Stepped:
        """One token more for all that have a place."""
        pieces: list[Piece] = []
        refusals = self._fill()
        for chosen in self._core.step() if self._core.is_busy else ():
            self._unread.pop(chosen.number, None)
            if chosen.problem is not None:
                del self._texts[chosen.number]
                refusals.append(Refusal(chosen.number, chosen.problem.code, chosen.problem.message))
            elif (delta := self._delta(chosen)) is not None:
                pieces.append(Piece(chosen.number, delta))
        return Stepped(pieces, refusals)

    def _fill(self) -> list[Refusal]:
        """Gives the places that are free to those who wait; says whom the core does not take."""
        refusals = []
        while self._waiting and len(self._texts) < self._max_streams:
            number = next(iter(self._waiting))
            asked = self._waiting.pop(number)
            try:
                self._core.add(number, asked.prompt_ids, asked.sampling)
            except ModeltapError as problem:
                del self._unread[number]
                refusals.append(Refusal(number, problem.code, problem.message))
            else:
                self._texts[number] = TokenText(self._pieces, asked.sampling.stop), asked.sampling.logprobs
        return refusals

    def _delta(self, chosen: Chosen) -> TokenDelta | None:
        text, has_logprobs = self._texts[chosen.number]
        before, finish, shown = text.num_ids, chosen.finish, ""
        for place, token in enumerate(chosen.ids, start=1):
            if finish == "stop" and place == len(chosen.ids):
                text.num_ids += 1
                break
            shown += text.push(token)
            if text.is_stopped:
                break
        if finish is not None and not text.is_stopped:
            shown += text.end()
        if text.is_stopped:
            finish = "stop"
        if finish is not None:
            self.drop(chosen.number)
        num_ids = text.num_ids - before
        if not (num_ids or chosen.prompt_logprobs or finish):
            return None
        return TokenDelta(
            ids=tuple(chosen.ids[:num_ids]),
            text=shown,
            logprobs=tuple(chosen.logprobs[:num_ids]) if has_logprobs else (),
            prompt_logprobs=tuple(chosen.prompt_logprobs),
            finish=finish,
        )

    def go_on(self, prompt_ids: Sequence[int], num_ids: int) -> list[int]:
        """The most likely ids after a prompt, while nothing else runs; the one that ends the text too."""
        ids: list[int] = []
        self.begin(Begin(0, tuple(prompt_ids), Sampling(max_tokens=num_ids, temperature=0.0)))
        while self.is_busy:
            for piece in self.step().pieces:
                ids += piece.delta.ids
        return ids


def open_session(asked: Open) -> Session:
    """Raises Broken, MissingExtra."""
    tokenizer = open_tokenizer({name: Path(path) for name, path in asked.files.items()})
    core: TokenCore
    if asked.engine == "reference":
        from modeltap.engines.tokens_reference import ReferenceTokens

        core = ReferenceTokens(Path(asked.folder), language=asked.language, end_ids=tokenizer.end_ids)
    else:
        from modeltap.engines.tokens_openvino import OpenVinoTokens

        core = OpenVinoTokens(Path(asked.folder), language=asked.language, settings=asked.settings, end_ids=tokenizer.end_ids)
    settings = asked.settings
    step_tokens = max(settings.step_tokens, settings.max_streams)
    return Session(core, Pieces(tokenizer), max_streams=settings.max_streams, step_tokens=step_tokens)


def main() -> None:
    """Until the parent closes the socket, or is gone, or a step fails."""
    status = 0
    with begin_child("engine process") as link:
        try:
            _serve(link)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except Exception:  # noqa: BLE001  the edge of this process, which ends
            _log.exception("a step failed")
            status = STEP_FAILED
    # Without unloading the model, which takes time and, after a failure, may not end.
    logging.shutdown()
    os._exit(status)


def _serve(link: socket.socket) -> None:
    asked = Asked(link)
    first = asked.wait()
    if not first:
        return
    assert isinstance(first[0], Open), "the first frame names the model"
    opened = first[0]
    try:
        session = open_session(opened)
        link.sendall(pack(Loaded()))
        if opened.prompts:
            tokenizer = open_tokenizer({name: Path(path) for name, path in opened.files.items()})
            replay_prompts(opened.prompts, tokenizer.encode, session.go_on, exact=opened.is_exact)
    except ModeltapError as problem:
        link.sendall(pack(Failed(problem.code, problem.message)))
        return
    del first
    link.sendall(pack(Ready()))
    _go_on(link, asked, session)


def _go_on(link: socket.socket, asked: Asked, session: Session) -> None:
    """Step after step, until the parent says no more."""
    patience = Patience()
    said_s = time.monotonic()
    while True:
        heard = asked.within(0.0) if session.is_busy else asked.wait()
        while heard is not None:
            for message in heard:
                _obey(session, message)
            begun_s = time.monotonic()
            patience.returned(begun_s, sum(isinstance(message, Begin) for message in heard))
            left_s = patience.left_s(begun_s) if session.has_room else 0.0
            if left_s == 0.0:
                break
            heard = asked.within(left_s)
            patience.waited(time.monotonic() - begun_s, in_vain=heard == [])
        if heard is None:
            return
        begun_s = time.monotonic()
        stepped = session.step() if session.is_busy else Stepped([], [])
        now_s = time.monotonic()
        if stepped.pieces or stepped.refusals or now_s - said_s >= BREATH_S:
            link.sendall(pack(stepped))
            said_s = now_s
        num_ended = sum(piece.delta.finish is not None for piece in stepped.pieces)
        patience.stepped(time.monotonic(), took_s=now_s - begun_s, num_ended=num_ended)


def _obey(session: Session, message: ToEngine) -> None:
    match message:
        case Begin():
            session.begin(message)
        case Drop(number):
            session.drop(number)
        case Open():
            raise Broken("a model is open already")


class Asked:
    """What the parent says: `wait` for it, or take what comes `within` some seconds. None once it says no more."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._frames = Frames()
        self._decoder = msgspec.msgpack.Decoder(ToEngine)

    def wait(self) -> list[ToEngine] | None:
        while (heard := self._received()) == []:
            pass
        return heard

    def within(self, seconds: float) -> list[ToEngine] | None:
        """All that is there as soon as something is; nothing where nothing comes in time."""
        heard: list[ToEngine] = []
        while select.select([self._link], [], [], 0.0 if heard else seconds)[0]:
            more = self._received()
            if more is None:
                return None
            heard += more
        return heard

    def _received(self) -> list[ToEngine] | None:
        data = self._link.recv(RECEIVE_BYTES)
        if not data:
            return None
        return [self._decoder.decode(body) for body in self._frames.received(data)]


if __name__ == "__main__":
    main()
