"""Grammars are tried in a process of their own before an engine sees them; what was found is remembered."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import msgspec

from modeltap.bundle.files import lay_out
from modeltap.domain.generation import MAX_GRAMMAR_BYTES, Grammar
from modeltap.engines.schema_check import check_schema
from modeltap.engines.tokens_link import ChildLink
from modeltap.engines.tokens_wire import Failed, FromTrial, OpenTrial, Ready, Try, Verdict
from modeltap.errors import Broken, InvalidValue, ModeltapError, Unavailable

PROCESSOR_S = 1.5
"""Of one grammar. The engine compiles it once more, and everybody waits that long."""
WAIT_S = 30.0
"""By the clock, on a machine that does much else."""
MEMORY_BYTES = 1 << 30
"""More than the empty compiler has."""
REMEMBERED = 512
LAID_OUT = ("openvino_tokenizer", "openvino_detokenizer", "config.json", "generation_config.json")

_DECODER = msgspec.msgpack.Decoder(FromTrial)


class GrammarTrial:
    """One process, one grammar at a time; started with the first, and again after one that took too much."""

    def __init__(self, name: str, files: Mapping[str, Path], *, vocabulary: int) -> None:
        self._name = f"the grammars of {name}"
        self._files = {file: path for file, path in files.items() if file.startswith(LAID_OUT)}
        self._vocabulary = vocabulary
        self._link: ChildLink[FromTrial] | None = None
        self._heard: asyncio.Future[FromTrial | None] | None = None
        self._found: OrderedDict[Grammar, str] = OrderedDict()
        self._turn = asyncio.Lock()
        self._trying: asyncio.Task[ModeltapError | None] | None = None
        self._is_closed = False
        self._num_tried = 0

    @property
    def memory_bytes(self) -> int:
        return self._link.memory_bytes if self._link is not None else 0

    def known(self, grammar: Grammar) -> bool:
        """Whether it is good, so far as is known. Raises InvalidValue where it is known not to be."""
        problem = self._found.get(grammar)
        if problem is None:
            return False
        self._found.move_to_end(grammar)
        if problem:
            raise InvalidValue(problem)
        return True

    async def check(self, grammar: Grammar) -> None:
        """Nothing, if the engine can follow it. Raises InvalidValue, or Unavailable and Broken where nothing is found out."""
        if len(grammar.text.encode(errors="replace")) > MAX_GRAMMAR_BYTES:
            raise InvalidValue(f"the {told_kind(grammar)} is longer than {MAX_GRAMMAR_BYTES:,} bytes; make it smaller")
        if grammar.kind == "json-schema":
            check_schema(grammar.text)
        await self._turn.acquire()
        # Whoever asked may go away meanwhile; the answer must not be taken for that to the next question.
        self._trying = asyncio.get_running_loop().create_task(self._try(grammar))
        self._trying.add_done_callback(lambda _: self._turn.release())
        if (problem := await asyncio.shield(self._trying)) is not None:
            raise problem

    async def _try(self, grammar: Grammar) -> ModeltapError | None:
        """What is wrong with it; found out, unless somebody else did meanwhile."""
        try:
            if self.known(grammar):
                return None
            link = await self._open()
            heard = await self._ask(link, Try(grammar))
        except ModeltapError as problem:
            return problem
        self._num_tried += 1
        status = 0
        if heard is None or self._num_tried % REMEMBERED == 0:  # the compiler keeps what it made
            status = await link.close()
        if self._is_closed or status == -signal.SIGKILL:  # not by its own limits: by somebody, or because it had no turn
            return Unavailable("the grammar could not be tried; try again")
        what = ""
        if not isinstance(heard, Verdict):
            what = f"takes more than {PROCESSOR_S:g} s or {MEMORY_BYTES >> 20} MB to compile; make it smaller"
        elif heard.problem:
            what = f"cannot be followed: {heard.problem}"
        self._found[grammar] = what and f"the {told_kind(grammar)} {what}"
        while len(self._found) > REMEMBERED:
            self._found.popitem(last=False)
        return InvalidValue(self._found[grammar]) if what else None

    async def close(self) -> None:
        self._is_closed = True
        if self._link is not None:
            await self._link.close()
            self._ended("was closed")
        if self._trying is not None:
            await asyncio.gather(self._trying, return_exceptions=True)

    async def _open(self) -> ChildLink[FromTrial]:
        if self._link is not None:
            if self._link.is_open:
                return self._link
            await self._link.close()
        link: ChildLink[FromTrial] = ChildLink(self._name, _DECODER, on_heard=self._hear, on_end=self._ended)
        folder = Path(tempfile.mkdtemp(prefix="modeltap-grammar-"))
        try:
            lay_out(self._files, folder)
            await link.connect("modeltap.engines.grammar_child")
            self._link = link
            heard = await self._ask(link, OpenTrial(str(folder), self._vocabulary, MEMORY_BYTES, PROCESSOR_S))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(heard, Ready):
            return link
        await link.close()
        message = heard.message if isinstance(heard, Failed) else "the process in which they are tried does not start"
        raise Broken(f"this model cannot follow grammars: {message}")

    async def _ask(self, link: ChildLink[FromTrial], message: OpenTrial | Try) -> FromTrial | None:
        """The answer; None if the process ended over it."""
        self._heard = asyncio.get_running_loop().create_future()
        link.send(message)
        try:
            async with asyncio.timeout(WAIT_S):
                return await self._heard
        except TimeoutError:
            link.kill(f"did not answer within {WAIT_S:g} s and was ended")
            return None
        finally:
            self._heard = None

    def _hear(self, message: FromTrial) -> None:
        if self._heard is not None and not self._heard.done():
            self._heard.set_result(message)

    def _ended(self, what: str) -> None:
        if self._heard is not None and not self._heard.done():
            self._heard.set_result(None)


def told_kind(grammar: Grammar) -> str:
    return {"json-object": "JSON object", "json-schema": "JSON schema", "regex": "regular expression"}[grammar.kind]
