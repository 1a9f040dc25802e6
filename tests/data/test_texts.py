"""Texts, pairs and talks come in as OpenAI's files write them, and are divided so that nothing is learned that is tested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modeltap.data.infer import infer_schema
from modeltap.data.profile import profile
from modeltap.data.read import read_source
from modeltap.data.store import StoredDataset, open_dataset, write_dataset
from modeltap.data.texts import Sample, divide_samples, learned_places, plain_messages, read_samples
from modeltap.domain.recipe import Split
from modeltap.errors import InvalidData, InvalidRecipe

NINE_TO_ONE = Split(train=0.9, val=0.1, test=0.0, stratify=False)


def stored(folder: Path, content: str, filename: str) -> StoredDataset:
    path = folder / "upload"
    path.write_text(content, encoding="utf-8")
    source = read_source(path, filename=filename)
    schema, _ = infer_schema(source)
    assert profile(source, schema)["form"] == "texts"
    return open_dataset(write_dataset(source, schema, folder / "stored"))


def lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_a_single_document_is_cut_where_it_stands(tmp_path: Path) -> None:
    text = "To be,\n\n  or not to be.\n" * 50
    parts = divide_samples(stored(tmp_path, text, "play.txt"), NINE_TO_ONE)
    assert parts["train"][0].text + parts["val"][0].text == text
    assert len(parts["val"][0].text) == len(text) // 10
    assert not parts["test"]


def test_many_documents_go_to_one_part_each(tmp_path: Path) -> None:
    texts = [f"document {number}, NA" for number in range(40)]
    parts = divide_samples(stored(tmp_path, lines([{"text": text} for text in texts]), "texts.jsonl"), NINE_TO_ONE)
    assert [len(parts[part]) for part in ("train", "val", "test")] == [36, 4, 0]
    assert sorted(one.text for part in parts.values() for one in part) == sorted(texts)


def test_even_texts_that_look_like_numbers_or_missing_values_are_texts(tmp_path: Path) -> None:
    dataset = stored(tmp_path, lines([{"text": text} for text in ("1", "2", "NA", "1")]), "texts.jsonl")
    assert read_samples(dataset, "rows") == [Sample(text=text) for text in ("1", "2", "NA", "1")]


def test_pairs_and_talks_come_back_as_they_were(tmp_path: Path) -> None:
    dataset = stored(tmp_path, lines([{"prompt": "né", "completion": " où"}, {"prompt": "", "completion": "x"}]), "p.jsonl")
    assert read_samples(dataset, "rows") == [Sample(prompt="né", text=" où"), Sample(text="x")]
    tools = [{"type": "function", "function": {"name": "f"}}]
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "no", "weight": 0},
        {"role": "user", "content": "again"},
        call,
    ]
    (tmp_path / "talks").mkdir()
    rows = [{"messages": messages, "tools": tools, "parallel_tool_calls": False}, {"messages": messages[2:]}]
    talks = read_samples(stored(tmp_path / "talks", lines(rows), "talks.jsonl"), "rows")
    assert talks[0].tools == tuple(tools) and talks[1].tools == ()
    assert list(talks[0].messages) == messages
    assert learned_places(messages) == [3]
    assert plain_messages(messages)[0]["content"] == "ab"
    assert "weight" not in plain_messages(messages)[1]


def test_files_of_parts_stay_parts(tmp_path: Path) -> None:
    (tmp_path / "upload").mkdir()
    (tmp_path / "upload" / "train.jsonl").write_text(lines([{"prompt": "a", "completion": str(n)} for n in range(9)]))
    (tmp_path / "upload" / "val.jsonl").write_text(lines([{"prompt": "b", "completion": "c"}]))
    source = read_source(tmp_path / "upload", filename="upload")
    dataset = open_dataset(write_dataset(source, infer_schema(source)[0], tmp_path / "stored"))
    parts = divide_samples(dataset, NINE_TO_ONE)
    assert [len(parts[part]) for part in ("train", "val", "test")] == [9, 1, 0]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"messages": "hello"}, "list of messages"),
        ({"messages": [{"content": "x"}]}, 'a "role"'),
        ({"messages": [{"role": "user", "content": "x"}]}, '"assistant"'),
        ({"messages": [{"role": "assistant", "content": "x", "weight": 0}]}, '"assistant"'),
        ({"messages": [{"role": "assistant", "content": [{"type": "image_url"}]}]}, "pictures"),
        ({"messages": [{"role": "assistant", "content": "x", "weight": 2}]}, '"weight"'),
        ({"messages": [{"role": "assistant", "content": "x"}], "tools": "f"}, '"tools"'),
        ({"prompt": "x", "completion": 5}, '"completion"'),
    ],
)
def test_what_is_not_as_it_should_be_is_told_with_its_row(tmp_path: Path, row: Any, told: str) -> None:
    good = dict.fromkeys(row, "x") if "prompt" in row else {"messages": [{"role": "assistant", "content": "x"}]}
    with pytest.raises(InvalidData, match=r"row 2") as refused:
        stored(tmp_path, lines([good, row]), "data.jsonl")
    assert told in refused.value.message


def test_texts_are_not_divided_by_groups(tmp_path: Path) -> None:
    with pytest.raises(InvalidRecipe, match="leave group"):
        divide_samples(stored(tmp_path, "x\n", "x.txt"), Split(group="text"))
