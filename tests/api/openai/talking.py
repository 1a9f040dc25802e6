"""A tiny language model, imported and served without a socket: `tiny` has a template with tools, `mute` has none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from workshop import Plane, Workshop

from modeltap.data.tokenizer import CHAT_TEMPLATE, Tokenizer, open_tokenizer
from modeltap.importing.huggingface import import_huggingface
from modeltap.importing.onnx import Imported
from tiny_language import TEMPLATE, make_tiny_llama

TOOL_TEMPLATE = TEMPLATE.replace("(tools | tojson)", "(tools | tojson) + ' answer in <tool_call></tool_call>'")
CONTEXT = 256


def import_tiny(folder: Path) -> Imported:
    """The tiny model as an import makes it."""
    source, bundle = folder / "source", folder / "bundle"
    make_tiny_llama(source, template=TOOL_TEMPLATE)
    bundle.mkdir()
    return import_huggingface(source, bundle)


@pytest.fixture(scope="session")
def tokenizer(tiny: Imported) -> Tokenizer:
    return open_tokenizer(tiny.files)


@pytest.fixture(scope="session")
def spoken(tiny: Imported, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A home with the models `tiny` and `mute`."""
    workshop = Workshop(tmp_path_factory.mktemp("spoken"))
    add_version(workshop, "tiny", tiny)
    add_version(workshop, "mute", without_template(tiny))
    yield workshop
    workshop.close()


@pytest.fixture(scope="session")
def talker(spoken: Workshop) -> Iterator[Plane]:
    made = Plane(spoken, {"tiny": "tiny@1", "mute": "mute@1"})
    yield made
    made.close()


def add_version(workshop: Workshop, name: str, model: Imported) -> str:
    """name@version of the model, registered under that name."""
    digest = workshop.artifacts.put_tree(model.files)
    return workshop.models.add(name, digest, model.manifest, None, datetime.now(UTC)).id


def without_template(model: Imported) -> Imported:
    """The same model, to which nobody can say messages."""
    assert model.manifest.language is not None
    language = msgspec.structs.replace(model.manifest.language, has_chat_template=False)
    files = {name: path for name, path in model.files.items() if name != CHAT_TEMPLATE}
    return Imported(files=files, manifest=msgspec.structs.replace(model.manifest, language=language), notices=model.notices)


def events(answer: httpx.Response) -> list[Any]:
    """The events of a stream, the last of which says that it is done."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """OpenAI's error object, which has all four fields."""
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error
