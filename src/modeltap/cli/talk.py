"""One talk with a language model: what was said, what is sent of it, and what is left out where it no longer fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modeltap.errors import ContextTooLong, InvalidInput

if TYPE_CHECKING:
    from modeltap.client import Client, Deployment, Written

MOST_TOKENS = 256
"""Of a model without a template, which goes on and on, where nobody says how much is wanted."""
UPSTREAM = "upstream"


@dataclass
class Turn:
    """What a person said and what the model made of it."""

    said: str
    answer: str


class Talk:
    """With a model that has a chat template, messages; with another, one text that goes on and on.

    Raises InvalidInput for a deployment that writes no texts, and for a system text without a template.
    """

    def __init__(
        self, deployment: Deployment, *, system: str | None, max_tokens: int | None, temperature: float | None
    ) -> None:
        language = deployment.language
        if language is None:
            raise InvalidInput(
                f"'{deployment.name}' writes no texts, its task is {deployment.task}; ask it with: modeltap predict"
                f" {deployment.name} --input FILE"
            )
        self.is_chat = bool(language.get("has_chat_template")) or language.get("family") == UPSTREAM
        if system is not None and not self.is_chat:
            raise InvalidInput(f"'{deployment.name}' has no chat template, so it knows no system text; leave out --system")
        self._name = deployment.name
        self._system = system
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._room = None if max_tokens is not None else _usual_room(language, is_chat=self.is_chat)
        self._turns: list[Turn] = []
        self.num_forgotten = 0
        """Turns that are no longer sent, since there is no room for them."""

    def ask(self, client: Client, text: str) -> Written:
        """The answer, begun; of earlier turns the oldest are left out until it fits. Raises what the client raises."""
        room = self._room
        while True:
            try:
                return self._begin(client, text, self._max_tokens if room is None else room)
            except ContextTooLong:
                if self._turns:
                    del self._turns[0]
                    self.num_forgotten += 1
                elif room is not None:
                    room = None  # nobody asked for so much: what is left is enough
                else:
                    raise

    def keep(self, text: str, answer: str) -> None:
        """What was said, for the next answer."""
        self._turns.append(Turn(text, answer))

    def begin_anew(self) -> None:
        self._turns.clear()

    def _begin(self, client: Client, text: str, max_tokens: int | None) -> Written:
        chosen: dict[str, Any] = {"max_tokens": max_tokens, "temperature": self._temperature}
        if not self.is_chat:
            return client.complete(self._name, "".join([*(f"{t.said}{t.answer}\n" for t in self._turns), text]), **chosen)
        messages = []
        for turn in self._turns:
            messages += [{"role": "user", "content": turn.said}, {"role": "assistant", "content": turn.answer}]
        messages.append({"role": "user", "content": text})
        return client.chat(self._name, messages, system=self._system, **chosen)


def _usual_room(language: dict[str, Any], *, is_chat: bool) -> int | None:
    """Tokens of an answer: at most half of what the model reads and writes together, so that a talk has room for several."""
    half = int(language.get("context_tokens") or 0) // 2
    if is_chat:
        return half or None
    return min(MOST_TOKENS, half) if half else MOST_TOKENS
