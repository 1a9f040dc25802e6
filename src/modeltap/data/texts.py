"""Texts to learn from: whole documents, prompts with their completions, or talks, as OpenAI's JSON Lines write them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from modeltap.data.split_rows import divide_random, part_sizes
from modeltap.data.store import StoredDataset
from modeltap.domain.dataset import Part
from modeltap.domain.recipe import Split
from modeltap.errors import InvalidData, InvalidRecipe

TEXT, PROMPT, COMPLETION, MESSAGES, TOOLS = "text", "prompt", "completion", "messages", "tools"
IGNORED = ("functions", "parallel_tool_calls")
"""Keys that OpenAI's files may have beside messages, of which nothing is learned."""
FEW_DOCUMENTS = 20
"""With fewer, each is cut into its beginning, middle and end, instead of being given to one part."""
LEARNED: tuple[Part, ...] = ("train", "val", "test")

TextForm = Literal["document", "completion", "chat"]


class Sample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One text. A document is `text` alone; of a completion and of a talk only the answers are learned."""

    text: str = ""
    prompt: str = ""
    messages: tuple[dict[str, Any], ...] = ()
    tools: tuple[dict[str, Any], ...] = ()


def text_form(columns: Iterable[str]) -> TextForm | None:
    """What rows with these keys are; None if they are a table like any other."""
    names = set(columns)
    if names == {TEXT}:
        return "document"
    if names == {PROMPT, COMPLETION}:
        return "completion"
    return "chat" if MESSAGES in names and names <= {MESSAGES, TOOLS, *IGNORED} else None


def check_talk(messages: Any, tools: Any, *, where: str) -> None:
    """Raises InvalidData naming what is not as OpenAI's fine-tuning files have it."""
    if not isinstance(messages, list) or not messages:
        raise InvalidData(f'{where}: "messages" must be a list of messages')
    for number, message in enumerate(messages, start=1):
        told = f"{where}, message {number}"
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise InvalidData(f'{told}: a message is an object with a "role" and a "content"')
        content = message.get("content")
        if isinstance(content, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
            continue
        if not isinstance(content, str) and not (content is None and message.get("tool_calls")):
            raise InvalidData(f'{told}: "content" must be a text; pictures and sound are not learned from')
        if message.get("weight") not in (None, 0, 1):
            raise InvalidData(f'{told}: "weight" is 0 or 1')
    if not any(_is_learned(message) for message in messages):
        raise InvalidData(f'{where}: no message of the role "assistant" is there to be learned')
    if tools is not None and not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise InvalidData(f'{where}: "tools" must be a list of objects')


def read_samples(dataset: StoredDataset, part: Part) -> list[Sample]:
    """The texts of one stored part. Raises InvalidData if the columns are none of the three forms."""
    names = [c.name for c in dataset.schema.columns]
    form = text_form(names)
    match form:
        case "document":
            return [Sample(text=text) for text in dataset.column(part, TEXT) if text]
        case "completion":
            pairs = zip(dataset.column(part, PROMPT), dataset.column(part, COMPLETION), strict=True)
            return [Sample(prompt=prompt or "", text=text) for prompt, text in pairs if text]
        case "chat":
            talks = dataset.column(part, MESSAGES)
            tools = dataset.column(part, TOOLS) if TOOLS in names else [None] * len(talks)
            return [_talk(messages, known) for messages, known in zip(talks, tools, strict=True)]
    features = dataset.schema.features
    if len(features) == 1 and features[0].kind == "text":
        return [Sample(text=text) for text in dataset.column(part, features[0].name) if text]
    raise InvalidData(
        f"the dataset has the columns {', '.join(names[:20])}; to learn to write, give documents ({TEXT}), pairs ({PROMPT},"
        f" {COMPLETION}) or talks ({MESSAGES})"
    )


def divide_samples(dataset: StoredDataset, split: Split) -> dict[Part, list[Sample]]:
    """The texts of train, val and test: parts that were given as they are, what is missing of val and test cut from train.

    Raises InvalidRecipe for a split that texts do not have, InvalidData for too few of them.
    """
    if split.group or split.time or isinstance(split.stratify, str):
        raise InvalidRecipe("data.split: texts are divided at random; leave group, time and stratify out")
    given = dataset.parts
    whole: Part = "rows" if "rows" in given else "train"
    samples = read_samples(dataset, whole)
    if not samples:
        raise InvalidData("the dataset holds no text to learn from")
    found: dict[Part, list[Sample]] = {part: read_samples(dataset, part) if part in given else [] for part in LEARNED}
    val = 0.0 if "val" in given else split.val
    test = 0.0 if "test" in given else split.test
    scale = 1.0 if len(given) == 1 else split.train + val + test
    shares = (split.train / scale, val / scale, test / scale)
    if len(samples) < FEW_DOCUMENTS and not any(one.prompt or one.messages for one in samples):
        cut = [_cut(one, shares) for one in samples]
        pieces = [[piece[place] for piece in cut if piece[place].text] for place in range(3)]
    else:
        sizes = part_sizes(len(samples), train=shares[0], val=shares[1], test=shares[2])
        divided = divide_random(len(samples), sizes, seed=split.seed)
        pieces = [[samples[row] for row in rows.tolist()] for rows in divided]
    found["train"] = pieces[0]
    for place, part in enumerate(LEARNED[1:], start=1):
        if part not in given:
            found[part] = pieces[place]
    return found


def plain_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages as a chat template takes them: contents as texts, and without weights."""
    plain = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            content = "".join(part["text"] for part in content)
        plain.append({**{k: v for k, v in message.items() if k != "weight"}, "content": content or ""})
    return plain


def learned_places(messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """Which of the messages are answers to learn."""
    return [place for place, message in enumerate(messages) if _is_learned(message)]


def _is_learned(message: Mapping[str, Any]) -> bool:
    return message.get("role") == "assistant" and message.get("weight", 1) != 0


def _talk(messages: str, tools: str | None) -> Sample:
    return Sample(messages=tuple(json.loads(messages)), tools=tuple(json.loads(tools) or ()) if tools else ())


def _cut(sample: Sample, shares: tuple[float, float, float]) -> list[Sample]:
    """Beginning, middle and end."""
    edges = [0, *(round(len(sample.text) * share) for share in np.cumsum(shares))]
    return [Sample(text=sample.text[edges[place] : edges[place + 1]]) for place in range(3)]
