"""Texts → ids to learn: documents one after the other in a stream, answers each with what stands before it.

Letters: S tokens of a stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from modeltap.data.texts import Sample, learned_places, plain_messages
from modeltap.data.tokenizer import Tokenizer
from modeltap.errors import InvalidData, InvalidInput

Ids = NDArray[np.int32]
PIECE_CHARS = 1 << 17
_SEAM = re.compile(r"(?<=\n)(?=\S)")
"""Where a long document may be cut so that its ids stay what they are."""


@dataclass(frozen=True)
class Answered:
    """One text of which a part is learned: `is_learned` says of each id whether it is."""

    ids: Ids
    is_learned: NDArray[np.bool_]


def read_stream(tokenizer: Tokenizer, samples: Sequence[Sample], *, end: int) -> Ids:
    """(S,): the documents in their order, each followed by its end."""
    parts: list[NDArray[np.int32]] = []
    for sample in samples:
        parts += [np.array(tokenizer.encode_bare(piece), dtype=np.int32) for piece in _pieces(sample.text)]
        parts.append(np.array([end], dtype=np.int32))
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int32)


def read_answers(
    tokenizer: Tokenizer, samples: Sequence[Sample], *, end: int, context: int, part: str
) -> tuple[list[Answered], list[str]]:
    """What is learned of each pair and talk, and what was noticed. Longer ones are cut at the end.

    Raises InvalidData, naming the row, for a talk that the model's template does not take.
    """
    found: list[Answered] = []
    num_cut = num_lost = 0
    for number, sample in enumerate(samples, start=1):
        try:
            answered = _talk(tokenizer, sample, end) if sample.messages else [_pair(tokenizer, sample, end)]
        except InvalidInput as problem:
            raise InvalidData(f"row {number} of {part}: {problem.message}") from None
        for one in answered:
            cut = Answered(one.ids[:context], one.is_learned[:context])
            num_cut += len(one.ids) > context
            if cut.is_learned[1:].any():
                found.append(cut)
            else:
                num_lost += 1
    notices = []
    if num_cut:
        notices.append(f"{num_cut:,} texts of {part} are longer than {context:,} tokens and were cut")
    if num_lost:
        notices.append(f"{num_lost:,} texts of {part} hold no answer within {context:,} tokens and were left out")
    return found, notices


def _pair(tokenizer: Tokenizer, sample: Sample, end: int) -> Answered:
    """Prompt and completion, which is learned with the end of the text."""
    prompt = tokenizer.encode(sample.prompt)
    answer = [*tokenizer.encode_bare(sample.text), end]
    return _answered([*prompt, *answer], [(len(prompt), len(prompt) + len(answer))])


def _talk(tokenizer: Tokenizer, sample: Sample, end: int) -> list[Answered]:
    """The talk with all its answers; where a template writes earlier answers otherwise later on, one text an answer."""
    messages, tools = plain_messages(sample.messages), sample.tools or None
    texts: list[tuple[list[int], tuple[int, int]]] = []
    for place in learned_places(sample.messages):
        asked = tokenizer.chat(messages[:place], tools=tools)
        ids = tokenizer.chat(messages[: place + 1], tools=tools, is_answered=True)
        if ids[: len(asked)] != asked:
            raise InvalidInput("the chat template does not begin an answer as it asks for one")
        last = max((at for at in range(len(asked), len(ids)) if ids[at] in tokenizer.end_ids), default=None)
        if last is None:
            ids, last = [*ids, end], len(ids)
        texts.append((ids, (len(asked), last + 1)))
    longest, _ = texts[-1]
    if all(ids[:stop] == longest[:stop] for ids, (_, stop) in texts):
        return [_answered(longest[: texts[-1][1][1]], [span for _, span in texts])]
    return [_answered(ids[: span[1]], [span]) for ids, span in texts]


def _answered(ids: list[int], spans: list[tuple[int, int]]) -> Answered:
    is_learned = np.zeros(len(ids), dtype=np.bool_)
    for start, stop in spans:
        is_learned[start:stop] = True
    return Answered(np.array(ids, dtype=np.int32), is_learned)


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > PIECE_CHARS:
        seam = _SEAM.search(text, start + PIECE_CHARS)
        if seam is None:
            break
        yield text[start : seam.start()]
        start = seam.start()
    yield text[start:]
