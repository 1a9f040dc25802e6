"""Trainings of small language models: a play that is soon learned, talks, and the way into the room."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modeltap.data.texts import Sample
from modeltap.domain.dataset import Part
from modeltap.recipe.parse import parse_recipe
from modeltap.training.language.fit import LanguageAssignment, TrainedLanguage, fit_language

PLAY = "".join(f"{('one', 'two', 'three')[n % 3]} and {('four', 'five')[n % 2]}.\n" for n in range(300))
GPT = {"architecture": "gpt", "layers": 1, "width": 16, "heads": 2, "context": 16, "vocabulary": "bytes"}


def fit(folder: Path, recipe: dict[str, Any], samples: dict[Part, Sequence[Sample]], **more: Any) -> TrainedLanguage:
    folder.mkdir(exist_ok=True)
    keys: dict[str, Any] = {"base": {}, "base_digest": "", "checkpoint_every_s": 10.0, "stop_requested": lambda: False, **more}
    return fit_language(
        LanguageAssignment(
            recipe=parse_recipe({"task": "text-generation", **recipe}),
            samples=samples,
            threads=1,
            workdir=folder,
            report=keys.pop("report", lambda _progress: None),
            **keys,
        )
    )


def play() -> dict[Part, Sequence[Sample]]:
    return {"train": [Sample(text=PLAY[:4000])], "val": [Sample(text=PLAY[4000:])], "test": []}


def talk(*contents: str, **more: Any) -> Sample:
    roles = ("user", "assistant")
    return Sample(messages=tuple({"role": roles[n % 2], "content": text} for n, text in enumerate(contents)), **more)
