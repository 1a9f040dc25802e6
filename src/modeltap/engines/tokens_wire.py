"""What the server, an engine process of a language model and a trial process of grammars say to each other: MessagePack in
frames of a length (u32) and as many bytes. Both ends are one machine and one version of this code.
"""

from __future__ import annotations

import struct

import msgspec

from modeltap.bundle.golden_prompts import Prompt
from modeltap.domain.generation import Grammar, Sampling, TokenDelta
from modeltap.domain.model import Language

LENGTH = struct.Struct("<I")
MAX_FRAME_BYTES = 256 << 20
RECEIVE_BYTES = 256 << 10


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine of tokens runs; the defaults were measured, see docs/decisions."""

    threads: int = 0
    """0 is one for each processor, two at most."""
    max_streams: int = 64
    """Texts that are generated at a time."""
    max_waiting: int = 1024
    """Texts that may wait for a place beside them; further ones are refused."""
    cache_bytes: int = 0
    """For keys and values; never less than one text of the longest kind takes. 0 is what `max_streams` such texts take, and
    a quarter of the free memory at most. Memory is taken when it is first written."""
    step_tokens: int = 256
    """Tokens of a step, those of prompts included: a long prompt is read in pieces, between which the others go on."""
    prefix_cache: bool = False
    """Keeps what was read for prompts that begin the same. It has no salt, so callers could measure each other's prompts:
    only where all belong to one tenant. `echo` is refused with it, because what was kept has no log-probabilities."""
    step_timeout_s: float = 120.0
    """A step that takes longer has a hung engine, which is ended."""


class Open(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """To the engine: load these files, then go on with these prompts as recorded."""

    engine: str
    files: dict[str, str]
    folder: str
    """Holds the same files under their own names, until Ready."""
    language: Language
    settings: EngineSettings
    prompts: tuple[Prompt, ...]
    is_exact: bool
    """Recorded on this processor and runtime."""


class Begin(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """To the engine: generate one more text. A number is used once."""

    number: int
    prompt_ids: tuple[int, ...]
    sampling: Sampling


class Drop(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """To the engine: nobody wants this text any more."""

    number: int


class Loaded(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """From the engine: the model is there; its golden prompts are next."""


class Ready(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """From the engine, or a trial process: it may be asked."""


class Failed(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """Instead of Ready: a named error."""

    code: str
    message: str


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """What a step gave one text."""

    number: int
    delta: TokenDelta


class Refusal(msgspec.Struct, frozen=True, array_like=True):
    """A text that ends in a named error; the others go on."""

    number: int
    code: str
    message: str


class Stepped(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """From the engine: one step, of all texts. Without any it says that the engine lives."""

    pieces: list[Piece]
    refusals: list[Refusal]


class OpenTrial(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """To a trial process: compile for the tokenizer in this folder."""

    folder: str
    vocabulary: int
    memory_bytes: int
    processor_s: float
    """For each grammar."""


class Try(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """To a trial process."""

    grammar: Grammar


class Verdict(msgspec.Struct, frozen=True, tag=True, array_like=True):
    """From a trial process: what is wrong with the grammar, or nothing."""

    problem: str


ToEngine = Open | Begin | Drop
FromEngine = Loaded | Ready | Failed | Stepped
ToTrial = OpenTrial | Try
FromTrial = Ready | Failed | Verdict


class WireBroken(ValueError):
    """The other end said what cannot be: it is not to be spoken to again."""


def pack(message: ToEngine | FromEngine | ToTrial | FromTrial) -> bytes:
    """The bytes of one frame."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body


class Frames:
    """Bodies out of received bytes."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def received(self, data: bytes) -> list[bytes]:
        """The body of every frame that is whole now. Raises WireBroken for a length that cannot be."""
        rest = self._rest
        rest += data
        bodies = []
        start = 0
        while len(rest) - start >= LENGTH.size:
            (size,) = LENGTH.unpack_from(rest, start)
            if size > MAX_FRAME_BYTES:
                raise WireBroken(f"a frame of {size:,} bytes")
            end = start + LENGTH.size + size
            if len(rest) < end:
                break
            bodies.append(bytes(rest[start + LENGTH.size : end]))
            start = end
        del rest[:start]
        return bodies
