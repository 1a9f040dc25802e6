"""What is learned of texts, in which order, and that a training that was stopped ends as one that was not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from language_runs import GPT, fit, play, talk

from modeltap.data.texts import Sample
from modeltap.data.tokenizer import Tokenizer, open_tokenizer
from modeltap.domain.dataset import Part
from modeltap.domain.progress import Progress
from modeltap.errors import InvalidData
from modeltap.training.language.batches import UNLEARNED, RoundBatches, Stream, Texts, plan_rounds
from modeltap.training.language.reading import read_answers, read_stream
from modeltap.training.language.vocabulary import END, SPECIAL, learn_tokenizer
from modeltap.training.stopped import Stopped
from tiny_language import files_of, make_tiny_llama

CPU = torch.device("cpu")


def tokenizer_of(folder: Path, texts: Sequence[str], vocabulary: Any, *, talks: bool = False) -> Tokenizer:
    for name, content in learn_tokenizer(texts, vocabulary, context=64, talks=talks).items():
        (folder / name).write_bytes(content)
    return open_tokenizer(files_of(folder))


@pytest.mark.parametrize("vocabulary", ["bytes", "characters", 400])
def test_no_text_is_unknown_to_a_learned_tokenizer(tmp_path: Path, vocabulary: Any) -> None:
    tokenizer = tokenizer_of(tmp_path, ["größer als 你好", "the same, the same"], vocabulary)
    for text in ("größer als 你好", "never seen: 🦊 ś\x00", END):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    expected = {"bytes": len("größer".encode()), "characters": len("größer")}
    if vocabulary in expected:
        assert len(tokenizer.encode("größer")) == expected[vocabulary]
    assert learn_tokenizer(["a b"], vocabulary, context=8, talks=True) == learn_tokenizer(
        ["a b"], vocabulary, context=8, talks=True
    )


def test_long_documents_are_read_piece_by_piece_as_in_one(tmp_path: Path) -> None:
    text = "".join(f"line {number}, with words\n\n" for number in range(9000))
    tokenizer = tokenizer_of(tmp_path, [text[:5000]], 300)
    stream = read_stream(tokenizer, [Sample(text=text), Sample(text="x")], end=0)
    assert stream.tolist() == [*tokenizer.encode(text), 0, *tokenizer.encode("x"), 0]


def test_only_answers_are_learned_with_their_ends(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tmp_path, ["x"], "bytes", talks=True)
    end = tokenizer.end_id
    assert end is not None
    (pair,), _ = read_answers(tokenizer, [Sample(prompt="ab", text="cd")], end=end, context=99, part="train")
    assert tokenizer.decode(pair.ids[pair.is_learned].tolist()) == "cd"
    assert pair.ids[-1] == end and pair.is_learned[-1]
    (whole,), _ = read_answers(tokenizer, [talk("hi", "one", "more", "two")], end=end, context=99, part="train")
    learned = whole.ids[whole.is_learned].tolist()
    assert tokenizer.decode(learned) == "onetwo"
    assert learned.count(end) == 2
    assert not any(whole.is_learned[: whole.ids.tolist().index(end)])


def test_texts_that_are_too_long_are_cut_and_counted(tmp_path: Path) -> None:
    tokenizer = tokenizer_of(tmp_path, ["x"], "bytes", talks=True)
    samples = [Sample(prompt="a", text="bcdefghij"), Sample(prompt="abcdefghij", text="k"), Sample(prompt="a", text="b")]
    found, told = read_answers(tokenizer, samples, end=0, context=5, part="val")
    assert [len(one.ids) for one in found] == [5, 3]
    assert told == [
        "2 texts of val are longer than 5 tokens and were cut",
        "1 texts of val hold no answer within 5 tokens and were left out",
    ]


def test_a_template_that_rewrites_earlier_answers_gives_a_text_an_answer(tmp_path: Path) -> None:
    template = (
        "{% for m in messages %}{{ '<|' + m.role + '|>' }}"
        "{{ m.content if m.role == 'user' or loop.last else '…' }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    tokenizer = open_tokenizer(files_of(make_tiny_llama(tmp_path / "model", template=template)))
    found, _ = read_answers(tokenizer, [talk("hi", "one", "more", "two")], end=0, context=99, part="train")
    assert [tokenizer.decode(one.ids[one.is_learned].tolist()) for one in found] == ["one", "two"]


def test_every_pass_over_a_stream_cuts_elsewhere_and_leaves_little_out() -> None:
    stream = np.arange(103, dtype=np.int32)
    learned = Stream(stream, context=10, seed=0)
    rows = np.arange(learned.num_rows)
    seen = []
    for number in range(3):
        ids, targets = learned.cut(rows, pass_=number)
        assert torch.equal(targets, ids + 1)
        assert ids.numel() >= 90
        seen.append(ids[0, 0].item())
    assert len(set(seen)) > 1
    fixed = Stream(stream, context=10, seed=None)
    assert fixed.num_rows == 10
    assert torch.equal(fixed.cut(np.arange(10), pass_=5)[0].flatten(), torch.arange(100))


@pytest.mark.parametrize("steps", [None, 14])
def test_batches_hold_every_row_once_a_pass(steps: int | None) -> None:
    texts = [_answered(length) for length in range(2, 25)]
    rounds = plan_rounds(len(texts), batch_size=4, epochs=3, steps=steps)
    assert rounds.num_rounds * rounds.num_steps == (steps or 18)
    batches = RoundBatches(Texts.of(texts), rounds, batch_size=4, seed=1, device=CPU)
    taken = [step for number in range(rounds.num_rounds) for step in batches.order(number, seed=1)]
    assert len(taken) == (steps or 18)
    first_pass = np.concatenate([rows for number, rows in taken if number == 0])
    assert len(set(first_pass.tolist())) == len(first_pass) == len(texts)
    ((ids, targets),), num_learned = batches.gather(batches.order(0, seed=1), 0)
    assert ids.shape == targets.shape
    assert ((targets != UNLEARNED).sum(1) >= 1).all()
    assert num_learned == (targets != UNLEARNED).sum()


def _answered(length: int) -> Any:
    from modeltap.training.language.reading import Answered

    return Answered(np.arange(length, dtype=np.int32), np.arange(length) == length - 1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path, precision: str) -> None:
    recipe = {"model": GPT, "steps": 12, "batch_size": 4, "accumulate": 2, "precision": precision}
    whole = fit(tmp_path / "whole", recipe, play())
    lines: list[Progress] = []

    def stopping_at(limit: int) -> Callable[[], bool]:
        asked = iter(range(1000))
        return lambda: next(asked) >= limit

    for limit in (3, 5):
        with pytest.raises(Stopped):
            fit(tmp_path / "cut", recipe, play(), stop_requested=stopping_at(limit))
    again = fit(tmp_path / "cut", recipe, play(), report=lines.append)
    assert any("goes on" in line.message for line in lines)
    assert again.history == whole.history
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (again.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    assert again.spoken == whole.spoken


def test_a_batch_in_pieces_is_learned_as_in_one(tmp_path: Path) -> None:
    recipe = {"model": GPT, "steps": 4, "batch_size": 4}
    one = fit(tmp_path / "one", recipe, play())
    pieces = fit(tmp_path / "pieces", {**recipe, "accumulate": 4}, play())
    assert pieces.surprises["val"].loss == pytest.approx(one.surprises["val"].loss, abs=1e-4)


def test_bfloat16_is_learned_with_where_it_is_asked_for(tmp_path: Path) -> None:
    trained = fit(tmp_path, {"model": GPT, "steps": 20, "batch_size": 8, "precision": "bfloat16"}, play())
    losses = [entry["train_loss"] for entry in trained.history]
    assert losses[-1] < losses[0]


def test_lora_changes_the_weights_and_nothing_else(tmp_path: Path) -> None:
    base = files_of(make_tiny_llama(tmp_path / "base"))
    talks = [talk(f"say {number}", f"it is {number}") for number in range(12)]
    samples: dict[Part, Sequence[Sample]] = {"train": talks, "val": talks[:2], "test": []}
    recipe = {"model": {"architecture": "lora", "base": "x@1", "dropout": 0.1}, "optimizer": {"lr": 0.01}, "epochs": 3}
    trained = fit(tmp_path / "lora", recipe, samples, base=base, base_digest="x")
    made = files_of(trained.folder)
    assert set(made) == set(base)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert made[name].read_bytes() == base[name].read_bytes()
    assert made["model.safetensors"].read_bytes() != base["model.safetensors"].read_bytes()
    assert trained.history[-1]["train_loss"] < trained.history[0]["train_loss"]
    assert trained.language.has_chat_template and trained.spoken[0].prompt == "user: say 0"


def test_talks_need_a_base_that_can_hold_them(tmp_path: Path) -> None:
    base = files_of(make_tiny_llama(tmp_path / "base", template=None))
    recipe = {"model": {"architecture": "full", "base": "x@1"}}
    with pytest.raises(InvalidData, match="no chat template"):
        fit(tmp_path / "full", recipe, {"train": [talk("a", "b")], "val": [], "test": []}, base=base)
    assert len(SPECIAL) == len(set(SPECIAL))
