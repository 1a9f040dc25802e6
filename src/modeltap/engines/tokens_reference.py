"""transformers as an engine of tokens, greedy and in float32: what the engines that serve are compared with. It serves nobody:
it reads every text anew for every token.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modeltap.domain.generation import GenerationRequest, Sampling
from modeltap.domain.model import Language
from modeltap.engines.tokens import Chosen, Ended, check_bounds, tokens_left
from modeltap.errors import Broken, InvalidInput


def check(request: GenerationRequest, language: Language) -> None:
    """Raises InvalidInput, naming what this engine cannot honour."""
    check_bounds(request, language)
    sampling = request.sampling
    wanted = {
        "temperature": sampling.temperature != 0.0,
        "presence_penalty": sampling.presence_penalty != 0.0,
        "frequency_penalty": sampling.frequency_penalty != 0.0,
        "grammar": sampling.grammar is not None,
    }
    if named := [name for name, is_wanted in wanted.items() if is_wanted]:
        raise InvalidInput(f"the reference engine takes the most likely token; it cannot honour {', '.join(named)}")


class _Text:
    def __init__(self, prompt_ids: Sequence[int], sampling: Sampling, ends: frozenset[int], num_left: int) -> None:
        self.ids = list(prompt_ids)
        self.num_prompt = len(prompt_ids)
        self.sampling = sampling
        self.ends = ends
        self.num_left = num_left
        self.is_echoed = False


class ReferenceTokens:
    """A Hugging Face directory of float32 weights, loaded. Raises Broken."""

    def __init__(self, folder: Path, *, language: Language, end_ids: frozenset[int]) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(1)
        self._language = language
        self._end_ids = end_ids
        self._texts: dict[int, _Text] = {}
        try:
            self._model: Any = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
            )
        except (OSError, ValueError) as problem:
            raise Broken(f"transformers cannot load the model: {str(problem).splitlines()[0][:300]}") from None

    @property
    def is_busy(self) -> bool:
        return bool(self._texts)

    def add(self, number: int, prompt_ids: Sequence[int], sampling: Sampling) -> None:
        ends = frozenset(sampling.stop_ids) | (frozenset() if sampling.ignore_end else self._end_ids)
        self._texts[number] = _Text(prompt_ids, sampling, ends, tokens_left(prompt_ids, sampling, self._language))

    def drop(self, number: int) -> None:
        self._texts.pop(number, None)

    def step(self) -> list[Chosen]:
        chosen = [self._next(number, text) for number, text in self._texts.items()]
        for one in chosen:
            if one.finish is not None:
                del self._texts[one.number]
        return chosen

    def _next(self, number: int, text: _Text) -> Chosen:
        import torch

        with torch.inference_mode():
            logits = self._model(torch.tensor([text.ids])).logits[0].double()
        logprobs = torch.log_softmax(logits, dim=-1)
        before: Sequence[float | None] = ()
        if text.sampling.echo and not text.is_echoed:
            text.is_echoed = True
            before = (None, *(float(logprobs[place - 1, text.ids[place]]) for place in range(1, text.num_prompt)))
        if text.num_left == 0:
            return Chosen(number, (), (), before, "length")
        token = int(logits[-1].argmax())
        text.ids.append(token)
        text.num_left -= 1
        finish: Ended | None = "stop" if token in text.ends else None if text.num_left else "length"
        return Chosen(number, (token,), (float(logprobs[-1, token]),), before, finish)
