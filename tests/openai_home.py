"""A home with a tiny language model that is deployed, and OpenAI's own client of a server on it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openai
import pytest
from fault_server import FaultServer, serving, until

from modeltap.importing.huggingface import import_huggingface
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.models import ModelRepository
from modeltap.storage.opening import open_database
from tiny_language import make_tiny_llama

MODEL = "tiny"
CHAT = "/v1/chat/completions"
_made: dict[str, Path] = {}


def tiny_home(factory: pytest.TempPathFactory) -> Path:
    """Made once for all tests of a process, to be copied: `tiny` costs 1 for a thousand tokens."""
    if "home" not in _made:
        folder = factory.mktemp("openai")
        home, source, bundle = folder / "home", folder / "source", folder / "bundle"
        make_tiny_llama(source)
        bundle.mkdir()
        imported = import_huggingface(source, bundle)
        with closing(open_database(home)) as database:
            digest = ArtifactStore(home / "artifacts").put_tree(imported.files)
            ModelRepository(database, "default").add(MODEL, digest, imported.manifest, None, datetime.now(UTC))
        with serving(home) as server:
            server.ask(
                "POST", "/api/deployments", json={"name": MODEL, "model": f"{MODEL}@1", "terms": {"price": {"token": "1"}}}
            )
            assert server.stop() == 0, server.log()
        _made["home"] = home
    return _made["home"]


def copy_of(home: Path, target: Path) -> Path:
    shutil.copytree(home, target)
    return target


def client_of(server: FaultServer, key: str | None = None, *, strict: bool = True) -> openai.OpenAI:
    """With the admin key, unless another is given."""
    admin = (server.home / "admin.key").read_text().strip()
    url = f"{str(server.client.base_url).rstrip('/')}/v1"
    return openai.OpenAI(base_url=url, api_key=key or admin, max_retries=0, timeout=90, _strict_response_validation=strict)


def new_key(server: FaultServer, *scopes: str, tenant: str | None = None, **more: Any) -> tuple[str, str]:
    """Id and text of a key."""
    headers = {} if tenant is None else {"modeltap-tenant": tenant}
    made = server.ask("POST", "/api/keys", json={"scopes": list(scopes), **more}, headers=headers)
    return made["id"], made["key"]


def chat_line(number: int, text: str, *, model: str = MODEL, max_tokens: int = 6, **more: Any) -> dict[str, Any]:
    """One line of a batch; what the model says to it is always the same."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": max_tokens, "temperature": 0}
    return {"custom_id": f"line-{number}", "method": "POST", "url": CHAT, "body": {**body, **more}}


def jsonl(lines: Sequence[Any]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def lines_in(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def ended_batch(client: openai.OpenAI, batch_id: str) -> Any:
    """The batch once it has ended."""

    def look() -> Any:
        found = client.batches.retrieve(batch_id)
        return found if found.status in ("completed", "failed", "expired", "cancelled") else None

    return until("the batch ends", look)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    """A server on a copy of the home."""
    home = copy_of(tiny_home(tmp_path_factory), tmp_path_factory.mktemp("served") / "home")
    with serving(home) as server:
        yield server


@pytest.fixture(scope="module")
def client(served: FaultServer) -> openai.OpenAI:
    """Of the home's admin."""
    return client_of(served)
