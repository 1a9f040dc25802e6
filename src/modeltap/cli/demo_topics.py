"""The language demo's text: what Python's own `help()` says about the language, which comes with every Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from modeltap.errors import InvalidData, StorageFailed

FILE = "pydoc.jsonl"


class Topics(NamedTuple):
    """One document a line, as `{"text": …}`."""

    path: Path
    num_topics: int
    num_chars: int


def write_topics(folder: Path) -> Topics:
    """The file, written under `folder`; the same Python gives the same bytes.

    Raises InvalidData where this Python came without its help texts, StorageFailed.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise InvalidData(
            "this Python has no pydoc_data.topics, the texts that the demo learns from; run it with another Python, or without"
            " --language"
        ) from None
    texts = [topics[name] for name in sorted(topics)]
    path = folder / FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    except OSError as problem:
        raise StorageFailed(f"the demo's files cannot be written to '{folder}': {problem.strerror or problem}") from None
    return Topics(path, len(texts), sum(map(len, texts)))
