"""Clients that others wrote for OpenAI against one real server, each in an environment of its own: they conflict."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest
from answering_model import ANSWER, make_answering_llama
from checkout import ROOT
from fault_server import FaultServer, serving
from openai_fields import checked
from workshop import Workshop

from modeltap.importing.huggingface import import_huggingface
from text_models import train_vectors

FOLDER = Path(__file__).parent / "clients"
ENVIRONMENTS = ROOT / ".clients"
WAIT_S = 240
QUIET = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LANGSMITH_TRACING": "false", "PYTHONDONTWRITEBYTECODE": "1"}
"""Settings with which the clients call nobody but the server."""
ASKED: list[Any] = [{"role": "user", "content": "Tell me a joke."}]


class Served(NamedTuple):
    url: str
    key: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`tiny` and `other` answer chats with a joke, `vectors` embeds."""
    folder = tmp_path_factory.mktemp("clients")
    home, bundle = folder / "home", folder / "bundle"
    home.mkdir()
    bundle.mkdir()
    imported = import_huggingface(make_answering_llama(folder / "source"), bundle)
    workshop = Workshop(home)
    workshop.models.add("tiny", workshop.artifacts.put_tree(imported.files), imported.manifest, None, datetime.now(UTC))
    train_vectors(workshop, epochs=1)
    workshop.close()
    with serving(home) as server:
        for name, model in (("tiny", "tiny@1"), ("other", "tiny@1"), ("vectors", "vectors@1")):
            server.ask("POST", "/api/deployments", json={"name": name, "model": model})
        yield Served(f"{str(server.client.base_url).rstrip('/')}/v1", new_key(server))


def new_key(server: FaultServer) -> str:
    """With limits that nobody comes near, so that every answer tells of them."""
    made = server.ask("POST", "/api/keys", json={"scopes": ["predict"], "limits": {"rpm": 10_000, "upm": 10_000_000}})
    key: str = made["key"]
    return key


def run_in(environment: str, *words: str | Path, served: Served, folder: Path) -> str:
    """What the environment's Python prints; a status that is not 0 fails the test with all of it."""
    python = ENVIRONMENTS / environment / "bin" / "python"
    if not (ENVIRONMENTS / environment / ".installed").is_file():
        pytest.skip(f".clients/{environment} is not installed; `make clients` does it")
    clean = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    own = {"HOME": str(folder), "LC_ALL": "C.UTF-8", "CLIENT_URL": served.url, "CLIENT_KEY": served.key}
    done = subprocess.run(
        [python, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**clean, **own, **QUIET, "CLIENT_ANSWER": ANSWER},
        cwd=folder,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_sdk_before_version_1(served: Served, tmp_path: Path) -> None:
    run_in("old", FOLDER / "openai_before_1.py", served=served, folder=tmp_path)


def test_litellm(served: Served, tmp_path: Path) -> None:
    run_in("now", FOLDER / "litellm_calls.py", served=served, folder=tmp_path)


def test_langchains_suites(served: Served, tmp_path: Path) -> None:
    suite = ("-m", "pytest", "-c", FOLDER / "langchain.ini", FOLDER / "langchain_suite.py")
    printed = run_in("now", *suite, served=served, folder=tmp_path)
    passed = re.search(r"(\d+) passed", printed)
    assert passed is not None and int(passed[1]) >= 30, printed
    skipped = set(re.findall(r"^SKIPPED \[\d+\] .+?:\d+: (.+)$", printed, re.MULTILINE))
    assert skipped <= SKIPPED, skipped - SKIPPED


SKIPPED = {
    "Test requires tool calling.",
    "Test requires tool calling support.",
    "Test requires tool choice.",
    "Model does not support PDF inputs.",
    "Model does not support audio inputs.",
    "Model does not support image message.",
    "Model does not support image tool message.",
    "Model does not support PDF tool message.",
    "Model does not explicitly support Anthropic inputs.",
    "VCR not set up.",
}
"""What a model that reads and writes text alone, and was taught no calls of tools, is not asked."""


def test_the_sdk_of_today_in_strict_validation(served: Served) -> None:
    with openai.OpenAI(
        base_url=served.url, api_key=served.key, max_retries=0, timeout=60, _strict_response_validation=True
    ) as sdk:
        assert {model.id for model in sdk.models.list()} == {"tiny", "other", "vectors"}
        chat = sdk.chat.completions.create(model="tiny", messages=ASKED, max_tokens=60, temperature=0, logprobs=True)
        assert chat.choices[0].message.content == ANSWER
        chunks = list(sdk.chat.completions.create(model="tiny", messages=ASKED, max_tokens=60, temperature=0, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER
        text = sdk.completions.create(model="tiny", prompt="Once upon", max_tokens=50, temperature=0, logprobs=1)
        assert "king" in text.choices[0].text
        assert sdk.responses.create(model="tiny", input="Tell me a joke.", temperature=0).output_text == ANSWER
        as_floats = sdk.embeddings.create(model="vectors", input=["a film", "a plot"], encoding_format="float")
        # It asks for base64 by default, which its own strict validation does not take.
        with openai.OpenAI(base_url=served.url, api_key=served.key, max_retries=0, timeout=60) as lenient:
            by_default = lenient.embeddings.create(model="vectors", input=["a film", "a plot"])
        assert [one.embedding for one in by_default.data] == [one.embedding for one in as_floats.data]
        with pytest.raises(openai.NotFoundError) as refused:
            sdk.embeddings.create(model="absent", input="a film")
        assert refused.value.code == "model_not_found"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(served: Served) -> None:
    whole = curl(served, "/chat/completions", {"model": "tiny", "messages": ASKED, "max_tokens": 60, "temperature": 0})
    assert whole.status == 200
    assert json.loads(whole.body)["choices"][0]["message"]["content"] == ANSWER
    streamed = curl(
        served, "/chat/completions", {"model": "tiny", "messages": ASKED, "max_tokens": 60, "temperature": 0, "stream": True}
    )
    assert streamed.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in streamed.body.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events[:-1]]
    assert "".join(delta.get("content") or "" for delta in deltas) == ANSWER
    absent = curl(served, "/completions", {"model": "absent", "prompt": "x"})
    assert (absent.status, json.loads(absent.body)["error"]["code"]) == (404, "model_not_found")
    assert json.loads(curl(served, "/models").body)["object"] == "list"
    vectors = checked("embeddings", json.loads(curl(served, "/embeddings", {"model": "vectors", "input": "a film"}).body))
    checked("embedding", vectors["data"][0])
    checked("embeddings.usage", vectors["usage"])
    for answer in (whole, streamed, absent):
        assert answer.headers["x-request-id"]
        assert int(answer.headers["openai-processing-ms"]) >= 0
    for what in ("requests", "tokens"):
        for name in ("limit", "remaining", "reset"):
            assert whole.headers[f"x-ratelimit-{name}-{what}"]


class Printed(NamedTuple):
    status: int
    headers: dict[str, str]
    body: str


def curl(served: Served, path: str, body: Any = None) -> Printed:
    """As the documentation of OpenAI writes it."""
    words = ["curl", "-sSiN", "--noproxy", "*", "-m", "60", f"{served.url}{path}", "-H", f"Authorization: Bearer {served.key}"]
    if body is not None:
        words += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    printed = subprocess.run(words, capture_output=True, text=True, check=True, timeout=WAIT_S).stdout
    head, _, rest = printed.replace("\r\n", "\n").partition("\n\n")
    first, *lines = head.splitlines()
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Printed(int(first.split()[1]), headers, rest)
