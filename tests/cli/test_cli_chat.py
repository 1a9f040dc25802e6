"""modeltap chat with a tiny model on a real server: one question, a pipe, a talk; and what a person sees of what goes wrong."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from fault_server import FaultServer, serving

from modeltap.cli.main import run
from modeltap.cli.output import harmless
from modeltap.cli.talk import Talk
from modeltap.client import Client, Deployment
from modeltap.data.tokenizer import CHAT_TEMPLATE
from modeltap.errors import InvalidInput, ModelNotFound, Unauthenticated
from modeltap.storage.artifacts import ArtifactStore
from modeltap.storage.models import ModelRepository
from modeltap.storage.opening import open_database
from openai_home import copy_of, tiny_home

LIMIT_S = 120
GREEDY = ("--max-tokens", "8", "--temperature", "0")


class Typed(io.StringIO):
    """Lines as a person types them."""

    def isatty(self) -> bool:
        return True


class Done:
    """How one command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def document(self) -> Any:
        return msgspec.json.decode(self.out)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultServer]:
    """Serves `tiny`, and `mute`, which has no chat template."""
    home = copy_of(tiny_home(tmp_path_factory), tmp_path_factory.mktemp("chat") / "home")
    with closing(open_database(home)) as database:
        versions, artifacts = ModelRepository(database, "default"), ArtifactStore(home / "artifacts")
        tiny = versions.get("tiny@1")
        files = {name: path for name, path in artifacts.paths(tiny.digest).items() if name != CHAT_TEMPLATE}
        assert tiny.manifest.language is not None
        language = msgspec.structs.replace(tiny.manifest.language, has_chat_template=False)
        mute = msgspec.structs.replace(tiny.manifest, language=language)
        versions.add("mute", artifacts.put_tree(files), mute, None, datetime.now(UTC))
    with serving(home) as server:
        server.ask("POST", "/api/deployments", json={"name": "mute", "model": "mute@1"})
        yield server


@pytest.fixture
def client(server: FaultServer) -> Iterator[Client]:
    with Client(home=server.home) as client:
        yield client


def chat(home: Path, *args: str, stdin: str | Typed = "", types: bool = False) -> Done:
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
        given = Typed if types else io.StringIO
        patch.setattr(sys, "stdin", given(stdin) if isinstance(stdin, str) else stdin)
        code = run(["chat", *args, "--home", str(home)])
    return Done(code, out.getvalue(), err.getvalue())


def test_one_question_has_one_answer_with_its_usage(server: FaultServer) -> None:
    told = chat(server.home, "tiny", "Hello, who are you?", *GREEDY)
    assert told.code == 0 and told.out.strip() and told.err.startswith("(cut after 8 tokens")
    asked = chat(server.home, "tiny", "Hello, who are you?", *GREEDY, "--json")
    document = asked.document
    assert document["answer"].strip() == told.out.strip()
    assert (document["deployment"], document["model"], document["finish_reason"]) == ("tiny", "tiny@1", "length")
    assert document["usage"]["completion_tokens"] == 8
    assert chat(server.home, "tiny", *GREEDY, "--json", stdin="Hello, who are you?").document["answer"] == document["answer"]
    ruled = chat(server.home, "tiny", "Hello, who are you?", *GREEDY, "--system", "Be brief.", "--json").document
    assert ruled["usage"]["prompt_tokens"] > document["usage"]["prompt_tokens"]


def test_a_talk_keeps_what_was_said_and_forgets_it_when_asked(server: FaultServer) -> None:
    first, second = "Once upon a time?", "What is the answer?"
    with Client(home=server.home) as client:
        alone = [client.chat("tiny", text, max_tokens=8, temperature=0).read() for text in (first, second)]
        messages = [
            {"role": "user", "content": first},
            {"role": "assistant", "content": alone[0]},
            {"role": "user", "content": second},
        ]
        after = client.chat("tiny", messages, max_tokens=8, temperature=0).read()
    told = chat(server.home, "tiny", *GREEDY, stdin=f"{first}\n\n{second}\n/new\n{second}\n", types=True)
    assert told.code == 0, told.err
    shown = [one.strip("\n") for one in told.out.split("> ")]
    assert after != alone[1]
    assert [one for one in shown if one] == [one.strip("\n") for one in (alone[0], after, alone[1])]


def test_a_talk_that_no_longer_fits_loses_its_beginning(server: FaultServer) -> None:
    lines = "".join(f"{number} the quick brown fox jumps over the lazy dog\n" for number in range(4))
    told = chat(server.home, "tiny", "--max-tokens", "100", "--temperature", "0", stdin=lines, types=True)
    assert told.code == 0 and "no room any more" in told.err and "Error" not in told.err


def test_a_model_without_a_template_goes_on_with_the_text_and_says_so_once(server: FaultServer, client: Client) -> None:
    told = chat(server.home, "mute", *GREEDY, stdin="Once upon\na time\n", types=True)
    assert told.code == 0 and told.err.count("no chat template") == 1
    first = client.complete("mute", "Once upon", max_tokens=8, temperature=0).read()
    then = client.complete("mute", f"Once upon{first}\na time", max_tokens=8, temperature=0).read()
    assert [one.strip("\n") for one in told.out.split("> ") if one.strip("\n")] == [first.strip("\n"), then.strip("\n")]
    failed = chat(server.home, "mute", "Hi", "--system", "Be brief.", "--json")
    assert (failed.code, failed.document["error"]["code"]) == (1, "invalid_input")


def test_what_goes_wrong_has_a_name_and_does_not_end_a_talk(server: FaultServer) -> None:
    missing = chat(server.home, "tinny", "Hi", "--json")
    assert (missing.code, missing.document["error"]["code"]) == (1, "not_found") and "tiny" in missing.out
    long = "fox " * 2000
    failed = chat(server.home, "tiny", long, "--json")
    assert (failed.code, failed.document["error"]["code"]) == (1, "context_length_exceeded")
    told = chat(server.home, "tiny", *GREEDY, stdin=f"{long}\nHello\n", types=True)
    assert told.code == 0 and "256 tokens" in told.err and told.out.split("> ")[2].strip()
    for args in (["tiny"], ["tiny", " "]):
        assert "no text" in chat(server.home, *args).err
    assert chat(server.home, "tiny", "--json", types=True).code == 2


def test_the_sdk_streams_stops_and_names_what_fails(client: Client) -> None:
    with client.chat("tiny", "Hello", max_tokens=100, temperature=0, options={"top_p": 0.9}) as written:
        first = next(iter(written))
        assert written.text == first and not written.usage
    whole = client.chat("tiny", "Hello", max_tokens=9, temperature=0)
    assert whole.read().startswith(first) and whole.usage["completion_tokens"] == 9 and whole.model == "tiny@1"
    with pytest.raises(ModelNotFound, match="tinny"):
        client.chat("tinny", "Hello")
    with pytest.raises(InvalidInput, match="max_tokens") as refused:
        client.chat("tiny", "Hello", max_tokens=10**6)
    assert refused.value.fields and refused.value.request_id
    with Client(client.url, "mt-nobody-nothing") as stranger, pytest.raises(Unauthenticated):
        stranger.chat("tiny", "Hello")


def test_only_what_writes_texts_is_talked_with() -> None:
    with pytest.raises(InvalidInput, match="modeltap predict income"):
        Talk(Deployment(name="income", task="tabular-regression"), system=None, max_tokens=None, temperature=None)


def test_what_a_model_writes_does_not_command_the_terminal() -> None:
    assert harmless("a\x1b[2Jb\r\x07\x9bc\n\td 你好") == "a[2Jbc\n\td 你好"


class Absent(Typed):
    """The server in the background ends before the second line, as it does when nobody asks it anything for a while."""

    def __init__(self, home: Path, text: str) -> None:
        super().__init__(text)
        self._home = home
        self._num_lines = 0

    def readline(self, *size: int) -> str:  # type: ignore[override]
        self._num_lines += 1
        if self._num_lines == 2:
            end_server(self._home)
        return super().readline(*size)


def end_server(home: Path) -> None:
    server = psutil.Process(msgspec.json.decode((home / "server.json").read_bytes())["pid"])
    server.terminate()
    server.wait(LIMIT_S)


def test_a_talk_outlives_the_server_in_the_background(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    home = copy_of(tiny_home(tmp_path_factory), tmp_path / "home")
    try:
        told = chat(home, "tiny", *GREEDY, stdin=Absent(home, "Hello\nHello again\n"))
    finally:
        end_server(home)
    assert told.code == 0 and told.err.count("starting a server") == 2 and "Error" not in told.err
    assert len([one for one in told.out.split("> ") if one.strip()]) == 2


@contextmanager
def halting_server() -> Iterator[tuple[str, list[Any]]]:
    """Its first answer halts after a word until the client leaves; later ones are whole. Its URL, and what it was asked."""
    asked: list[Any] = []
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            facts = {"name": "slow", "language": {"has_chat_template": True, "context_tokens": 100}}
            self._send("application/json", msgspec.json.encode(facts))

        def do_POST(self) -> None:
            asked.append(msgspec.json.decode(self.rfile.read(int(self.headers["content-length"]))))
            word = msgspec.json.encode({"choices": [{"index": 0, "delta": {"content": f"word{len(asked)} "}}]})
            self._send("text/event-stream", b"data: %b\n\n" % word)
            if len(asked) == 1:
                over.wait(LIMIT_S)
            else:
                self.wfile.write(b"data: [DONE]\n\n")

        def _send(self, kind: str, content: bytes) -> None:
            self.send_response(200)
            self.send_header("content-type", kind)
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        over.set()
        server.shutdown()
        server.server_close()


def test_ctrl_c_stops_the_answer_and_not_the_talk(tmp_path: Path) -> None:
    with halting_server() as (url, asked):
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "modeltap", "chat", "slow", "--url", url, "--key", "k", "--home", str(tmp_path)]
        environment = {**os.environ, "TERM": "dumb", "NO_COLOR": "1"}
        child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        seen = ""

        def until(text: str) -> None:
            nonlocal seen
            while text not in seen:
                seen += os.read(ours, 4096).decode()
            seen = seen.partition(text)[2]

        alarm = threading.Timer(LIMIT_S, child.kill)
        alarm.start()
        try:
            until("> ")
            os.write(ours, b"first\n")
            until("word1")
            child.send_signal(signal.SIGINT)
            until("(stopped)")
            until("> ")
            os.write(ours, b"second\n")
            until("word2")
            until("> ")
            os.write(ours, b"\x04")
            assert child.wait(LIMIT_S) == 0
        finally:
            alarm.cancel()
            child.kill()
            child.wait()
            os.close(ours)
    said = [(message["role"], message["content"]) for message in asked[1]["messages"]]
    assert said == [("user", "first"), ("assistant", "word1 "), ("user", "second")]
