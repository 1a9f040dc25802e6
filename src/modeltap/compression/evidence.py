"""The documents that parent and child are compared on: texts → pieces of ids that fit into the context, and not too many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from modeltap.data.texts import Sample, plain_messages
from modeltap.data.tokenizer import Tokenizer
from modeltap.errors import InvalidData

MAX_TOKENS = 32_768
"""Of all pieces: some minutes for a model of a billion parameters."""
LONGEST_PIECE = 512
SHORTEST_PIECE = 8
FEW_DOCUMENTS = 20
"""With fewer, each piece is resampled as a document of its own, and pieces are made shorter, so that there are as many."""
MIN_TOKENS = 32


Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Evidence:
    """Pieces of two ids or more, and the document that each belongs to, numbered without a gap."""

    pieces: list[list[int]]
    document_of: list[int]

    @property
    def num_documents(self) -> int:
        return self.document_of[-1] + 1

    @property
    def num_predicted(self) -> list[int]:
        """How many tokens of each piece are predicted: all but the first."""
        return [len(piece) - 1 for piece in self.pieces]

    def by_document(self, values: Sequence[Number]) -> list[Number]:
        """Sums of the pieces' values."""
        sums: list[Number] = [values[0] * 0] * self.num_documents
        for document, value in zip(self.document_of, values, strict=True):
            sums[document] += value
        return sums


def read_ids(samples: Sequence[Sample], tokenizer: Tokenizer) -> list[list[int]]:
    """Each text as the model reads it: talks by its chat template, or where it has none their contents alone."""
    documents = []
    for sample in samples:
        if sample.messages and tokenizer.has_chat_template:
            tools = list(sample.tools) if tokenizer.takes_tools else None
            documents.append(tokenizer.chat(plain_messages(sample.messages), tools=tools, is_answered=True))
        elif sample.messages:
            documents.append(tokenizer.encode("\n".join(one["content"] for one in plain_messages(sample.messages))))
        else:
            documents.append(tokenizer.encode(sample.prompt + sample.text))
    return documents


def choose_evidence(documents: Sequence[Sequence[int]], *, context_tokens: int) -> Evidence:
    """Pieces spread evenly over the documents. Raises InvalidData where there is next to nothing to read."""
    told = [list(ids) for ids in documents if len(ids) > 1]
    total = sum(map(len, told))
    if total < MIN_TOKENS:
        raise InvalidData(
            f"the texts to compare on have {total} tokens; give {MIN_TOKENS} at the least, better some thousands:"
            " --data DATASET or --texts FILE"
        )
    longest = min(LONGEST_PIECE, context_tokens - 1)
    is_few = len(told) < FEW_DOCUMENTS
    if is_few:
        longest = max(min(longest, total // FEW_DOCUMENTS), min(SHORTEST_PIECE, longest))
    cut = [
        (number, ids[start : start + longest])
        for number, ids in enumerate(told)
        for start in range(0, len(ids), longest)
        if len(ids) - start > 1
    ]
    num_pieces = max(1, min(len(cut), MAX_TOKENS // longest))
    chosen = [cut[place * len(cut) // num_pieces] for place in range(num_pieces)]
    numbers = range(len(chosen)) if is_few else [number for number, _ in chosen]
    places = {number: place for place, number in enumerate(dict.fromkeys(numbers))}
    return Evidence([piece for _, piece in chosen], [places[number] for number in numbers])
