"""What engines are asked to judge a model: losses as torch computes them, golden prompts that are replayed, speeds above 0."""

from __future__ import annotations

import asyncio

import pytest

from modeltap.bundle.golden_prompts import MAX_ANSWER_IDS
from modeltap.compression.asking import document_nats
from modeltap.compression.comparing import TURNS, Side, compare
from modeltap.compression.evidence import choose_evidence
from modeltap.compression.golden import TEXTS, empty_golden
from modeltap.data.tokenizer import open_tokenizer
from modeltap.engines.tokens_process import TokenProcess
from tiny_language import TEXT


@pytest.fixture(scope="module")
def documents(files):
    tokenizer = open_tokenizer(files)
    return [tokenizer.encode(text) for text in TEXT]


def reference_nats(directory, pieces):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    sums = []
    with torch.no_grad():
        for piece in pieces:
            logprobs = torch.log_softmax(model(torch.tensor([piece])).logits[0, :-1].double(), dim=-1)
            sums.append(-logprobs[range(len(piece) - 1), piece[1:]].sum().item())
    return sums


def test_losses_are_those_that_torch_computes(directory, files, language, documents):
    pieces = choose_evidence(documents, context_tokens=language.context_tokens).pieces

    async def read():
        engine = await TokenProcess.start("tiny", files, language, empty_golden())
        try:
            return await document_nats(engine, pieces, name="piece")
        finally:
            await engine.close()

    assert asyncio.run(read()) == pytest.approx(reference_nats(directory, pieces), rel=1e-4)


def test_a_model_compared_with_itself_differs_in_nothing(files, language, documents):
    evidence = choose_evidence(documents, context_tokens=language.context_tokens)
    side = Side("tiny", files, language)
    told: list[str] = []
    compared = compare(side, side, evidence, golden_texts=(), tell=told.append)
    assert compared.child_nats == pytest.approx(compared.parent_nats, rel=1e-6)
    assert sum(compared.num_tokens) == sum(evidence.num_predicted)
    assert len(compared.parent_speeds) == len(compared.child_speeds) == TURNS
    assert min(*compared.parent_speeds, *compared.child_speeds) > 0
    assert [prompt.text for prompt in compared.golden.prompts] == list(TEXTS)
    assert all(len(prompt.answer) <= MAX_ANSWER_IDS for prompt in compared.golden.prompts)
    assert told[0] == "loading tiny"
