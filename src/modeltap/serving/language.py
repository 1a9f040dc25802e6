"""One loaded language model: how its text becomes ids, and the engines that go on with them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from modeltap.bundle.files import Bundle
from modeltap.data.tokenizer import CHAT_TEMPLATE, TOKENIZER_CONFIG, Tokenizer, open_tokenizer
from modeltap.domain.generation import TokenEngine
from modeltap.domain.usage import Unit
from modeltap.errors import ReplicaLost
from modeltap.serving.statistics import Statistics
from modeltap.serving.text_pace import Pace

TOOL_CALL = b"<tool_call>"
"""Models of the Hermes and Qwen families write calls between this and its end; a template that says so has it."""


class ObserveText(Protocol):
    """Told of every call that was answered with text. The gap is None where one token came."""

    def __call__(
        self, model: str, *, prompt_tokens: int, completion_tokens: int, first_token_s: float, token_gap_s: float | None
    ) -> None: ...


class Engines(Protocol):
    """Who goes on with texts."""

    @property
    def is_ready(self) -> bool: ...

    @property
    def num_places(self) -> int:
        """Texts that are written at a time; more wait."""

    def engines(self) -> Sequence[TokenEngine]:
        """The next text goes to the first."""


class LanguageVersion:
    """What the protocols need of a language model. `in_flight` counts the calls that hold it; it is not unloaded under them."""

    unit: Unit = "token"

    def __init__(
        self,
        model_id: str,
        digest: str,
        bundle: Bundle,
        reader: Reader,
        engines: Engines,
        *,
        observe: ObserveText | None = None,
    ) -> None:
        language = bundle.manifest.language
        assert language is not None, "its manifest says that it is a language model"
        self.model_id = model_id
        self.digest = digest
        self.manifest = bundle.manifest
        self.signature = bundle.manifest.signature
        self.language = language
        self.tokenizer = reader.tokenizer
        self.writes_tool_calls = reader.writes_tool_calls
        self.in_flight = 0
        self.num_texts = 0
        """That are being written, or wait for it."""
        self.last_used_s = 0.0
        self.statistics = Statistics()
        self.pace = Pace()
        self.observe = observe
        self._engines = engines

    @property
    def is_ready(self) -> bool:
        """Whether an engine writes now."""
        return self._engines.is_ready

    @property
    def num_places(self) -> int:
        """Texts that are written at a time; more wait."""
        return self._engines.num_places

    def engine(self) -> TokenEngine:
        """The one that the next request goes to. Raises ReplicaLost where there is none any more."""
        engines = self._engines.engines()
        if not engines:
            raise ReplicaLost(f"the engine of {self.model_id} was closed; try again")
        return engines[0]

    def count_call(
        self, *, prompt_tokens: int, num_ids: int, begun_s: float, first_s: float, last_s: float, is_answered: bool
    ) -> None:
        """A call has its texts, or failed after its first token; moments are monotonic."""
        now_s = self.last_used_s = time.monotonic()
        first_s = first_s or now_s
        self.statistics.count_request(
            rows=num_ids,
            queue_s=first_s - begun_s,
            compute_s=now_s - first_s,
            took_s=now_s - begun_s,
            is_answered=is_answered,
        )
        if is_answered and self.observe is not None:
            self.observe(
                self.model_id,
                prompt_tokens=prompt_tokens,
                completion_tokens=num_ids,
                first_token_s=first_s - begun_s,
                token_gap_s=(last_s - first_s) / (num_ids - 1) if num_ids > 1 else None,
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """While a call holds it, the version is not unloaded."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1


class Reader:
    """How a language model reads: its tokenizer, and whether its template has a way to call tools that we know."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Raises Broken, MissingExtra. Blocks."""
        self.tokenizer: Tokenizer = open_tokenizer(files)
        templates = b"".join(files[name].read_bytes() for name in (CHAT_TEMPLATE, TOKENIZER_CONFIG) if name in files)
        self.writes_tool_calls = self.tokenizer.takes_tools and TOOL_CALL in templates
