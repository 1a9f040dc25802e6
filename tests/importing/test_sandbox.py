"""The process that reads a model from elsewhere, taken over: it gets nowhere, uses up no more than it may, and nothing of it is
left; and what the system gives for that is told as it is."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from breaking_out import Found, Tried

from modeltap.errors import InvalidData, NotConfined
from modeltap.importing import sandbox
from modeltap.importing.asking import ask_child
from modeltap.importing.sandbox import how_to_get_more, measure_sandbox, require_level
from modeltap.importing.sandbox_landlock import landlock_version
from modeltap.importing.sandbox_walls import Held

FULL = measure_sandbox()
ONLY_HERE = ["write into its folder", "read what lies outside"]
needs = pytest.mark.skipif


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The confined process finds the module of these tests."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


@pytest.fixture
def listener() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made.getsockname()[1]


def run(mode: str, home: Path, *, port: int = 0, timeout_s: float = 60, **limits: int) -> list[str]:
    """What it could do, in an import's folder within a home."""
    folder = home / "import" / "bundle"
    folder.mkdir(parents=True)
    asked = Tried(mode=mode, folder=str(folder), outside=str(home), port=port, **limits)
    return ask_child("breaking_out", asked, Found, what="model", timeout_s=timeout_s).done


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


@needs(FULL.level != "no-writes" or not FULL.no_processes, reason="this system confines less")
def test_what_was_taken_over_reaches_nothing_but_its_folder(tmp_path: Path, listener: int) -> None:
    (tmp_path / "victim").write_text("whole")
    before = set(tmp_path.rglob("*"))
    assert run("escape", tmp_path, port=listener) == ONLY_HERE
    assert (tmp_path / "victim").read_text() == "whole" and (tmp_path / "victim").stat().st_nlink == 1
    made = set(tmp_path.rglob("*")) - before
    assert made <= {tmp_path / "import", tmp_path / "import/bundle", *(tmp_path / "import/bundle").iterdir()}
    assert not (Path.home() / ".modeltap-was-here").exists()


@pytest.mark.parametrize("mode", ["eat memory", "write much", "open many", "raise limits"])
def test_it_uses_no_more_than_it_may(tmp_path: Path, mode: str) -> None:
    assert run(mode, tmp_path) == []


def test_what_holds_more_memory_than_it_may_is_ended(tmp_path: Path) -> None:
    folder = tmp_path / "import" / "bundle"
    folder.mkdir(parents=True)
    asked = Tried(mode="hold memory", folder=str(folder), outside=str(tmp_path))
    before = children()
    with pytest.raises(InvalidData, match="takes more memory than it may"):
        ask_child("breaking_out", asked, Found, what="model", timeout_s=60, resident_bytes=200 << 20)
    assert children() == before


def test_libraries_may_have_threads(tmp_path: Path) -> None:
    assert run("start threads", tmp_path) == ["start threads"]


def test_it_knows_no_setting_and_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELTAP_DATABASE_URL", "postgresql://user:secret@host/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    told = run("tell environment", tmp_path)
    assert not {"MODELTAP_DATABASE_URL", "AWS_SECRET_ACCESS_KEY"} & set(told) and "TMPDIR" in told


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("hang", "was not read and tried within 1 s"),
        ("talk", "talk without an end"),
        ("leave a child", "ended the process"),
        ("work on", "ended the process that read it (signal"),
    ],
)
def test_what_does_not_end_is_ended_with_all_that_it_started(tmp_path: Path, mode: str, told: str) -> None:
    before = children()
    with pytest.raises(InvalidData) as refused:
        run(mode, tmp_path, timeout_s=1 if mode == "hang" else 60, processor_s=1)
    assert told in refused.value.message
    assert children() == before and not list((tmp_path / "import").glob(".scratch-*"))


def test_a_process_that_it_could_start_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system filters no calls, the group is what holds it."""
    confinement = sandbox.Confinement

    def unfiltered(**given: object) -> sandbox.Confinement:
        return confinement(**{**given, "without": ["seccomp"]})

    monkeypatch.setattr("modeltap.importing.asking.Confinement", unfiltered)
    before = children()
    assert run("leave a child", tmp_path) == ["leave a child"]
    assert children() == before
    left = tmp_path / "import" / "bundle" / "pid"
    if left.exists() and psutil.pid_exists(pid := int(left.read_text())):
        with suppress(psutil.NoSuchProcess):
            assert psutil.wait_procs([psutil.Process(pid)], timeout=30)[1] == []


@needs(sys.platform != "linux", reason="of Linux")
@pytest.mark.parametrize(
    ("without", "level"),
    [
        (["namespaces"], "no-writes"),
        (["seccomp"], "no-writes"),
        (["landlock", "mounts"], "no-network"),
        (["landlock", "mounts", "namespaces", "seccomp"], "limits"),
    ],
)
def test_the_level_is_what_was_tried_and_not_what_was_asked_for(without: list, level: str) -> None:
    """Each wall is enough for itself, as far as the system has it."""
    if FULL.level != "no-writes" or not landlock_version():
        pytest.skip("this system confines less")
    held = measure_sandbox(without=without)
    assert held.level == level
    assert held.no_processes == ("seccomp" not in without)


@needs(sys.platform != "linux" or "namespaces" not in FULL.by, reason="no namespaces here")
def test_read_only_mounts_stand_in_for_landlock() -> None:
    held = measure_sandbox(without=["landlock"])
    assert held.level == "no-writes" and "read-only mounts" in held.by


def test_what_holds_is_told_with_the_way_to_more() -> None:
    none = Held()
    assert none.told() == "limits" and none.level == "limits"
    all_of_it = Held(no_network=True, no_writes=True, no_processes=True, by=["landlock 7", "seccomp"])
    assert all_of_it.told() == "limits + no network + no writes outside + no other process (landlock 7, seccomp)"
    assert how_to_get_more(all_of_it) == ""
    if sys.platform == "linux":
        assert "user.max_user_namespaces" in how_to_get_more(none)


def test_an_operator_may_ask_for_more_than_the_system_has() -> None:
    require_level("limits")
    require_level(FULL.level)
    with pytest.raises(NotConfined, match=r"'no-network'.*MODELTAP_IMPORT_SANDBOX.*gives 'limits'"):
        require_level("no-network", without=("landlock", "mounts", "namespaces", "seccomp"))


@needs(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_any_privilege_is_confined_as_far(tmp_path: Path) -> None:
    """Measured as `nobody`, where that user can read Python at all."""
    import subprocess

    program = (
        "import os, sys; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "os.environ['TMPDIR'] = sys.argv[1]\n"
        "from modeltap.importing.sandbox import measure_sandbox; print(measure_sandbox().told())"
    )
    tmp_path.chmod(0o777)
    tried = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60, cwd="/", check=False
    )
    if tried.returncode:
        pytest.skip("nobody cannot read this Python")
    assert tried.stdout.strip() == FULL.told()
