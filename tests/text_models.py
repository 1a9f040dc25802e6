"""Small sets of texts that are made, not found, and tiny models trained on them: a mood, and vectors of sentences."""

from __future__ import annotations

import json
import random
from typing import Any

from workshop import Workshop

GOOD = ("lovely", "great", "delightful", "warm", "brilliant", "moving")
BAD = ("dull", "awful", "tedious", "cold", "clumsy", "boring")
THINGS = ("film", "plot", "cast", "score", "ending", "story")
TINY = {
    "model.vocabulary": 400,
    "model.dim": 16,
    "model.max_tokens": 32,
    "epochs": 3,
    "batch_size": 32,
}
"""Settings of the architectures that read subwords, small enough for a test."""
TINY_ENCODER = {**TINY, "model.layers": 1, "model.heads": 2, "model.inner": 16}


def moods(num_texts: int, *, seed: int = 0) -> list[tuple[str, str]]:
    """(text, `good` or `bad`): one word decides, the others say nothing."""
    draw = random.Random(seed)
    rows = []
    for _ in range(num_texts):
        label, words = draw.choice((("good", GOOD), ("bad", BAD)))
        thing, other = draw.sample(THINGS, 2)
        rows.append((f"the {thing} is {draw.choice(words)}, and there is a {other} in it {draw.randrange(1000)}", label))
    return rows


def mood_lines(num_texts: int = 240, *, seed: int = 0) -> str:
    """JSON Lines of `text` and `mood`."""
    return "\n".join(json.dumps({"text": text, "mood": label}) for text, label in moods(num_texts, seed=seed))


def pair_lines(num_pairs: int = 200) -> str:
    """JSON Lines of `asked` and `answer`, which share a thing and a number."""
    draw = random.Random(1)
    rows = []
    for number in range(num_pairs):
        thing = draw.choice(THINGS)
        rows.append({"asked": f"where is {thing} {number}?", "answer": f"the {thing} {number} stands in row {number}"})
    return "\n".join(map(json.dumps, rows))


def train_mood(workshop: Workshop, name: str = "mood", architecture: str = "ngram-linear", **settings: Any) -> dict[str, Any]:
    workshop.add(f"{name}-texts", mood_lines(), "moods.jsonl", target="mood")
    return workshop.train(
        f"{name}-texts", "text-classification", name=name, settings={"model.architecture": architecture, **settings}
    )


def train_vectors(workshop: Workshop, name: str = "vectors", **settings: Any) -> dict[str, Any]:
    lines = "\n".join(json.dumps({"text": text}) for text, _ in moods(160, seed=3))
    workshop.add(f"{name}-texts", lines, "texts.jsonl")
    return workshop.train(f"{name}-texts", "text-embedding", name=name, settings={**TINY_ENCODER, **settings})
