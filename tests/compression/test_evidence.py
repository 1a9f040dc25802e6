"""Which pieces of which documents two models are compared on."""

from __future__ import annotations

import pytest

from modeltap.compression.evidence import MAX_TOKENS, choose_evidence
from modeltap.errors import InvalidData


def test_many_documents_are_resampled_whole():
    documents = [[n] * (5 + n) for n in range(30)]
    evidence = choose_evidence(documents, context_tokens=256)
    assert evidence.num_documents == 30 and evidence.pieces == documents
    assert evidence.by_document(evidence.num_predicted) == [4 + n for n in range(30)]


def test_a_document_longer_than_the_context_is_cut_and_stays_one_document():
    documents = [[7] * 20 for _ in range(24)] + [[9] * 100]
    evidence = choose_evidence(documents, context_tokens=33)
    assert max(map(len, evidence.pieces)) == 32
    assert evidence.num_documents == 25 and sum(evidence.num_predicted) == 24 * 19 + 100 - 4
    assert evidence.by_document([1.0] * len(evidence.pieces))[-1] == 4.0


def test_of_few_documents_each_piece_stands_for_itself():
    evidence = choose_evidence([list(range(1000))], context_tokens=4096)
    assert evidence.num_documents == len(evidence.pieces) >= 20
    assert [token for piece in evidence.pieces for token in piece] == list(range(1000))


def test_a_lot_of_text_is_thinned_evenly():
    documents = [[n] * 500 for n in range(1000)]
    evidence = choose_evidence(documents, context_tokens=4096)
    assert 0.9 * MAX_TOKENS < sum(map(len, evidence.pieces)) <= MAX_TOKENS
    firsts = [piece[0] for piece in evidence.pieces]
    assert firsts == sorted(firsts) and firsts[0] == 0 and firsts[-1] > 900


def test_documents_of_one_token_say_nothing():
    documents = [[1], [], *([3] * 10 for _ in range(25))]
    assert choose_evidence(documents, context_tokens=64).num_documents == 25


@pytest.mark.parametrize("documents", [[], [[1]], [[1, 2, 3]], [[1]] * 100])
def test_next_to_nothing_is_refused(documents):
    with pytest.raises(InvalidData, match="tokens"):
        choose_evidence(documents, context_tokens=64)
