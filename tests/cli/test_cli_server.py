"""The command line as a person uses it, against a real server that it starts itself."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from modeltap.cli.main import run

LIMIT_S = 60.0


@dataclass
class Done:
    """How one command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return msgspec.json.decode(self.out)


@dataclass
class Machine:
    """A home of its own, and commands on it."""

    home: Path

    def start(self, *args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "modeltap", *args, "--home", str(self.home)]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.home.parent
        )

    def run(self, *args: str) -> Done:
        """The command in this process, which saves starting an interpreter."""
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as err:
            code = run([*args, "--home", str(self.home)])
        return Done(code, out.getvalue(), err.getvalue())

    def file(self, name: str) -> Path:
        return self.home.parent / name

    def json(self, *args: str) -> Any:
        done = self.run(*args, "--json")
        assert done.code == 0, done.out + done.err
        return done.document

    def failure(self, *args: str) -> Any:
        done = self.run(*args, "--json")
        assert done.code == 1, done.out + done.err
        return done.document["error"]

    def server_pid(self) -> int | None:
        with suppress(OSError):
            return int(msgspec.json.decode((self.home / "server.json").read_bytes())["pid"])
        return None

    def stop(self) -> None:
        pid = self.server_pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            until(lambda: self.server_pid() is None)


def until(reached: Any) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while not reached():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(tmp_path_factory.mktemp("cli") / "home")
    table = "".join(f"{i % 2 * 3 + i % 7 / 7},{'rgb'[i % 3]},{'ab'[i % 2]}\n" for i in range(120))
    (machine.file("tiny.csv")).write_text("size,colour,kind\n" + table)
    (machine.file("rows.csv")).write_text("size,colour\n0.1,r\n3.4,g\n")
    yield machine
    machine.stop()


def test_two_commands_at_once_share_one_server(machine: Machine) -> None:
    children = [machine.start("data", "list", "--json") for _ in range(2)]
    ended = [(child.communicate(timeout=LIMIT_S), child.returncode) for child in children]
    assert [code for _, code in ended] == [0, 0], ended
    assert {out for (out, _), _ in ended} == {'{\n  "datasets": []\n}\n'}
    log = (machine.home / "server.log").read_text()
    assert log.count('"url"') == 1


def test_data_is_added_shown_known_again_and_removed(machine: Machine) -> None:
    added = machine.run("data", "add", str(machine.file("tiny.csv")), "--name", "tiny", "--target", "kind")
    assert added.code == 0, added.err
    assert "tiny@1  added" in added.out
    assert [line.split()[:3] for line in added.out.splitlines()[3:]] == [
        ["size", "number", "feature"],
        ["colour", "category", "feature"],
        ["kind", "category", "target"],
    ]
    assert "modeltap train tiny" in added.err
    again = machine.json("data", "add", str(machine.file("tiny.csv")), "--name", "tiny", "--target", "kind")
    assert (again["id"], again["created"]) == ("tiny@1", False)
    other = machine.json(
        "data", "add", str(machine.file("tiny.csv")), "--name", "other", "--no-header", "--columns", "x,y,z", "--kind", "y=text"
    )
    assert [(c["name"], c["kind"]) for c in other["schema"]["columns"]][1] == ("y", "text")
    assert [d["id"] for d in machine.json("data", "list")["datasets"]] == ["other@1", "tiny@1"]
    shown = machine.run("data", "show", "tiny")
    assert "target kind: 2 classes" in shown.out and "50.0%" in shown.out
    assert machine.json("data", "remove", "other") == {"name": "other", "removed": ["other@1"]}
    assert machine.failure("data", "show", "other")["code"] == "not_found"


def test_data_that_cannot_be_used_is_named(machine: Machine) -> None:
    (machine.file("ragged.csv")).write_text("a,b\n1,2\n1,2,3\n1,2\n")
    error = machine.failure("data", "add", str(machine.file("ragged.csv")), "--name", "ragged")
    assert error["code"] == "invalid_data" and "line 3" in error["detail"]
    assert machine.failure("data", "add", str(machine.file("tiny.csv")), "--name", "no/name")["code"] == "invalid_input"


def test_from_training_to_answers_and_back(machine: Machine) -> None:
    machine.json("data", "add", str(machine.file("tiny.csv")), "--name", "tiny", "--target", "kind")
    trained = machine.json("train", "tiny", "--task", "tabular-classification", "--set", "model.architecture=linear")
    assert (trained["id"], trained["name"]) == ("tiny@1", "tiny")
    assert trained["metrics"]["test"]["accuracy"] >= 0.9
    assert machine.json("jobs", "show", trained["job"])["state"] == "succeeded"
    log = machine.run("jobs", "logs", "-f", trained["job"])
    assert log.code == 0 and log.out.rstrip().endswith("succeeded: tiny@1")
    deployed = machine.json("deploy", "tiny@1", "--name", "kinds")
    assert (deployed["name"], deployed["status"]) == ("kinds", "ready")
    answers = machine.json("predict", "kinds", "--input", str(machine.file("rows.csv")))
    assert (answers["deployment"], [a["label"] for a in answers["predictions"]]) == ("kinds", ["a", "b"])
    lines = machine.run("predict", "kinds", "--input", str(machine.file("rows.csv"))).out.splitlines()
    assert [line.split()[0] for line in lines] == ["a", "b"]
    recipe = machine.run("recipe", "show", "tiny@1")
    assert "architecture: linear" in recipe.out
    assert machine.json("recipe", "show", trained["job"])["yaml"] == recipe.out
    assert machine.json("models", "alias", "tiny@1", "champion")["aliases"] == ["champion"]
    assert "tiny@1" in machine.run("models", "show", "tiny@champion", "--report", str(machine.file("report.html"))).out
    assert "</html>" in (machine.file("report.html")).read_text()
    exported = machine.json("models", "export", "tiny@1", str(machine.file("tiny.zip")))
    assert (machine.file("tiny.zip")).stat().st_size == exported["bytes"]
    assert machine.failure("rollback", "kinds")["code"] == "conflict"
    assert machine.failure("models", "remove", "tiny@1")["code"] == "conflict"
    assert machine.json("undeploy", "kinds")["name"] == "kinds"
    assert machine.json("models", "remove", "tiny@1")["removed"] == ["tiny@1"]


def test_a_backup_becomes_a_home(machine: Machine, tmp_path: Path) -> None:
    written = machine.json("backup", str(tmp_path / "all.tar"))
    assert (tmp_path / "all.tar").stat().st_size == written["bytes"]
    other = Machine(tmp_path / "restored")
    assert other.json("restore", str(tmp_path / "all.tar"))["home"] == str(other.home)
    try:
        assert [d["id"] for d in other.json("data", "list")["datasets"]] == ["tiny@1"]
        assert other.json("usage")["sums"] == machine.json("usage")["sums"] != []
        assert other.json("audit")["clean"] is True
        assert other.failure("restore", str(tmp_path / "all.tar"))["code"] == "home_in_use"
    finally:
        other.stop()
    assert other.failure("restore", str(tmp_path / "all.tar"))["code"] == "conflict"


def test_up_takes_over_from_the_background_and_refuses_a_second(machine: Machine) -> None:
    assert machine.json("gc", "--grace-s", "0")["name"] == "gc"
    before = machine.server_pid()
    server = machine.start("up", "--port", "0", "--grpc-port", "0", "--json")
    try:
        until(lambda: machine.server_pid() == server.pid or server.poll() is not None)
        assert machine.failure("up", "--port", "0")["code"] == "home_in_use"
        running = machine.json("doctor")["server"]
        assert (running["pid"], running["background"]) == (server.pid, False)
        assert [d["id"] for d in machine.json("data", "list")["datasets"]] == ["tiny@1"]
    finally:
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=LIMIT_S)
    assert before != server.pid and "takes over" in err
    assert msgspec.json.decode(out)["pid"] == server.pid
    assert server.returncode == 0


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    machine = Machine(tmp_path / "home")
    machine.home.mkdir()
    (machine.home / "modeltap.toml").write_text('host = "192.0.2.1"\ninsecure_public_bind = true\n')
    error = machine.failure("data", "list")
    assert error["code"] == "invalid_input" and "192.0.2.1" in error["detail"]
